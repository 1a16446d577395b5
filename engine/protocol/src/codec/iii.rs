//! The JSON dialect of the iii SDKs: one JSON object per text message.
//!
//! Everything that is peculiar about it is in this file and in the engine's `session/iii.rs`:
//! names of messages and codes, ids that are UUIDs, results that are left out when null, the
//! caller's id written into the payload, identity that arrives as a call.

mod quick;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::Draft;
use crate::{
    BindTrigger, Call, CallRef, Code, Delivery, ErrorBody, Frame, FunctionSpec, Hello,
    HttpInvocation, Origin, Payload, Register, TriggerSpec, TriggerTypeSpec, Unregister, affinity,
    namespace,
};

pub use quick::Quick;

/// The call with which an SDK says who it is.
pub const IDENTIFY: &str = "engine::workers::register";

/// The key that carries the calling worker's id inside an object payload.
pub const CALLER_KEY: &str = "_caller_worker_id";

/// Longest name of anything in a message, in bytes: what echoes it must stay small.
const NAME_BYTES_MAX: usize = 1024;

/// What a message meant.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    Frame(Frame),
    /// A call of [`IDENTIFY`]; `call` is there when the worker wants an answer.
    Identify {
        hello: Box<Hello>,
        call: Option<CallRef>,
    },
    /// A reconnected worker asks that its earlier session be retired.
    Reattach {
        previous: String,
        token: String,
    },
    /// Catalogue information that nothing depends on.
    Service,
    /// White space, or a type that this dialect lets pass.
    Nothing,
}

/// Reads messages and writes frames. Knows the number that marks calls of this engine's life, so
/// that a call's UUID and its number stand for each other without a table.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    mark: u64,
}

impl Codec {
    /// `mark` must differ from one start of the engine to the next.
    pub fn new(mark: u64) -> Self {
        Codec { mark }
    }

