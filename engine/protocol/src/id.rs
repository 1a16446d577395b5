//! Identifiers. Parsed once at the rim, compared cheaply inside.

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// One connected worker, unique for the life of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// One call in flight inside the engine. What a callee sees as the call's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallId(pub u64);

/// What a peer calls a call in flight on its session; the engine gives it back untouched.
///
/// The binary dialect numbers calls; the JSON dialect names them with UUIDs, and hand-written
/// clients with any text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallRef {
    Number(u64),
    Uuid(Uuid),
    Text(Arc<str>),
}

impl CallRef {
    /// The call's number, when the peer uses numbers.
    pub fn number(&self) -> Option<u64> {
        match self {
            CallRef::Number(number) => Some(*number),
            CallRef::Uuid(_) | CallRef::Text(_) => None,
        }
    }
}

impl From<CallId> for CallRef {
    fn from(id: CallId) -> Self {
        CallRef::Number(id.0)
    }
}

impl fmt::Display for CallRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallRef::Number(number) => write!(f, "{number}"),
            CallRef::Uuid(uuid) => write!(f, "{uuid}"),
            CallRef::Text(text) => f.write_str(text),
        }
    }
}

/// The namespace that everything is in which names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A namespace as it was written; `None` is the default one.
pub fn namespace(written: &str) -> Option<std::sync::Arc<str>> {
    (!written.is_empty() && written != DEFAULT_NAMESPACE).then(|| written.into())
}

/// Functions whose worker stands in for others: calls reach it as they were made, with the
/// function they name.
pub mod stand_in {
    /// Takes calls that are to be put on a queue.
    pub const ENQUEUE: &str = "engine::queue::enqueue";
    /// Takes calls of functions that are HTTP endpoints.
    pub const HTTP: &str = "engine::http::invoke";
}
