//! What an answer starts from: the tools that are there now, and what the agent remembers.

use std::{fmt::Write, time::Duration};

use agentos_contract::{
    agent::Agent,
    chat::{Message, Role},
    memory::{RECALL, RecallRequest, Recalled},
};
use agentos_sdk::{Bus, Code, Error};
use serde::Deserialize;
use serde_json::json;

use super::{resume::INSTANCE, tool::Line};
use crate::{
    Agents,
    clip::clip,
    tools::{Listed, Toolbox},
};

const FUNCTIONS: &str = "engine::functions::list";

/// Of a question, what is searched for; of a memory, what is put before the model.
const QUERY_BYTES_MAX: usize = 2_000;
const MEMORY_BYTES_MAX: usize = 1_000;

#[derive(Deserialize)]
struct Functions {
    functions: Vec<Listed>,
}

impl Agents {
    /// The functions that are registered now and that the agent may call.
    pub(super) async fn toolbox(
        &self,
        bus: &Bus,
        agent: &Agent,
        line: &Line,
    ) -> Result<Toolbox, Error> {
        let patterns = &agent.capabilities.functions;
        if patterns.is_empty() {
            return Ok(Toolbox::default());
        }
        // An agent that names functions of the engine may be offered them.
        let internal = patterns
            .iter()
            .any(|pattern| pattern.starts_with("engine::"));
        let mut listed: Functions = bus
            .trigger(FUNCTIONS, &json!({ "include_internal": internal }))
            .await?;
        let offered = |id: &str| line.allows(id) && !id.starts_with(INSTANCE);
        listed.functions.retain(|function| offered(&function.id));
        Ok(Toolbox::new(
            listed.functions,
            patterns,
            self.config.tools_max,
        ))
    }

    /// What the agent remembers about the latest question, as text for the model, and what the
    /// caller should know about the search. Never fails: an answer without memory is one.
    pub(super) async fn recall(
        &self,
        bus: &Bus,
        agent: &Agent,
        said: &[Message],
    ) -> (String, Option<String>) {
        let scopes = agent.capabilities.memory_scopes.clone();
        let question = said
            .iter()
            .rfind(|message| message.role == Role::User)
            .map(Message::text)
            .unwrap_or_default();
        if self.config.recall_limit == 0
            || question.is_empty()
            || scopes.as_ref().is_some_and(Vec::is_empty)
        {
            return (String::new(), None);
        }
        let request = RecallRequest {
            agent_id: agent.id.clone(),
            query: clip(&question, QUERY_BYTES_MAX).into_owned(),
            limit: Some(self.config.recall_limit),
            scopes,
            session_id: None,
        };
        let call = bus
            .call(RECALL)
            .timeout(Duration::from_millis(self.config.recall_timeout_ms));
        match call.send::<Recalled>(&request).await {
            Ok(recalled) => (remembered(&recalled), recalled.notice),
            Err(error) if error.code == Code::NotFound => (
                String::new(),
                Some("nothing was recalled: no worker offers `memory::recall`".to_owned()),
            ),
            Err(error) => (
                String::new(),
                Some(format!("nothing was recalled: {}", error.message)),
            ),
        }
    }
}

fn remembered(recalled: &Recalled) -> String {
    let mut text = String::new();
    for hit in &recalled.memories {
        if text.is_empty() {
            text.push_str("What you remember from earlier, which may or may not matter now:");
        }
        let memory = clip(&hit.memory.content, MEMORY_BYTES_MAX);
        let _ = write!(text, "\n- {}", memory.replace('\n', "\n  "));
    }
    text
}
