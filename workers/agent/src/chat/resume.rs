//! Going on with runs that were under way when the engine ended, or that wait for a word which
//! has come meanwhile.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_contract::{
    agent::{Approval, ApprovalStatus, RunStatus},
    chat::{Message, Role, ToolCall},
    llm,
};
use agentos_sdk::{Bus, Code, Error, Origin};
use serde_json::{Value, json};

use super::{Caller, tool::Line};
use crate::{
    Agents, approvals,
    history::unanswered,
    runs::{self, Row},
};

/// Longest that a run may still take when nobody waits for it.
const RESUMED_MAX: Duration = Duration::from_mins(30);

/// Other workers are there a moment after us, or not at all.
const WORKERS_WAIT: Duration = Duration::from_secs(10);
const WORKERS_RETRY: Duration = Duration::from_millis(250);

/// Every instance offers a function of this name, so that others can see that it lives.
pub(crate) const INSTANCE: &str = "agent::instance::";

impl Agents {
    /// Goes on with every run whose worker is gone.
    pub(crate) async fn resume_all(self: &Arc<Self>, bus: &Bus) -> Result<(), Error> {
        let rows = runs::rows(bus).await?;
        let open = |row: &Row| matches!(row.run.status, RunStatus::Running | RunStatus::Waiting);
        let rows: Vec<Row> = rows.into_iter().filter(open).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let living = living(bus).await?;
        for row in rows
            .into_iter()
            .filter(|row| !living.contains(&row.instance))
        {
            let waits = row.run.status == RunStatus::Waiting
                && approvals::list(bus, false)
                    .await?
                    .iter()
                    .any(|open| open.run_id == row.run.id);
            if !waits {
                self.resume(bus, row);
            }
        }
        Ok(())
    }

    /// Goes on with the run that asked, if it does not wait any more.
    pub(crate) async fn decided(
        self: &Arc<Self>,
        bus: &Bus,
        answer: &Approval,
    ) -> Result<(), Error> {
        if self.runs.is_live(&answer.run_id) {
            return Ok(());
        }
        let row = runs::row(bus, &answer.run_id).await?;
        if let Some(row) = row.filter(|row| row.run.status == RunStatus::Waiting) {
            let living = living(bus).await?;
            let elsewhere = row.instance != self.runs.instance && living.contains(&row.instance);
            if !elsewhere {
                self.resume(bus, row);
            }
        }
        Ok(())
    }

    fn resume(self: &Arc<Self>, bus: &Bus, row: Row) {
        let (agents, bus) = (Arc::clone(self), bus.detached());
        tracing::info!(
            run = row.run.id,
            agent = row.run.agent_id,
            "a run is gone on with"
        );
        tokio::spawn(async move {
            let deadline = Instant::now() + RESUMED_MAX;
            let patience = Instant::now() + WORKERS_WAIT;
            let id = row.run.id.clone();
            loop {
                let caller = Caller {
                    bus: bus.clone(),
                    deadline,
                    sink: None,
                    line: Line::default(),
                };
                let answer = agents.answer(caller, row.request.clone(), Some(row.run.clone()));
                match Box::pin(answer).await {
                    Err(error) if is_missing(&error) && Instant::now() < patience => {
                        tokio::time::sleep(WORKERS_RETRY).await;
                    }
                    Err(error) => {
                        return tracing::warn!(run = id, %error, "a run could not be gone on with");
                    }
                    Ok(_) => return,
                }
            }
        });
    }
}

/// A worker is not there, or not yet.
fn is_missing(error: &Error) -> bool {
    error.code == Code::NotFound && error.origin == Origin::Engine
}

/// Instances that are connected.
async fn living(bus: &Bus) -> Result<HashSet<String>, Error> {
    let asked = json!({ "prefix": INSTANCE, "include_internal": true });
    let listed: Value = bus.trigger("engine::functions::list", &asked).await?;
    let functions = listed["functions"].as_array();
    let ids = functions.into_iter().flatten().filter_map(|function| {
        let id = function["function_id"].as_str()?;
        id.strip_prefix(INSTANCE).map(str::to_owned)
    });
    Ok(ids.collect())
}

/// Calls of the conversation that a person was asked about, and that were not made.
pub(super) async fn left(
    bus: &Bus,
    run_id: &str,
    messages: &[Message],
) -> Result<Vec<ToolCall>, Error> {
    let mut left = Vec::new();
    for call in unanswered(messages, |_| true) {
        let asked = approvals::get(bus, &approvals::id(run_id, &call.id)).await?;
        if asked.is_some_and(|asked| !asked.begun && asked.status != ApprovalStatus::Expired) {
            left.push(call);
        }
    }
    Ok(left)
}

/// Whether the run had said all it would say, but for the note that it has ended.
pub(super) fn is_complete(messages: &[Message]) -> bool {
    messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant && last.tool_calls.is_empty())
}

/// As the model asked for it.
pub(super) fn wanted(call: &ToolCall) -> Option<llm::ToolCall> {
    let function = call.function.as_ref()?;
    Some(llm::ToolCall {
        id: call.id.clone(),
        name: function.name.clone(),
        arguments: function.arguments.clone(),
    })
}
