//! What a new or changed agent looks like, and what it must not look like. Pure.

use agentos_contract::agent::{Agent, Capabilities, CreateRequest, ModelChoice, UpdateRequest};
use agentos_sdk::Error;

use super::invalid;
use crate::tools;

/// The agent that a request describes, made at `now` (milliseconds since 1970).
pub(super) fn new_agent(request: CreateRequest, now: u64) -> Result<Agent, Error> {
    let (model, model_tokens) = request.model.map(ModelChoice::resolve).unwrap_or_default();
    let name = request.name.trim().to_owned();
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

/// Changes what is given and leaves the rest.
pub(super) fn apply(agent: &mut Agent, request: UpdateRequest, now: u64) {
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
    agent.updated_at = now.max(1);
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

/// # Errors
/// The field that does not fit.
pub(super) fn check(agent: &Agent) -> Result<(), Error> {
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
    wrong.map_or(Ok(()), |why| Err(invalid("capabilities.functions", &why)))?;
    let wrong = capabilities
        .approvals
        .iter()
        .find_map(|pattern| tools::check_pattern(pattern).err());
    wrong.map_or(Ok(()), |why| Err(invalid("capabilities.approvals", &why)))
}
