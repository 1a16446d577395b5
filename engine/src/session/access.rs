//! Listeners that ask who comes in: the authentication function, the rules it gives, and the
//! hooks that look at registrations.
//!
//! Deciding what rules allow is the policy's business (`agentos-core`); here the functions are
//! called and their answers read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use agentos_core::{
    Refused,
    policy::{Exposure, Rules},
};
use agentos_protocol::{
    Code, ErrorBody, Frame, FunctionSpec, Register, SessionId, TriggerSpec, TriggerTypeSpec,
};
use agentos_sdk::Bus as Caller;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bus::Bus;

/// How long authentication and hooks may think.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Frames that wait behind a hook; a session that sends more is closed.
const LANE_FRAMES_MAX: usize = 65_536;

/// Whom a listener asks, and what it shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) auth_function: Option<String>,
    /// `None`: the listener has no such rules, and shows everything.
    pub(crate) exposed: Option<Vec<Exposure>>,
    pub(crate) middleware: Option<String>,
    pub(crate) on_function: Option<String>,
    pub(crate) on_trigger: Option<String>,
    pub(crate) on_trigger_type: Option<String>,
}

/// One listener's rules for coming in.
pub(crate) struct Access {
    config: Config,
    caller: Caller,
}

/// What the authentication function is told.
#[derive(Serialize, Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) query_params: HashMap<String, Vec<String>>,
    pub(crate) ip_address: String,
}

/// What the authentication function says. Nulls are as good as nothing.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Granted {
    allowed_functions: Option<Vec<String>>,
    forbidden_functions: Option<Vec<String>>,
    allowed_trigger_types: Option<Vec<String>>,
    allow_trigger_type_registration: Option<bool>,
    allow_function_registration: Option<bool>,
    function_registration_prefix: Option<String>,
    context: Option<Value>,
    namespaces: Option<BTreeMap<String, Vec<String>>>,
}

impl Access {
    pub(crate) fn new(config: Config, caller: Caller) -> Arc<Self> {
        Arc::new(Access { config, caller })
    }

    /// Asks who the visitor is.
    ///
    /// # Errors
    /// `unauthenticated`, with what the function said.
    pub(crate) async fn authenticate(&self, visitor: &Visitor) -> Result<Arc<Rules>, ErrorBody> {
        let rules = match &self.config.auth_function {
            None => Rules::default(),
            Some(function) => {
                let call = self.caller.call(function).timeout(TIMEOUT);
                let granted: Granted = call.send(visitor).await.map_err(|error| {
                    tracing::warn!(%function, %error, "authentication failed");
                    ErrorBody::caller(Code::Unauthenticated, error.message)
                })?;
                granted.into_rules()
            }
        };
        Ok(Arc::new(Rules {
            exposed: self.config.exposed.clone(),
            middleware: self.config.middleware.as_deref().map(Into::into),
            ..rules
        }))
    }

    fn has_hooks(&self) -> bool {
        let Config {
            on_function,
            on_trigger,
            on_trigger_type,
            ..
        } = &self.config;
        on_function.is_some() || on_trigger.is_some() || on_trigger_type.is_some()
    }

    /// Shows a registration to the hooks: what is left of it, and what was refused.
    async fn inspect(&self, rules: &Rules, register: Register) -> (Register, Vec<Refused>) {
        let mut kept = Register {
            request: register.request,
            ..Register::default()
        };
        let mut denied = Vec::new();
        for spec in register.trigger_types {
            let id = Arc::clone(&spec.id);
            match self.inspect_type(rules, spec).await {
                Ok(spec) => kept.trigger_types.push(spec),
                Err(error) => denied.push(Refused::new(id, error)),
            }
        }
        for spec in register.functions {
            let id = Arc::clone(&spec.id);
            match self.inspect_function(rules, spec).await {
                Ok(spec) => kept.functions.push(spec),
                Err(error) => denied.push(Refused::new(id, error)),
            }
        }
        for spec in register.triggers {
            let (id, of) = (
                Arc::clone(&spec.id),
                (Arc::clone(&spec.trigger_type), Arc::clone(&spec.function)),
            );
            match self.inspect_trigger(rules, spec).await {
                Ok(spec) => kept.triggers.push(spec),
                Err(error) => denied.push(Refused {
                    id,
                    error,
                    of: Some(of),
                }),
            }
        }
        (kept, denied)
    }

    async fn inspect_function(
        &self,
        rules: &Rules,
        mut spec: FunctionSpec,
    ) -> Result<FunctionSpec, ErrorBody> {
        // What the rules refuse anyway is not worth a question.
        let (Some(hook), true) = (&self.config.on_function, rules.registers_functions) else {
            return Ok(spec);
        };
        let input = json!({
            "function_id": spec.id, "description": spec.description, "metadata": spec.metadata,
            "context": rules.context,
        });
        let answer: FunctionAnswer = self.ask(hook, &input).await?;
        spec.id = answer.function_id.map_or(spec.id, Into::into);
        spec.description = answer.description.or(spec.description);
        spec.metadata = answer.metadata.or(spec.metadata);
        Ok(spec)
    }

