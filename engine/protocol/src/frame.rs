//! Frames: everything two ends of a session can say to each other, whatever the dialect.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CallRef, ErrorBody, Payload, Trace};

/// One message between a worker and the engine.
///
/// `W→E` and `E→W` say who may send it. Large and rare variants are boxed so that the common
/// ones stay small.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// W→E: who the worker is. First on the binary dialect, late or never on the JSON one.
    Hello(Box<Hello>),
    /// E→W: the session is open.
    Welcome(Box<Welcome>),
    /// W→E: offers functions, binds triggers, provides trigger types. Idempotent by id.
    Register(Box<Register>),
    /// E→W: answer to a `Register` whose `request` is not 0.
    Registered {
        request: u64,
        rejected: Vec<Rejected>,
    },
    /// W→E: takes back what was registered.
    Unregister(Box<Unregister>),
    /// E→W, to the provider of a trigger type: bind this trigger.
    BindTrigger(Box<BindTrigger>),
    /// E→W, to the provider: forget this trigger.
    UnbindTrigger {
        id: Arc<str>,
        trigger_type: Arc<str>,
    },
    /// From the provider, and on to whoever registered the trigger: bound, or why not.
    TriggerBound {
        id: Arc<str>,
        trigger_type: Arc<str>,
        function: Arc<str>,
        error: Option<ErrorBody>,
    },
    /// Both ways: run a function.
    Call(Box<Call>),
    /// Both ways: a call's one outcome.
    Reply {
        call: CallRef,
        function: Arc<str>,
        outcome: Result<Payload, ErrorBody>,
    },
    /// From callee to caller: one piece of a streamed result. The stream ends with `Reply`.
    Chunk {
        call: CallRef,
        payload: Payload,
    },
    /// From caller to callee: `chunks` more pieces may be sent.
    Credit {
        call: CallRef,
        chunks: u32,
    },
    /// From caller to callee: stop, nobody waits any more.
    Cancel {
        call: CallRef,
    },
    /// W→E: send me no new calls; I finish what runs. E→W: the engine is going away.
    Goodbye {
        reason: Arc<str>,
    },
    /// E→W: an earlier frame could not be used; it names no call.
    Fault(ErrorBody),
    /// Both ways: are you there.
    Ping,
    Pong,
}

/// Who a worker is. Everything but `name` may be empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The worker's name; instances of one worker share it.
    pub name: String,
    /// Hash of what the worker runs, to tell two builds of one name apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The shared secret, when the handshake did not carry it. Never logged, never listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `rust`, `typescript`, `python`, …
    pub language: String,
    pub sdk_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// The engine's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// The session's public id.
    pub session: String,
    /// Secret with which a reconnected worker may retire this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reattach_token: Option<String>,
    /// The engine's version.
    pub engine: String,
    /// Largest message the engine takes, in bytes.
    pub message_bytes_max: u64,
    pub features: Vec<String>,
}

/// What a worker offers. See [`Frame::Register`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Register {
    /// Number of the request, echoed in the answer; 0 asks for none.
    pub request: u64,
    pub functions: Vec<FunctionSpec>,
    pub triggers: Vec<TriggerSpec>,
    pub trigger_types: Vec<TriggerTypeSpec>,
}

/// A function as its worker describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionSpec {
    pub id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the payload; shown to people and models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The function can answer with a stream of chunks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub streams: bool,
    /// Running it twice does no harm, so a lost call may be sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// How many calls of it the worker runs at one time; more wait in the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many may wait; more are `overloaded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_max: Option<u32>,
    /// The function is an HTTP endpoint that the engine calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpInvocation>>,
}

impl FunctionSpec {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        FunctionSpec {
            id: id.into(),
            description: None,
            input_schema: None,
            output_schema: None,
            metadata: None,
            streams: false,
            idempotent: false,
            concurrency: None,
            waiting_max: None,
            http: None,
        }
    }
}

/// Where the engine finds a function that is an HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpInvocation {
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Value>,
}

fn post() -> String {
    "POST".to_owned()
}

/// A binding of a function to an event source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerSpec {
    /// Made by the worker, stable across its reconnects.
    pub id: Arc<str>,
    #[serde(rename = "type")]
    pub trigger_type: Arc<str>,
    pub function: Arc<str>,
    #[serde(default)]
    pub config: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Namespace of the function; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Where the type's provider is looked for; absent: the registering worker's namespace, then
    /// the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_namespace: Option<Arc<str>>,
}

impl TriggerSpec {
    pub fn new(
        id: impl Into<Arc<str>>,
        trigger_type: impl Into<Arc<str>>,
        function: impl Into<Arc<str>>,
        config: Value,
    ) -> Self {
        TriggerSpec {
            id: id.into(),
            trigger_type: trigger_type.into(),
            function: function.into(),
            config,
            metadata: None,
            namespace: None,
            trigger_namespace: None,
        }
    }
}

/// A kind of event source that the registering worker provides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerTypeSpec {
    pub id: Arc<str>,
    #[serde(default)]
    pub description: String,
    /// JSON Schema of a trigger's `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// JSON Schema of what bound functions get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_schema: Option<Value>,
}

/// A registered thing that the engine refused, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    pub id: Arc<str>,
    pub error: ErrorBody,
}

/// Ids to take back. See [`Frame::Unregister`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Unregister {
    pub functions: Vec<Arc<str>>,
    pub triggers: Vec<Arc<str>>,
    pub trigger_types: Vec<Arc<str>>,
}

/// A trigger on its way to the worker that provides its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindTrigger {
    #[serde(flatten)]
    pub spec: TriggerSpec,
}

/// How a call's outcome is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// One reply.
    #[default]
    Reply,
    /// Chunks as they come, then the reply.
    Stream,
    /// None; the call runs on its own.
    Void,
    /// Put on the named queue; the reply is a receipt.
    Enqueue(Arc<str>),
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The sender's name for the call; `None` only on void calls.
    pub call: Option<CallRef>,
    pub function: Arc<str>,
    /// Namespace of the function; `None` is the default one.
    pub namespace: Option<Arc<str>>,
    pub payload: Payload,
    pub delivery: Delivery,
    /// Time left until the deadline; `None` leaves it to the receiver's default.
    pub timeout_ms: Option<u32>,
    pub trace: Trace,
    /// Who calls, added by the engine: the public id of the calling session.
    pub caller: Option<Arc<str>>,
    /// A side-car for the handler, beside the payload.
    pub metadata: Option<Arc<str>>,
    /// Calls of one key go to one worker of those that offer the function, for as long as it is there.
    pub affinity: Option<Arc<str>>,
}

impl Call {
    pub fn new(call: Option<CallRef>, function: impl Into<Arc<str>>, payload: Payload) -> Self {
        Call {
            call,
            function: function.into(),
            namespace: None,
            payload,
            delivery: Delivery::Reply,
            timeout_ms: None,
            trace: Trace::default(),
            caller: None,
            metadata: None,
            affinity: None,
        }
    }
}
