//! The front door: OpenAI's HTTP surface over agents and models, and agents over plain HTTP.
//!
//! A rim and nothing else: it reads requests, calls `agent::*`, `llm::*` and `embedding::*`, and
//! writes answers. docs/openai.md tells users what to expect.

mod agents;
mod ask;
mod chat;
mod completions;
mod config;
mod embeddings;
mod error;
mod fields;
mod forward;
mod http;
mod keys;
mod messages;
mod models;
mod relay;
mod request;
mod responses;
mod runs;
mod shape;
mod sse;

use std::sync::Arc;

use agentos_contract::keys::{CREATE_KEY, KEYS, KeyRef, NewKey, REVOKE_KEY, Scope};
use agentos_sdk::{Context, Registrar, Sink, Worker};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    error::Failure,
    http::{Answer, Request},
    keys::Meters,
    responses::Background,
};

pub use config::Config;

/// Offers `api::*`, bound to routes below `/v1`.
pub struct Api {
    config: Config,
    background: Background,
    meters: Meters,
}

impl Api {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Api {
            config,
            background: Background::default(),
            meters: Meters::default(),
        })
    }
}

/// How an error looks to the clients of a surface.
type Shape = fn(&Failure, &str) -> Answer;

fn openai(failure: &Failure, _: &str) -> Answer {
    failure.answer()
}

/// Every answer, errors too, can be found again by its id.
fn close(outcome: Result<Answer, Failure>, request_id: &str, shape: Shape) -> Answer {
    let answer = outcome.unwrap_or_else(|failure| {
        tracing::debug!(request_id, status = failure.status, "a request failed");
        shape(&failure, request_id)
    });
    // Anthropic's clients look for the second.
    answer
        .header("x-request-id", request_id)
        .header("request-id", request_id)
}

fn request_id() -> String {
    format!("req_{}", Uuid::new_v4().simple())
}

/// A function behind a route, for people and models.
struct Offer<'a> {
    id: &'a str,
    method: &'a str,
    path: &'a str,
    about: &'a str,
}

impl Offer<'_> {
    /// Its route: keys other than the engine's token are ours to judge.
    fn binding(&self) -> Value {
        json!({ "http_method": self.method, "api_path": self.path, "auth": "key" })
    }
}

const fn offer<'a>(id: &'a str, method: &'a str, path: &'a str, about: &'a str) -> Offer<'a> {
    Offer {
        id,
        method,
        path,
        about,
    }
}

