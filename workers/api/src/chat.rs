//! `POST /v1/chat/completions`: to an agent, or straight to a model.
//!
//! Dropping the future drops the call behind it: a client that goes away stops the model.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentos_contract::{
    agent::{self, Agent, AgentRef, ChatReply, UNKNOWN_AGENT},
    chat::Extra,
    llm::{self, CompleteRequest, Completion},
};
use agentos_sdk::{Code, Context, Sink};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Api,
    error::Failure,
    http::{Answer, Request},
    request::{self, ChatRequest},
    shape::Frame,
    sse::{Events, Patience},
};

mod out;
mod source;

use out::Out;
use source::{FromAgent, FromModel};

/// Who is asked.
enum Target {
    Agent(String),
    Model,
}

impl Api {
    pub(crate) async fn chat(
        self: Arc<Self>,
        context: Context,
        request: Request,
        sink: Arc<Mutex<Sink>>,
        request_id: &str,
    ) -> Result<Option<Answer>, Failure> {
        let request = request::read(request.object()?)?;
        let target = target(&context, &request.ask.model).await?;
        if let Target::Agent(_) = target {
            suits_agent(&request)?;
        }
        let frame = Frame {
            id: format!("chatcmpl-{}", Uuid::new_v4().simple()),
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            model: request.ask.model.clone(),
            usage: request.include_usage,
        };
        // The deadline of an answer is ours, not that of a call that names none.
        let timeout = Duration::from_millis(self.config.answer_timeout_ms);
        let bus = context.bus();
        if !request.stream {
            let body = match target {
                Target::Agent(id) => {
                    let call = bus.call(agent::CHAT).timeout(timeout);
                    frame.reply(&call.send::<ChatReply>(&agent_request(id, request)).await?)
                }
                Target::Model => {
                    let completion: Completion = bus
                        .call(llm::COMPLETE)
                        .timeout(timeout)
                        .send(&request.ask)
                        .await?;
                    let model = if completion.model.is_empty() {
                        frame.model
                    } else {
                        completion.model.clone()
                    };
                    Frame { model, ..frame }.completion(&completion)
                }
            };
            return Ok(Some(Answer::ok(body)));
        }
        let mut sink = sink.lock().await;
        let out = Out {
            events: Events::new(&mut sink, request_id),
            patience: self.patience(),
            frame,
            role_sent: false,
        };
        match target {
            Target::Agent(id) => {
                let stream = bus
                    .call(agent::CHAT)
                    .timeout(timeout)
                    .stream(&agent_request(id, request))?;
                out.relay(FromAgent, stream).await
            }
            Target::Model => {
                let stream = bus
                    .call(llm::COMPLETE)
                    .timeout(timeout)
                    .stream(&request.ask)?;
                out.relay(FromModel::default(), stream).await
            }
        }
    }

    fn patience(&self) -> Patience {
        Patience {
            head_wait: Duration::from_millis(self.config.head_wait_ms),
            ping: Duration::from_millis(self.config.ping_ms),
        }
    }
}

/// `agent/NAME` is an agent, and so is the bare name of one; anything else is a model.
async fn target(context: &Context, model: &str) -> Result<Target, Failure> {
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
fn suits_agent(request: &ChatRequest) -> Result<(), Failure> {
    if !request.ask.tools.is_empty() {
        let message =
            "an agent uses its own tools; to use yours, ask a model (GET /v1/models lists them)";
        return Err(Failure::invalid("tools", message));
    }
    if request
        .ask
        .tool_choice
        .as_ref()
        .is_some_and(|choice| choice != "auto")
    {
        return Err(Failure::invalid(
            "tool_choice",
            "an agent chooses its tools itself",
        ));
    }
    Ok(())
}

fn agent_request(agent_id: String, request: ChatRequest) -> agent::ChatRequest {
    let ChatRequest {
        ask, session_id, ..
    } = request;
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
    } = ask;
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
