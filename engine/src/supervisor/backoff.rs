//! How long to wait before the next start: doubling, bounded, jittered.

use std::time::Duration;

use super::manifest::Restart;

/// Quick ends in a row after which a worker is called a crash loop.
pub(super) const CRASH_LOOP_EXITS: u32 = 5;

/// The record of one worker.
#[derive(Debug)]
pub(super) struct Backoff {
    restart: Restart,
    quick_exits: u32,
}

impl Backoff {
    pub(super) fn new(restart: Restart) -> Self {
        Backoff {
            restart,
            quick_exits: 0,
        }
    }

    /// The wait after a process that lived for `lived`. `random` is in 0..1.
    pub(super) fn after(&mut self, lived: Duration, random: f64) -> Duration {
        if lived >= self.restart.stable() {
            self.quick_exits = 0;
        }
        let doubled = self
            .restart
            .backoff_ms
            .saturating_mul(1 << self.quick_exits.min(32));
        self.quick_exits += 1;
        let full = Duration::from_millis(doubled.min(self.restart.backoff_ms_max));
        // Half of it fixed, half random: workers that died together do not return together.
        full.mul_f64(0.5 + random / 2.0)
    }

    /// True once per series of quick ends.
    pub(super) fn is_crash_loop(&self) -> bool {
        self.quick_exits == CRASH_LOOP_EXITS
    }

    /// Somebody changed something: a clean record.
    pub(super) fn forget(&mut self) {
        self.quick_exits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::manifest::Policy, *};

    const QUICK: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_bound_and_forgets_after_a_stable_life() {
        let restart = Restart {
            policy: Policy::Always,
            backoff_ms: 100,
            backoff_ms_max: 500,
            stable_ms: 1000,
        };
        let mut backoff = Backoff::new(restart);
        let waits: Vec<u128> = (0..5)
            .map(|_| backoff.after(QUICK, 1.0).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
        assert!(backoff.is_crash_loop());
        assert_eq!(backoff.after(restart.stable(), 0.0).as_millis(), 50);
        assert!(!backoff.is_crash_loop());
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Restart {
            policy: Policy::Always,
            backoff_ms: u64::MAX,
            backoff_ms_max: u64::MAX,
            stable_ms: 1,
        });
        for _ in 0..100 {
            backoff.after(Duration::ZERO, 0.5);
        }
    }
}
