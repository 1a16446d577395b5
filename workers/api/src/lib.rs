//! The front door: OpenAI's HTTP surface over agents and models, and agents over plain HTTP.
//!
//! A rim and nothing else: it reads requests, calls `agent::*`, `llm::*` and `embedding::*`, and
//! writes answers. docs/openai.md tells users what to expect.

mod agents;
mod chat;
mod config;
mod embeddings;
mod error;
mod http;
mod models;
mod request;
mod shape;
mod sse;

use std::sync::Arc;

use agentos_sdk::{Context, Registrar, Worker};
use uuid::Uuid;

use crate::{
    error::Failure,
    http::{Answer, Request},
};

pub use config::Config;

/// Offers `api::*`, bound to routes below `/v1`.
pub struct Api {
    config: Config,
}

impl Api {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Api { config })
    }
}

/// Every answer, errors too, can be found again by its id.
fn close(outcome: Result<Answer, Failure>, request_id: &str) -> Answer {
    let answer = outcome.unwrap_or_else(|failure| {
        tracing::debug!(request_id, status = failure.status, "a request failed");
        failure.answer()
    });
    answer.header("x-request-id", request_id)
}

fn request_id() -> String {
    format!("req_{}", Uuid::new_v4().simple())
}

/// Offers a function that answers one route as a whole.
fn route<F, Fut>(
    registrar: &mut Registrar,
    id: &str,
    method: &str,
    path: &str,
    about: &str,
    answer: F,
) where
    F: Fn(Context, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    let handler = move |context: Context, request: Request| {
        let answer = answer(context, request);
        async move { Ok(close(answer.await, &request_id())) }
    };
    registrar
        .function(id, handler)
        .describe(about)
        .http(method, path);
}

impl Worker for Api {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar
            .streaming(
                "api::chat_completions",
                move |context, request: Request, sink| {
                    let api = Arc::clone(&self);
                    async move {
                        let id = request_id();
                        let outcome = api.chat(context, request, sink, &id).await.transpose();
                        Ok(outcome.map(|outcome| close(outcome, &id)))
                    }
                },
            )
            .describe("OpenAI's chat completions: ask an agent or a model, streamed or not.")
            .http("POST", "/v1/chat/completions");
        route(
            registrar,
            "api::models",
            "GET",
            "/v1/models",
            "Lists agents and models.",
            |context, _| models::list(context),
        );
        route(
            registrar,
            "api::model",
            "GET",
            "/v1/models/*id",
            "One agent or model.",
            models::get,
        );
        route(
            registrar,
            "api::embeddings",
            "POST",
            "/v1/embeddings",
            "OpenAI's embeddings.",
            embeddings::create,
        );
        route(
            registrar,
            "api::create_agent",
            "POST",
            "/v1/agents",
            "Creates an agent.",
            agents::create,
        );
        route(
            registrar,
            "api::agents",
            "GET",
            "/v1/agents",
            "Lists agents.",
            |context, _| agents::list(context),
        );
        route(
            registrar,
            "api::agent",
            "GET",
            "/v1/agents/:id",
            "One agent.",
            agents::get,
        );
        route(
            registrar,
            "api::delete_agent",
            "DELETE",
            "/v1/agents/:id",
            "Removes an agent.",
            agents::delete,
        );
    }
}
