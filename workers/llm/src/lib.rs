//! The worker that asks language models: `llm::complete`, `llm::models`, `llm::providers`.
//!
//! Providers of several wire families are behind one function. Knows nothing of agents, memory or
//! what a tool does: it is given messages and tools, and tells what the model says, as it says it.

mod anthropic;
pub mod config;
mod error;
mod http;
mod offline;
mod openai;
mod provider;
mod reading;
mod route;
mod scripted;

use std::sync::Arc;

use agentos_contract::llm::{
    COMPLETE, CompleteRequest, Completion, ListRequest, MODELS, PROVIDERS, ReleaseRequest,
    Released, SCRIPT_RELEASE, SCRIPT_REQUESTS, SCRIPT_RESET, ScriptRecords,
};
use agentos_sdk::{Context, Error, Registrar, Sink, Worker};
use futures_util::StreamExt;
use tokio::sync::Mutex;

pub use crate::{config::Config, provider::EventStream};
use crate::{provider::Ask, route::Routes, scripted::Stage};

/// The worker.
pub struct Llm {
    routes: Routes,
    stage: Arc<Stage>,
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
        Ok(Arc::new(Llm { routes, stage }))
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
        let (provider, model) = self.routes.find(&request)?;
        provider
            .start(Ask {
                model,
                request,
                stream,
            })
            .await
    }

    async fn complete(
        self: Arc<Self>,
        context: Context,
        request: CompleteRequest,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<Completion, Error> {
        let stream = context.wants_stream();
        let mut events = self.start(request, stream).await?;
        let mut completion = Completion::default();
        let mut sink = sink.lock().await;
        while let Some(event) = events.next().await {
            let event = event?;
            completion.absorb(&event);
            if stream {
                sink.send(&event).await?;
            }
        }
        Ok(completion)
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
}

impl Worker for Llm {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let llm = Arc::clone(&self);
        registrar
            .streaming(COMPLETE, move |context, request, sink| Arc::clone(&llm).complete(context, request, sink))
            .describe("Asks a language model for the next message of a conversation; streams it as it is made.");
        let llm = Arc::clone(&self);
        registrar
            .function(MODELS, move |_, _: Option<ListRequest>| {
                let models = llm.routes.models();
                async move { Ok(models) }
            })
            .describe("Lists the language models that can be asked by name.")
            .idempotent();
        let llm = Arc::clone(&self);
        registrar
            .function(PROVIDERS, move |_, _: Option<ListRequest>| {
                let providers = llm.routes.providers();
                async move { Ok(providers) }
            })
            .describe("Lists the providers of language models and whether each can be asked.")
            .idempotent();
        if self.routes.scripted() {
            self.register_scripts(registrar);
        }
    }
}
