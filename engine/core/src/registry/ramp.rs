//! A session that has just come may be slow at first: its caches are empty, its code is not compiled.
//! Its weight grows to what was said over a while.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::Now;

/// Since when a weight grows, and for how long. None that is over, or has not been, costs one look.
#[derive(Default, Debug)]
pub(crate) struct Ramp {
    /// In microseconds; 0 where there is none.
    over: AtomicU64,
    from: AtomicU64,
}

impl Ramp {
    /// From `now` on the weight grows, and is whole after `over`.
    pub(crate) fn begin(&self, now: Now, over: Duration) {
        let over = u64::try_from(over.as_micros()).unwrap_or(u64::MAX);
        self.from.store(now.0, Ordering::Relaxed);
        self.over.store(over, Ordering::Relaxed);
    }

    /// As much of `weight` as there is now: a tenth at first, so that it gets calls to warm up with.
    pub(crate) fn part(&self, now: Now, weight: u16) -> u16 {
        let over = self.over.load(Ordering::Relaxed);
        if over == 0 || weight == 0 {
            return weight;
        }
        let gone = now.0.saturating_sub(self.from.load(Ordering::Relaxed));
        if gone >= over {
            self.over.store(0, Ordering::Relaxed);
            return weight;
        }
        let grown = u128::from(weight) * u128::from(gone) / u128::from(over);
        (grown as u16).max(weight / 10).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_grows_from_a_tenth_to_the_whole() {
        let ramp = Ramp::default();
        assert_eq!(ramp.part(Now(5), 1_000), 1_000);
        ramp.begin(Now(1_000_000), Duration::from_secs(10));
        let check = |seconds: u64, weight, expect| {
            assert_eq!(
                ramp.part(Now(seconds * 1_000_000), weight),
                expect,
                "{seconds}"
            );
        };
        // Clocks are read before they are used.
        check(0, 1_000, 100);
        check(1, 1_000, 100);
        check(3, 1_000, 200);
        check(6, 1_000, 500);
        check(6, 1, 1);
        check(6, 0, 0);
        check(11, 1_000, 1_000);
        check(3, 1_000, 1_000);
    }
}
