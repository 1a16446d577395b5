//! Events as one JSON text per batch: one string crosses the border, and JavaScript parses it,
//! payloads and all, in one go.
//!
//! An event is an array that begins with its kind; `ts/events.ts` says what follows. A payload that
//! is bytes, long, or not JSON against its sender's word, crosses by itself: the event then says
//! its place in the list that [`Batch::into_parts`] gives, of which the text is the first.

use std::fmt::Write as _;

use agentos_sdk::{
    Encoding, Payload,
    mailbox::{Event, State},
    protocol::json,
};
use napi::bindgen_prelude::{Buffer, Either};

use crate::payload::{error_text, outward};

const CALL: u8 = 0;
const CANCEL: u8 = 1;
const CREDIT: u8 = 2;
const CHUNK: u8 = 3;
const DONE: u8 = 4;
const FAILED: u8 = 5;
const REGISTERED: u8 = 6;
const STATE: u8 = 7;

/// Longer payloads cross by themselves: copying them once more, and checking them, would cost more
/// than a second string does.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// What crosses the border at once.
#[derive(Default)]
pub(crate) struct Batch {
    text: String,
    apart: Vec<Either<String, Buffer>>,
}

impl Batch {
    /// The text, then the payloads that stand apart; nothing when nothing happened.
    pub(crate) fn into_parts(mut self) -> Vec<Either<String, Buffer>> {
        if self.text.is_empty() {
            return Vec::new();
        }
        self.text.push(']');
        self.apart.insert(0, Either::A(self.text));
        self.apart
    }

    pub(crate) fn add(&mut self, event: Event) {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        match event {
            Event::Call {
                id,
                function,
                payload,
                stream,
                timeout_ms,
                caller,
                trace,
                metadata,
            } => {
                self.begin(CALL, id);
                self.payload(payload);
                self.field(&quoted(&function));
                self.field(if stream { "1" } else { "0" });
                self.field(&timeout_ms.to_string());
                for text in [caller, trace.parent, trace.baggage, metadata] {
                    self.field(&text.map_or_else(|| "null".to_owned(), |text| quoted(&text)));
                }
            }
            Event::Cancel { id } => self.begin(CANCEL, id),
            Event::Credit { id } => self.begin(CREDIT, id),
            Event::Chunk { id, payload } => {
                self.begin(CHUNK, id);
                self.payload(payload);
            }
            Event::Done {
                id,
                outcome: Ok(payload),
            } => {
                self.begin(DONE, id);
                self.payload(payload);
            }
            Event::Done {
                id,
                outcome: Err(error),
            } => {
                self.begin(FAILED, id);
                self.field(&error_text(&error));
            }
            Event::Registered { id, rejected } => {
                self.begin(REGISTERED, id);
                let refused: Vec<String> = rejected
                    .iter()
                    .map(|it| format!("[{},{}]", quoted(&it.id), error_text(&it.error)))
                    .collect();
                self.field(&format!("[{}]", refused.join(",")));
            }
            Event::State { state, message } => {
                let _ = write!(self.text, "[{STATE},\"{}\"", name(state));
                self.field(&quoted(&message));
            }
        }
        self.text.push(']');
    }

    fn begin(&mut self, kind: u8, id: u64) {
        let _ = write!(self.text, "[{kind},{id}");
    }

    fn field(&mut self, text: &str) {
        self.text.push(',');
        self.text.push_str(text);
    }

    /// The payload and 0, or `null` and its place among those apart.
    fn payload(&mut self, payload: Payload) {
        match inline(&payload) {
            Some(text) => {
                self.field(text);
                self.text.push_str(",0");
            }
            None => {
                self.apart.push(outward(payload));
                let _ = write!(self.text, ",null,{}", self.apart.len());
            }
        }
    }
}

/// The payload's text, when it may stand within another.
fn inline(payload: &Payload) -> Option<&str> {
    let bytes = payload.text();
    let fits = payload.encoding == Encoding::Json && bytes.len() <= INLINE_BYTES_MAX;
    let text = std::str::from_utf8(bytes).ok().filter(|_| fits)?;
    // Not on trust: what is no JSON could end its event and begin another.
    json::is_valid(bytes).then_some(text)
}

/// As a JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string has a JSON form")
}

fn name(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Disconnected => "disconnected",
        State::Refused => "refused",
        State::Closed => "closed",
    }
}
