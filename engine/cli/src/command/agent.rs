//! `agentos agent`: what agents are and do, and what they ask people.

use agentos_contract::agent::{
    self, APPROVALS, Approval, ApprovalsRequest, DECIDE, Decide, RUN, RUNS, Run, RunRef,
    RunsRequest, STOP, StopRequest, Stopped,
};
use agentos_sdk::Client;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::{Agent, Common},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, Cell, DIM, Screen, plain, styled},
};

/// Of a tool's arguments, what a table shows.
const SHOWN_CHARS: usize = 60;

pub(crate) async fn run(verb: Agent, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    match verb {
        Agent::Ls => list(&client, screen).await,
        Agent::Inspect { name } => inspect(&client, &name, screen).await,
        Agent::Runs { agent, active } => {
            let wanted = RunsRequest {
                agent_id: agent,
                active,
                ..RunsRequest::default()
            };
            runs(&client, &wanted, screen).await
        }
        Agent::Stop { run, agent, all } => {
            let wanted = StopRequest {
                run_id: run,
                agent_id: agent,
                all,
                ..StopRequest::default()
            };
            stop(&client, &wanted, screen).await
        }
        Agent::Approvals { all } => approvals(&client, all, screen).await,
        Agent::Approve { id } => decide(&client, id, true, None, screen).await,
        Agent::Deny { id, reason } => decide(&client, id, false, reason, screen).await,
    }
}

async fn list(client: &Client, screen: &Screen) -> Result<(), Failure> {
    let agents: Vec<agent::Agent> = client.trigger(agent::LIST, &json!({})).await?;
    if screen.json {
        screen.value(&agents);
        return Ok(());
    }
    let row = |agent: &agent::Agent| {
        vec![
            Cell::new(&agent.id).style(BOLD),
            Cell::new(&agent.model),
            Cell::new(agent.capabilities.functions.join(" ")),
            Cell::new(&agent.description),
        ]
    };
    let rows: Vec<_> = agents.iter().map(row).collect();
    screen.table(&["ID", "MODEL", "MAY CALL", "ABOUT"], &rows);
    Ok(())
}

/// A run by its id, or an agent with its latest runs.
async fn inspect(client: &Client, name: &str, screen: &Screen) -> Result<(), Failure> {
    if name.starts_with("run_") {
        let run_id = name.to_owned();
        let run: Run = client.trigger(RUN, &RunRef { run_id }).await?;
        show(&run, screen);
        return Ok(());
    }
    let wanted = json!({ "agentId": name });
    let agent: agent::Agent = client.trigger(agent::GET, &wanted).await?;
    let wanted = RunsRequest {
        agent_id: Some(agent.id.clone()),
        limit: Some(10),
        ..RunsRequest::default()
    };
    if screen.json {
        let runs: Vec<Run> = client.trigger(RUNS, &wanted).await?;
        screen.value(&json!({ "agent": agent, "runs": runs }));
        return Ok(());
    }
    show(&agent, screen);
    runs(client, &wanted, screen).await
}

/// One field a line.
fn show(thing: &impl Serialize, screen: &Screen) {
    let value = serde_json::to_value(thing).unwrap_or_default();
    if screen.json {
        screen.value(&value);
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        screen.line(format!(
            "{}  {}",
            styled(DIM, format!("{name:<13}")),
            plain(value)
        ));
    }
}

async fn runs(client: &Client, wanted: &RunsRequest, screen: &Screen) -> Result<(), Failure> {
    let runs: Vec<Run> = client.trigger(RUNS, wanted).await?;
    if screen.json {
        screen.value(&runs);
        return Ok(());
    }
    let word = |value: Value| plain(&value);
    let row = |run: &Run| {
        let reason = run.stop_reason.map(|reason| word(json!(reason)));
        vec![
            Cell::new(&run.id).style(BOLD),
            Cell::new(&run.agent_id),
            Cell::new(word(json!(run.status))),
            Cell::new(reason.or(run.error.clone()).unwrap_or_default()),
            Cell::new(run.iterations),
            Cell::new(run.guard.calls),
            Cell::new(run.guard.blocked),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    let heads = [
        "RUN",
        "AGENT",
        "STATUS",
        "WHY",
        "MODEL CALLS",
        "TOOL CALLS",
        "REFUSED",
    ];
    screen.table(&heads, &rows);
    Ok(())
}

async fn stop(client: &Client, wanted: &StopRequest, screen: &Screen) -> Result<(), Failure> {
    let stopped: Stopped = client.trigger(STOP, wanted).await?;
    if screen.json {
        screen.value(&stopped);
    } else {
        for id in &stopped.stopped {
            screen.line(format!("{id} is ending"));
        }
    }
    if stopped.stopped.is_empty() {
        let failure = Failure::new(FAILED, "no such run is under way");
        return Err(failure.remedy("`agentos agent runs --active` lists those that are"));
    }
    Ok(())
}

async fn approvals(client: &Client, all: bool, screen: &Screen) -> Result<(), Failure> {
    let open: Vec<Approval> = client.trigger(APPROVALS, &ApprovalsRequest { all }).await?;
    if screen.json {
        screen.value(&open);
        return Ok(());
    }
    let row = |approval: &Approval| {
        let arguments: String = approval.arguments.chars().take(SHOWN_CHARS).collect();
        vec![
            Cell::new(&approval.id).style(BOLD),
            Cell::new(&approval.agent_id),
            Cell::new(plain(&json!(approval.status))),
            Cell::new(&approval.name),
            Cell::new(arguments),
        ]
    };
    let rows: Vec<_> = open.iter().map(row).collect();
    screen.table(&["ID", "AGENT", "STATUS", "FUNCTION", "ARGUMENTS"], &rows);
    Ok(())
}

async fn decide(
    client: &Client,
    approval_id: String,
    approve: bool,
    reason: Option<String>,
    screen: &Screen,
) -> Result<(), Failure> {
    let word = Decide {
        approval_id,
        approve,
        by: Some("cli".to_owned()),
        reason,
    };
    let answered: Approval = client.trigger(DECIDE, &word).await?;
    if screen.json {
        screen.value(&answered);
    } else {
        screen.line(format!(
            "{} {}",
            answered.name,
            plain(&json!(answered.status))
        ));
    }
    Ok(())
}
