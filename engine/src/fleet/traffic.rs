//! What the fleet may look at and do on the bus.

use std::time::Duration;

use agentos_core::{Event, SessionView};
use agentos_protocol::{ErrorBody, Payload, SessionId};
use agentos_sdk::async_trait;
use tokio::sync::broadcast;

/// The share of an instance that is given calls as any other.
pub(crate) const FULL: u16 = 1_000;

/// Calls that sessions were given, and how many of them failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
}

impl Counts {
    pub(crate) fn of(session: &SessionView) -> Counts {
        Counts {
            calls: session.calls_ended,
            errors: session.calls_failed,
        }
    }

    /// Since `before`.
    pub(crate) fn since(self, before: Counts) -> Counts {
        Counts {
            calls: self.calls.saturating_sub(before.calls),
            errors: self.errors.saturating_sub(before.errors),
        }
    }

    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts {
            calls: self.calls + other.calls,
            errors: self.errors + other.errors,
        }
    }

    /// Failed calls among all; none when there were none.
    pub(crate) fn error_rate(self) -> f64 {
        match self.calls {
            0 => 0.0,
            calls => self.errors as f64 / calls as f64,
        }
    }
}

/// The bus, as the fleet needs it.
#[async_trait]
pub(crate) trait Traffic: Send + Sync {
    fn sessions(&self) -> Vec<SessionView>;

    fn events(&self) -> broadcast::Receiver<Event>;

    /// How many of the calls a session gets, beside others of its functions; 0 gets none. Its share
    /// grows to that `over` a time, where there is one.
    fn give(&self, session: SessionId, share: u16, over: Duration);

    /// The session is an instance of `worker`: its triggers are not bound beside those of others.
    fn belongs(&self, session: SessionId, worker: &str);

    /// Gives the session no new calls, and returns when it has answered those it has, or after
    /// `patience`; with the calls that still run.
    async fn drain(&self, session: SessionId, patience: Duration) -> u32;

    /// Ends a session whose calls are not waited for any longer: they are lost, and known to be.
    fn cut(&self, session: SessionId);

    /// Calls `function` of this very session, whatever its share.
    ///
    /// # Errors
    /// The function's error, or why there is no answer in time.
    async fn ask(
        &self,
        session: SessionId,
        function: &str,
        patience: Duration,
    ) -> Result<Payload, ErrorBody>;
}
