//! A session's share of the calls, and how many it has.
//!
//! One word, because every call looks at it for each session that offers its function: one relaxed
//! load tells whether the session may be given calls, how many of them, and how busy it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// A session's share of new calls, among the sessions that offer the same function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Relative to the others', 0 to [`WEIGHT_MAX`]. With 0 it gets calls only where nobody has more.
    pub weight: u16,
    /// One that is not ready gets no calls, unless nobody else offers the function.
    pub ready: bool,
}

/// Weight of a session of which nothing else was said.
pub const WEIGHT_MAX: u16 = 1_000;

impl Default for Share {
    fn default() -> Self {
        Share {
            weight: WEIGHT_MAX,
            ready: true,
        }
    }
}

/// Calls given to the session that are in flight.
const IN_FLIGHT: u64 = 0xffff_ffff;
const WEIGHT_SHIFT: u32 = 32;
const WEIGHT: u64 = 0x3ff << WEIGHT_SHIFT;
const UNREADY: u64 = 1 << 42;
const LEAVING: u64 = 1 << 43;
/// It failed too often, and rests.
const RESTING: u64 = 1 << 44;

/// See the module.
#[derive(Debug)]
pub(crate) struct Traffic(AtomicU64);

/// What one look at the word tells.
#[derive(Clone, Copy)]
pub(crate) struct Look(u64);

impl Look {
    pub(crate) fn in_flight(self) -> u32 {
        (self.0 & IN_FLIGHT) as u32
    }

    pub(crate) fn is_resting(self) -> bool {
        self.0 & RESTING != 0
    }

    /// The weight that it was given.
    pub(crate) fn said(self) -> u16 {
        ((self.0 & WEIGHT) >> WEIGHT_SHIFT) as u16
    }

    /// The weight with which it takes part in a choice.
    pub(crate) fn weight(self) -> u16 {
        if self.0 & (UNREADY | LEAVING | RESTING) == 0 {
            self.said()
        } else {
            0
        }
    }

    pub(crate) fn share(self) -> Share {
        Share {
            weight: self.said(),
            ready: self.is_ready(),
        }
    }

    pub(crate) fn is_ready(self) -> bool {
        self.0 & UNREADY == 0
    }

    /// It gets nothing new, and has nothing left.
    pub(crate) fn is_drained(self) -> bool {
        self.0 & LEAVING != 0 && self.in_flight() == 0
    }
}

impl Traffic {
    pub(crate) fn new(share: Share) -> Self {
        Traffic(AtomicU64::new(with(0, share)))
    }

    pub(crate) fn look(&self) -> Look {
        Look(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, share: Share) {
        self.change(|word| with(word, share));
    }

    /// It gets nothing new from now on. What is seen of it comes after what was counted before.
    pub(crate) fn leave(&self) -> Look {
        Look(self.0.fetch_or(LEAVING, Ordering::AcqRel) | LEAVING)
    }

    /// It gets no calls for a while.
    pub(crate) fn rest(&self) {
        self.0.fetch_or(RESTING, Ordering::Relaxed);
    }

    pub(crate) fn return_from_rest(&self) -> Look {
        Look(self.0.fetch_and(!RESTING, Ordering::Relaxed) & !RESTING)
    }

    /// One more call is on its way to it.
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that was on its way, or there, is over.
    pub(crate) fn exit(&self) -> Look {
        Look(self.0.fetch_sub(1, Ordering::AcqRel) - 1)
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        let changed = |word| Some(change(word));
        // It always is changed.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

fn with(word: u64, Share { weight, ready }: Share) -> u64 {
    let weight = u64::from(weight.min(WEIGHT_MAX)) << WEIGHT_SHIFT;
    let unready = if ready { 0 } else { UNREADY };
    word & !(WEIGHT | UNREADY) | weight | unready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_shares_do_not_touch_each_other() {
        let traffic = Traffic::new(Share::default());
        traffic.enter();
        traffic.enter();
        let share = Share {
            weight: 70,
            ready: false,
        };
        traffic.set(share);
        let look = traffic.exit();
        assert_eq!((look.in_flight(), look.share()), (1, share));
        assert_eq!((look.weight(), look.is_drained()), (0, false));
        traffic.set(Share {
            weight: u16::MAX,
            ready: true,
        });
        assert_eq!(traffic.look().weight(), WEIGHT_MAX);
        assert!(!traffic.leave().is_drained());
        assert_eq!(traffic.look().weight(), 0);
        assert!(traffic.exit().is_drained());
    }
}
