//! The `agentos.v2` dialect: a fixed header, a little meta, an opaque payload.
//!
//! Every message is binary. All numbers are little-endian. `docs/protocol-v2.md` is the public
//! description, enough to write a client from.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0 | kind | one of [`kind`] |
//! | 1 | flags | bit 0: the payload is binary, not JSON; bits 1–2 of a call: how its outcome is wanted |
//! | 2–3 | meta length | bytes of meta after the header |
//! | 4–7 | aux | call: timeout in ms, 0 for the default; credit: chunks |
//! | 8–15 | id | call number, or number of a register request |

pub mod done;
pub mod parts;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Draft;
use crate::{
    BindTrigger, CallRef, CallView, Code, Delivery, Encoding, ErrorBody, Frame, FunctionSpec,
    PayloadView, Register, Rejected, TriggerSpec, TriggerTypeSpec,
};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 16;

/// Kinds of message.
pub mod kind {
    pub const HELLO: u8 = 1;
    pub const WELCOME: u8 = 2;
    pub const REGISTER: u8 = 3;
    pub const REGISTERED: u8 = 4;
    pub const UNREGISTER: u8 = 5;
    pub const BIND_TRIGGER: u8 = 6;
    pub const UNBIND_TRIGGER: u8 = 7;
    pub const TRIGGER_BOUND: u8 = 8;
    pub const CALL: u8 = 16;
    pub const RESULT: u8 = 17;
    pub const ERROR: u8 = 18;
    pub const CHUNK: u8 = 19;
    pub const CREDIT: u8 = 20;
    pub const CANCEL: u8 = 21;
    /// Results of void calls; see [`super::done`].
    pub const DONE: u8 = 22;
    pub const GOODBYE: u8 = 32;
    pub const FAULT: u8 = 33;
    pub const PING: u8 = 34;
    pub const PONG: u8 = 35;
    /// A piece of another message; see [`super::parts`].
    pub const PART: u8 = 36;
}

/// Tags of the optional fields in a call's meta. Unknown tags are skipped.
mod tag {
    pub(super) const TRACEPARENT: u8 = 1;
    pub(super) const BAGGAGE: u8 = 2;
    pub(super) const CALLER: u8 = 3;
    pub(super) const METADATA: u8 = 4;
    pub(super) const QUEUE: u8 = 5;
    pub(super) const NAMESPACE: u8 = 6;
    pub(super) const AFFINITY: u8 = 7;
}

const FLAG_BINARY: u8 = 1;
const DELIVERY_SHIFT: u8 = 1;
const DELIVERY_MASK: u8 = 0b110;

/// Writes `frame` as one binary message.
///
/// # Errors
/// `invalid_frame` when a part does not fit: a function id, trace or metadata above 64 KiB
/// together, or a call without a number.
pub fn encode(frame: &Frame) -> Result<Bytes, ErrorBody> {
    let mut draft = Draft::flat();
    write(frame, &mut draft)?;
    Ok(draft.into_bytes())
}

/// Adds `frame` to `out` as one binary message.
///
/// # Errors
/// As [`encode`]; the draft is as it was.
pub fn write(frame: &Frame, out: &mut Draft) -> Result<(), ErrorBody> {
    match frame {
        Frame::Call(call) => return write_call(&call.view(), out),
        Frame::Reply {
            call,
            outcome: Ok(payload),
            ..
        } => return write_result(call, payload.view(), out),
        Frame::Reply {
            call,
            outcome: Err(error),
            ..
        } => json(kind::ERROR, number(call)?, error, out),
        Frame::Chunk { call, payload } => {
            with_payload(kind::CHUNK, number(call)?, payload.view(), out);
        }
        Frame::Credit { call, chunks } => {
            out.put(header(kind::CREDIT, 0, 0, *chunks, number(call)?))
        }
        Frame::Cancel { call } => out.put(header(kind::CANCEL, 0, 0, 0, number(call)?)),
        Frame::Hello(hello) => json(kind::HELLO, 0, hello, out),
        Frame::Welcome(welcome) => json(kind::WELCOME, 0, welcome, out),
        Frame::Register(register) => {
            json(kind::REGISTER, register.request, &Offer::of(register), out);
        }
        Frame::Registered { request, rejected } => {
            let rejected = rejected.clone();
            json(kind::REGISTERED, *request, &Refusals { rejected }, out);
        }
        Frame::Unregister(ids) => json(kind::UNREGISTER, 0, ids, out),
        Frame::BindTrigger(bind) => json(kind::BIND_TRIGGER, 0, bind, out),
        Frame::UnbindTrigger { id, trigger_type } => {
            let unbind = Unbind {
                id: id.clone(),
                trigger_type: trigger_type.clone(),
            };
            json(kind::UNBIND_TRIGGER, 0, &unbind, out);
        }
        Frame::TriggerBound {
            id,
            trigger_type,
            function,
            error,
        } => {
            let bound = Bound {
                id: id.clone(),
                trigger_type: trigger_type.clone(),
                function: function.clone(),
                error: error.clone(),
            };
            json(kind::TRIGGER_BOUND, 0, &bound, out);
        }
        Frame::Goodbye { reason } => {
            let reason = reason.clone();
            json(kind::GOODBYE, 0, &Farewell { reason }, out);
        }
        Frame::Fault(error) => json(kind::FAULT, 0, error, out),
        Frame::Ping => out.put(header(kind::PING, 0, 0, 0, 0)),
        Frame::Pong => out.put(header(kind::PONG, 0, 0, 0, 0)),
    }
    Ok(())
}

