//! The trigger type `state`: calls bound functions when values change.
//!
//! Calls are void, so they are at most once and nobody waits for them. Events of one key reach a
//! function in the order of the writes.

use std::{collections::HashMap, sync::Arc};

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use super::{
    api::{Event, EventType, TRIGGER_TYPE, TriggerConfig},
    config::Config,
    row::Address,
};
use crate::builtin::{document::Doc, firing::Target, live::Live};

/// A committed change.
pub(super) struct Happening {
    pub(super) address: Address,
    pub(super) event_type: EventType,
    pub(super) old: Option<Doc>,
    pub(super) new: Option<Doc>,
}

/// Who wants to hear of which changes.
pub(super) struct Events {
    bindings: RwLock<Bindings>,
    config: Live<Config>,
}

/// Bindings by the scope they name; those under `None` hear of all scopes.
#[derive(Default)]
struct Bindings {
    by_scope: HashMap<Option<String>, Vec<Arc<Binding>>>,
    scope_of: HashMap<Arc<str>, Option<String>>,
}

struct Binding {
    key: Option<String>,
    target: Arc<Target>,
}

impl Events {
    pub(super) fn new(config: Live<Config>) -> Self {
        Events {
            bindings: RwLock::default(),
            config,
        }
    }

    /// Calls every bound function that wants to hear of `happening`.
    pub(super) fn publish(&self, bus: &Bus, happening: &Happening) {
        if !self.config.get().triggers_enabled {
            return;
        }
        let wanted = self.bindings.read().matching(&happening.address);
        if wanted.is_empty() {
            return;
        }
        let payload = match happening.payload() {
            Ok(payload) => payload,
            Err(error) => return tracing::error!(%error, "a state event has no JSON form"),
        };
        let bus = bus.detached();
        for binding in wanted {
            binding.target.fire(&bus, payload.clone());
        }
    }
}

impl TriggerProvider for Events {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config = match &trigger.config {
            Value::Null => TriggerConfig::default(),
            config => TriggerConfig::deserialize(config).map_err(|error| {
                Error::caller(
                    Code::InvalidInput,
                    format!("config of a state trigger: {error}"),
                )
            })?,
        };
        let binding = Binding {
            key: config.key,
            target: Target::new(
                &trigger,
                config.condition_function_id,
                self.config.get().events_per_trigger_max,
            ),
        };
        let mut bindings = self.bindings.write();
        bindings.remove(&trigger.id);
        bindings.scope_of.insert(trigger.id, config.scope.clone());
        bindings
            .by_scope
            .entry(config.scope)
            .or_default()
            .push(Arc::new(binding));
        Ok(())
    }

    fn unbind(&self, id: &str) {
        self.bindings.write().remove(id);
    }
}

impl Bindings {
    fn matching(&self, address: &Address) -> Vec<Arc<Binding>> {
        if self.scope_of.is_empty() {
            return Vec::new();
        }
        let scopes = [None, Some(address.scope().to_owned())];
        let bindings = scopes
            .iter()
            .filter_map(|scope| self.by_scope.get(scope))
            .flatten();
        let wants = |binding: &&Arc<Binding>| {
            binding
                .key
                .as_deref()
                .is_none_or(|key| key == address.key())
        };
        bindings.filter(wants).cloned().collect()
    }

    fn remove(&mut self, id: &str) {
        let Some(scope) = self.scope_of.remove(id) else {
            return;
        };
        let Some(bindings) = self.by_scope.get_mut(&scope) else {
            return;
        };
        for gone in bindings.extract_if(.., |binding| &**binding.target.id() == id) {
            gone.target.close();
        }
        if bindings.is_empty() {
            self.by_scope.remove(&scope);
        }
    }
}

impl Happening {
    fn payload(&self) -> serde_json::Result<Payload> {
        let event = Event {
            r#type: TRIGGER_TYPE,
            event_type: self.event_type,
            scope: self.address.scope(),
            key: self.address.key(),
            old_value: self.old.as_ref(),
            new_value: self.new.as_ref(),
        };
        Payload::encode(&event)
    }
}
