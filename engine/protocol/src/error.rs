//! The one shape of an error on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What went wrong, from a closed set. Each code has a page in `docs/errors/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// No session offers the function.
    NotFound,
    /// The deadline passed before an outcome.
    Timeout,
    /// The caller, or somebody above it, gave up.
    Cancelled,
    /// The worker that ran the call went away.
    WorkerLost,
    /// A bounded queue is full; try again later.
    Overloaded,
    /// The payload does not fit the function.
    InvalidInput,
    /// A frame could not be read.
    InvalidFrame,
    /// No token, or a wrong one.
    Unauthenticated,
    /// The identity may not do this.
    Forbidden,
    /// Somebody else holds the id, or the state is another.
    Conflict,
    /// The handler failed.
    Failed,
    /// Something the work depends on is away; try again later.
    Unavailable,
    /// The message is larger than the limit.
    PayloadTooLarge,
    /// The peer cannot do this, for instance a dialect without streams.
    Unsupported,
    /// A fault of ours.
    Internal,
}

impl Code {
    pub const ALL: [Code; 15] = [
        Code::NotFound,
        Code::Timeout,
        Code::Cancelled,
        Code::WorkerLost,
        Code::Overloaded,
        Code::InvalidInput,
        Code::InvalidFrame,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::Conflict,
        Code::Failed,
        Code::Unavailable,
        Code::PayloadTooLarge,
        Code::Unsupported,
        Code::Internal,
    ];

    /// The code as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NotFound => "not_found",
            Code::Timeout => "timeout",
            Code::Cancelled => "cancelled",
            Code::WorkerLost => "worker_lost",
            Code::Overloaded => "overloaded",
            Code::InvalidInput => "invalid_input",
            Code::InvalidFrame => "invalid_frame",
            Code::Unauthenticated => "unauthenticated",
            Code::Forbidden => "forbidden",
            Code::Conflict => "conflict",
            Code::Failed => "failed",
            Code::Unavailable => "unavailable",
            Code::PayloadTooLarge => "payload_too_large",
            Code::Unsupported => "unsupported",
            Code::Internal => "internal",
        }
    }

    /// The code written as `text`, if there is one.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Whether the same call may succeed if sent again, all else equal.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Code::WorkerLost | Code::Overloaded | Code::Unavailable
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is to blame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Caller,
    #[default]
    Engine,
    Worker,
}

/// An error as it travels: `code`, `message`, `origin`, `retryable`, and what else is known.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ErrorBody {
    pub code: Code,
    /// Lowercase, no full stop.
    pub message: String,
    #[serde(default)]
    pub origin: Origin,
    #[serde(default)]
    pub retryable: bool,
    /// The worker's own name for the error, when it has one (`SET_ERROR`, `card_declined`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Anything more: `field`, `retry_after_ms`, `stack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl ErrorBody {
    pub fn new(code: Code, origin: Origin, message: impl Into<String>) -> Self {
        ErrorBody {
            code,
            message: message.into(),
            origin,
            retryable: code.retryable(),
            reason: None,
            details: None,
        }
    }

    /// An error that the engine found.
    pub fn engine(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Origin::Engine, message)
    }

    /// An error that a worker's handler reports.
    pub fn worker(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Origin::Worker, message)
    }

    /// An error in what the caller sent.
    pub fn caller(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Origin::Caller, message)
    }

    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}