/// A message that needed no copying.
#[derive(Debug)]
pub enum Quick<'a> {
    Call(CallView<'a>),
    Reply {
        call: CallRef,
        payload: PayloadView<'a>,
    },
}

/// A message taken apart.
struct Parts<'a> {
    kind: u8,
    flags: u8,
    aux: u32,
    id: u64,
    meta: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Result<Self, ErrorBody> {
        let Some((head, rest)) = message.split_first_chunk::<HEADER_BYTES>() else {
            return Err(invalid(format!(
                "a message has a header of {HEADER_BYTES} bytes, this one has {}",
                message.len()
            )));
        };
        let meta_len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let Some((meta, body)) = rest.split_at_checked(meta_len) else {
            return Err(invalid(format!(
                "the header announces {meta_len} bytes of meta, {} follow",
                rest.len()
            )));
        };
        let parts = Parts {
            kind: head[0],
            flags: head[1],
            aux: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            id: u64::from_le_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]),
            meta,
            body,
        };
        if parts.id == 0 && (kind::RESULT..=kind::CANCEL).contains(&parts.kind) {
            return Err(invalid("the number of a call is not 0"));
        }
        Ok(parts)
    }

    fn payload(&self, owner: Option<&'a Bytes>) -> PayloadView<'a> {
        PayloadView {
            bytes: self.body,
            owner,
            encoding: if self.flags & FLAG_BINARY == 0 {
                Encoding::Json
            } else {
                Encoding::Binary
            },
            checked: false,
        }
    }
}

/// Reads a call or a result where it lies; `None` for messages of other kinds. `owner`: what
/// `message` is a part of, when that can be shared.
///
/// # Errors
/// `invalid_frame` that says what is wrong with the message.
pub fn quick<'a>(
    message: &'a [u8],
    owner: Option<&'a Bytes>,
) -> Result<Option<Quick<'a>>, ErrorBody> {
    if !matches!(message.first(), Some(&(kind::CALL | kind::RESULT))) {
        return Ok(None);
    }
    let parts = Parts::of(message)?;
    Ok(Some(if parts.kind == kind::CALL {
        Quick::Call(read_call(&parts, owner)?)
    } else {
        Quick::Reply {
            call: CallRef::Number(parts.id),
            payload: parts.payload(owner),
        }
    }))
}

