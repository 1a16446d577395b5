//! Time as the core knows it: given from outside.

use std::time::Duration;

/// Microseconds since the engine started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Now(pub u64);

impl Now {
    pub fn after(self, duration: Duration) -> Now {
        Now(self
            .0
            .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    pub fn until(self, later: Now) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }
}
