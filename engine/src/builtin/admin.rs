//! The functions `engine::*`: what is connected, what it offers, how the engine is.
//!
//! Looks at the bus through [`Directory`] only.

mod listing;

use std::sync::Arc;

use agentos_core::{FunctionView, SessionView, TriggerTypeView, TriggerView};
use agentos_sdk::{Code, Context, Error, Registrar, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, supervisor};

/// What the admin may look at.
pub trait Directory: Send + Sync {
    fn functions(&self) -> Vec<FunctionView>;
    fn workers(&self) -> Vec<SessionView>;
    fn triggers(&self) -> Vec<TriggerView>;
    fn trigger_types(&self) -> Vec<TriggerTypeView>;
    fn calls_in_flight(&self) -> usize;
}

impl Directory for crate::Bus {
    fn functions(&self) -> Vec<FunctionView> {
        self.functions()
    }

    fn workers(&self) -> Vec<SessionView> {
        self.workers()
    }

    fn triggers(&self) -> Vec<TriggerView> {
        self.triggers()
    }

    fn trigger_types(&self) -> Vec<TriggerTypeView> {
        self.trigger_types()
    }

    fn calls_in_flight(&self) -> usize {
        self.calls_in_flight()
    }
}

/// The built-in worker `engine`.
pub struct Admin {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) supervisor: supervisor::Handle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) clock: Clock,
    /// What `engine::status` says about addresses and folders.
    pub(crate) about: Value,
}

/// Input of the listing functions.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct ListInput {
    /// Also the engine's own.
    include_internal: Option<bool>,
    /// Only ids that start so.
    prefix: Option<String>,
    /// Only ids or descriptions that contain this.
    search: Option<String>,
    /// Only this worker's, by id.
    worker_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
}

impl Worker for Admin {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let admin = &self;
        registrar
            .function(
                "engine::functions::list",
                with(admin, |admin, _, input: Option<ListInput>| {
                    admin.list_functions(input.unwrap_or_default())
                }),
            )
            .describe("lists functions with their schemas and the workers that offer them")
            .idempotent();
        registrar
            .function(
                "engine::workers::list",
                with(admin, |admin, _, input: Option<ListInput>| {
                    admin.list_workers(&input.unwrap_or_default())
                }),
            )
            .describe("lists connected workers")
            .idempotent();
        registrar
            .function("engine::triggers::list", with(admin, |admin, context, input: Option<ListInput>| admin.list_triggers(context, &input.unwrap_or_default())))
            .describe("lists triggers and whether they are bound; trigger types for SDKs that expect those here")
            .idempotent();
        registrar
            .function("engine::trigger-types::list", with(admin, |admin, _, _: Option<ListInput>| json!({ "trigger_types": admin.trigger_types() })))
            .describe("lists kinds of event sources")
            .idempotent();
        registrar
            .function(
                "engine::status",
                with(admin, |admin, _, _: Option<Value>| admin.status()),
            )
            .describe("says how the engine is: addresses, uptime, counts, worker processes")
            .idempotent();
        registrar
            .function(
                "engine::supervisor::list",
                with(
                    admin,
                    |admin, _, _: Option<Value>| json!({ "workers": admin.supervisor.statuses() }),
                ),
            )
            .describe("lists worker processes and how they are")
            .idempotent();
        registrar
            .function("engine::supervisor::restart", restart(admin))
            .describe("stops a worker process and starts it again");
        registrar
            .function(
                "engine::shutdown",
                with(admin, |admin, _, _: Option<Value>| {
                    admin.shutdown.cancel();
                    json!({ "stopping": true })
                }),
            )
            .describe("stops the engine and its workers");
    }
}

/// A handler out of a method that answers at once.
fn with<I, O, F>(
    admin: &Arc<Admin>,
    answer: F,
) -> impl Fn(Context, I) -> std::future::Ready<Result<O, Error>> + Send + Sync + 'static
where
    F: Fn(&Admin, &Context, I) -> O + Send + Sync + 'static,
{
    let admin = Arc::clone(admin);
    move |context, input| std::future::ready(Ok(answer(&admin, &context, input)))
}

fn restart(
    admin: &Arc<Admin>,
) -> impl Fn(Context, Name) -> futures_util::future::BoxFuture<'static, Result<Done, Error>>
+ Send
+ Sync
+ 'static {
    let admin = Arc::clone(admin);
    move |_, Name { name }| {
        let supervisor = admin.supervisor.clone();
        Box::pin(async move {
            let known = supervisor.restart(&name).await;
            let unknown = || {
                Error::caller(
                    Code::NotFound,
                    format!("no worker process is called `{name}`"),
                )
            };
            known.then_some(Done { done: true }).ok_or_else(unknown)
        })
    }
}

impl Admin {
    fn status(&self) -> Value {
        let functions = self.directory.functions();
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_ms": self.clock.now().0 / 1_000,
            "functions": functions.len(),
            "calls_in_flight": self.directory.calls_in_flight(),
            "workers": self.list_workers(&ListInput::default())["workers"],
            "processes": self.supervisor.statuses(),
        });
        if let (Value::Object(status), Value::Object(about)) = (&mut status, &self.about) {
            status.extend(about.clone());
        }
        status
    }
}
