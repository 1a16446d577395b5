//! The two messages that are sent a million times a second, `invokefunction` and
//! `invocationresult`, read where they lie and written straight into the draft of a session.
//!
//! Whatever is unusual about a message (escapes in a name, an error, a repeated key) is left to
//! the reader of all messages; what both read means the same, which the oracle checks.

use bytes::Bytes;
use uuid::Uuid;

use super::{CALLER_KEY, Codec, IDENTIFY, NAME_BYTES_MAX};
use crate::{
    CallRef, CallView, Code, Delivery, Encoding, ErrorBody, PayloadView, affinity,
    codec::Draft,
    json::{is_plain, is_valid, skip, skip_plain, skip_space},
};

/// A message that needed no copying.
#[derive(Debug)]
pub enum Quick<'a> {
    Call(CallView<'a>),
    Reply {
        call: CallRef,
        payload: PayloadView<'a>,
    },
}

/// What the two messages hold, as text.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    invocation_id: Option<&'a str>,
    function_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    baggage: Option<&'a str>,
    namespace: Option<&'a str>,
    data: Option<&'a str>,
    result: Option<&'a str>,
    action: Option<&'a str>,
    metadata: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Reads the object that `text` is; `None` leaves it to the other reader.
    fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut fields = Fields::default();
        let mut at = skip_space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return None;
        }
        loop {
            let key_at = skip_space(bytes, at + 1);
            // Of escaped keys nothing is known.
            let key_end = skip_plain(bytes, key_at)?;
            let colon = skip_space(bytes, key_end);
            if bytes.get(colon) != Some(&b':') {
                return None;
            }
            let value_at = skip_space(bytes, colon + 1);
            let mut is_text = false;
            let place = match &bytes[key_at + 1..key_end - 1] {
                b"data" => Some(&mut fields.data),
                b"result" => Some(&mut fields.result),
                b"action" => Some(&mut fields.action),
                b"metadata" => Some(&mut fields.metadata),
                // Of another kind of message, which is not for here.
                b"id" => return None,
                key => {
                    is_text = true;
                    match key {
                        b"type" => Some(&mut fields.kind),
                        b"invocation_id" => Some(&mut fields.invocation_id),
                        b"function_id" => Some(&mut fields.function_id),
                        b"traceparent" => Some(&mut fields.traceparent),
                        b"baggage" => Some(&mut fields.baggage),
                        b"namespace" => Some(&mut fields.namespace),
                        _ => {
                            is_text = false;
                            None
                        }
                    }
                }
            };
            let end = if is_text && bytes.get(value_at) == Some(&b'"') {
                skip_plain(bytes, value_at)?
            } else {
                skip(bytes, value_at)?
            };
            let value = &text[value_at..end];
            match place {
                // A null is as good as nothing, so it does not count as the first of two either.
                Some(Some(_)) => return None,
                Some(place) if value != "null" => {
                    *place = Some(if is_text { unquoted(value)? } else { value });
                }
                Some(_) => {}
                // An error is rare.
                None if &bytes[key_at + 1..key_end - 1] == b"error" && value != "null" => {
                    return None;
                }
                None => {}
            }
            at = skip_space(bytes, end);
            match bytes.get(at)? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (skip_space(bytes, at + 1) == bytes.len()).then_some(fields)
    }
}

/// The inside of a string that has been found to be without escapes.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

impl Codec {
    /// Reads a call or a result, if the message is a usual one. `owner`: what `text` is a part of,
    /// when that can be shared.
    pub fn quick<'a>(self, text: &'a str, owner: Option<&'a Bytes>) -> Option<Quick<'a>> {
        let fields = Fields::read(text)?;
        let payload = |value: Option<&'a str>| {
            value.map_or(PayloadView::NULL, |value| PayloadView {
                bytes: value.as_bytes(),
                owner,
                encoding: Encoding::Json,
                checked: true,
            })
        };
        match fields.kind? {
            // What an action is, the other reader knows; a result has none.
            "invocationresult" if fields.action.is_none() => Some(Quick::Reply {
                call: self.reference(fields.invocation_id?),
                payload: payload(fields.result),
            }),
            "invokefunction" => {
                let function = fields.function_id?;
                let id = fields.invocation_id;
                let bad = |name: &str| name.is_empty() || name.len() > NAME_BYTES_MAX;
                if function == IDENTIFY || bad(function) || id.is_some_and(bad) {
                    return None;
                }
                let delivery = match fields.action {
                    Some(r#"{"type":"void"}"# | r#"{"type": "void"}"#) => Delivery::Void,
                    Some(_) => return None,
                    None if id.is_none() => Delivery::Void,
                    None => Delivery::Reply,
                };
                Some(Quick::Call(CallView {
                    call: id.map(|id| self.reference(id)),
                    function,
                    namespace: fields.namespace,
                    payload: payload(fields.data),
                    delivery,
                    timeout_ms: None,
                    trace_parent: fields.traceparent,
                    baggage: fields.baggage,
                    caller: None,
                    metadata: fields.metadata,
                    affinity: fields.metadata.and_then(affinity),
                }))
            }
            _ => None,
        }
    }

