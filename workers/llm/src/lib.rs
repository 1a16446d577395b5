//! The worker that asks language models: `llm::complete`, `llm::forward`, and what there is to know
//! of models, providers and what they consume.
//!
//! Providers of several wire families are behind one function. Knows nothing of agents, memory or
//! what a tool does: it is given messages and tools, and tells what the model says, as it says it.

mod anthropic;
mod asking;
mod bedrock;
mod bill;
mod breaker;
mod cache;
mod cohere;
pub mod config;
mod discover;
mod error;
mod forward;
mod gemini;
mod history;
mod hosted;
mod http;
mod keys;
mod meter;
mod offline;
mod ollama;
mod openai;
mod parameters;
mod provider;
mod reading;
mod responses;
mod route;
mod scripted;
pub mod table;

use std::sync::Arc;

use agentos_contract::llm::{
    COMPLETE, CompleteRequest, Completion, DISCOVER, Event, ListRequest, MODELS, PROVIDERS, ROUTE,
    ReleaseRequest, Released, Routed, SCRIPT_RELEASE, SCRIPT_REQUESTS, SCRIPT_RESET, ScriptRecords,
    USAGE, Usage, UsageRequest,
};
use agentos_sdk::{Bus, Context, Error, Registrar, Sink, Stop, Worker};
use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    cache::Cache,
    meter::Meter,
    provider::Ask,
    route::{Routes, Target},
    scripted::Stage,
};
pub use crate::{config::Config, provider::EventStream};

/// The worker.
pub struct Llm {
    routes: Routes,
    stage: Arc<Stage>,
    meter: Meter,
    cache: Option<Cache>,
    discovers: bool,
}

