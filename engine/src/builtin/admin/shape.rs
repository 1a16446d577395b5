//! Workers, functions and triggers as JSON: the union of what two generations of clients expect.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_core::{
    FunctionView, SessionView, TriggerState, TriggerTypeView, TriggerView, policy::Trust,
};
use agentos_sdk::protocol::{DEFAULT_NAMESPACE, SessionId};
use serde_json::{Map, Value, json};

/// Longest summary of a trigger's config, in characters.
const SUMMARY_MAX: usize = 200;

/// Who is connected, to put names to sessions.
pub(super) struct Workers(HashMap<SessionId, SessionView>);

impl Workers {
    pub(super) fn new(workers: Vec<SessionView>) -> Self {
        Workers(
            workers
                .into_iter()
                .map(|worker| (worker.session, worker))
                .collect(),
        )
    }

    pub(super) fn name(&self, session: SessionId) -> Option<&str> {
        self.0.get(&session).map(name)
    }

    pub(super) fn names(&self, sessions: &[SessionId]) -> Vec<&str> {
        sessions
            .iter()
            .filter_map(|session| self.name(*session))
            .collect()
    }
}

pub(super) fn name(worker: &SessionView) -> &str {
    if worker.hello.name.is_empty() {
        &worker.public_id
    } else {
        &worker.hello.name
    }
}

pub(super) fn namespace(namespace: Option<&Arc<str>>) -> &str {
    namespace.map_or(DEFAULT_NAMESPACE, |namespace| namespace)
}

/// A schema as clients take it: some refuse a whole list for one that is no object.
fn schema(schema: Option<&Value>) -> Value {
    schema
        .filter(|schema| schema.is_object())
        .cloned()
        .unwrap_or_default()
}

fn metadata(metadata: Option<&Value>) -> Value {
    metadata
        .filter(|metadata| metadata.is_object())
        .cloned()
        .unwrap_or_default()
}

/// A function as it is listed.
pub(super) fn function(function: &FunctionView, workers: &Workers) -> Value {
    let spec = &function.spec;
    let names = workers.names(&function.sessions);
    json!({
        "function_id": spec.id,
        "description": spec.description,
        "request_format": schema(spec.input_schema.as_ref()),
        "response_format": schema(spec.output_schema.as_ref()),
        "metadata": metadata(spec.metadata.as_ref()),
        "streams": spec.streams,
        "idempotent": spec.idempotent,
        "namespace": namespace(function.namespace.as_ref()),
        "worker_name": names.last(),
        "workers": names,
    })
}

/// Functions as the older clients know them.
pub(super) fn plain_functions(functions: &[FunctionView]) -> Vec<Value> {
    let plain = |function: &FunctionView| {
        let spec = &function.spec;
        json!({
            "function_id": spec.id,
            "description": spec.description,
            "request_format": schema(spec.input_schema.as_ref()),
            "response_format": schema(spec.output_schema.as_ref()),
            "metadata": metadata(spec.metadata.as_ref()),
        })
    };
    functions.iter().map(plain).collect()
}

/// All about a function.
pub(super) fn function_detail(
    function: &FunctionView,
    workers: &Workers,
    triggers: &[TriggerView],
) -> Value {
    let spec = &function.spec;
    let mut detail = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            detail.insert(key.to_owned(), value);
        }
    };
    put("function_id", Value::from(&*spec.id));
    put(
        "namespace",
        Value::from(namespace(function.namespace.as_ref())),
    );
    put(
        "worker_name",
        json!(workers.names(&function.sessions).last()),
    );
    put("description", json!(spec.description));
    put("request_schema", json!(spec.input_schema));
    put("response_schema", json!(spec.output_schema));
    put("metadata", json!(spec.metadata));
    let bound = triggers.iter().filter(|trigger| {
        trigger.spec.function == spec.id && trigger.spec.namespace == function.namespace
    });
    let bound = bound.map(|trigger| {
        json!({ "id": trigger.spec.id, "trigger_type": trigger.spec.trigger_type, "config": trigger.spec.config })
    });
    put("registered_triggers", bound.collect());
    Value::Object(detail)
}

