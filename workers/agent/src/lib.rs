//! The agent worker: who the agents are, and the loop that lets a model use functions as tools.
//!
//! The decisions of the loop are in `turn`, `guard`, `history`, `tools` and `clip`, which know no
//! bus; `chat` carries them out.

mod chat;
mod clip;
mod config;
mod guard;
mod history;
mod roster;
mod sessions;
mod speech;
mod tools;
mod turn;

use std::sync::Arc;

use agentos_contract::agent::{
    AgentRef, CHAT, CREATE, ChatRequest, CreateRequest, DELETE, GET, LIST, ListRequest, UPDATE,
    UpdateRequest,
};
use agentos_sdk::{Registrar, Worker};

use crate::{roster::Roster, sessions::Sessions};

pub use config::Config;

/// Offers `agent::*`.
pub struct Agents {
    config: Config,
    roster: Roster,
    sessions: Sessions,
}

impl Agents {
    pub fn new(config: Config) -> Arc<Self> {
        let roster = Roster::new(config.agents.clone());
        Arc::new(Agents {
            roster,
            sessions: Sessions::default(),
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

impl Worker for Agents {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        self.register_roster(registrar);
        registrar
            .streaming(CHAT, move |context, request: ChatRequest, sink| {
                Arc::clone(&self).chat(context, request, sink)
            })
            .describe("Talk to an agent. It may call the functions its capabilities name.");
    }
}
