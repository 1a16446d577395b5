//! One tool call on the bus.

use std::time::{Duration, Instant};

use agentos_contract::agent::Agent;
use agentos_sdk::{Bus, Code, Context, Encoding, Error, Payload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    tools::{allows, matches},
    turn::{Action, Planned, Ran},
};

/// The agents above, of whom the nearest asks; travels beside the call of a tool, which may be
/// another agent.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Line {
    /// Their ids, the first one first.
    agent_chain: Vec<String>,
    /// What each of them may call: nobody below may call more.
    agent_ceilings: Vec<Vec<String>>,
    /// What one of them needs a person's yes for, those below need it for too.
    agent_approvals: Vec<String>,
}

impl Line {
    /// Who called each other to get here.
    pub(super) fn of(context: &Context) -> Self {
        let line = context.metadata().map(serde_json::from_str);
        line.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether `agent` may be asked by those above it.
    ///
    /// # Errors
    /// When they are too many, or `agent` is one of them and would wait for itself.
    pub(super) fn admits(&self, agent: &Agent, depth_max: u32) -> Result<(), Error> {
        if self.agent_chain.contains(&agent.id) {
            let chain = self.agent_chain.join(" → ");
            let message = format!("a cycle: {chain} → {} would wait for itself", agent.id);
            return Err(Error::worker(Code::Failed, message).reason("agent_cycle"));
        }
        if self.agent_chain.len() > depth_max as usize {
            let message = format!("agents called agents more than {depth_max} deep");
            return Err(Error::worker(Code::Failed, message).reason("agent_depth"));
        }
        Ok(())
    }

    /// Whether all above may call the function too.
    pub(super) fn allows(&self, id: &str) -> bool {
        self.agent_ceilings
            .iter()
            .all(|ceiling| ceiling.iter().any(|pattern| allows(pattern, id)))
    }

    /// Whether a person must say yes before `agent` calls the function.
    pub(super) fn needs_approval(&self, agent: &Agent, id: &str) -> bool {
        let own = &agent.capabilities.approvals;
        own.iter()
            .chain(&self.agent_approvals)
            .any(|pattern| matches(pattern, id))
    }

    /// The line below `agent`.
    fn below(&self, agent: &Agent) -> Self {
        let mut line = self.clone();
        line.agent_chain.push(agent.id.clone());
        line.agent_ceilings
            .push(agent.capabilities.functions.clone());
        line.agent_approvals
            .extend(agent.capabilities.approvals.clone());
        line
    }
}

/// Does what was planned for a call. After `timeout` it is cancelled.
pub(super) async fn run(
    bus: &Bus,
    planned: Planned,
    timeout: Duration,
    line: &Line,
    agent: &Agent,
) -> Ran {
    let began = Instant::now();
    let outcome = match planned.action {
        Action::Refuse(why) => Err(why),
        Action::Run(input) => {
            let aside = serde_json::to_string(&line.below(agent)).unwrap_or_default();
            let call = bus.call(&planned.function).timeout(timeout).metadata(aside);
            let payload = Payload::json(input.to_string());
            let outcome = call.send_payload(payload).await;
            outcome.map_err(|error| told(&error))
        }
    };
    let duration_ms = began.elapsed().as_millis() as u64;
    match outcome {
        Ok(result) => Ran {
            ok: true,
            text: text(&result),
            duration_ms,
        },
        Err(text) => Ran {
            ok: false,
            text,
            duration_ms,
        },
    }
}

/// A result as the model reads it: text as it is, anything else as JSON.
fn text(result: &Payload) -> String {
    match result.encoding {
        Encoding::Binary => format!("[{} bytes of binary data]", result.len()),
        Encoding::Json => match result.decode() {
            Ok(Value::String(text)) => text,
            _ => String::from_utf8_lossy(result.text()).into_owned(),
        },
    }
}

fn told(error: &Error) -> String {
    format!("error: {}: {}", error.code, error.message)
}
