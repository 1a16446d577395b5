//! `engine::events`: what happens on the bus, as a stream, for people and consoles.

use std::sync::Arc;

use agentos_core::{Event, TriggerState};
use agentos_sdk::{Context, Error, Registrar, Sink};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, broadcast::error::RecvError};

use super::{Admin, shape::unix_ms};
use crate::{fleet::Step, supervisor};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Wanted {
    /// Only events of these names; all when absent.
    events: Option<Vec<String>>,
}

pub(super) fn register(admin: &Arc<Admin>, to: &mut Registrar) {
    let admin = Arc::clone(admin);
    to.streaming(
        "engine::events",
        move |_: Context, wanted: Option<Wanted>, sink| {
            let admin = Arc::clone(&admin);
            async move { admin.tell_events(wanted.unwrap_or_default(), sink).await }
        },
    )
    .describe("streams what happens on the bus: workers, functions and triggers that come and go, and what failed");
}

impl Admin {
    /// Runs until the caller has heard enough.
    async fn tell_events(&self, wanted: Wanted, sink: Arc<Mutex<Sink>>) -> Result<(), Error> {
        let mut events = self.directory.events();
        let (mut steps, mut processes) = (self.fleet.steps(), self.supervisor.later_events());
        let mut sink = sink.lock().await;
        loop {
            let told = tokio::select! {
                event = events.recv() => told(event, describe),
                step = steps.recv() => told(step, Step::to_json),
                event = processes.recv() => told(event, supervisor::Event::to_json),
            };
            let Some(told) = told else { return Ok(()) };
            // What a build prints is much, and is asked for by name.
            if told["event"] == "output" && wanted.events.is_none() {
                continue;
            }
            let name = told["event"].as_str().unwrap_or_default();
            if wanted
                .events
                .as_ref()
                .is_some_and(|names| !names.iter().any(|one| one == name))
            {
                continue;
            }
            let mut told = told;
            told["at_ms"] = unix_ms().into();
            sink.send(&told).await?;
        }
    }
}

/// `None` when there will be no more.
fn told<T>(received: Result<T, RecvError>, describe: fn(&T) -> Value) -> Option<Value> {
    match received {
        Ok(event) => Some(describe(&event)),
        Err(RecvError::Lagged(missed)) => Some(json!({ "event": "gap", "missed": missed })),
        Err(RecvError::Closed) => None,
    }
}

fn describe(event: &Event) -> Value {
    match event {
        Event::WorkerConnected { worker, .. } => {
            json!({ "event": "worker_connected", "worker_id": worker })
        }
        Event::WorkerIdentified { worker, name, .. } => {
            json!({ "event": "worker_identified", "worker_id": worker, "name": name })
        }
        Event::WorkerDisconnected { worker, name, .. } => {
            json!({ "event": "worker_disconnected", "worker_id": worker, "name": name })
        }
        Event::FunctionsRegistered { worker, functions } => {
            json!({ "event": "functions_registered", "worker_id": worker, "functions": functions })
        }
        Event::FunctionsUnregistered { worker, functions } => {
            json!({ "event": "functions_unregistered", "worker_id": worker, "functions": functions })
        }
        Event::TriggerRegistered {
            id,
            trigger_type,
            function,
            state,
        } => {
            let (name, error) = match state {
                TriggerState::Parked => ("trigger_parked", None),
                TriggerState::Bound => ("trigger_bound", None),
                TriggerState::Refused(error) => ("trigger_refused", Some(error)),
            };
            json!({ "event": name, "id": id, "trigger_type": trigger_type, "function_id": function, "error": error })
        }
        Event::TriggerUnregistered { id, trigger_type } => {
            json!({ "event": "trigger_unregistered", "id": id, "trigger_type": trigger_type })
        }
        Event::TriggerTypeRegistered { worker, id } => {
            json!({ "event": "trigger_type_registered", "worker_id": worker, "id": id })
        }
        Event::TriggerTypeUnregistered { worker, id } => {
            json!({ "event": "trigger_type_unregistered", "worker_id": worker, "id": id })
        }
        Event::RegistrationRefused { worker, id, error } => {
            json!({ "event": "registration_refused", "worker_id": worker, "id": id, "error": error })
        }
        Event::VoidCallFailed { function, error } => {
            json!({ "event": "void_call_failed", "function_id": function, "error": error })
        }
    }
}
