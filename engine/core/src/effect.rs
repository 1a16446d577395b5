//! What the router wants done.

use std::sync::Arc;

use agentos_protocol::{ErrorBody, Frame, SessionId};
use smallvec::SmallVec;

/// One thing for the bus to do, in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Put the frame on the session's outbox.
    Send {
        to: SessionId,
        frame: Frame,
    },
    /// End the session: it cannot keep up, or broke the rules.
    Close {
        session: SessionId,
        why: ErrorBody,
    },
    /// A deadline is now earlier than any the sweeper knows.
    Sooner,
    Event(Event),
}

/// A frame causes one or two effects nearly always.
pub type Effects = SmallVec<[Effect; 2]>;

/// Something that happened on the bus, for whoever watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    WorkerConnected {
        session: SessionId,
    },
    WorkerIdentified {
        session: SessionId,
    },
    WorkerDisconnected {
        session: SessionId,
        name: Arc<str>,
    },
    FunctionsChanged,
    /// A void call failed; nobody else hears of it.
    VoidCallFailed {
        function: Arc<str>,
        error: ErrorBody,
    },
}
