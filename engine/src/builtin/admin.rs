//! The functions `engine::*`: what is connected, what it offers, how the engine is.
//!
//! Looks at the bus through [`Directory`] only.

mod changes;
mod directory;
mod events;
mod info;
mod listing;
mod registering;
mod shape;
mod sharing;
mod workers;

use std::{sync::Arc, time::Duration};

use agentos_core::{
    Event, FunctionView, SessionView, Share, TriggerTypeView, TriggerView, policy::Rules,
};
use agentos_protocol::SessionId;
use agentos_sdk::{
    Bus, Code, Context, Error, FunctionBuilder, Registrar, Stop, TriggerSpec, Worker, async_trait,
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    builtin::{live::Live, observe::Telemetry},
    bus::{Drained, Parting},
    clock::Clock,
    fleet::Fleet,
    storage::Storage,
    supervisor,
};
use changes::Changes;

/// What the admin may look at and do on the bus.
pub trait Directory: Send + Sync {
    fn functions(&self) -> Vec<FunctionView>;
    fn function(&self, namespace: Option<&str>, id: &str) -> Option<FunctionView>;
    fn workers(&self) -> Vec<SessionView>;
    fn triggers(&self) -> Vec<TriggerView>;
    fn trigger_types(&self) -> Vec<TriggerTypeView>;
    fn calls_in_flight(&self) -> usize;
    /// What the worker of this public id may do, if its listener limits it.
    fn rules_of(&self, worker: &str) -> Option<Arc<Rules>>;
    fn events(&self) -> broadcast::Receiver<Event>;
    /// See [`crate::Bus::set_share_over`].
    fn set_share(&self, session: SessionId, share: Share, over: Duration) -> bool;
    /// See [`crate::Bus::drain`].
    fn drain(&self, session: SessionId, patience: Duration) -> BoxFuture<'_, Drained>;
    /// See [`crate::Bus::can_be_stopped`].
    fn can_be_stopped(&self, session: SessionId) -> bool;
    /// See [`crate::Bus::part`].
    fn part(&self, session: SessionId, parting: Parting);
    /// Binds a trigger for the worker of this public id; false when it is gone.
    fn add_trigger(&self, worker: &str, trigger: TriggerSpec) -> bool;
    /// Takes a trigger of the worker back; false when it has none of this id.
    fn remove_trigger(&self, worker: &str, id: &str) -> bool;
}

/// The built-in worker `engine`.
pub struct Admin {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) fleet: Fleet,
    pub(crate) supervisor: supervisor::Handle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Telemetry,
    /// What `engine::status` says about addresses and folders.
    pub(crate) about: Live<Value>,
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) changes: Arc<Changes>,
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
}

impl Admin {
    /// Offers a function that answers at once. An absent input reads like an empty one.
    fn answer<'a, I, F>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        answer: F,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Default + Send + 'static,
        F: Fn(&Admin, &Context, I) -> Result<Value, Error> + Send + Sync + 'static,
    {
        let admin = Arc::clone(self);
        to.function(id, move |context: Context, input: Option<I>| {
            std::future::ready(answer(&admin, &context, input.unwrap_or_default()))
        })
    }

    fn status(&self) -> Value {
        let functions = self.directory.functions();
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_ms": self.clock.now().0 / 1_000,
            "functions": functions.len(),
            "calls_in_flight": self.directory.calls_in_flight(),
            "workers": self.list_workers(&listing::Wanted::default(), false)["workers"],
            "processes": self.supervisor.statuses(),
            "storage": self.store.health().adapter,
        });
        if let Some(trouble) = self.store.health().read_only {
            status["storage_trouble"] = json!(trouble);
        }
        if let (Value::Object(status), Value::Object(about)) = (&mut status, &*self.about.get()) {
            status.extend(about.clone());
        }
        status
    }
}

#[async_trait]
impl Worker for Admin {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        self.register_lists(registrar);
        self.register_infos(registrar);
        self.register_triggers(registrar);
        events::register(&self, registrar);
        sharing::register(&self, registrar);
        self.register_workers(registrar);
        changes::register(&self.changes, registrar);
        self.answer(registrar, "engine::status", |admin, _, _: Value| {
            Ok(admin.status())
        })
        .describe("says how the engine is: addresses, uptime, counts, worker processes")
        .idempotent();
        self.answer(
            registrar,
            "engine::supervisor::list",
            |admin, _, _: Value| Ok(json!({ "workers": admin.supervisor.statuses() })),
        )
        .describe("lists worker processes and how they are")
        .idempotent();
        registrar
            .function("engine::supervisor::restart", restart(&self))
            .describe("stops a worker process and starts it again");
        self.answer(registrar, "engine::shutdown", |admin, _, _: Value| {
            admin.shutdown.cancel();
            Ok(json!({ "stopping": true }))
        })
        .describe("stops the engine and its workers");
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let events = self.directory.events();
        let list = || shape::plain_functions(&self.directory.functions());
        self.changes.run(events, list, bus, stop).await;
        Ok(())
    }
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
