//! The agents: kept in the state, read from it each time, so that two instances never disagree.

use std::time::{SystemTime, UNIX_EPOCH};

use agentos_contract::{
    agent::{Agent, CreateRequest, Created, Deleted, UNKNOWN_AGENT, UpdateRequest},
    memory,
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Code, Error};
use serde_json::{Value, json};

use crate::sessions;
use draft::{apply, check, new_agent};

mod draft;

const SCOPE: &str = "agents";
const PAGE: u32 = 500;

/// Agents by id or name.
pub(crate) struct Roster {
    built_in: Vec<Agent>,
    /// Held while agents are changed, so that no name is given twice.
    changing: tokio::sync::Mutex<()>,
}

impl Roster {
    pub(crate) fn new(built_in: Vec<Agent>) -> Self {
        let built_in = built_in
            .into_iter()
            .map(|agent| Agent {
                built_in: true,
                ..agent
            })
            .collect();
        Roster {
            built_in,
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// All agents, by id. A stored agent hides the built-in one with its id.
    pub(crate) async fn list(&self, bus: &Bus) -> Result<Vec<Agent>, Error> {
        let mut agents = stored(bus).await?;
        for built_in in &self.built_in {
            if agents.iter().all(|agent| agent.id != built_in.id) {
                agents.push(built_in.clone());
            }
        }
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(agents)
    }

    /// The agent with this id, or else with this name.
    pub(crate) async fn get(&self, bus: &Bus, wanted: &str) -> Result<Agent, Error> {
        let key = state::Key {
            scope: SCOPE.to_owned(),
            key: wanted.to_owned(),
        };
        let found: Option<Agent> = bus.trigger(state::GET, &key).await?;
        if let Some(agent) = found.or_else(|| self.built_in(wanted).cloned()) {
            return Ok(agent);
        }
        let named = self
            .list(bus)
            .await?
            .into_iter()
            .find(|agent| agent.name == wanted);
        named.ok_or_else(|| {
            Error::worker(Code::NotFound, format!("there is no agent `{wanted}`"))
                .reason(UNKNOWN_AGENT)
        })
    }

    fn built_in(&self, id: &str) -> Option<&Agent> {
        self.built_in.iter().find(|agent| agent.id == id)
    }

    pub(crate) async fn create(&self, bus: &Bus, request: CreateRequest) -> Result<Created, Error> {
        let agent = new_agent(request, now_ms())?;
        check(&agent)?;
        let _turn = self.changing.lock().await;
        let taken = self.list(bus).await?;
        if let Some(other) = taken.iter().find(|other| collides(other, &agent)) {
            let message = format!(
                "there is an agent `{}` with the id `{}` already",
                other.name, other.id
            );
            return Err(Error::worker(Code::Conflict, message).details(json!({ "field": "name" })));
        }
        save(bus, &agent).await?;
        Ok(Created {
            agent_id: agent.id.clone(),
            agent,
        })
    }

    pub(crate) async fn update(&self, bus: &Bus, request: UpdateRequest) -> Result<Agent, Error> {
        let _turn = self.changing.lock().await;
        let mut agent = self.get(bus, &request.agent_id).await?;
        apply(&mut agent, request, now_ms());
        check(&agent)?;
        let others = self.list(bus).await?;
        if others
            .iter()
            .any(|other| other.id != agent.id && collides(other, &agent))
        {
            return Err(Error::worker(
                Code::Conflict,
                format!("there is another agent `{}`", agent.name),
            ));
        }
        save(bus, &agent).await?;
        Ok(agent)
    }

    /// Removes an agent with its conversations and memories. A changed built-in becomes again
    /// what it was.
    pub(crate) async fn delete(&self, bus: &Bus, wanted: &str) -> Result<Deleted, Error> {
        let _turn = self.changing.lock().await;
        let agent = self.get(bus, wanted).await?;
        if agent.built_in && agent.updated_at == 0 {
            let message = format!(
                "the agent `{}` comes with the system; it can be changed but not removed",
                agent.id
            );
            return Err(Error::worker(Code::Forbidden, message));
        }
        sessions::delete_all(bus, &agent.id).await?;
        if !agent.built_in {
            forget(bus, &agent.id).await?;
        }
        let key = state::Key {
            scope: SCOPE.to_owned(),
            key: agent.id.clone(),
        };
        bus.trigger::<Value>(state::DELETE, &key).await?;
        Ok(Deleted {
            agent_id: agent.id,
            deleted: true,
        })
    }
}

async fn stored(bus: &Bus) -> Result<Vec<Agent>, Error> {
    let mut request = ListEntries {
        scope: SCOPE.to_owned(),
        limit: Some(PAGE),
        ..ListEntries::default()
    };
    let mut agents = Vec::new();
    loop {
        let page: Entries = bus.trigger(state::ENTRIES, &request).await?;
        for row in page.entries {
            match serde_json::from_value(row.value) {
                Ok(agent) => agents.push(agent),
                Err(error) => tracing::warn!(agent = row.key, %error, "an agent cannot be read"),
            }
        }
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            return Ok(agents);
        }
    }
}

async fn save(bus: &Bus, agent: &Agent) -> Result<(), Error> {
    let set = state::Set {
        scope: SCOPE.to_owned(),
        key: agent.id.clone(),
        value: agent,
    };
    bus.trigger::<Value>(state::SET, &set).await.map(drop)
}

/// An agent whose memories cannot be forgotten stays; a system without memory has none.
async fn forget(bus: &Bus, agent_id: &str) -> Result<(), Error> {
    let request = memory::ForgetRequest {
        agent_id: agent_id.to_owned(),
        all: true,
        ..Default::default()
    };
    match bus
        .trigger::<memory::Forgotten>(memory::FORGET, &request)
        .await
    {
        Err(error) if error.code != Code::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn collides(a: &Agent, b: &Agent) -> bool {
    a.id == b.id || a.name == b.name || a.id == b.name || a.name == b.id
}

pub(crate) fn invalid(field: &str, message: &str) -> Error {
    Error::caller(Code::InvalidInput, format!("{field}: {message}"))
        .details(json!({ "field": field }))
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
