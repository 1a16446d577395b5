//! The trigger types `engine::functions-available` and `engine::workers-available`.
//!
//! Driven by the bus's events. Many registrations in a moment make one event with the whole list.

use std::{sync::Arc, time::Duration};

use agentos_core::Event;
use agentos_sdk::{
    Bus, Error, Payload, Registrar, Stop, TriggerProvider, TriggerSpec, TriggerTypeSpec,
};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

use crate::builtin::firing::Target;

const FUNCTIONS: &str = "engine::functions-available";
const WORKERS: &str = "engine::workers-available";

/// Changes of functions within this time are one event.
const GATHER: Duration = Duration::from_millis(100);

/// Events that wait for a trigger's condition.
const WAITING_MAX: usize = 1024;

/// Who wants to hear of which changes.
#[derive(Default)]
pub(crate) struct Changes {
    functions: Bound,
    workers: Bound,
}

#[derive(Default)]
struct Bound(RwLock<Vec<Arc<Target>>>);

pub(super) fn register(changes: &Arc<Changes>, to: &mut Registrar) {
    let spec = |id: &str, description: &str| TriggerTypeSpec {
        id: id.into(),
        description: description.to_owned(),
        config_schema: Some(json!({ "type": "object" })),
        payload_schema: None,
    };
    let kind = spec(
        FUNCTIONS,
        "calls a function with the list of functions when it has changed",
    );
    to.trigger_type(
        kind,
        Arc::new(Provider(Arc::clone(changes), |changes| &changes.functions)),
    );
    let kind = spec(
        WORKERS,
        "calls a function when a worker comes, says who it is, or goes",
    );
    to.trigger_type(
        kind,
        Arc::new(Provider(Arc::clone(changes), |changes| &changes.workers)),
    );
}

struct Provider(Arc<Changes>, fn(&Changes) -> &Bound);

impl TriggerProvider for Provider {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let condition = trigger.config.get("condition_function_id");
        let condition = condition.and_then(Value::as_str).map(str::to_owned);
        let target = Target::new(&trigger, condition, WAITING_MAX);
        let mut bound = (self.1)(&self.0).0.write();
        bound.retain(|earlier| earlier.id() != target.id());
        bound.push(target);
        Ok(())
    }

    fn unbind(&self, id: &str) {
        (self.1)(&self.0).0.write().retain(|target| {
            let keep = **target.id() != *id;
            if !keep {
                target.close();
            }
            keep
        });
    }
}

impl Bound {
    fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    fn fire(&self, bus: &Bus, event: &Value) {
        let targets = self.0.read().clone();
        if targets.is_empty() {
            return;
        }
        match Payload::encode(event) {
            Ok(payload) => {
                for target in targets {
                    target.fire(bus, payload.clone());
                }
            }
            Err(error) => tracing::error!(%error, "an event of the engine has no JSON form"),
        }
    }
}

impl Changes {
    /// Listens to the bus until `stop`.
    pub(super) async fn run(
        &self,
        mut events: Receiver<Event>,
        list: impl Fn() -> Vec<Value>,
        bus: Bus,
        stop: Stop,
    ) {
        let mut due: Option<Instant> = None;
        loop {
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = timer => {
                    due = None;
                    if !self.functions.is_empty() {
                        let event = json!({ "event": "functions_changed", "functions": list() });
                        self.functions.fire(&bus, &event);
                    }
                }
                event = events.recv() => match event {
                    Ok(event) => {
                        if changes_functions(&event) {
                            due.get_or_insert_with(|| Instant::now() + GATHER);
                        }
                        self.tell_workers(&bus, &event);
                    }
                    // Events were missed; the list has surely changed.
                    Err(RecvError::Lagged(_)) => {
                        due.get_or_insert_with(|| Instant::now() + GATHER);
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    fn tell_workers(&self, bus: &Bus, event: &Event) {
        let (what, worker) = match event {
            Event::WorkerConnected { worker, .. } => ("worker_connected", worker),
            Event::WorkerIdentified { worker, .. } => ("worker_metadata_updated", worker),
            Event::WorkerDisconnected { worker, .. } => ("worker_disconnected", worker),
            _ => return,
        };
        let event = json!({ "event": what, "worker_id": worker });
        self.workers.fire(bus, &event);
    }
}

fn changes_functions(event: &Event) -> bool {
    matches!(
        event,
        Event::FunctionsRegistered { .. } | Event::FunctionsUnregistered { .. }
    )
}
