//! How often something happens: in all, and of late.

/// One slot of the recent past.
const SLOT_MS: u64 = 10_000;

/// A minute that is over, and the slot that fills.
const SLOTS: usize = 7;

/// Counts one kind of event. Knows no clock.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) total: u64,
    slots: [u64; SLOTS],
    /// Number of the slot that fills, counted from 1970.
    newest: u64,
}

impl Pace {
    pub(super) fn count(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.total += 1;
        self.slots[place(self.newest)] += 1;
    }

    /// Events per second over the last minute.
    pub(super) fn per_second(mut self, now_ms: u64) -> f64 {
        self.advance(now_ms);
        let events: u64 = self.slots.iter().sum();
        let passed_ms = (SLOTS as u64 - 1) * SLOT_MS + now_ms % SLOT_MS;
        events as f64 * 1000.0 / passed_ms as f64
    }

    /// Forgets the slots that lie between the last event and now. A clock that was put back counts
    /// into the newest one.
    fn advance(&mut self, now_ms: u64) {
        let slot = now_ms / SLOT_MS;
        let passed = slot.saturating_sub(self.newest);
        for gone in 1..=passed.min(SLOTS as u64) {
            self.slots[place(self.newest + gone)] = 0;
        }
        self.newest = self.newest.max(slot);
    }
}

fn place(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

/// What happens to the messages of one queue, since the engine started.
#[derive(Clone, Copy, Default)]
pub(super) struct Paces {
    pub(super) enqueued: Pace,
    pub(super) acknowledged: Pace,
    /// Attempts.
    pub(super) failed: Pace,
    pub(super) buried: Pace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let mut pace = Pace::default();
        for ms in (0..60_000).step_by(100) {
            pace.count(1_000_000 + ms);
        }
        let check = |now_ms, expected: f64| {
            let rate = pace.per_second(now_ms);
            assert!((rate - expected).abs() < 0.01, "{rate} at {now_ms}");
        };
        check(1_060_000, 10.0);
        check(1_090_000, 5.0);
        check(1_130_000, 0.0);
        check(9_000_000, 0.0);
        assert_eq!(pace.total, 600);
    }

    #[test]
    fn a_clock_that_is_put_back_loses_no_event() {
        let mut pace = Pace::default();
        pace.count(5_000_000);
        pace.count(1_000_000);
        assert_eq!(pace.total, 2);
        assert!(pace.per_second(5_000_000) > 0.03);
    }
}
