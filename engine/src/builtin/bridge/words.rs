//! The words that a worker of the JSON dialect says and hears. The engine's words for the same are
//! in the protocol's codec, which does here what is the same in both directions.

use agentos_protocol::{
    Call, CallRef, Delivery, Encoding, ErrorBody, Frame, FunctionSpec, Payload, Register,
    codec::iii::{Codec, Decoded, IDENTIFY},
};
use agentos_sdk::Code;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use uuid::Uuid;

/// The generation whose words these are.
const SDK_VERSION: &str = "0.22.1";

/// What was heard.
pub(super) enum News {
    Frame(Frame),
    Welcome {
        worker: String,
        token: Option<String>,
    },
    Refused(String),
    Nothing,
}

/// Reads and writes messages; `mark` tells our calls from those of other times.
pub(super) struct Words {
    mark: u64,
    codec: Codec,
}

impl Words {
    pub(super) fn new(mark: u64) -> Self {
        Words {
            mark,
            codec: Codec::new(mark),
        }
    }

    pub(super) fn read(&self, bytes: &Bytes) -> Result<News, ErrorBody> {
        Ok(match self.codec.decode(bytes)? {
            Decoded::Frame(frame) => News::Frame(frame),
            Decoded::Nothing => serde_json::from_slice(bytes).map_or(News::Nothing, Control::news),
            _ => News::Nothing,
        })
    }

    /// `None` when there is no word for it.
    ///
    /// # Errors
    /// When a payload is not JSON.
    pub(super) fn write(&self, frame: &Frame) -> Result<Option<Bytes>, ErrorBody> {
        match frame {
            Frame::Call(call) => self.call(call).map(Some),
            Frame::Register(register) => Ok(register.functions.first().map(function)),
            Frame::Reply { .. } | Frame::Ping | Frame::Pong => self.codec.encode(frame),
            _ => Ok(None),
        }
    }

    /// What a worker says first: what it offers, then who it is.
    pub(super) fn introduction(&self, register: Register, name: &str) -> Vec<Frame> {
        let one = |spec: FunctionSpec| {
            let functions = vec![spec];
            Frame::Register(Box::new(Register {
                functions,
                ..Register::default()
            }))
        };
        let mut frames: Vec<Frame> = register.functions.into_iter().map(one).collect();
        let who = json!({
            "runtime": "rust", "version": SDK_VERSION, "name": name, "os": std::env::consts::OS,
            "pid": std::process::id(), "isolation": null, "telemetry": { "framework": "agentos-bridge" },
        });
        let mut identify = Call::new(None, IDENTIFY, Payload::json(who.to_string()));
        identify.delivery = Delivery::Void;
        frames.push(Frame::Call(Box::new(identify)));
        frames
    }

    fn call(&self, call: &Call) -> Result<Bytes, ErrorBody> {
        let id = match &call.call {
            Some(CallRef::Number(number)) => {
                Some(Uuid::from_u64_pair(self.mark, *number).to_string())
            }
            other => other.as_ref().map(ToString::to_string),
        };
        let void = call.delivery == Delivery::Void;
        Ok(text(&Invoke {
            r#type: "invokefunction",
            invocation_id: id.filter(|_| !void),
            function_id: &call.function,
            data: raw(&call.payload)?,
            action: void.then_some(Action { r#type: "void" }),
            traceparent: call.trace.parent.as_deref(),
            baggage: call.trace.baggage.as_deref(),
            metadata: call
                .metadata
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok()),
            namespace: call.namespace.as_deref(),
        }))
    }
}

#[derive(Serialize)]
struct Invoke<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<String>,
    function_id: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baggage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

#[derive(Serialize)]
struct Action {
    r#type: &'static str,
}

/// Messages that only a worker hears.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Control {
    WorkerRegistered {
        worker_id: String,
        #[serde(default)]
        reattach_token: Option<String>,
    },
    RegistrationRejected {
        code: String,
        #[serde(default)]
        function_id: Option<String>,
    },
    Error {
        error: Told,
    },
}

#[derive(Deserialize)]
struct Told {
    code: String,
    #[serde(default)]
    message: String,
}

impl Control {
    fn news(self) -> News {
        match self {
            Control::WorkerRegistered {
                worker_id,
                reattach_token,
            } => News::Welcome {
                worker: worker_id,
                token: reattach_token,
            },
            Control::RegistrationRejected {
                code,
                function_id: Some(id),
            } => News::Refused(format!("{code}: {id}")),
            Control::RegistrationRejected {
                code,
                function_id: None,
            } => News::Refused(code),
            Control::Error { error } => News::Refused(format!("{}: {}", error.code, error.message)),
        }
    }
}

fn function(spec: &FunctionSpec) -> Bytes {
    let mut message = json!({ "type": "registerfunction", "id": spec.id });
    let described = [
        ("description", spec.description.clone().map(Into::into)),
        ("request_format", spec.input_schema.clone()),
        ("response_format", spec.output_schema.clone()),
        ("metadata", spec.metadata.clone()),
    ];
    for (key, value) in described {
        if let Some(value) = value {
            message[key] = value;
        }
    }
    text(&message)
}

fn raw(payload: &Payload) -> Result<&RawValue, ErrorBody> {
    if payload.encoding == Encoding::Binary {
        let message = "the other engine speaks JSON only; binary payloads cannot reach it";
        return Err(ErrorBody::caller(Code::Unsupported, message));
    }
    let bad = |why: String| {
        ErrorBody::caller(
            Code::InvalidInput,
            format!("the payload is not JSON: {why}"),
        )
    };
    let text = str::from_utf8(payload.text()).map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(text.trim()).map_err(|error| bad(error.to_string()))
}

fn text<T: Serialize>(message: &T) -> Bytes {
    serde_json::to_vec(message)
        .expect("messages have text keys and finite numbers")
        .into()
}
