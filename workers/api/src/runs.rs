//! `/v1/runs` and `/v1/approvals`: what agents do, and what they ask people, over plain HTTP.

use agentos_contract::agent::{
    APPROVALS, Approval, ApprovalsRequest, DECIDE, Decide, RUN, RUNS, Run, RunRef, RunsRequest,
    STOP, StopRequest, Stopped,
};
use agentos_sdk::Context;
use serde_json::json;

use crate::{
    error::Failure,
    fields::Fields,
    http::{Answer, Request},
};

pub(crate) async fn list(context: Context, request: Request) -> Result<Answer, Failure> {
    let query = |name: &str| request.query_params.get(name).cloned();
    let wanted = RunsRequest {
        agent_id: query("agent_id"),
        session_id: query("session_id"),
        active: query("active").is_some_and(|active| active == "true"),
        limit: query("limit").and_then(|limit| limit.parse().ok()),
    };
    let runs: Vec<Run> = context.trigger(RUNS, &wanted).await?;
    Ok(Answer::ok(json!({ "object": "list", "data": runs })))
}

pub(crate) async fn get(context: Context, request: Request) -> Result<Answer, Failure> {
    let run_id = request.param("id").to_owned();
    let run: Run = context.trigger(RUN, &RunRef { run_id }).await?;
    Ok(Answer::ok(json!(run)))
}

/// 404 when no such run is under way.
pub(crate) async fn stop(context: Context, request: Request) -> Result<Answer, Failure> {
    let id = request.param("id");
    let wanted = StopRequest {
        run_id: Some(id.to_owned()),
        ..StopRequest::default()
    };
    let stopped: Stopped = context.trigger(STOP, &wanted).await?;
    if stopped.stopped.is_empty() {
        return Err(Failure::not_found(format!("no run `{id}` is under way")));
    }
    Ok(Answer::ok(
        json!({ "id": id, "object": "run", "stopped": true }),
    ))
}

pub(crate) async fn approvals(context: Context, request: Request) -> Result<Answer, Failure> {
    let all = request
        .query_params
        .get("all")
        .is_some_and(|all| all == "true");
    let open: Vec<Approval> = context
        .trigger(APPROVALS, &ApprovalsRequest { all })
        .await?;
    Ok(Answer::ok(json!({ "object": "list", "data": open })))
}

/// `{"approve": true}` is a yes.
pub(crate) async fn decide(context: Context, request: Request) -> Result<Answer, Failure> {
    let approval_id = request.param("id").to_owned();
    let mut fields = Fields(request.object()?);
    let word = Decide {
        approval_id,
        approve: fields.required("approve")?,
        by: fields.take("by")?,
        reason: fields.take("reason")?,
    };
    let answered: Approval = context.trigger(DECIDE, &word).await?;
    Ok(Answer::ok(json!(answered)))
}