/// A worker as it is listed. `age_ms`: since it connected.
pub(super) fn worker(worker: &SessionView, age_ms: u64) -> Value {
    let hello = &worker.hello;
    let in_process = hello.features.iter().any(|feature| feature == "in-process");
    json!({
        "id": worker.public_id,
        "name": name(worker),
        "description": hello.description,
        "build": hello.build,
        "runtime": hello.language,
        "version": hello.sdk_version,
        "os": hello.os,
        "pid": hello.pid,
        "ip_address": worker.peer.map(|peer| peer.to_string()),
        "namespace": namespace(worker.namespace.as_ref()),
        "isolation": in_process.then_some("in-process"),
        "internal": worker.trust == Trust::Engine,
        "status": if worker.leaving { "draining" } else { "connected" },
        "connected_at_ms": unix_ms().saturating_sub(age_ms),
        "function_count": worker.functions.len(),
        "functions": worker.functions,
        "instance": worker.instance,
        "weight": worker.share.weight,
        "ready": worker.share.ready,
        "resting": worker.resting,
        "active_invocations": worker.calls_in_flight,
        "ended_invocations": worker.calls_ended,
        "failed_invocations": worker.calls_failed,
        "latest_metrics": null,
    })
}

/// A trigger as the older clients know it.
pub(super) fn trigger(trigger: &TriggerView) -> Value {
    let (state, error) = state(trigger);
    let spec = &trigger.spec;
    json!({
        "id": spec.id,
        "trigger_type": spec.trigger_type,
        "function_id": spec.function,
        "config": spec.config,
        "metadata": spec.metadata,
        "state": state,
        "error": error,
    })
}

/// A trigger as the newer clients know it.
pub(super) fn registered_trigger(trigger: &TriggerView, workers: &Workers) -> Value {
    let (state, error) = state(trigger);
    let spec = &trigger.spec;
    let summary: String = spec.config.to_string().chars().take(SUMMARY_MAX).collect();
    json!({
        "id": spec.id,
        "trigger_type": spec.trigger_type,
        "function_id": spec.function,
        "worker_name": workers.name(trigger.owner),
        "namespace": namespace(spec.namespace.as_ref()),
        "config": spec.config,
        "config_summary": summary,
        "state": state,
        "error": error,
    })
}

fn state(trigger: &TriggerView) -> (&'static str, Option<&agentos_sdk::Error>) {
    match &trigger.state {
        TriggerState::Parked => ("parked", None),
        TriggerState::Bound => ("bound", None),
        TriggerState::Refused(error) => ("refused", Some(error)),
    }
}

/// A trigger type as the older clients know it.
pub(super) fn trigger_type(kind: &TriggerTypeView) -> Value {
    json!({
        "id": kind.spec.id,
        "description": kind.spec.description,
        "trigger_request_format": kind.spec.config_schema,
        "call_request_format": kind.spec.payload_schema,
    })
}

/// A trigger type as the newer clients know it.
pub(super) fn trigger_type_summary(kind: &TriggerTypeView, workers: &Workers) -> Value {
    json!({
        "id": kind.spec.id,
        "namespace": namespace(kind.namespace.as_ref()),
        "worker_name": workers.name(kind.provider),
        "description": kind.spec.description,
    })
}

/// All about a trigger type.
pub(super) fn trigger_type_detail(
    kind: &TriggerTypeView,
    workers: &Workers,
    triggers: &[TriggerView],
) -> Value {
    let mut detail = trigger_type_summary(kind, workers);
    let count = triggers
        .iter()
        .filter(|trigger| trigger.spec.trigger_type == kind.spec.id)
        .count();
    detail["configuration_schema"] = json!(kind.spec.config_schema);
    detail["request_schema"] = json!(kind.spec.payload_schema);
    detail["response_schema"] = Value::Null;
    detail["instance_count"] = json!(count);
    detail
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
