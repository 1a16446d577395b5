//! What travels on the bus: ids, frames, error codes and the two codecs.
//!
//! No runtime and no I/O: a codec turns one WebSocket message into one [`Frame`] and back, and
//! refuses to know who sent it. Payloads stay opaque bytes on the way through.

mod affinity;
pub mod codec;
pub mod error;
pub mod frame;
pub mod id;
pub mod json;
pub mod payload;
pub mod trace;
pub mod view;

pub use affinity::affinity;
pub use error::{Code, ErrorBody, Origin};
pub use frame::{
    BindTrigger, Call, Delivery, Frame, FunctionSpec, Hello, HttpInvocation, Register, Rejected,
    TriggerSpec, TriggerTypeSpec, Unregister, Welcome,
};
pub use id::{CallId, CallRef, DEFAULT_NAMESPACE, SessionId, namespace, stand_in};
pub use payload::{Encoding, Payload};
pub use trace::Trace;
pub use view::{CallView, PayloadView};
