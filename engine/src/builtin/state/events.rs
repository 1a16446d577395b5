//! The trigger type `state`: calls bound functions when values change.
//!
//! Calls are void, so they are at most once and nobody waits for them. Events of one key reach a
//! function in the order of the writes. A trigger with a condition has a bounded queue of its
//! own, so a slow condition delays nobody else; when it is full, events are dropped and logged.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use agentos_sdk::{Bus, Code, Error, TriggerProvider, TriggerSpec};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::{
    api::{Event, EventType, TRIGGER_TYPE, TriggerConfig},
    doc::Doc,
    row::Address,
};

/// How long a condition may think.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(10);

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
    queue_max: usize,
}

/// Bindings by the scope they name; those under `None` hear of all scopes.
#[derive(Default)]
struct Bindings {
    by_scope: HashMap<Option<String>, Vec<Arc<Binding>>>,
    scope_of: HashMap<Arc<str>, Option<String>>,
}

struct Binding {
    id: Arc<str>,
    function: Arc<str>,
    key: Option<String>,
    condition: Option<String>,
    metadata: Option<Arc<str>>,
    queue: Mutex<Queue>,
}

/// Events that wait for the condition, and whether a task is at work on them.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Bus, Doc)>,
    draining: bool,
}

impl Events {
    pub(super) fn new(queue_max: usize) -> Self {
        Events {
            bindings: RwLock::default(),
            queue_max,
        }
    }

    /// Calls every bound function that wants to hear of `happening`.
    pub(super) fn publish(&self, bus: &Bus, happening: &Happening) {
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
            match binding.condition {
                None => binding.fire(&bus, &payload),
                Some(_) => binding.enqueue(bus.clone(), payload.clone(), self.queue_max),
            }
        }
    }
}

impl TriggerProvider for Events {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config = match trigger.config {
            Value::Null => TriggerConfig::default(),
            config => serde_json::from_value(config).map_err(|error| {
                Error::caller(
                    Code::InvalidInput,
                    format!("config of a state trigger: {error}"),
                )
            })?,
        };
        let binding = Binding {
            id: Arc::clone(&trigger.id),
            function: trigger.function,
            key: config.key,
            condition: config.condition_function_id,
            metadata: trigger.metadata.map(|metadata| metadata.to_string().into()),
            queue: Mutex::default(),
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
        for gone in bindings.extract_if(.., |binding| &*binding.id == id) {
            gone.queue.lock().waiting.clear();
        }
        if bindings.is_empty() {
            self.by_scope.remove(&scope);
        }
    }
}

impl Happening {
    fn payload(&self) -> serde_json::Result<Doc> {
        let event = Event {
            r#type: TRIGGER_TYPE,
            event_type: self.event_type,
            scope: self.address.scope(),
            key: self.address.key(),
            old_value: self.old.as_ref(),
            new_value: self.new.as_ref(),
        };
        Doc::parse(&serde_json::to_vec(&event)?)
    }
}

impl Binding {
    fn fire(&self, bus: &Bus, payload: &Doc) {
        let call = bus.call(&self.function);
        let call = match &self.metadata {
            Some(metadata) => call.metadata(Arc::clone(metadata)),
            None => call,
        };
        if let Err(error) = call.void(payload) {
            tracing::warn!(trigger = %self.id, function = %self.function, %error, "a state event was not delivered");
        }
    }

    fn enqueue(self: Arc<Self>, bus: Bus, payload: Doc, queue_max: usize) {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= queue_max {
            tracing::warn!(trigger = %self.id, "a state event was dropped: the condition is too slow");
            return;
        }
        queue.waiting.push_back((bus, payload));
        if !std::mem::replace(&mut queue.draining, true) {
            tokio::spawn(Arc::clone(&self).drain());
        }
    }

    async fn drain(self: Arc<Self>) {
        while let Some((bus, payload)) = self.next() {
            if self.is_wanted(&bus, &payload).await {
                self.fire(&bus, &payload);
            }
        }
    }

    fn next(&self) -> Option<(Bus, Doc)> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        queue.draining = next.is_some();
        next
    }

    /// Asks the condition. One that fails keeps the event back.
    async fn is_wanted(&self, bus: &Bus, payload: &Doc) -> bool {
        let Some(condition) = &self.condition else {
            return true;
        };
        match bus
            .call(condition)
            .timeout(CONDITION_TIMEOUT)
            .send::<Value>(payload)
            .await
        {
            Ok(answer) => answer != Value::Bool(false),
            Err(error) => {
                tracing::error!(trigger = %self.id, %condition, %error, "a condition failed; the event is skipped");
                false
            }
        }
    }
}
