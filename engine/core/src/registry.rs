//! Who is connected and what they offer. Every row is owned by one living session.

mod builds;
mod choice;
mod functions;
mod gate;
mod namespace;
mod ramp;
mod sessions;
mod traffic;
mod triggers;
mod twins;

pub use functions::FunctionView;
pub(crate) use functions::{Choice, Chosen, Functions, Offering, Wish};
pub(crate) use gate::{Gate, Line, WAITING_MAX};
pub use sessions::{Caller, SessionView};
pub(crate) use sessions::{Session, Sessions, Standing};
pub(crate) use traffic::Traffic;
pub use traffic::{Share, WEIGHT_MAX};
pub(crate) use triggers::{Binding, Placed, Triggers};
pub use triggers::{TriggerState, TriggerTypeView, TriggerView};

use agentos_protocol::SessionId;

/// Looked up with on every call, some with keys that strangers choose: fast, and keyed at random.
pub(crate) type Hasher = ahash::RandomState;

/// Whose calls wait for somebody to run them.
pub(crate) const NOBODY: SessionId = SessionId(0);

/// All registrations.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) sessions: Sessions,
    pub(crate) builds: builds::Builds,
    pub(crate) functions: Functions,
    pub(crate) triggers: Triggers,
}