    /// Reads one message. Telemetry frames are the session's business, not this codec's.
    ///
    /// # Errors
    /// `invalid_frame` that says what is wrong; the session goes on.
    pub fn decode(self, bytes: &Bytes) -> Result<Decoded, ErrorBody> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Decoded::Nothing);
        }
        let envelope: Envelope<'_> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("not a message: {error}")))?;
        let kind = envelope
            .kind
            .as_deref()
            .ok_or_else(|| invalid("a message has a `type`"))?;
        Ok(Decoded::Frame(match kind {
            "invokefunction" => return self.invoke(&envelope, bytes),
            "invocationresult" => self.result(&envelope, bytes)?,
            "registerfunction" => register(|register| {
                register
                    .functions
                    .push(parse::<RegisterFunction>(bytes)?.into_spec()?);
                Ok(())
            })?,
            "unregisterfunction" => Frame::Unregister(Box::new(Unregister {
                functions: vec![envelope.id()?],
                ..Unregister::default()
            })),
            "registertrigger" => register(|register| {
                register
                    .triggers
                    .push(parse::<RegisterTrigger>(bytes)?.into());
                Ok(())
            })?,
            "unregistertrigger" => Frame::Unregister(Box::new(Unregister {
                triggers: vec![envelope.id()?],
                ..Unregister::default()
            })),
            "registertriggertype" => register(|register| {
                register
                    .trigger_types
                    .push(parse::<RegisterTriggerType>(bytes)?.into());
                Ok(())
            })?,
            "unregistertriggertype" => Frame::Unregister(Box::new(Unregister {
                trigger_types: vec![envelope.id()?],
                ..Unregister::default()
            })),
            "triggerregistrationresult" => parse::<TriggerResult>(bytes)?.into(),
            "reattach" => {
                let Reattach {
                    previous_worker_id,
                    reattach_token,
                } = parse(bytes)?;
                return Ok(Decoded::Reattach {
                    previous: previous_worker_id,
                    token: reattach_token,
                });
            }
            "registerservice" => return Ok(Decoded::Service),
            "ping" => Frame::Ping,
            "pong" => Frame::Pong,
            _ => return Ok(Decoded::Nothing),
        }))
    }

    fn invoke(self, envelope: &Envelope<'_>, bytes: &Bytes) -> Result<Decoded, ErrorBody> {
        let function = envelope.function()?;
        let id = envelope.invocation_id.as_deref();
        let call = match id {
            Some(id) => Some(self.reference(&required(Some(id), "invocation_id")?)),
            None => None,
        };
        if &*function == IDENTIFY {
            let hello = envelope.data.map_or(Ok(WorkerInfo::default()), |data| {
                serde_json::from_str(data.get())
                    .map_err(|error| invalid(format!("{IDENTIFY}: {error}")))
            })?;
            let void = matches!(envelope.action, Some(Action::Void));
            return Ok(Decoded::Identify {
                hello: Box::new(hello.into()),
                call: call.filter(|_| !void),
            });
        }
        let mut frame = Call::new(call, function, slice(bytes, envelope.data));
        frame.delivery = match &envelope.action {
            Some(Action::Void) => Delivery::Void,
            Some(Action::Enqueue { queue }) => Delivery::Enqueue(Arc::from(&**queue)),
            None if frame.call.is_none() => Delivery::Void,
            None => Delivery::Reply,
        };
        frame.trace.parent = envelope.traceparent.as_deref().map(Arc::from);
        frame.trace.baggage = envelope.baggage.as_deref().map(Arc::from);
        let metadata = envelope.metadata.map(RawValue::get);
        frame.metadata = metadata.map(Arc::from);
        frame.affinity = metadata.and_then(affinity).map(Arc::from);
        frame.namespace = envelope.namespace.as_deref().and_then(namespace);
        Ok(Decoded::Frame(Frame::Call(Box::new(frame))))
    }

    fn result(self, envelope: &Envelope<'_>, bytes: &Bytes) -> Result<Frame, ErrorBody> {
        let id = envelope
            .invocation_id
            .as_deref()
            .ok_or_else(|| invalid("`invocationresult` has an `invocation_id`"))?;
        let function = envelope.function_id.as_deref().unwrap_or_default().into();
        let outcome = match &envelope.error {
            None => Ok(slice(bytes, envelope.result)),
            Some(error) => Err(read_error(error)),
        };
        Ok(Frame::Reply {
            call: self.reference(id),
            function,
            outcome,
        })
    }

    /// Writes `frame`; `None` when this dialect has no words for it.
    ///
    /// # Errors
    /// `invalid_input` when a payload is not JSON, which this dialect cannot carry.
    pub fn encode(self, frame: &Frame) -> Result<Option<Bytes>, ErrorBody> {
        let mut draft = Draft::flat();
        let said = self.write(frame, &mut draft)?;
        Ok(said.then(|| draft.into_bytes()))
    }

    /// Adds `frame` to `out`; false when this dialect has no words for it.
    ///
    /// # Errors
    /// As [`Codec::encode`]; the draft is as it was.
    pub fn write(self, frame: &Frame, out: &mut Draft) -> Result<bool, ErrorBody> {
        let message = match frame {
            Frame::Call(call) => return self.write_call(&call.view(), out).map(|()| true),
            Frame::Reply {
                call,
                function,
                outcome: Ok(payload),
            } => {
                return self
                    .write_result(call, function, payload.view(), out)
                    .map(|()| true);
            }
            Frame::Reply {
                call,
                function,
                outcome: Err(error),
            } => serde_json::json!({
                "type": "invocationresult", "invocation_id": self.name(call), "function_id": function,
                "error": write_error(function, error),
            }),
            Frame::Welcome(welcome) => serde_json::json!({
                "type": "workerregistered", "worker_id": welcome.session, "reattach_token": welcome.reattach_token,
            }),
            Frame::BindTrigger(bind) => bind_message(bind),
            Frame::UnbindTrigger { id, trigger_type } => {
                serde_json::json!({ "type": "unregistertrigger", "id": id, "trigger_type": trigger_type })
            }
            // Success is silent in this dialect, and only the newer SDKs read failures.
            Frame::TriggerBound {
                id,
                trigger_type,
                function,
                error: Some(error),
            } => serde_json::json!({
                "type": "triggerregistrationresult", "id": id, "trigger_type": trigger_type, "function_id": function,
                "error": { "code": refusal_code(error), "message": error.message },
            }),
            Frame::Ping => serde_json::json!({ "type": "ping" }),
            Frame::Pong => serde_json::json!({ "type": "pong" }),
            _ => return Ok(false),
        };
        serde_json::to_writer(out.text_mut(), &message).expect("a vector takes every value");
        Ok(true)
    }

    /// What a worker of this dialect calls `call`.
    fn name(self, call: &CallRef) -> String {
        match call {
            CallRef::Number(number) => Uuid::from_u64_pair(self.mark, *number).to_string(),
            CallRef::Uuid(uuid) => uuid.to_string(),
            CallRef::Text(text) => text.to_string(),
        }
    }

    /// The call that a worker of this dialect calls `name`.
    fn reference(self, name: &str) -> CallRef {
        match Uuid::try_parse(name) {
            Ok(uuid) if uuid.as_u64_pair().0 == self.mark => CallRef::Number(uuid.as_u64_pair().1),
            // Only the usual spelling survives the way back unchanged.
            Ok(uuid) if uuid.hyphenated().to_string() == name => CallRef::Uuid(uuid),
            _ => CallRef::Text(name.into()),
        }
    }
}

// ── Messages ────────────────────────────────────────────────────────────────────────────────

