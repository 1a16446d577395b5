//! The agent worker: who the agents are, and the loop that lets a model use functions as tools.
//!
//! The decisions of the loop are in `turn`, `guard`, `history`, `tools` and `clip`, which know no
//! bus; `chat` carries them out.

mod approvals;
mod chat;
mod clip;
mod config;
mod guard;
mod history;
mod roster;
mod runs;
mod sessions;
mod speech;
mod tools;
mod turn;
mod words;

use std::sync::Arc;

use agentos_contract::agent::{
    APPROVALS, AgentRef, ApprovalsRequest, CHAT, CREATE, ChatRequest, CreateRequest, DECIDE,
    DELETE, Decide, GET, HISTORY, HistoryRequest, LIST, ListRequest, RUN, RUNS, RunRef,
    RunsRequest, STOP, StopRequest, Stopped, UPDATE, UpdateRequest,
};
use agentos_sdk::{Bus, Error, Registrar, Stop, Worker};
use async_trait::async_trait;

use crate::{
    approvals::Approvals,
    chat::{compact::Rooms, resume::INSTANCE},
    roster::Roster,
    runs::Runs,
    sessions::Sessions,
};

pub use config::Config;

/// Offers `agent::*`.
pub struct Agents {
    config: Config,
    roster: Roster,
    sessions: Sessions,
    rooms: Rooms,
    runs: Arc<Runs>,
    approvals: Approvals,
}

impl Agents {
    pub fn new(config: Config) -> Arc<Self> {
        let roster = Roster::new(config.agents.clone());
        Arc::new(Agents {
            roster,
            sessions: Sessions::default(),
            rooms: Rooms::default(),
            runs: Runs::new(),
            approvals: Approvals::default(),
            config,
        })
    }

    fn register_roster(self: &Arc<Self>, registrar: &mut Registrar) {
        let agents = Arc::clone(self);
        registrar
            .function(CREATE, move |context, request: CreateRequest| {
                let agents = Arc::clone(&agents);
                async move { agents.roster.create(context.bus(), request).await }
            })
            .describe("Create an agent: instructions, a model, and the functions it may call.");
        let agents = Arc::clone(self);
        registrar
            .function(GET, move |context, request: AgentRef| {
                let agents = Arc::clone(&agents);
                async move { agents.roster.get(context.bus(), &request.agent_id).await }
            })
            .describe("Get an agent by id or name.")
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(LIST, move |context, _: Option<ListRequest>| {
                let agents = Arc::clone(&agents);
                async move { agents.roster.list(context.bus()).await }
            })
            .describe("List all agents.")
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(UPDATE, move |context, request: UpdateRequest| {
                let agents = Arc::clone(&agents);
                async move { agents.roster.update(context.bus(), request).await }
            })
            .describe("Change an agent; what is not given stays.")
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(DELETE, move |context, request: AgentRef| {
                let agents = Arc::clone(&agents);
                async move { agents.roster.delete(context.bus(), &request.agent_id).await }
            })
            .describe("Remove an agent with its conversations and memories.");
    }
}

impl Agents {
    fn register_runs(self: &Arc<Self>, registrar: &mut Registrar) {
        let agents = Arc::clone(self);
        registrar
            .function(RUNS, move |context, request: RunsRequest| {
                let agents = Arc::clone(&agents);
                async move { agents.runs.list(context.bus(), request).await }
            })
            .describe("List runs, newest first: answers under way and past ones.")
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(RUN, move |context, request: RunRef| {
                let agents = Arc::clone(&agents);
                async move { agents.runs.get(context.bus(), &request.run_id).await }
            })
            .describe(
                "Get a run: its tool calls, usage, and what the guard against loops has seen.",
            )
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(STOP, move |_, request: StopRequest| {
                let stopped = agents.runs.stop(&request);
                std::future::ready(Ok(Stopped { stopped }))
            })
            .describe(
                "End runs with what they have: one, those of a conversation or agent, or all.",
            )
            .idempotent();
    }

    fn register_approvals(self: &Arc<Self>, registrar: &mut Registrar) {
        registrar
            .function(APPROVALS, |context, request: ApprovalsRequest| async move {
                approvals::list(context.bus(), request.all).await
            })
            .describe("List tool calls that wait for a person's word.")
            .idempotent();
        let agents = Arc::clone(self);
        registrar
            .function(DECIDE, move |context, request: Decide| {
                let agents = Arc::clone(&agents);
                async move {
                    let answer = agents.approvals.decide(context.bus(), request).await?;
                    agents.decided(context.bus(), &answer).await?;
                    Ok(answer)
                }
            })
            .describe("Say yes or no to a tool call that waits for it.");
    }

    fn register_history(self: &Arc<Self>, registrar: &mut Registrar) {
        let agents = Arc::clone(self);
        registrar
            .function(HISTORY, move |context, request: HistoryRequest| {
                let agents = Arc::clone(&agents);
                async move {
                    let wanted = if request.agent_id.is_empty() {
                        &agents.config.default_agent
                    } else {
                        &request.agent_id
                    };
                    let agent = agents.roster.get(context.bus(), wanted).await?;
                    let (messages, _) =
                        sessions::read(context.bus(), &agent.id, &request.session_id).await?;
                    Ok(messages)
                }
            })
            .describe("What was said in a conversation, oldest first.")
            .idempotent();
    }

    /// Says to other instances that this one lives; see [`INSTANCE`].
    fn register_instance(&self, registrar: &mut Registrar) {
        let id = format!("{INSTANCE}{}", self.runs.instance);
        registrar
            .function(&id, |_, (): ()| std::future::ready(Ok(())))
            .describe("There as long as this instance of the agent worker is.");
    }
}

#[async_trait]
impl Worker for Agents {
    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        if let Err(error) = self.resume_all(&bus).await {
            tracing::warn!(%error, "interrupted runs could not be gone on with");
        }
        stop.cancelled().await;
        Ok(())
    }

    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        self.register_roster(registrar);
        self.register_runs(registrar);
        self.register_approvals(registrar);
        self.register_history(registrar);
        self.register_instance(registrar);
        registrar
            .streaming(CHAT, move |context, request: ChatRequest, sink| {
                Arc::clone(&self).chat(context, request, sink)
            })
            .describe("Talk to an agent. It may call the functions its capabilities name.");
    }
}
