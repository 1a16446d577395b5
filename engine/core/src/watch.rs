//! Hearing of calls and workers without taking part in them: what is counted and traced lives elsewhere.
//!
//! The router asks nothing of a watcher but to be quick, and works the same without one.

use std::{fmt, sync::Arc, time::Duration};

use agentos_protocol::{CallView, Delivery, ErrorBody};

use crate::Now;

/// Hears of every call and of every worker that is not the engine's own. Called on the task that routes, so it must not wait for anything.
pub trait Watcher: Send + Sync {
    /// The call is about to be given to its callee. `caller`: who calls, where callees are told.
    /// Nearly always there is nothing to be recorded.
    fn call_started(
        &self,
        now: Now,
        call: &CallView<'_>,
        caller: Option<&Arc<str>>,
    ) -> Option<Recording>;

    /// A call that was started is over.
    fn call_ended(&self, call: &EndedCall<'_>);

    /// The call found nobody to run it.
    fn call_refused(&self, error: &ErrorBody);

    fn worker_connected(&self);

    fn worker_gone(&self);
}

/// A call of which more is to be kept than that it happened.
#[derive(Debug)]
pub struct Recording {
    /// The trace context that the callee is told instead of the caller's.
    pub trace_parent: Arc<str>,
    pub watched: Box<dyn Watched>,
}

/// A call that is over.
#[derive(Debug)]
pub struct EndedCall<'a> {
    pub function: &'a Arc<str>,
    pub delivery: &'a Delivery,
    pub took: Duration,
    pub failed: bool,
}

/// One call being recorded.
pub trait Watched: fmt::Debug + Send + Sync {
    fn ended(self: Box<Self>, took: Duration, error: Option<&ErrorBody>);
}
