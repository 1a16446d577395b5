//! `GET /v1/models`: the agents, and the models behind them.

use agentos_contract::{
    agent::{self, Agent},
    keys::Scope,
    llm::{self, Models},
};
use agentos_sdk::{Context, Error};
use serde_json::{Value, json};

use crate::{
    error::Failure,
    http::{Answer, Request},
    keys,
};

pub(crate) async fn list(context: Context, request: Request) -> Result<Answer, Failure> {
    let models = of(&context, &request).await?;
    Ok(Answer::ok(json!({ "object": "list", "data": models })))
}

/// Those that the sender of the request may ask.
async fn of(context: &Context, request: &Request) -> Result<Vec<Value>, Failure> {
    let who = keys::who(context.bus(), request, Scope::Chat).await?;
    let mut models = all(context).await?;
    models.retain(|model| model["id"].as_str().is_some_and(|id| who.may_ask(id)));
    Ok(models)
}

pub(crate) async fn get(context: Context, request: Request) -> Result<Answer, Failure> {
    let wanted = request.param("id");
    let found = of(&context, &request)
        .await?
        .into_iter()
        .find(|model| model["id"] == wanted || model["model"] == wanted);
    found
        .map(Answer::ok)
        .ok_or_else(|| Failure::unknown_model(wanted))
}

/// Without agents there are models, and without models agents; without both it is an error.
async fn all(context: &Context) -> Result<Vec<Value>, Error> {
    let nothing = json!({});
    let (agents, models) = tokio::join!(
        context.trigger::<Vec<Agent>>(agent::LIST, &nothing),
        context.trigger::<Models>(llm::MODELS, &nothing),
    );
    let (agents, models) = match (agents, models) {
        (Err(error), Err(_)) => return Err(error),
        (agents, models) => (told(agents), told(models)),
    };
    let agents = agents
        .unwrap_or_default()
        .into_iter()
        .map(|agent| of_agent(&agent));
    let models = models
        .unwrap_or_default()
        .models
        .into_iter()
        .map(|model| of_model(&model));
    Ok(agents.chain(models).collect())
}

fn told<T>(outcome: Result<T, Error>) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(%error, "a part of the list of models is missing"))
        .ok()
}

fn of_agent(agent: &Agent) -> Value {
    json!({
        "id": format!("agent/{}", agent.id),
        "object": "model",
        "created": agent.created_at / 1000,
        "owned_by": "agentos",
        "name": agent.name,
        "description": agent.description,
    })
}

/// Nobody says when a model was made, and clients want a number.
fn of_model(model: &llm::Model) -> Value {
    json!({ "id": model.id, "object": "model", "created": 0, "owned_by": model.provider, "model": model.model })
}