/// Reads one binary message. Payloads are slices of `bytes`, not copies.
///
/// # Errors
/// `invalid_frame` that says what is wrong with the message.
pub fn decode(bytes: &Bytes) -> Result<Frame, ErrorBody> {
    let parts = Parts::of(bytes)?;
    let payload = || parts.payload(Some(bytes)).to_payload();
    let (body, aux, id) = (parts.body, parts.aux, parts.id);
    let call = CallRef::Number(id);
    Ok(match parts.kind {
        kind::CALL => Frame::Call(Box::new(read_call(&parts, Some(bytes))?.to_call())),
        kind::RESULT => Frame::Reply {
            call,
            function: nothing(),
            outcome: Ok(payload()),
        },
        kind::ERROR => Frame::Reply {
            call,
            function: nothing(),
            outcome: Err(parse(body)?),
        },
        kind::CHUNK => Frame::Chunk {
            call,
            payload: payload(),
        },
        kind::CREDIT => Frame::Credit { call, chunks: aux },
        kind::CANCEL => Frame::Cancel { call },
        kind::HELLO => Frame::Hello(Box::new(parse(body)?)),
        kind::WELCOME => Frame::Welcome(Box::new(parse(body)?)),
        kind::REGISTER => Frame::Register(Box::new(parse::<Offer>(body)?.into_register(id))),
        kind::REGISTERED => Frame::Registered {
            request: id,
            rejected: parse::<Refusals>(body)?.rejected,
        },
        kind::UNREGISTER => Frame::Unregister(Box::new(parse(body)?)),
        kind::BIND_TRIGGER => Frame::BindTrigger(Box::new(parse::<BindTrigger>(body)?)),
        kind::UNBIND_TRIGGER => {
            let Unbind { id, trigger_type } = parse(body)?;
            Frame::UnbindTrigger { id, trigger_type }
        }
        kind::TRIGGER_BOUND => {
            let Bound {
                id,
                trigger_type,
                function,
                error,
            } = parse(body)?;
            Frame::TriggerBound {
                id,
                trigger_type,
                function,
                error,
            }
        }
        kind::GOODBYE => Frame::Goodbye {
            reason: parse::<Farewell>(body)?.reason,
        },
        kind::FAULT => Frame::Fault(parse(body)?),
        kind::PING => Frame::Ping,
        kind::PONG => Frame::Pong,
        kind::PART => return Err(invalid("a part of a message does not stand alone")),
        kind::DONE => return Err(invalid("only a worker tells which void calls went well")),
        other => return Err(invalid(format!("unknown kind of message {other}"))),
    })
}

// ── Calls ───────────────────────────────────────────────────────────────────────────────────

/// Writes a call.
///
/// # Errors
/// As [`encode`]; the draft is as it was.
pub fn write_call(call: &CallView<'_>, out: &mut Draft) -> Result<(), ErrorBody> {
    let (delivery, queue) = match &call.delivery {
        Delivery::Reply => (0, None),
        Delivery::Stream => (1, None),
        Delivery::Void => (2, None),
        Delivery::Enqueue(queue) => (3, Some(&**queue)),
    };
    let id = match (&call.call, &call.delivery) {
        (Some(reference), _) => number(reference)?,
        (None, Delivery::Void) => 0,
        (None, _) => return Err(invalid("only a void call may go without a number")),
    };
    let optional = [
        (tag::TRACEPARENT, call.trace_parent),
        (tag::BAGGAGE, call.baggage),
        (tag::CALLER, call.caller),
        (tag::METADATA, call.metadata),
        (tag::QUEUE, queue),
        (tag::NAMESPACE, call.namespace),
        (tag::AFFINITY, call.affinity),
    ];
    let present = || {
        optional
            .iter()
            .filter_map(|(tag, text)| text.map(|text| (*tag, text)))
    };
    let meta_len =
        2 + call.function.len() + present().map(|(_, text)| 3 + text.len()).sum::<usize>();
    let meta_len = u16::try_from(meta_len).map_err(|_| {
        invalid(format!(
            "function id, trace and metadata take {meta_len} bytes, at most 65535 fit"
        ))
    })?;
    let binary = u8::from(call.payload.encoding == Encoding::Binary) * FLAG_BINARY;
    let flags = binary | (delivery << DELIVERY_SHIFT);
    let timeout = call.timeout_ms.unwrap_or(0);
    out.put(header(kind::CALL, flags, meta_len, timeout, id));
    // Each part fits into 16 bits because their sum does.
    out.put((call.function.len() as u16).to_le_bytes());
    out.put(call.function);
    for (tag, text) in present() {
        out.put([tag]);
        out.put((text.len() as u16).to_le_bytes());
        out.put(text);
    }
    out.put_payload(call.payload);
    Ok(())
}

/// Writes a result.
///
/// # Errors
/// As [`encode`]; the draft is as it was.
pub fn write_result(
    call: &CallRef,
    payload: PayloadView<'_>,
    out: &mut Draft,
) -> Result<(), ErrorBody> {
    with_payload(kind::RESULT, number(call)?, payload, out);
    Ok(())
}