/// The fields of all messages that are routed, read without copying.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    invocation_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    action: Option<Action>,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    baggage: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
}

impl Envelope<'_> {
    fn id(&self) -> Result<Arc<str>, ErrorBody> {
        required(self.id.as_deref(), "id")
    }

    fn function(&self) -> Result<Arc<str>, ErrorBody> {
        required(self.function_id.as_deref(), "function_id")
    }
}

fn required(text: Option<&str>, field: &str) -> Result<Arc<str>, ErrorBody> {
    if text.is_some_and(|text| text.len() > NAME_BYTES_MAX) {
        return Err(invalid(format!(
            "`{field}` has more than {NAME_BYTES_MAX} bytes"
        )));
    }
    text.filter(|text| !text.is_empty())
        .map(Arc::from)
        .ok_or_else(|| invalid(format!("the message has no `{field}`")))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Action {
    Void,
    Enqueue { queue: String },
}

#[derive(Deserialize)]
struct RegisterFunction {
    id: Arc<str>,
    description: Option<String>,
    request_format: Option<Value>,
    response_format: Option<Value>,
    metadata: Option<Value>,
    invocation: Option<Invocation>,
}

#[derive(Deserialize)]
struct Invocation {
    url: String,
    method: Option<String>,
    timeout_ms: Option<u64>,
    headers: Option<BTreeMap<String, String>>,
    auth: Option<Value>,
}

impl RegisterFunction {
    fn into_spec(self) -> Result<FunctionSpec, ErrorBody> {
        if self.id.is_empty() {
            return Err(invalid("a function has an `id`"));
        }
        let http = self.invocation.map(|invocation| {
            Box::new(HttpInvocation {
                url: invocation.url,
                method: invocation.method.unwrap_or_else(|| "POST".to_owned()),
                timeout_ms: invocation.timeout_ms,
                headers: invocation.headers.unwrap_or_default(),
                auth: invocation.auth,
            })
        });
        // The dialect has no word for these; its workers may say them here.
        let said = |name| self.metadata.as_ref().and_then(|said| said.get(name));
        let number = |name| u32::try_from(said(name)?.as_u64()?).ok();
        let concurrency = number("concurrency").filter(|calls| *calls > 0);
        Ok(FunctionSpec {
            idempotent: said("idempotent") == Some(&Value::Bool(true)),
            concurrency,
            waiting_max: number("waiting_max").filter(|_| concurrency.is_some()),
            description: self.description,
            input_schema: self.request_format,
            output_schema: self.response_format,
            metadata: self.metadata,
            http,
            ..FunctionSpec::new(self.id)
        })
    }
}

#[derive(Deserialize)]
struct RegisterTrigger {
    id: Arc<str>,
    trigger_type: Arc<str>,
    function_id: Arc<str>,
    #[serde(default)]
    config: Value,
    metadata: Option<Value>,
    namespace: Option<String>,
    trigger_namespace: Option<String>,
}

impl From<RegisterTrigger> for TriggerSpec {
    fn from(message: RegisterTrigger) -> Self {
        TriggerSpec {
            id: message.id,
            trigger_type: message.trigger_type,
            function: message.function_id,
            config: message.config,
            metadata: message.metadata,
            namespace: message.namespace.as_deref().and_then(namespace),
            trigger_namespace: message.trigger_namespace.map(Into::into),
        }
    }
}

#[derive(Deserialize)]
struct RegisterTriggerType {
    id: Arc<str>,
    description: Option<String>,
    trigger_request_format: Option<Value>,
    call_request_format: Option<Value>,
}

impl From<RegisterTriggerType> for TriggerTypeSpec {
    fn from(message: RegisterTriggerType) -> Self {
        TriggerTypeSpec {
            id: message.id,
            description: message.description.unwrap_or_default(),
            config_schema: message.trigger_request_format,
            payload_schema: message.call_request_format,
        }
    }
}

#[derive(Deserialize)]
struct TriggerResult {
    id: Arc<str>,
    #[serde(default)]
    trigger_type: Arc<str>,
    #[serde(default)]
    function_id: Arc<str>,
    error: Option<Value>,
}

impl From<TriggerResult> for Frame {
    fn from(message: TriggerResult) -> Self {
        Frame::TriggerBound {
            id: message.id,
            trigger_type: message.trigger_type,
            function: message.function_id,
            error: message.error.as_ref().map(read_error),
        }
    }
}

#[derive(Deserialize)]
struct Reattach {
    previous_worker_id: String,
    #[serde(default)]
    reattach_token: String,
}

/// The payload of [`IDENTIFY`].
#[derive(Deserialize, Default)]
#[serde(default)]
struct WorkerInfo {
    runtime: Option<String>,
    version: Option<String>,
    name: Option<String>,
    os: Option<String>,
    pid: Option<u32>,
    namespace: Option<String>,
    description: Option<String>,
    features: Option<Vec<String>>,
}

impl From<WorkerInfo> for Hello {
    fn from(info: WorkerInfo) -> Self {
        Hello {
            name: info.name.unwrap_or_default(),
            build: None,
            namespace: info.namespace.filter(|name| namespace(name).is_some()),
            token: None,
            language: info.runtime.unwrap_or_default(),
            sdk_version: info.version.unwrap_or_default(),
            pid: info.pid,
            os: info.os,
            description: info.description,
            features: info.features.unwrap_or_default(),
        }
    }
}

fn bind_message(bind: &BindTrigger) -> Value {
    let TriggerSpec {
        id,
        trigger_type,
        function,
        config,
        metadata,
        namespace,
        ..
    } = &bind.spec;
    let mut message = serde_json::json!({
        "type": "registertrigger", "id": id, "trigger_type": trigger_type, "function_id": function, "config": config,
    });
    if let Some(metadata) = metadata {
        message["metadata"] = metadata.clone();
    }
    if let Some(namespace) = namespace {
        message["namespace"] = Value::from(&**namespace);
    }
    message
}

// ── Errors ──────────────────────────────────────────────────────────────────────────────────

/// This dialect's names for our codes.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::NotFound => "function_not_found",
        Code::WorkerLost => "invocation_stopped",
        Code::Forbidden => "FORBIDDEN",
        Code::Unauthenticated => "AUTH_ERROR",
        Code::InvalidInput | Code::InvalidFrame => "deserialization_error",
        Code::Failed => "invocation_failed",
        Code::Internal => "invocation_error",
        other => other.as_str(),
    }
}

