//! The trigger type `configuration`: calls bound functions when configurations change.
//!
//! Calls are void, so they are at most once and nobody waits for them. They come in the order of
//! the writes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use super::{
    api::{Event, EventType, TRIGGER_TYPE, TriggerConfig},
    shelf::Record,
};
use crate::builtin::firing::Target;

/// A committed change.
pub(super) struct Happening<'a> {
    pub(super) event_type: EventType,
    pub(super) id: &'a str,
    pub(super) record: &'a Record,
    pub(super) old_value: Value,
    pub(super) new_value: Value,
}

/// Who wants to hear of which changes.
pub(super) struct Events {
    bindings: RwLock<HashMap<Arc<str>, Binding>>,
    queue_max: AtomicUsize,
}

struct Binding {
    id: Option<String>,
    event_types: Option<Vec<EventType>>,
    target: Arc<Target>,
}

impl Events {
    pub(super) fn new(queue_max: usize) -> Self {
        Events {
            bindings: RwLock::default(),
            queue_max: AtomicUsize::new(queue_max),
        }
    }

    /// Room for events of triggers bound from now on.
    pub(super) fn resize(&self, queue_max: usize) {
        self.queue_max.store(queue_max, Ordering::Relaxed);
    }

    /// Calls every bound function that wants to hear of `happening`.
    pub(super) fn publish(&self, bus: &Bus, happening: &Happening<'_>) {
        let wanted: Vec<Arc<Target>> = {
            let bindings = self.bindings.read();
            let wanted = bindings.values().filter(|binding| binding.wants(happening));
            wanted.map(|binding| Arc::clone(&binding.target)).collect()
        };
        if wanted.is_empty() {
            return;
        }
        let payload = match Payload::encode(&happening.event()) {
            Ok(payload) => payload,
            Err(error) => {
                return tracing::error!(%error, "an event of a configuration has no JSON form");
            }
        };
        let bus = bus.detached();
        for target in wanted {
            target.fire(&bus, payload.clone());
        }
    }
}

impl Binding {
    fn wants(&self, happening: &Happening<'_>) -> bool {
        self.id.as_deref().is_none_or(|id| id == happening.id)
            && self
                .event_types
                .as_ref()
                .is_none_or(|types| types.contains(&happening.event_type))
    }
}

impl Happening<'_> {
    fn event(&self) -> Event<'_> {
        Event {
            r#type: TRIGGER_TYPE,
            event_type: self.event_type,
            id: self.id,
            name: &self.record.name,
            description: &self.record.description,
            schema: &self.record.schema,
            old_value: &self.old_value,
            new_value: &self.new_value,
            metadata: self.record.metadata.as_ref(),
        }
    }
}

impl TriggerProvider for Events {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config = match &trigger.config {
            Value::Null => TriggerConfig::default(),
            config => TriggerConfig::deserialize(config).map_err(|error| {
                let message = format!("config of a configuration trigger: {error}");
                Error::caller(Code::InvalidInput, message)
            })?,
        };
        let binding = Binding {
            id: config.configuration_id,
            event_types: config.event_types,
            target: Target::new(
                &trigger,
                config.condition_function_id,
                self.queue_max.load(Ordering::Relaxed),
            ),
        };
        let old = self.bindings.write().insert(trigger.id, binding);
        if let Some(old) = old {
            old.target.close();
        }
        Ok(())
    }

    fn unbind(&self, id: &str) {
        let old = self.bindings.write().remove(id);
        if let Some(old) = old {
            old.target.close();
        }
    }
}
