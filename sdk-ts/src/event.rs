//! The events of the mailbox as JavaScript objects, told apart by `kind`.

use std::sync::Arc;

use agentos_sdk::{
    Error, Payload,
    mailbox::{self, State},
    protocol::frame::Rejected,
};
use napi::bindgen_prelude::{Buffer, Either};
use napi_derive::napi;

use crate::payload::{error_text, outward};

/// Something that happened; see `agentos_sdk::mailbox::Event`.
#[napi(
    object_from_js = false,
    discriminant = "kind",
    discriminant_case = "lowercase"
)]
pub enum Event {
    /// A call of one of our functions, to be answered by `reply` or `fail`.
    Call {
        id: i64,
        function: String,
        payload: Either<String, Buffer>,
        stream: bool,
        timeout_ms: u32,
        caller: Option<String>,
        trace_parent: Option<String>,
        baggage: Option<String>,
        metadata: Option<String>,
    },
    /// Stop handling call `id`: nobody waits any more.
    Cancel { id: i64 },
    /// Call `id` may send chunks again.
    Credit { id: i64 },
    /// A piece of our streaming call `id`.
    Chunk {
        id: i64,
        payload: Either<String, Buffer>,
    },
    /// Our call `id` ended: `payload`, or else `error` as JSON text.
    Done {
        id: i64,
        payload: Option<Either<String, Buffer>>,
        error: Option<String>,
    },
    /// The answer to `register`.
    Registered { id: i64, rejected: Vec<Refusal> },
    /// The connection changed.
    State {
        #[napi(ts_type = "'connecting' | 'connected' | 'disconnected' | 'refused' | 'closed'")]
        state: String,
        message: String,
    },
}

/// A registered thing that the engine refused.
#[napi(object, object_from_js = false)]
pub struct Refusal {
    pub id: String,
    /// The error as JSON text.
    pub error: String,
}

/// Ids are counted from 1 and stay far below 2^53.
pub(crate) fn id_out(id: u64) -> i64 {
    i64::try_from(id).expect("ids are counted from 1")
}

impl From<mailbox::Event> for Event {
    fn from(event: mailbox::Event) -> Self {
        match event {
            mailbox::Event::Call {
                id,
                function,
                payload,
                stream,
                timeout_ms,
                caller,
                trace,
                metadata,
            } => Event::Call {
                id: id_out(id),
                function: text(&function),
                payload: outward(payload),
                stream,
                timeout_ms,
                caller: caller.as_ref().map(text),
                trace_parent: trace.parent.as_ref().map(text),
                baggage: trace.baggage.as_ref().map(text),
                metadata: metadata.as_ref().map(text),
            },
            mailbox::Event::Cancel { id } => Event::Cancel { id: id_out(id) },
            mailbox::Event::Credit { id } => Event::Credit { id: id_out(id) },
            mailbox::Event::Chunk { id, payload } => Event::Chunk {
                id: id_out(id),
                payload: outward(payload),
            },
            mailbox::Event::Done { id, outcome } => done(id, outcome),
            mailbox::Event::Registered { id, rejected } => Event::Registered {
                id: id_out(id),
                rejected: rejected.into_iter().map(refusal).collect(),
            },
            mailbox::Event::State { state, message } => Event::State {
                state: state_name(state).to_owned(),
                message,
            },
        }
    }
}

fn done(id: u64, outcome: Result<Payload, Error>) -> Event {
    let (payload, error) = match outcome {
        Ok(payload) => (Some(outward(payload)), None),
        Err(error) => (None, Some(error_text(&error))),
    };
    Event::Done {
        id: id_out(id),
        payload,
        error,
    }
}

fn refusal(rejected: Rejected) -> Refusal {
    Refusal {
        id: rejected.id.to_string(),
        error: error_text(&rejected.error),
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Disconnected => "disconnected",
        State::Refused => "refused",
        State::Closed => "closed",
    }
}

fn text(text: &Arc<str>) -> String {
    text.to_string()
}