fn read_call<'a>(parts: &Parts<'a>, owner: Option<&'a Bytes>) -> Result<CallView<'a>, ErrorBody> {
    let mut rest = parts.meta;
    let function = take(&mut rest)?;
    if function.is_empty() {
        return Err(invalid("a call names a function"));
    }
    let mut call = CallView {
        call: (parts.id != 0).then_some(CallRef::Number(parts.id)),
        function,
        namespace: None,
        payload: parts.payload(owner),
        delivery: Delivery::Reply,
        timeout_ms: (parts.aux != 0).then_some(parts.aux),
        trace_parent: None,
        baggage: None,
        caller: None,
        metadata: None,
        affinity: None,
    };
    let mut queue = None;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        let text = take(&mut rest)?;
        match *tag {
            tag::TRACEPARENT => call.trace_parent = Some(text),
            tag::BAGGAGE => call.baggage = Some(text),
            tag::CALLER => call.caller = Some(text),
            tag::METADATA => call.metadata = Some(text),
            tag::QUEUE => queue = Some(Arc::from(text)),
            tag::NAMESPACE => call.namespace = Some(text),
            tag::AFFINITY => call.affinity = Some(text),
            _ => {}
        }
    }
    call.delivery = match (parts.flags & DELIVERY_MASK) >> DELIVERY_SHIFT {
        0 => Delivery::Reply,
        1 => Delivery::Stream,
        2 => Delivery::Void,
        _ => Delivery::Enqueue(queue.ok_or_else(|| invalid("an enqueued call names its queue"))?),
    };
    if call.call.is_none() && call.delivery != Delivery::Void {
        return Err(invalid("only a void call may have the number 0"));
    }
    Ok(call)
}

/// Takes a length-prefixed text off the front of `rest`.
fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a str, ErrorBody> {
    let short = || invalid("the meta of a call ends in the middle of a field");
    let (len, after) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let len = usize::from(u16::from_le_bytes(*len));
    let text = after.get(..len).ok_or_else(short)?;
    *rest = &after[len..];
    std::str::from_utf8(text).map_err(|_| invalid("the meta of a call is not UTF-8"))
}

// ── Parts ───────────────────────────────────────────────────────────────────────────────────

#[derive(Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Offer {
    functions: Vec<FunctionSpec>,
    triggers: Vec<TriggerSpec>,
    trigger_types: Vec<TriggerTypeSpec>,
}

impl Offer {
    fn of(register: &Register) -> Self {
        Offer {
            functions: register.functions.clone(),
            triggers: register.triggers.clone(),
            trigger_types: register.trigger_types.clone(),
        }
    }

    fn into_register(self, request: u64) -> Register {
        let Offer {
            functions,
            triggers,
            trigger_types,
        } = self;
        Register {
            request,
            functions,
            triggers,
            trigger_types,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Refusals {
    #[serde(default)]
    rejected: Vec<Rejected>,
}

#[derive(Serialize, Deserialize)]
struct Unbind {
    id: Arc<str>,
    #[serde(rename = "type")]
    trigger_type: Arc<str>,
}

#[derive(Serialize, Deserialize)]
struct Bound {
    id: Arc<str>,
    #[serde(rename = "type")]
    trigger_type: Arc<str>,
    function: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize, Deserialize)]
struct Farewell {
    #[serde(default)]
    reason: Arc<str>,
}

fn header(kind: u8, flags: u8, meta_len: u16, aux: u32, id: u64) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head[0] = kind;
    head[1] = flags;
    head[2..4].copy_from_slice(&meta_len.to_le_bytes());
    head[4..8].copy_from_slice(&aux.to_le_bytes());
    head[8..16].copy_from_slice(&id.to_le_bytes());
    head
}

fn with_payload(kind: u8, id: u64, payload: PayloadView<'_>, out: &mut Draft) {
    let flags = if payload.encoding == Encoding::Binary {
        FLAG_BINARY
    } else {
        0
    };
    out.put(header(kind, flags, 0, 0, id));
    out.put_payload(payload);
}

fn json<T: Serialize>(kind: u8, id: u64, value: &T, out: &mut Draft) {
    out.put(header(kind, 0, 0, 0, id));
    serde_json::to_writer(out.text_mut(), value).expect("frames have text keys and finite numbers");
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ErrorBody> {
    serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body of a message cannot be read: {error}")))
}

fn number(call: &CallRef) -> Result<u64, ErrorBody> {
    call.number()
        .filter(|number| *number != 0)
        .ok_or_else(|| invalid(format!("`{call}` is not a number of a call")))
}

/// The empty text, shared.
fn nothing() -> Arc<str> {
    thread_local!(static NOTHING: Arc<str> = Arc::from(""));
    NOTHING.with(Arc::clone)
}

fn invalid(message: impl Into<String>) -> ErrorBody {
    ErrorBody::caller(Code::InvalidFrame, message)
}
