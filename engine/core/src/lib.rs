//! The decisions of the bus: who offers what, which call goes where, what happens next.
//!
//! Pure: no clock, no I/O, no tasks. Every entry point takes the time and appends [`Effect`]s for
//! the bus to perform, so that the whole can be stepped in a simulation. Everything is `&self`
//! over concurrent maps: the task that read a frame decides about it itself.

mod calls;
mod effect;
pub mod policy;
mod registry;
mod router;
mod time;
mod watch;

pub use effect::{Effect, Effects, Event};
pub use registry::{
    Caller, FunctionView, SessionView, Share, TriggerState, TriggerTypeView, TriggerView,
    WEIGHT_MAX,
};
pub use router::{Limits, Refusal, Refused, Routed, Router, SessionSpec, Settled};
pub use time::Now;
pub use watch::{EndedCall, Recording, Watched, Watcher};
