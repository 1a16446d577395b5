//! `/v1/agents`: agents over plain HTTP, in the shapes of `agent::*`.

use agentos_contract::agent::{Agent, AgentRef, CREATE, Created, DELETE, Deleted, GET, LIST};
use agentos_sdk::Context;
use serde_json::{Value, json};

use crate::{
    error::Failure,
    http::{Answer, Request},
};

pub(crate) async fn create(context: Context, request: Request) -> Result<Answer, Failure> {
    let body = Value::Object(request.object()?);
    let created: Created = context.trigger(CREATE, &body).await?;
    Ok(Answer {
        status_code: 201,
        ..Answer::ok(json!(created.agent))
    })
}

pub(crate) async fn list(context: Context) -> Result<Answer, Failure> {
    let agents: Vec<Agent> = context.trigger(LIST, &json!({})).await?;
    Ok(Answer::ok(json!({ "object": "list", "data": agents })))
}

pub(crate) async fn get(context: Context, request: Request) -> Result<Answer, Failure> {
    let agent: Agent = context.trigger(GET, &named(&request)).await?;
    Ok(Answer::ok(json!(agent)))
}

pub(crate) async fn delete(context: Context, request: Request) -> Result<Answer, Failure> {
    let deleted: Deleted = context.trigger(DELETE, &named(&request)).await?;
    Ok(Answer::ok(
        json!({ "id": deleted.agent_id, "object": "agent", "deleted": deleted.deleted }),
    ))
}

fn named(request: &Request) -> AgentRef {
    AgentRef {
        agent_id: request.param("id").to_owned(),
    }
}
