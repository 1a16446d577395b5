//! What the router wants done.

use std::sync::Arc;

use agentos_protocol::{ErrorBody, Frame, SessionId};
use smallvec::SmallVec;

use crate::registry::TriggerState;

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
    /// The session gets no new calls, and those that it had are over.
    Drained(SessionId),
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
        worker: Arc<str>,
    },
    /// It has said who it is.
    WorkerIdentified {
        session: SessionId,
        worker: Arc<str>,
        name: Arc<str>,
    },
    WorkerDisconnected {
        session: SessionId,
        worker: Arc<str>,
        name: Arc<str>,
    },
    FunctionsRegistered {
        worker: Arc<str>,
        functions: Vec<Arc<str>>,
    },
    FunctionsUnregistered {
        worker: Arc<str>,
        functions: Vec<Arc<str>>,
    },
    /// Also when it stands elsewhere than before.
    TriggerRegistered {
        id: Arc<str>,
        trigger_type: Arc<str>,
        function: Arc<str>,
        state: TriggerState,
    },
    TriggerUnregistered {
        id: Arc<str>,
        trigger_type: Arc<str>,
    },
    TriggerTypeRegistered {
        worker: Arc<str>,
        id: Arc<str>,
    },
    TriggerTypeUnregistered {
        worker: Arc<str>,
        id: Arc<str>,
    },
    /// A worker asked for something it does not get.
    RegistrationRefused {
        worker: Arc<str>,
        id: Arc<str>,
        error: ErrorBody,
    },
    /// A void call failed; nobody else hears of it.
    VoidCallFailed {
        function: Arc<str>,
        error: ErrorBody,
    },
}
