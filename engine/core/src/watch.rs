//! Hearing of calls and workers without taking part in them: what is counted and traced lives elsewhere.
//!
//! The router asks nothing of a watcher but to be quick, and works the same without one.

use std::fmt;

use agentos_protocol::{Call, ErrorBody};

/// Hears of every call and of every worker that is not the engine's own. Called on the task that routes, so it must not wait for anything.
pub trait Watcher: Send + Sync {
    /// The call is about to be given to its callee. The watcher may put a trace context of its
    /// own in it, and touches nothing else.
    fn call_started(&self, call: &mut Call) -> Option<Box<dyn Watched>>;

    /// The call found nobody to run it.
    fn call_refused(&self, error: &ErrorBody);

    fn worker_connected(&self);

    fn worker_gone(&self);
}

/// One call being watched. Dropped without [`Watched::ended`], its caller went away.
pub trait Watched: fmt::Debug + Send + Sync {
    fn ended(self: Box<Self>, error: Option<&ErrorBody>);
}
