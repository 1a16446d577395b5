//! The lists.

use std::sync::Arc;

use agentos_core::{FunctionView, SessionView, TriggerView, policy::Rules};
use agentos_sdk::{Context, Registrar};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin,
    shape::{self, Workers},
};

/// SDKs from this version on mean trigger types when they say `engine::triggers::list`.
const TYPES_SINCE: (u64, u64) = (0, 19);

/// Input of the lists: everything narrows, nothing is required.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct Wanted {
    /// Also the engine's own.
    include_internal: Option<bool>,
    /// Only ids that start so.
    prefix: Option<String>,
    /// Only ids, names or descriptions that contain this.
    search: Option<String>,
    /// Only this worker's, by name.
    worker: Option<String>,
    /// Only these workers', by name.
    workers: Option<Vec<String>>,
    /// Only this worker, by id.
    worker_id: Option<String>,
    /// Only workers of this language.
    runtime: Option<String>,
    /// Only workers of this status.
    status: Option<String>,
    /// Only triggers of this type.
    trigger_type: Option<String>,
    /// Only triggers of this function.
    function_id: Option<String>,
}

impl Wanted {
    fn names(&self, names: &[&str]) -> bool {
        let wanted = |list: &[String]| names.iter().any(|name| list.iter().any(|one| one == name));
        self.workers.as_deref().is_none_or(wanted)
            && self
                .worker
                .as_deref()
                .is_none_or(|one| names.contains(&one))
    }

    fn finds(&self, texts: &[Option<&str>]) -> bool {
        self.search
            .as_deref()
            .is_none_or(|search| texts.iter().flatten().any(|text| text.contains(search)))
    }

    fn internal(&self, id: &str) -> bool {
        self.include_internal.unwrap_or(true) || !id.starts_with("engine::")
    }
}

/// May the caller see the function at all?
pub(super) fn shown(rules: Option<&Arc<Rules>>, function: &FunctionView) -> bool {
    rules.is_none_or(|rules| {
        let metadata = || function.spec.metadata.clone();
        let namespace = function.namespace.as_deref();
        rules
            .may_call(namespace, &function.spec.id, metadata)
            .is_ok()
    })
}

impl Admin {
    pub(super) fn register_lists(self: &Arc<Self>, to: &mut Registrar) {
        self.answer(to, "engine::functions::list", |admin, context, wanted| {
            Ok(admin.list_functions(context, &wanted))
        })
        .describe("lists functions with their schemas and the workers that offer them")
        .idempotent();
        self.answer(to, "engine::workers::list", |admin, context, wanted| {
            let hides = admin.speaks_iii(context);
            Ok(admin.list_workers(&wanted, hides))
        })
        .describe("lists connected workers")
        .idempotent();
        self.answer(to, "engine::triggers::list", |admin, context, wanted| {
            Ok(admin.list_triggers(context, &wanted))
        })
        .describe(
            "lists triggers and whether they are bound; trigger types for SDKs that expect those here",
        )
        .idempotent();
        self.answer(
            to,
            "engine::registered-triggers::list",
            |admin, context, wanted| {
                let workers = admin.named();
                let triggers = admin.shown_triggers(context, &wanted);
                let triggers = triggers
                    .iter()
                    .map(|trigger| shape::registered_trigger(trigger, &workers));
                Ok(json!({ "registered_triggers": triggers.collect::<Vec<_>>() }))
            },
        )
        .describe("lists triggers and whether they are bound")
        .idempotent();
        self.answer(
            to,
            "engine::trigger-types::list",
            |admin, _, wanted: Wanted| {
                let types = admin.directory.trigger_types();
                let types = types.iter().filter(|kind| wanted.internal(&kind.spec.id));
                Ok(json!({ "trigger_types": types.map(shape::trigger_type).collect::<Vec<_>>() }))
            },
        )
        .describe("lists kinds of event sources")
        .idempotent();
    }

    pub(super) fn rules(&self, context: &Context) -> Option<Arc<Rules>> {
        context
            .caller()
            .and_then(|caller| self.directory.rules_of(caller))
    }

    pub(super) fn named(&self) -> Workers {
        Workers::new(self.directory.workers())
    }

    fn list_functions(&self, context: &Context, wanted: &Wanted) -> Value {
        let (rules, workers) = (self.rules(context), self.named());
        let functions = self.directory.functions();
        let functions = functions.iter().filter(|function| {
            let spec = &function.spec;
            wanted.internal(&spec.id)
                && wanted
                    .prefix
                    .as_deref()
                    .is_none_or(|prefix| spec.id.starts_with(prefix))
                && wanted.finds(&[Some(&spec.id), spec.description.as_deref()])
                && wanted.names(&workers.names(&function.sessions))
                && shown(rules.as_ref(), function)
        });
        let functions: Vec<Value> = functions
            .map(|function| shape::function(function, &workers))
            .collect();
        json!({ "functions": functions })
    }

