//! Who is connected and what they offer. Every row is owned by one living session.

mod builds;
mod choice;
mod functions;
mod namespace;
mod sessions;
mod traffic;
mod triggers;
mod twins;

pub use functions::FunctionView;
pub(crate) use functions::{Chosen, Functions, Offering};
pub use sessions::{Caller, SessionView};
pub(crate) use sessions::{Session, Sessions, Standing};
pub(crate) use traffic::Traffic;
pub use traffic::{Share, WEIGHT_MAX};
pub(crate) use triggers::{Binding, Placed, Triggers};
pub use triggers::{TriggerState, TriggerTypeView, TriggerView};

/// Looked up with on every call, some with keys that strangers choose: fast, and keyed at random.
pub(crate) type Hasher = ahash::RandomState;

/// All registrations.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) sessions: Sessions,
    pub(crate) builds: builds::Builds,
    pub(crate) functions: Functions,
    pub(crate) triggers: Triggers,
}