    /// Writes a call.
    ///
    /// # Errors
    /// As [`Codec::encode`]; the draft is as it was.
    pub fn write_call(self, call: &CallView<'_>, out: &mut Draft) -> Result<(), ErrorBody> {
        let data = checked(call.payload)?;
        let metadata = call.metadata.map(as_json).transpose()?;
        out.put(r#"{"type":"invokefunction","#);
        if let Some(reference) = &call.call {
            out.put(r#""invocation_id":""#);
            self.put_name(reference, out);
            out.put(r#"","#);
        }
        out.put(r#""function_id":"#);
        put_text(call.function, out);
        for (key, text) in [
            (r#","traceparent":"#, call.trace_parent),
            (r#","baggage":"#, call.baggage),
        ] {
            if let Some(text) = text {
                out.put(key);
                put_text(text, out);
            }
        }
        if let Some(metadata) = metadata {
            out.put(r#","metadata":"#);
            out.put(metadata);
        }
        out.put(r#","data":"#);
        match call.caller.zip(opened(data)) {
            Some((caller, inside)) => {
                out.put_payload(PayloadView {
                    bytes: inside,
                    ..call.payload
                });
                if inside.len() > 1 {
                    out.put(b",");
                }
                out.put(b"\"");
                out.put(CALLER_KEY);
                out.put(b"\":");
                put_text(caller, out);
                out.put(b"}}");
            }
            None => {
                out.put_payload(PayloadView {
                    bytes: data,
                    ..call.payload
                });
                out.put(b"}");
            }
        }
        Ok(())
    }

    /// Writes a result.
    ///
    /// # Errors
    /// As [`Codec::encode`]; the draft is as it was.
    pub fn write_result(
        self,
        call: &CallRef,
        function: &str,
        payload: PayloadView<'_>,
        out: &mut Draft,
    ) -> Result<(), ErrorBody> {
        let result = checked(payload)?;
        out.put(r#"{"type":"invocationresult","invocation_id":""#);
        self.put_name(call, out);
        out.put(r#"","function_id":"#);
        put_text(function, out);
        if result != b"null" {
            out.put(r#","result":"#);
            out.put_payload(PayloadView {
                bytes: result,
                ..payload
            });
        }
        out.put(b"}");
        Ok(())
    }

    /// What a worker of this dialect calls `call`, without quotes.
    fn put_name(self, call: &CallRef, out: &mut Draft) {
        let uuid = match call {
            CallRef::Number(number) => Uuid::from_u64_pair(self.mark, *number),
            CallRef::Uuid(uuid) => *uuid,
            CallRef::Text(text) => return put_inside(text, out),
        };
        let mut buffer = Uuid::encode_buffer();
        out.put(uuid.hyphenated().encode_lower(&mut buffer));
    }
}

/// A payload's text without white space around it, once it is known to be JSON: a wrong byte would
/// break the receiver's message.
fn checked(payload: PayloadView<'_>) -> Result<&[u8], ErrorBody> {
    if payload.encoding == Encoding::Binary {
        return Err(ErrorBody::caller(
            Code::Unsupported,
            "the worker speaks JSON only; binary payloads cannot reach it",
        ));
    }
    let text = payload.text().trim_ascii();
    if payload.checked || (std::str::from_utf8(text).is_ok() && is_valid(text)) {
        return Ok(text);
    }
    // Says where it is wrong; and knows better about what is nested very deep.
    let checked: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(text);
    checked.map(|_| text).map_err(|error| {
        ErrorBody::caller(
            Code::InvalidInput,
            format!("the payload is not JSON: {error}"),
        )
    })
}

fn as_json(text: &str) -> Result<&str, ErrorBody> {
    let checked: Result<&serde_json::value::RawValue, _> = serde_json::from_str(text);
    checked.map(|_| text).map_err(|error| {
        ErrorBody::caller(
            Code::InvalidInput,
            format!("the metadata is not JSON: {error}"),
        )
    })
}

/// An object without its closing brace and the white space before it.
fn opened(data: &[u8]) -> Option<&[u8]> {
    if data.first() != Some(&b'{') {
        return None;
    }
    data.strip_suffix(b"}").map(<[u8]>::trim_ascii_end)
}

/// A string, quotes included.
fn put_text(text: &str, out: &mut Draft) {
    out.put(b"\"");
    put_inside(text, out);
    out.put(b"\"");
}

fn put_inside(text: &str, out: &mut Draft) {
    if is_plain(text) {
        return out.put(text);
    }
    let quoted = serde_json::Value::from(text).to_string();
    out.put(&quoted[1..quoted.len() - 1]);
}
