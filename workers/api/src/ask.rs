//! Who is asked, and asking: the same for every surface in front.

use std::{sync::Arc, time::Duration};

use agentos_contract::{
    agent::{self, Agent, AgentRef, ChatReply, UNKNOWN_AGENT},
    chat::Extra,
    llm::{self, CompleteRequest, Completion},
};
use agentos_sdk::{Bus, Code, Context, Error};
use futures_util::future::try_join_all;
use serde_json::Value;

use crate::{
    error::Failure,
    keys::{Charge, Pass},
    shape::total,
};

mod voice;

use voice::Voice;
pub(crate) use voice::{Choir, Heard, Reply, Said};

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The agent with this id.
    Agent(String),
    Model,
}

/// What is asked: one answer for each of `requests`.
pub(crate) struct Ask {
    pub(crate) target: Target,
    pub(crate) requests: Vec<CompleteRequest>,
    /// A conversation that an agent keeps.
    pub(crate) session_id: Option<String>,
    /// What it costs the key that it came with.
    charge: Option<Arc<Charge>>,
}

impl Ask {
    /// # Errors
    /// When an agent cannot be asked this.
    pub(crate) fn of(
        target: Target,
        mut requests: Vec<CompleteRequest>,
        session_id: Option<String>,
        pass: &Pass,
    ) -> Result<Self, Failure> {
        if let Target::Agent(_) = target {
            suits_agent(&requests)?;
        }
        for request in &mut requests {
            request.account.key = pass.key();
        }
        Ok(Ask {
            target,
            requests,
            session_id,
            charge: pass.charge.clone(),
        })
    }

    /// All answers, each as a whole.
    pub(crate) async fn whole(self, bus: &Bus, timeout: Duration) -> Result<Vec<Reply>, Error> {
        let Ask {
            target,
            requests,
            session_id,
            charge,
        } = self;
        let one = |request: CompleteRequest| {
            let (target, session_id) = (target.clone(), session_id.clone());
            async move {
                match target {
                    Target::Agent(id) => {
                        let request = agent_request(id, session_id, request);
                        let call = bus.call(agent::CHAT).timeout(timeout);
                        call.send::<ChatReply>(&request).await.map(Reply::from)
                    }
                    Target::Model => {
                        let call = bus.call(llm::COMPLETE).timeout(timeout);
                        call.send::<Completion>(&request).await.map(Reply::from)
                    }
                }
            }
        };
        let replies = try_join_all(requests.into_iter().map(one)).await?;
        if let Some(charge) = charge {
            charge.used(total(&replies));
        }
        Ok(replies)
    }

    /// All answers as they are given.
    pub(crate) fn aloud(self, bus: &Bus, timeout: Duration) -> Result<Choir, Error> {
        let Ask {
            target,
            requests,
            session_id,
            charge,
        } = self;
        let voices: Result<Vec<Voice>, Error> = requests
            .into_iter()
            .map(|request| match &target {
                Target::Agent(id) => {
                    let request = agent_request(id.clone(), session_id.clone(), request);
                    let call = bus.call(agent::CHAT).timeout(timeout);
                    Ok(Voice::agent(call.stream(&request)?))
                }
                Target::Model => {
                    let call = bus.call(llm::COMPLETE).timeout(timeout);
                    Ok(Voice::model(call.stream(&request)?))
                }
            })
            .collect();
        Ok(Choir::of(voices?, charge))
    }
}

/// `agent/NAME` is an agent, and so is the bare name of one; anything else is a model.
/// Something that is no name is left to whoever reads the request.
pub(crate) async fn target(context: &Context, model: Option<&Value>) -> Result<Target, Failure> {
    let Some(model) = model
        .and_then(Value::as_str)
        .filter(|model| !model.trim().is_empty())
    else {
        return Ok(Target::Model);
    };
    let named = model.strip_prefix("agent/");
    if named.is_none() && model.contains('/') {
        // No agent's name has a slash.
        return Ok(Target::Model);
    }
    let wanted = AgentRef {
        agent_id: named.unwrap_or(model).to_owned(),
    };
    match context.trigger::<Agent>(agent::GET, &wanted).await {
        Ok(agent) => Ok(Target::Agent(agent.id)),
        Err(error) if named.is_some() && error.reason.as_deref() == Some(UNKNOWN_AGENT) => {
            Err(Failure::unknown_model(model))
        }
        // No such agent, or no agents at all: models do not need them.
        Err(error) if named.is_none() && error.code == Code::NotFound => Ok(Target::Model),
        Err(error) => Err(error.into()),
    }
}

/// Agents bring their own tools; a client's tools would be calls that nobody answers.
fn suits_agent(requests: &[CompleteRequest]) -> Result<(), Failure> {
    if requests.len() > 1 {
        let message = "an agent gives one answer to one question: ask several times";
        return Err(Failure::invalid("n", message));
    }
    for request in requests {
        if !request.tools.is_empty() {
            let message = "an agent uses its own tools; to use yours, ask a model (GET /v1/models lists them)";
            return Err(Failure::invalid("tools", message));
        }
        if request
            .tool_choice
            .as_ref()
            .is_some_and(|choice| choice != "auto")
        {
            return Err(Failure::invalid(
                "tool_choice",
                "an agent chooses its tools itself",
            ));
        }
    }
    Ok(())
}

fn agent_request(
    agent_id: String,
    session_id: Option<String>,
    request: CompleteRequest,
) -> agent::ChatRequest {
    let CompleteRequest {
        messages,
        temperature,
        max_tokens,
        top_p,
        stop,
        response_format,
        seed,
        user,
        extra,
        ..
    } = request;
    // It would be about tools of the client.
    let extra: Extra = extra
        .into_iter()
        .filter(|(name, _)| name != "parallel_tool_calls")
        .collect();
    agent::ChatRequest {
        agent_id,
        messages,
        session_id,
        temperature,
        max_tokens,
        top_p,
        stop,
        response_format,
        seed,
        user,
        extra,
        ..agent::ChatRequest::default()
    }
}