    async fn inspect_trigger(
        &self,
        rules: &Rules,
        mut spec: TriggerSpec,
    ) -> Result<TriggerSpec, ErrorBody> {
        let allowed = rules.may_bind(&spec.trigger_type).is_ok();
        let (Some(hook), true) = (&self.config.on_trigger, allowed) else {
            return Ok(spec);
        };
        let input = json!({
            "trigger_id": spec.id, "trigger_type": spec.trigger_type, "function_id": spec.function,
            "config": spec.config, "metadata": spec.metadata, "context": rules.context,
        });
        let answer: TriggerAnswer = self.ask(hook, &input).await?;
        spec.id = answer.trigger_id.map_or(spec.id, Into::into);
        spec.trigger_type = answer.trigger_type.map_or(spec.trigger_type, Into::into);
        spec.function = answer.function_id.map_or(spec.function, Into::into);
        spec.config = answer.config.unwrap_or(spec.config);
        spec.metadata = answer.metadata.or(spec.metadata);
        Ok(spec)
    }

    async fn inspect_type(
        &self,
        rules: &Rules,
        mut spec: TriggerTypeSpec,
    ) -> Result<TriggerTypeSpec, ErrorBody> {
        let allowed = rules.registers_trigger_types;
        let (Some(hook), true) = (&self.config.on_trigger_type, allowed) else {
            return Ok(spec);
        };
        let input = json!({
            "trigger_type_id": spec.id, "description": spec.description, "context": rules.context,
        });
        let answer: TypeAnswer = self.ask(hook, &input).await?;
        spec.id = answer.trigger_type_id.map_or(spec.id, Into::into);
        spec.description = answer.description.unwrap_or(spec.description);
        Ok(spec)
    }

    /// An answer that is no object says no, and so does an error.
    async fn ask<O: serde::de::DeserializeOwned>(
        &self,
        hook: &str,
        input: &Value,
    ) -> Result<O, ErrorBody> {
        let answer: Result<Value, ErrorBody> =
            self.caller.call(hook).timeout(TIMEOUT).send(input).await;
        let refused = |why: String| ErrorBody::caller(Code::Forbidden, why);
        match answer {
            Ok(Value::Object(fields)) => serde_json::from_value(Value::Object(fields))
                .map_err(|error| refused(format!("`{hook}` answered in another shape: {error}"))),
            Ok(_) => Err(refused(format!("`{hook}` refused it"))),
            Err(error) => Err(refused(format!("`{hook}` refused it: {}", error.message))),
        }
    }
}

#[derive(Deserialize)]
struct FunctionAnswer {
    function_id: Option<String>,
    description: Option<String>,
    metadata: Option<Value>,
}

#[derive(Deserialize)]
struct TriggerAnswer {
    trigger_id: Option<String>,
    trigger_type: Option<String>,
    function_id: Option<String>,
    config: Option<Value>,
    metadata: Option<Value>,
}

#[derive(Deserialize)]
struct TypeAnswer {
    trigger_type_id: Option<String>,
    description: Option<String>,
}

impl Granted {
    fn into_rules(self) -> Rules {
        let set = |list: Option<Vec<String>>| list.unwrap_or_default().into_iter().collect();
        Rules {
            allowed: set(self.allowed_functions),
            forbidden: set(self.forbidden_functions),
            trigger_types: self.allowed_trigger_types.map(|list| set(Some(list))),
            registers_functions: self.allow_function_registration.unwrap_or(true),
            registers_trigger_types: self.allow_trigger_type_registration.unwrap_or(false),
            prefix: self
                .function_registration_prefix
                .filter(|prefix| !prefix.is_empty()),
            namespaces: self.namespaces,
            context: self.context.unwrap_or_else(|| json!({})),
            ..Rules::default()
        }
    }
}

/// A session's way to the bus: straight, or past the hooks of its listener.
pub(crate) struct Way {
    bus: Arc<Bus>,
    session: SessionId,
    lane: Option<mpsc::Sender<Frame>>,
}

impl Way {
    pub(crate) fn new(
        bus: Arc<Bus>,
        session: SessionId,
        access: Option<(Arc<Access>, Arc<Rules>)>,
    ) -> Self {
        let hooked = access.filter(|(access, _)| access.has_hooks());
        let lane = hooked.map(|(access, rules)| {
            let (lane, frames) = mpsc::channel(LANE_FRAMES_MAX);
            tokio::spawn(run_lane(Arc::clone(&bus), session, access, rules, frames));
            lane
        });
        Way { bus, session, lane }
    }

    /// Hands a frame on. Behind a registration that a hook looks at, frames wait in order; answers
    /// do not, for the hook may be this session's own.
    pub(crate) fn take(&self, frame: Frame) {
        let Some(lane) = &self.lane else {
            return self.bus.on_frame(self.session, frame);
        };
        match frame {
            Frame::Reply { .. } | Frame::Chunk { .. } | Frame::Credit { .. } => {
                self.bus.on_frame(self.session, frame)
            }
            frame => {
                if lane.try_send(frame).is_err() {
                    let why = "too many frames wait for the listener's hooks";
                    let why = ErrorBody::engine(Code::Overloaded, why);
                    self.bus.end(self.session, why);
                }
            }
        }
    }
}

async fn run_lane(
    bus: Arc<Bus>,
    session: SessionId,
    access: Arc<Access>,
    rules: Arc<Rules>,
    mut frames: mpsc::Receiver<Frame>,
) {
    while let Some(frame) = frames.recv().await {
        match frame {
            Frame::Register(register) => {
                let (kept, denied) = access.inspect(&rules, *register).await;
                bus.register_inspected(session, kept, denied);
            }
            frame => bus.on_frame(session, frame),
        }
    }
}