/// Why a trigger was not bound.
fn refusal_code(error: &ErrorBody) -> &str {
    match (&error.reason, error.code) {
        (Some(reason), _) => reason,
        (None, Code::Forbidden) => "FORBIDDEN",
        (None, _) => "trigger_registration_failed",
    }
}

fn code_named(name: &str) -> Option<Code> {
    Some(match name {
        "function_not_found" => Code::NotFound,
        "invocation_stopped" => Code::WorkerLost,
        "FORBIDDEN" => Code::Forbidden,
        "AUTH_ERROR" => Code::Unauthenticated,
        "deserialization_error" => Code::InvalidInput,
        "invocation_failed" => Code::Failed,
        "TIMEOUT" => Code::Timeout,
        "payload_too_large" => Code::PayloadTooLarge,
        _ => return Code::parse(name),
    })
}

/// Reads `{code, message, stacktrace?}`; anything else becomes the message.
fn read_error(error: &Value) -> ErrorBody {
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let name = text("code").unwrap_or("invocation_failed");
    let message = text("message").map_or_else(|| error.to_string(), str::to_owned);
    let code = code_named(name);
    let mut body = ErrorBody::new(code.unwrap_or(Code::Failed), Origin::Worker, message);
    if code.is_none_or(|code| name_of(code) != name) {
        body.reason = Some(name.to_owned());
    }
    if let Some(stack) = text("stacktrace") {
        body.details = Some(serde_json::json!({ "stack": stack }));
    }
    body
}

fn write_error(function: &str, error: &ErrorBody) -> Value {
    let code = error
        .reason
        .as_deref()
        .unwrap_or_else(|| name_of(error.code));
    // Existing clients look for this sentence.
    let message = match error.code {
        Code::NotFound if error.origin == Origin::Engine && error.reason.is_none() => {
            format!("Function {function} not found")
        }
        _ => error.message.clone(),
    };
    let mut body = serde_json::json!({ "code": code, "message": message });
    if let Some(stack) = error
        .details
        .as_ref()
        .and_then(|details| details.get("stack"))
    {
        body["stacktrace"] = stack.clone();
    }
    body
}

// ── Payloads ────────────────────────────────────────────────────────────────────────────────

/// The part of `bytes` that `value` is, without copying.
fn slice(bytes: &Bytes, value: Option<&RawValue>) -> Payload {
    value.map_or(Payload::NULL, |value| {
        Payload::checked_json(bytes.slice_ref(value.get().as_bytes()))
    })
}

fn register(fill: impl FnOnce(&mut Register) -> Result<(), ErrorBody>) -> Result<Frame, ErrorBody> {
    let mut register = Register::default();
    fill(&mut register)?;
    Ok(Frame::Register(Box::new(register)))
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ErrorBody> {
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the message cannot be used: {error}")))
}

fn invalid(message: impl Into<String>) -> ErrorBody {
    ErrorBody::caller(Code::InvalidFrame, message)
}

#[cfg(test)]
mod tests;