/// Offers a function that answers one route as a whole.
fn route<F, Fut>(registrar: &mut Registrar, offer: Offer<'_>, shape: Shape, answer: F)
where
    F: Fn(Context, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    let handler = move |context: Context, request: Request| {
        let answer = answer(context, request);
        async move { Ok(close(answer.await, &request_id(), shape)) }
    };
    registrar
        .function(offer.id, handler)
        .describe(offer.about)
        .trigger("http", offer.binding());
}

/// As [`route`], for those who may manage agents.
fn managed<F, Fut>(registrar: &mut Registrar, offer: Offer<'_>, answer: F)
where
    F: Fn(Context, Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    route(
        registrar,
        offer,
        openai,
        move |context: Context, request| {
            let answer = answer.clone();
            async move {
                keys::who(context.bus(), &request, Scope::Agents).await?;
                answer(context, request).await
            }
        },
    );
}

/// Offers a function that answers one route as a whole or as a stream.
fn streaming<F, Fut>(registrar: &mut Registrar, offer: Offer<'_>, shape: Shape, answer: F)
where
    F: Fn(Context, Request, Arc<Mutex<Sink>>, Arc<str>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Answer>, Failure>> + Send + 'static,
{
    let handler = move |context: Context, request: Request, sink| {
        let id: Arc<str> = request_id().into();
        let answer = answer(context, request, sink, Arc::clone(&id));
        async move {
            let outcome = answer.await.transpose();
            Ok(outcome.map(|outcome| close(outcome, &id, shape)))
        }
    };
    registrar
        .streaming(offer.id, handler)
        .describe(offer.about)
        .trigger("http", offer.binding());
}

impl Worker for Api {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        self.register_answers(registrar);
        self.register_responses(registrar);
        register_models(registrar);
        register_agents(registrar);
        register_runs(registrar);
        register_keys(registrar);
    }
}

impl Api {
    fn register_answers(self: &Arc<Self>, registrar: &mut Registrar) {
        let about = "OpenAI's chat completions: ask an agent or a model, streamed or not.";
        let chat = offer(
            "api::chat_completions",
            "POST",
            "/v1/chat/completions",
            about,
        );
        let api = Arc::clone(self);
        streaming(
            registrar,
            chat,
            openai,
            move |context, request, sink, id| Arc::clone(&api).chat(context, request, sink, id),
        );
        let about = "OpenAI's older completions: a text in, a text out.";
        let completions = offer("api::completions", "POST", "/v1/completions", about);
        let api = Arc::clone(self);
        streaming(
            registrar,
            completions,
            openai,
            move |context, request, sink, id| Arc::clone(&api).complete(context, request, sink, id),
        );
        let about = "Anthropic's messages: ask an agent or a model, streamed or not.";
        let messages = offer("api::messages", "POST", "/v1/messages", about);
        let api = Arc::clone(self);
        streaming(
            registrar,
            messages,
            messages::failed,
            move |context, request, sink, id| Arc::clone(&api).messages(context, request, sink, id),
        );
        let about = "Estimates how many tokens a message to a model has.";
        let count = offer(
            "api::count_tokens",
            "POST",
            "/v1/messages/count_tokens",
            about,
        );
        route(registrar, count, messages::failed, messages::count_tokens);
        let about = "OpenAI's embeddings.";
        let embeddings = offer("api::embeddings", "POST", "/v1/embeddings", about);
        let api = Arc::clone(self);
        route(registrar, embeddings, openai, move |context, request| {
            Arc::clone(&api).embed(context, request)
        });
    }

    fn register_responses(self: &Arc<Self>, registrar: &mut Registrar) {
        let about = "OpenAI's responses: ask an agent or a model, and go on from there later.";
        let respond = offer("api::responses", "POST", "/v1/responses", about);
        let api = Arc::clone(self);
        streaming(
            registrar,
            respond,
            openai,
            move |context, request, sink, id| Arc::clone(&api).respond(context, request, sink, id),
        );
        let get = offer("api::response", "GET", "/v1/responses/:id", "One response.");
        let api = Arc::clone(self);
        route(registrar, get, openai, move |context, request| {
            Arc::clone(&api).response(context, request)
        });
        let about = "Removes a response.";
        let delete = offer("api::delete_response", "DELETE", "/v1/responses/:id", about);
        let api = Arc::clone(self);
        route(registrar, delete, openai, move |context, request| {
            Arc::clone(&api).delete_response(context, request)
        });
        let about = "Stops a response that is made in the background.";
        let cancel = offer(
            "api::cancel_response",
            "POST",
            "/v1/responses/:id/cancel",
            about,
        );
        let api = Arc::clone(self);
        route(registrar, cancel, openai, move |context, request| {
            Arc::clone(&api).cancel_response(context, request)
        });
        let about = "What a response was asked.";
        let items = offer(
            "api::response_items",
            "GET",
            "/v1/responses/:id/input_items",
            about,
        );
        route(registrar, items, openai, responses::input_items);
    }
}

fn register_models(registrar: &mut Registrar) {
    let list = offer(
        "api::models",
        "GET",
        "/v1/models",
        "Lists agents and models.",
    );
    route(registrar, list, openai, models::list);
    let one = offer("api::model", "GET", "/v1/models/*id", "One agent or model.");
    route(registrar, one, openai, models::get);
}

fn register_agents(registrar: &mut Registrar) {
    let create = offer(
        "api::create_agent",
        "POST",
        "/v1/agents",
        "Creates an agent.",
    );
    managed(registrar, create, agents::create);
    let list = offer("api::agents", "GET", "/v1/agents", "Lists agents.");
    managed(registrar, list, |context, _| agents::list(context));
    let one = offer("api::agent", "GET", "/v1/agents/:id", "One agent.");
    managed(registrar, one, agents::get);
    let delete = offer(
        "api::delete_agent",
        "DELETE",
        "/v1/agents/:id",
        "Removes an agent.",
    );
    managed(registrar, delete, agents::delete);
}

fn register_runs(registrar: &mut Registrar) {
    let list = offer("api::runs", "GET", "/v1/runs", "Lists runs of agents.");
    managed(registrar, list, runs::list);
    let one = offer("api::run", "GET", "/v1/runs/:id", "One run.");
    managed(registrar, one, runs::get);
    let stop = offer("api::stop_run", "POST", "/v1/runs/:id/stop", "Ends a run.");
    managed(registrar, stop, runs::stop);
    let about = "Lists tool calls that wait for a person's word.";
    let approvals = offer("api::approvals", "GET", "/v1/approvals", about);
    managed(registrar, approvals, runs::approvals);
    let about = "Says yes or no to a tool call.";
    let decide = offer("api::decide", "POST", "/v1/approvals/:id", about);
    managed(registrar, decide, runs::decide);
}

/// On the bus only: who makes keys has the engine's token.
fn register_keys(registrar: &mut Registrar) {
    registrar
        .function(CREATE_KEY, |context, request: NewKey| async move {
            keys::create(context.bus(), request).await
        })
        .describe("Make an API key; its secret is told this once.");
    registrar
        .function(KEYS, |context, _: Option<Value>| async move {
            keys::list(context.bus()).await
        })
        .describe("List API keys, without their secrets.")
        .idempotent();
    registrar
        .function(REVOKE_KEY, |context, request: KeyRef| async move {
            keys::revoke(context.bus(), &request).await
        })
        .describe("Take an API key back.");
}