impl Llm {
    /// A worker with the providers of `config`, or `offline` when there are none.
    ///
    /// Reads script files, and opens record files; nothing is asked of any provider yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(config: Config) -> Result<Arc<Self>, config::Error> {
        let stage = Arc::default();
        let routes = Routes::new(&config, &stage)?;
        Ok(Arc::new(Llm {
            routes,
            stage,
            meter: Meter::default(),
            cache: config.cache.as_ref().map(Cache::new),
            discovers: config.discover,
        }))
    }

    /// Asks a model and waits until its answer begins. Dropping the stream, or this future, ends
    /// the work upstream. `stream` says whether pieces are wanted as they come.
    ///
    /// # Errors
    /// `invalid_input` for what cannot be asked, `unavailable`, `overloaded` and `timeout` for what
    /// goes wrong upstream.
    pub async fn start(
        &self,
        request: CompleteRequest,
        stream: bool,
    ) -> Result<EventStream, Error> {
        let targets = self.routes.find(&request)?.targets;
        let (_, events) = begin(&targets, &request, stream, None).await?;
        Ok(events)
    }

    async fn complete(
        self: Arc<Self>,
        context: Context,
        request: CompleteRequest,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<Completion, Error> {
        let stream = context.wants_stream();
        let targets = self.routes.find(&request)?.targets;
        let mut sink = sink.lock().await;
        let cache = self.cache.as_ref().filter(|_| request.cache != Some(false));
        let same = cache.and_then(|_| Cache::key(&request, &targets[0].name()));
        let kept = cache.and_then(|cache| cache.get(same.as_deref()?));
        let mut completion = Completion::default();
        if let Some(events) = kept {
            for event in events
                .iter()
                .filter(|event| !matches!(event, Event::Usage(_)))
            {
                completion.absorb(event);
                if stream {
                    sink.send(event).await?;
                }
            }
            completion.cached = true;
            return Ok(completion);
        }
        let deadline = Some(context.deadline().into());
        let (target, mut events) = begin(&targets, &request, stream, deadline).await?;
        let mut bill = self.bill(&request.account, target);
        let mut heard = Vec::new();
        while let Some(event) = events.next().await {
            let event = event?;
            if let Event::Usage(usage) = &event {
                bill.usage = Some(*usage);
            }
            completion.absorb(&event);
            if stream {
                sink.send(&event).await?;
            }
            if same.is_some() {
                heard.push(event);
            }
        }
        if let (Some(cache), Some(same)) = (cache, same) {
            cache.put(same, heard);
        }
        completion.cost_usd = bill.cost_usd();
        Ok(completion)
    }

    fn routed(&self, request: &CompleteRequest) -> Result<Routed, Error> {
        let plan = self.routes.find(request)?;
        let mut names = plan.targets.iter().map(Target::name);
        Ok(Routed {
            model: names.next().unwrap_or_default(),
            fallbacks: names.collect(),
            tier: plan.tier,
            why: plan.why,
        })
    }

    /// US dollars, where the price is known.
    fn cost_usd(&self, target: &Target, usage: &Usage) -> Option<f64> {
        let kind = &target.route.kind;
        let known = self.routes.table.model(kind, &target.model)?;
        known.cost_usd(kind, usage)
    }

    fn register_scripts(self: Arc<Self>, registrar: &mut Registrar) {
        let stage = Arc::clone(&self.stage);
        registrar
            .function(SCRIPT_RELEASE, move |_, request: ReleaseRequest| {
                let waiting = stage.release(&request.hold);
                async move { Ok(Released { waiting }) }
            })
            .describe("Lets scripted models that wait at a hold go on.");
        let stage = Arc::clone(&self.stage);
        registrar
            .function(SCRIPT_REQUESTS, move |_, _: Option<ListRequest>| {
                let records = stage.records();
                async move { Ok(ScriptRecords { records }) }
            })
            .describe(
                "Tells what the scripted models were asked in this run, and how each answer ended.",
            );
        let stage = Arc::clone(&self.stage);
        registrar
            .function(SCRIPT_RESET, move |_, _: Option<ListRequest>| {
                stage.reset();
                async move { Ok(()) }
            })
            .describe("Starts all scripts again from their first turn and forgets the records.");
    }

    fn register_lists(self: &Arc<Self>, registrar: &mut Registrar) {
        let llm = Arc::clone(self);
        registrar
            .function(MODELS, move |_, _: Option<ListRequest>| {
                let models = llm.routes.models();
                async move { Ok(models) }
            })
            .describe("Lists the language models that can be asked by name.")
            .idempotent();
        let llm = Arc::clone(self);
        registrar
            .function(PROVIDERS, move |_, _: Option<ListRequest>| {
                let providers = llm.routes.providers();
                async move { Ok(providers) }
            })
            .describe("Lists the providers of language models and whether each can be asked.")
            .idempotent();
        let llm = Arc::clone(self);
        registrar
            .function(ROUTE, move |_, request: CompleteRequest| {
                let routed = llm.routed(&request);
                async move { routed }
            })
            .describe("Tells which language model a request would go to, and why; asks none.")
            .idempotent();
        let llm = Arc::clone(self);
        registrar
            .function(USAGE, move |context: Context, request: UsageRequest| {
                let llm = Arc::clone(&llm);
                async move { llm.meter.report(context.bus(), &request).await }
            })
            .describe("Sums what language models consumed, by day, agent, key, provider or model.")
            .idempotent();
        let llm = Arc::clone(self);
        registrar
            .function(DISCOVER, move |_, _: Option<ListRequest>| {
                let llm = Arc::clone(&llm);
                async move { Ok(discover::run(&llm.routes).await) }
            })
            .describe("Looks for model servers on this machine and makes those found providers.")
            .idempotent();
    }
}

/// Asks `targets` in turn until an answer begins.
async fn begin<'t>(
    targets: &'t [Target],
    request: &'t CompleteRequest,
    stream: bool,
    deadline: Option<Instant>,
) -> Result<(&'t Target, EventStream), Error> {
    asking::first(targets, deadline, move |target| {
        Box::pin(async move {
            let provider = target.route.provider.as_ref();
            let provider = provider.ok_or_else(|| target.route.not_configured())?;
            let ask = Ask {
                model: &target.model,
                request,
                stream,
            };
            provider.start(ask).await
        })
    })
    .await
}

#[async_trait]
impl Worker for Llm {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let llm = Arc::clone(&self);
        registrar
            .streaming(COMPLETE, move |context, request, sink| Arc::clone(&llm).complete(context, request, sink))
            .describe("Asks a language model for the next message of a conversation; streams it as it is made.");
        forward::register(&self, registrar);
        self.register_lists(registrar);
        if self.routes.scripted() {
            self.register_scripts(registrar);
        }
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        if self.discovers {
            let found = discover::run(&self.routes).await;
            let servers: Vec<_> = found.servers.iter().map(|server| &server.name).collect();
            tracing::info!(?servers, "looked for model servers on this machine");
        }
        self.meter.run(&bus, &stop).await;
        Ok(())
    }
}
