//! The agents: kept in the state, read from it each time, so that two instances never disagree.

use std::time::{SystemTime, UNIX_EPOCH};

use agentos_contract::{
    agent::{
        Agent, Capabilities, CreateRequest, Created, Deleted, ModelChoice, UNKNOWN_AGENT,
        UpdateRequest,
    },
    memory,
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Code, Error};
use serde_json::{Value, json};

use crate::{sessions, tools};

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
        let agent = new_agent(request)?;
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
        apply(&mut agent, request);
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

/// Without its memory worker nothing of the agent would be forgotten, so then it stays.
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

fn new_agent(request: CreateRequest) -> Result<Agent, Error> {
    let (model, model_tokens) = request.model.map(ModelChoice::resolve).unwrap_or_default();
    let name = request.name.trim().to_owned();
    let now = now_ms();
    Ok(Agent {
        id: match request.id {
            Some(id) => id,
            None => id_from(&name)?,
        },
        name,
        description: request.description,
        model,
        system_prompt: request.system_prompt,
        capabilities: request.capabilities,
        max_iterations: request.max_iterations,
        temperature: request.temperature,
        max_tokens: request.max_tokens.or(model_tokens),
        tags: request.tags,
        built_in: false,
        created_at: now,
        updated_at: now,
    })
}

fn apply(agent: &mut Agent, request: UpdateRequest) {
    let (model, model_tokens) = request.model.map(ModelChoice::resolve).unzip();
    let UpdateRequest {
        name,
        description,
        system_prompt,
        capabilities,
        tags,
        ..
    } = request;
    replace(&mut agent.name, name.map(|name| name.trim().to_owned()));
    replace(&mut agent.description, description);
    replace(&mut agent.model, model);
    replace(&mut agent.system_prompt, system_prompt);
    replace(&mut agent.capabilities, capabilities);
    replace(&mut agent.tags, tags);
    agent.max_iterations = request.max_iterations.or(agent.max_iterations);
    agent.temperature = request.temperature.or(agent.temperature);
    agent.max_tokens = request
        .max_tokens
        .or(model_tokens.flatten())
        .or(agent.max_tokens);
    // Also tells a changed built-in from an untouched one.
    agent.updated_at = now_ms().max(1);
}

fn replace<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// An id made of a name: `Ada's Helper` becomes `ada-s-helper`.
fn id_from(name: &str) -> Result<String, Error> {
    let lower = name.to_lowercase();
    let words: Vec<_> = lower
        .split(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    if name.is_empty() {
        return Err(invalid("name", "an agent needs a name"));
    }
    // A name in another script gives no id that fits into a URL.
    let made_up = || format!("agent-{}", uuid::Uuid::new_v4().simple());
    Ok(if words.is_empty() {
        made_up()
    } else {
        words.join("-")
    })
}

fn check(agent: &Agent) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if agent.id.is_empty() || agent.id.len() > 64 || !agent.id.chars().all(plain) {
        return Err(invalid(
            "id",
            "1 to 64 lower-case letters, digits, `-`, `_` or `.`",
        ));
    }
    if agent.name.is_empty() || agent.name.len() > 128 || agent.name.contains('/') {
        return Err(invalid("name", "1 to 128 bytes without `/`"));
    }
    if agent.max_iterations == Some(0) {
        return Err(invalid("maxIterations", "at least 1"));
    }
    check_capabilities(&agent.capabilities)
}

fn check_capabilities(capabilities: &Capabilities) -> Result<(), Error> {
    let wrong = capabilities
        .functions
        .iter()
        .find_map(|pattern| tools::check_pattern(pattern).err());
    wrong.map_or(Ok(()), |why| Err(invalid("capabilities.functions", &why)))
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
