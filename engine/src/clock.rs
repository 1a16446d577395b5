//! The engine's only look at the clock.

use std::time::Instant;

use agentos_core::Now;

/// Time since the engine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock {
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment `now` was, for timers.
    pub(crate) fn instant(&self, now: Now) -> Instant {
        self.started + std::time::Duration::from_micros(now.0)
    }
}
