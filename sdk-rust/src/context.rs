//! What a handler knows about the call it answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_protocol::{ErrorBody, Trace};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::{Bus, handler::Invocation};

/// The call a handler is answering. Cheap to clone.
///
/// Dropping the handler's future is how a Rust handler is cancelled; [`Context::cancelled`] is for
/// work that it has put elsewhere.
#[derive(Clone)]
pub struct Context {
    bus: Bus,
    function: Arc<str>,
    caller: Option<Arc<str>>,
    metadata: Option<Arc<str>>,
    deadline: Instant,
    streaming: bool,
    cancelled: CancellationToken,
}

impl Context {
    pub(crate) fn of(invocation: &Invocation) -> Self {
        let call = invocation.call();
        Context {
            bus: invocation.bus(),
            function: Arc::clone(&call.function),
            caller: call.caller.clone(),
            metadata: call.metadata.clone(),
            deadline: invocation.deadline(),
            streaming: invocation.wants_stream(),
            cancelled: invocation.cancelled(),
        }
    }

    /// Calls `function` with what is left of this call's deadline, in its trace.
    ///
    /// # Errors
    /// The function's error, or the engine's.
    pub async fn trigger<O: DeserializeOwned>(
        &self,
        function: &str,
        input: &(impl Serialize + Sync + ?Sized),
    ) -> Result<O, ErrorBody> {
        self.bus.trigger(function, input).await
    }

    /// The bus, with this call's deadline and trace.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The id that was called.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Public id of the calling session, when a worker called.
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The call's side-car, JSON text, when the caller gave one.
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    pub fn trace(&self) -> &Trace {
        self.bus.trace()
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until the deadline; zero when it has passed.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// True when the caller takes chunks.
    pub fn wants_stream(&self) -> bool {
        self.streaming
    }

    /// Fires when the caller gave up.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}
