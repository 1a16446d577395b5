//! The shapes of the lists: the union of what two generations of clients expect, and more.

use std::{collections::HashMap, sync::Arc};

use agentos_core::{SessionView, TriggerState, TriggerTypeView, TriggerView, policy::Trust};
use agentos_sdk::{Context, protocol::SessionId};
use serde_json::{Value, json};

use super::{Admin, ListInput};

/// SDKs from this version on mean trigger types when they say `engine::triggers::list`.
const TYPES_SINCE: (u64, u64) = (0, 19);

impl Admin {
    pub(super) fn list_functions(&self, input: ListInput) -> Value {
        let workers = self.by_session();
        let internal = input.include_internal.unwrap_or(true);
        let functions: Vec<Value> = self
            .directory
            .functions()
            .into_iter()
            .filter(|function| internal || !function.spec.id.starts_with("engine::"))
            .filter(|function| {
                input
                    .prefix
                    .as_deref()
                    .is_none_or(|prefix| function.spec.id.starts_with(prefix))
            })
            .filter(|function| {
                input.search.as_deref().is_none_or(|search| {
                    matches(
                        &function.spec.id,
                        function.spec.description.as_deref(),
                        search,
                    )
                })
            })
            .map(|function| {
                let spec = &function.spec;
                let names: Vec<&str> = function
                    .sessions
                    .iter()
                    .filter_map(|session| workers.get(session))
                    .map(name)
                    .collect();
                json!({
                    "function_id": spec.id,
                    "description": spec.description,
                    "request_format": spec.input_schema,
                    "response_format": spec.output_schema,
                    "metadata": spec.metadata,
                    "streams": spec.streams,
                    "idempotent": spec.idempotent,
                    "namespace": "default",
                    "worker_name": names.last(),
                    "workers": names,
                })
            })
            .collect();
        json!({ "functions": functions })
    }

    pub(super) fn list_workers(&self, input: &ListInput) -> Value {
        let workers: Vec<Value> = self
            .directory
            .workers()
            .iter()
            .filter(|worker| {
                input
                    .worker_id
                    .as_deref()
                    .is_none_or(|id| *worker.public_id == *id)
            })
            .map(|worker| self.worker(worker))
            .collect();
        json!({ "workers": workers, "timestamp": unix_ms() })
    }

    fn worker(&self, worker: &SessionView) -> Value {
        let age_ms = worker.connected.until(self.clock.now()).as_millis() as u64;
        let in_process = worker
            .hello
            .features
            .iter()
            .any(|feature| feature == "in-process");
        json!({
            "id": worker.public_id,
            "name": name(worker),
            "description": worker.hello.description,
            "build": worker.hello.build,
            "runtime": worker.hello.language,
            "version": worker.hello.sdk_version,
            "os": worker.hello.os,
            "pid": worker.hello.pid,
            "namespace": worker.hello.namespace.as_deref().unwrap_or("default"),
            "isolation": in_process.then_some("in-process"),
            "internal": worker.trust == Trust::Engine,
            "status": if worker.leaving { "draining" } else { "connected" },
            "connected_at_ms": unix_ms().saturating_sub(age_ms),
            "function_count": worker.functions.len(),
            "functions": worker.functions,
            "active_invocations": worker.calls_in_flight,
            "latest_metrics": null,
        })
    }

    pub(super) fn list_triggers(&self, context: &Context, input: &ListInput) -> Value {
        if self.expects_types(context) {
            let workers = self.by_session();
            let types: Vec<Value> = self
                .directory
                .trigger_types()
                .into_iter()
                .map(|kind| summary(&kind, &workers))
                .collect();
            return json!({ "triggers": types });
        }
        let internal = input.include_internal.unwrap_or(true);
        let triggers = self
            .directory
            .triggers()
            .into_iter()
            .filter(|trigger| internal || !trigger.spec.function.starts_with("engine::"));
        json!({ "triggers": triggers.map(|trigger| instance(&trigger)).collect::<Vec<_>>() })
    }

    pub(super) fn trigger_types(&self) -> Vec<Value> {
        let full = |kind: TriggerTypeView| {
            json!({
                "id": kind.spec.id,
                "description": kind.spec.description,
                "trigger_request_format": kind.spec.config_schema,
                "call_request_format": kind.spec.payload_schema,
            })
        };
        self.directory
            .trigger_types()
            .into_iter()
            .map(full)
            .collect()
    }

    fn by_session(&self) -> HashMap<SessionId, SessionView> {
        self.directory
            .workers()
            .into_iter()
            .map(|worker| (worker.session, worker))
            .collect()
    }

    fn expects_types(&self, context: &Context) -> bool {
        let workers = self.directory.workers();
        let caller = context
            .caller()
            .and_then(|caller| workers.iter().find(|worker| &*worker.public_id == caller));
        // Our own SDKs have other version numbers, and list both by their own functions.
        let foreign = caller.filter(|worker| {
            matches!(worker.hello.language.as_str(), "node" | "browser" | "go")
                || worker.hello.name.contains(':')
        });
        foreign
            .and_then(|worker| version(&worker.hello.sdk_version))
            .is_some_and(|version| version >= TYPES_SINCE)
    }
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn matches(id: &str, description: Option<&str>, search: &str) -> bool {
    id.contains(search) || description.is_some_and(|description| description.contains(search))
}

fn name(worker: &SessionView) -> &str {
    if worker.hello.name.is_empty() {
        &worker.public_id
    } else {
        &worker.hello.name
    }
}

fn instance(trigger: &TriggerView) -> Value {
    let (state, error) = match &trigger.state {
        TriggerState::Parked => ("parked", None),
        TriggerState::Bound => ("bound", None),
        TriggerState::Refused(error) => ("refused", Some(error)),
    };
    json!({
        "id": trigger.spec.id,
        "trigger_type": trigger.spec.trigger_type,
        "function_id": trigger.spec.function,
        "config": trigger.spec.config,
        "metadata": trigger.spec.metadata,
        "state": state,
        "error": error,
    })
}

fn summary(kind: &TriggerTypeView, workers: &HashMap<SessionId, SessionView>) -> Value {
    let provider: Option<Arc<str>> = workers
        .get(&kind.provider)
        .map(|worker| name(worker).into());
    json!({ "id": kind.spec.id, "namespace": "default", "worker_name": provider, "description": kind.spec.description })
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
