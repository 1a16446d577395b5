//! The trigger types `stream`, `stream:join` and `stream:leave`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    api::{CHANGED, JOIN, LEAVE, TriggerConfig},
    feed::Happening,
};
use crate::builtin::firing::Target;

/// Events that wait for the condition of one trigger; more are dropped and logged.
const WAITING_MAX: usize = 1024;

/// How long a join handler may think.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Triggers {
    /// By the stream they name.
    changed: RwLock<HashMap<String, Vec<Binding>>>,
    join: RwLock<Vec<Binding>>,
    leave: RwLock<Vec<Binding>>,
}

#[derive(Clone)]
struct Binding {
    config: Arc<TriggerConfig>,
    target: Arc<Target>,
}

/// What join and leave handlers are told.
#[derive(Serialize, Clone)]
pub(super) struct Visit {
    pub(super) subscription_id: String,
    pub(super) stream_name: String,
    pub(super) group_id: String,
    pub(super) id: Option<String>,
    pub(super) context: Option<Value>,
}

impl Binding {
    fn covers(&self, stream: &str, group: &str, item: Option<&str>) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == given)
        };
        let config = &self.config;
        is(&config.stream_name, Some(stream))
            && is(&config.group_id, Some(group))
            && is(&config.item_id, item)
    }

    fn covers_visit(&self, visit: &Visit) -> bool {
        self.covers(&visit.stream_name, &visit.group_id, visit.id.as_deref())
    }
}

impl Triggers {
    /// Calls everybody who is bound to what happened.
    pub(super) fn publish(&self, bus: &Bus, event: &Happening) {
        let wanted: Vec<Binding> = {
            let changed = self.changed.read();
            let bound = changed.get(&event.stream).into_iter().flatten();
            let bound = bound.filter(|binding| {
                binding.covers(&event.stream, &event.group, event.item.as_deref())
            });
            bound.cloned().collect()
        };
        if wanted.is_empty() {
            return;
        }
        let payload = event.payload();
        for binding in wanted {
            binding.target.fire(bus, payload.clone());
        }
    }

    /// May the client follow? Every handler is asked; one that fails refuses.
    ///
    /// # Errors
    /// A handler's.
    pub(super) async fn joins(&self, bus: &Bus, visit: &Visit) -> Result<bool, Error> {
        let handlers = self.join.read().clone();
        let payload = encode(visit)?;
        for binding in handlers
            .iter()
            .filter(|binding| binding.covers_visit(visit))
        {
            if !binding.target.wants(bus, &payload).await? {
                continue;
            }
            let answer = binding
                .target
                .call(bus, payload.clone(), JOIN_TIMEOUT)
                .await?;
            let answer: Value = answer.decode().unwrap_or_default();
            if answer.get("unauthorized") == Some(&Value::Bool(true)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn leaves(&self, bus: &Bus, visit: &Visit) {
        let handlers = self.leave.read().clone();
        match encode(visit) {
            Ok(payload) => {
                let handlers = handlers
                    .iter()
                    .filter(|binding| binding.covers_visit(visit));
                for binding in handlers {
                    binding.target.fire(bus, payload.clone());
                }
            }
            Err(error) => tracing::error!(%error, "a leave event has no JSON form"),
        }
    }

    fn remove(&self, id: &str) {
        let close = |binding: &Binding| {
            let gone = **binding.target.id() == *id;
            if gone {
                binding.target.close();
            }
            !gone
        };
        self.changed.write().retain(|_, bindings| {
            bindings.retain(close);
            !bindings.is_empty()
        });
        self.join.write().retain(close);
        self.leave.write().retain(close);
    }
}

fn encode(visit: &Visit) -> Result<Payload, Error> {
    Payload::encode(visit).map_err(|error| Error::engine(Code::Internal, error.to_string()))
}

struct Provider {
    triggers: Arc<Triggers>,
    kind: &'static str,
}

/// Who binds triggers of `kind`.
pub(super) fn provider(triggers: &Arc<Triggers>, kind: &'static str) -> Arc<dyn TriggerProvider> {
    Arc::new(Provider {
        triggers: Arc::clone(triggers),
        kind,
    })
}

impl TriggerProvider for Provider {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let invalid = |why: String| {
            let message = format!("config of a {} trigger: {why}", self.kind);
            Error::caller(Code::InvalidInput, message)
        };
        let config = match &trigger.config {
            Value::Null => TriggerConfig::default(),
            config => {
                TriggerConfig::deserialize(config).map_err(|error| invalid(error.to_string()))?
            }
        };
        let target = Target::new(&trigger, config.condition_function_id.clone(), WAITING_MAX);
        let stream = config.stream_name.clone();
        let binding = Binding {
            config: Arc::new(config),
            target,
        };
        if self.kind == CHANGED && stream.is_none() {
            return Err(invalid("stream_name is missing".to_owned()));
        }
        self.triggers.remove(&trigger.id);
        match self.kind {
            JOIN => self.triggers.join.write().push(binding),
            LEAVE => self.triggers.leave.write().push(binding),
            _ => {
                let mut changed = self.triggers.changed.write();
                changed
                    .entry(stream.unwrap_or_default())
                    .or_default()
                    .push(binding);
            }
        }
        Ok(())
    }

    fn unbind(&self, id: &str) {
        self.triggers.remove(id);
    }
}
