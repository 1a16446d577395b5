//! One function, worker, trigger or trigger type in full.

use std::sync::Arc;

use agentos_core::FunctionView;
use agentos_sdk::{Code, Context, Error, Registrar, protocol::namespace};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin,
    listing::shown,
    shape::{self, Workers},
};

/// Most functions one request may ask for.
const BATCH_MAX: usize = 32;

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct OfFunction {
    function_id: Option<String>,
    /// Up to 32 at once.
    function_ids: Option<Vec<String>>,
    namespace: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct OfId {
    id: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct OfName {
    name: Option<String>,
    namespace: Option<String>,
}

fn not_found(what: &str) -> Error {
    Error::caller(Code::NotFound, format!("{what} not found")).reason("NOT_FOUND")
}

fn invalid(why: &str) -> Error {
    Error::caller(Code::InvalidInput, why).reason("INVALID_ARGUMENTS")
}

impl Admin {
    pub(super) fn register_infos(self: &Arc<Self>, to: &mut Registrar) {
        self.answer(to, "engine::functions::info", Self::function_info)
            .describe("a function with its schemas and triggers; up to 32 at once")
            .idempotent();
        self.answer(to, "engine::triggers::info", Self::trigger_type_info)
            .describe("a trigger type with its schemas")
            .idempotent();
        self.answer(to, "engine::registered-triggers::info", Self::trigger_info)
            .describe("a trigger with its type and its function")
            .idempotent();
        self.answer(to, "engine::workers::info", Self::worker_info)
            .describe("a worker with everything it offers")
            .idempotent();
    }

    fn function_info(&self, context: &Context, input: OfFunction) -> Result<Value, Error> {
        let space = input.namespace.as_deref().and_then(namespace);
        let rules = self.rules(context);
        let find = |id: &str| {
            let found = self.directory.function(space.as_deref(), id);
            let function = found.ok_or("not_found")?;
            if shown(rules.as_ref(), &function) {
                Ok(function)
            } else {
                Err("forbidden")
            }
        };
        let (workers, triggers) = (self.named(), self.directory.triggers());
        let detail =
            |function: &FunctionView| shape::function_detail(function, &workers, &triggers);
        match (input.function_id, input.function_ids) {
            (Some(id), None) => match find(&id) {
                Ok(function) => Ok(detail(&function)),
                Err("forbidden") => {
                    let message = format!("function '{id}' not allowed");
                    Err(Error::caller(Code::Forbidden, message).reason("FORBIDDEN"))
                }
                Err(_) => Err(not_found(&format!("function `{id}`"))),
            },
            (None, Some(ids)) if ids.len() <= BATCH_MAX => {
                let each = ids.iter().map(|id| match find(id) {
                    Ok(function) => detail(&function),
                    Err(why) => json!({ "function_id": id, "error": why }),
                });
                Ok(json!({ "functions": each.collect::<Vec<_>>() }))
            }
            (None, Some(ids)) => Err(invalid(&format!(
                "function_ids has {} entries, at most {BATCH_MAX} are possible",
                ids.len()
            ))),
            _ => Err(invalid("give either function_id or function_ids")),
        }
    }

    fn trigger_type_info(&self, _: &Context, input: OfId) -> Result<Value, Error> {
        let id = input.id.ok_or_else(|| invalid("id is missing"))?;
        let space = input.namespace.as_deref().and_then(namespace);
        let types = self.directory.trigger_types();
        let kind = types
            .iter()
            .find(|kind| *kind.spec.id == *id && kind.namespace == space);
        let kind = kind.ok_or_else(|| not_found(&format!("trigger type `{id}`")))?;
        let triggers = self.directory.triggers();
        Ok(shape::trigger_type_detail(kind, &self.named(), &triggers))
    }

    fn trigger_info(&self, context: &Context, input: OfId) -> Result<Value, Error> {
        let id = input.id.ok_or_else(|| invalid("id is missing"))?;
        let triggers = self.directory.triggers();
        let trigger = triggers.iter().find(|trigger| *trigger.spec.id == *id);
        let trigger = trigger.ok_or_else(|| not_found(&format!("trigger `{id}`")))?;
        let workers: Workers = self.named();
        let types = self.directory.trigger_types();
        let kind = types
            .iter()
            .find(|kind| kind.spec.id == trigger.spec.trigger_type);
        let rules = self.rules(context);
        let function = self
            .directory
            .function(trigger.spec.namespace.as_deref(), &trigger.spec.function)
            .filter(|function| shown(rules.as_ref(), function));
        let mut info = shape::registered_trigger(trigger, &workers);
        info["metadata"] = json!(trigger.spec.metadata);
        info["trigger"] =
            json!(kind.map(|kind| shape::trigger_type_detail(kind, &workers, &triggers)));
        info["function"] =
            json!(function.map(|function| shape::function_detail(&function, &workers, &triggers)));
        Ok(info)
    }

    fn worker_info(&self, context: &Context, input: OfName) -> Result<Value, Error> {
        let wanted = input.name.ok_or_else(|| invalid("name is missing"))?;
        let space = input.namespace.as_deref().map(namespace);
        let views = self.directory.workers();
        let worker = views.iter().rev().find(|worker| {
            shape::name(worker) == wanted
                && space
                    .as_ref()
                    .is_none_or(|space| worker.namespace == *space)
        });
        let worker = worker.ok_or_else(|| not_found(&format!("worker `{wanted}`")))?;
        let (workers, rules) = (self.named(), self.rules(context));
        let functions = self.directory.functions();
        let functions = functions.iter().filter(|function| {
            function.sessions.contains(&worker.session) && shown(rules.as_ref(), function)
        });
        let types = self.directory.trigger_types();
        let types = types.iter().filter(|kind| kind.provider == worker.session);
        let triggers = self.directory.triggers();
        let triggers = triggers
            .iter()
            .filter(|trigger| trigger.owner == worker.session);
        Ok(json!({
            "worker": self.worker(worker),
            "functions": functions.map(|function| shape::function(function, &workers)).collect::<Vec<_>>(),
            "trigger_types": types.map(|kind| shape::trigger_type_summary(kind, &workers)).collect::<Vec<_>>(),
            "registered_triggers": triggers.map(|trigger| shape::registered_trigger(trigger, &workers)).collect::<Vec<_>>(),
        }))
    }
}