    /// `hides` workers of iii that have not told their process, as iii does for its clients.
    pub(super) fn list_workers(&self, wanted: &Wanted, hides: bool) -> Value {
        let workers = self.directory.workers();
        let workers = workers.iter().filter(|worker| {
            let name = shape::name(worker);
            let is_hidden = hides && worker.hello.pid.is_none() && !is_ours(worker);
            !is_hidden
                && wanted
                    .worker_id
                    .as_deref()
                    .is_none_or(|id| *worker.public_id == *id)
                && wanted
                    .runtime
                    .as_deref()
                    .is_none_or(|runtime| worker.hello.language == runtime)
                && wanted.finds(&[Some(name), worker.hello.description.as_deref()])
                && wanted.names(&[name])
        });
        let workers = workers.map(|worker| self.worker(worker)).filter(|worker| {
            wanted
                .status
                .as_deref()
                .is_none_or(|status| worker["status"] == status)
        });
        json!({ "workers": workers.collect::<Vec<_>>(), "timestamp": shape::unix_ms() })
    }

    pub(super) fn worker(&self, worker: &SessionView) -> Value {
        let age = worker.connected.until(self.clock.now());
        let mut shown = shape::worker(worker, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        shown["latest_metrics"] = json!(self.telemetry.worker_metrics(&worker.public_id));
        shown
    }

    fn list_triggers(&self, context: &Context, wanted: &Wanted) -> Value {
        if !self.expects_types(context) {
            let triggers = self.shown_triggers(context, wanted);
            let triggers: Vec<Value> = triggers.iter().map(shape::trigger).collect();
            return json!({ "triggers": triggers });
        }
        let workers = self.named();
        let types = self.directory.trigger_types();
        let types = types.iter().filter(|kind| {
            let id = &*kind.spec.id;
            wanted.internal(id)
                && wanted
                    .prefix
                    .as_deref()
                    .is_none_or(|prefix| id.starts_with(prefix))
                && wanted.finds(&[Some(id), Some(&kind.spec.description)])
                && wanted.names(&workers.names(&[kind.provider]))
        });
        let types: Vec<Value> = types
            .map(|kind| shape::trigger_type_summary(kind, &workers))
            .collect();
        json!({ "triggers": types })
    }

    /// The triggers that are wanted and whose functions the caller may know of.
    fn shown_triggers(&self, context: &Context, wanted: &Wanted) -> Vec<TriggerView> {
        let (rules, workers) = (self.rules(context), self.named());
        let mut triggers = self.directory.triggers();
        triggers.retain(|trigger| {
            let spec = &trigger.spec;
            let visible = rules.as_ref().is_none_or(|rules| {
                let namespace = spec.namespace.as_deref();
                let metadata = || {
                    let function = self.directory.function(namespace, &spec.function)?;
                    function.spec.metadata.clone()
                };
                rules.may_call(namespace, &spec.function, metadata).is_ok()
            });
            visible
                && wanted.internal(&spec.function)
                && wanted
                    .trigger_type
                    .as_deref()
                    .is_none_or(|kind| *spec.trigger_type == *kind)
                && wanted
                    .function_id
                    .as_deref()
                    .is_none_or(|id| *spec.function == *id)
                && wanted.finds(&[
                    Some(&spec.id),
                    Some(&spec.trigger_type),
                    Some(&spec.function),
                ])
                && wanted.names(&workers.names(&[trigger.owner]))
        });
        triggers
    }

    /// The caller, if it is a client of the JSON dialect.
    fn foreign(&self, context: &Context) -> Option<SessionView> {
        let caller = context.caller()?;
        let mut workers = self.directory.workers().into_iter();
        workers
            .find(|worker| &*worker.public_id == caller)
            .filter(|worker| !is_ours(worker))
    }

    fn speaks_iii(&self, context: &Context) -> bool {
        self.foreign(context).is_some()
    }

    /// Our own SDKs have other version numbers, and list both by functions of their own.
    fn expects_types(&self, context: &Context) -> bool {
        self.foreign(context)
            .and_then(|worker| version(&worker.hello.sdk_version))
            .is_some_and(|version| version >= TYPES_SINCE)
    }
}

/// Marks of sessions that are no clients of the JSON dialect.
const OURS: [&str; 2] = ["in-process", agentos_sdk::protocol::codec::SUBPROTOCOL];

fn is_ours(worker: &SessionView) -> bool {
    let features = &worker.hello.features;
    features
        .iter()
        .any(|feature| OURS.contains(&feature.as_str()))
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}
