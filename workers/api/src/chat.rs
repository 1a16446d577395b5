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
use agentos_sdk::{CallStream, Code, Context, Error, Sink};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Api,
    error::Failure,
    http::{Answer, Request},
    request::{self, ChatRequest},
    shape::{Frame, Piece, agent_finish, aside, finish},
    sse::{Events, Patience},
};

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

/// How the events behind become pieces of the answer.
trait Source {
    type Event: DeserializeOwned;
    type End: DeserializeOwned;

    /// What an event says. `None`: nothing that the client needs to see yet.
    fn piece(&mut self, event: Self::Event, frame: &mut Frame) -> Option<Piece>;

    /// What comes last, before usage.
    fn end(&mut self, end: Self::End) -> (Vec<Piece>, llm::Usage);
}

struct FromAgent;

impl Source for FromAgent {
    type Event = agent::Event;
    type End = ChatReply;

    fn piece(&mut self, event: agent::Event, _: &mut Frame) -> Option<Piece> {
        match event {
            agent::Event::Text { text } => Some(Piece::Text(text)),
            agent::Event::Reasoning { text } => Some(Piece::Reasoning(text)),
            agent::Event::ToolStart { .. } | agent::Event::ToolEnd { .. } => {
                Some(Piece::Aside(json!({ "event": event })))
            }
            agent::Event::Start { .. } | agent::Event::Usage(_) | agent::Event::Finish { .. } => {
                None
            }
        }
    }

    fn end(&mut self, reply: ChatReply) -> (Vec<Piece>, llm::Usage) {
        (
            vec![
                Piece::Aside(aside(&reply)),
                Piece::Finish(agent_finish(reply.stop_reason)),
            ],
            reply.usage,
        )
    }
}

/// Remembers what was streamed, for models that do not stream.
#[derive(Default)]
struct FromModel {
    streamed: bool,
}

impl Source for FromModel {
    type Event = llm::Event;
    type End = Completion;

    fn piece(&mut self, event: llm::Event, frame: &mut Frame) -> Option<Piece> {
        let piece = match event {
            llm::Event::Start { model, .. } => {
                frame.model = model;
                return None;
            }
            llm::Event::Usage(_) | llm::Event::Finish { .. } => return None,
            llm::Event::Text { text } => Piece::Text(text),
            llm::Event::Reasoning { text } => Piece::Reasoning(text),
            llm::Event::ToolCallStart { index, id, name } => {
                Piece::ToolCallStart { index, id, name }
            }
            llm::Event::ToolCallArguments { index, piece } => {
                Piece::ToolCallArguments { index, piece }
            }
        };
        self.streamed = true;
        Some(piece)
    }

    fn end(&mut self, completion: Completion) -> (Vec<Piece>, llm::Usage) {
        let finish = Piece::Finish(finish(&completion));
        let mut pieces = if self.streamed {
            Vec::new()
        } else {
            all_at_once(&completion)
        };
        pieces.push(finish);
        (pieces, completion.usage)
    }
}

fn all_at_once(completion: &Completion) -> Vec<Piece> {
    let mut pieces: Vec<_> = completion
        .reasoning
        .clone()
        .map(Piece::Reasoning)
        .into_iter()
        .collect();
    if !completion.content.is_empty() {
        pieces.push(Piece::Text(completion.content.clone()));
    }
    for (index, call) in (0..).zip(&completion.tool_calls) {
        pieces.push(Piece::ToolCallStart {
            index,
            id: call.id.clone(),
            name: call.name.clone(),
        });
        pieces.push(Piece::ToolCallArguments {
            index,
            piece: call.arguments.clone(),
        });
    }
    pieces
}

/// A streamed answer on its way to the client.
struct Out<'a> {
    events: Events<'a>,
    patience: Patience,
    frame: Frame,
    role_sent: bool,
}

impl Out<'_> {
    /// Sends what `stream` says until it ends.
    ///
    /// # Errors
    /// What went wrong before anything was sent; later it is sent as an event.
    async fn relay<S: Source>(
        mut self,
        mut source: S,
        stream: CallStream,
    ) -> Result<Option<Answer>, Failure> {
        match self.listen(&mut source, stream).await {
            Ok(()) => Ok(None),
            Err(error) if error.code == Code::Cancelled => Err(error.into()),
            Err(error) if self.events.begun => {
                let failure = Failure::from(error);
                self.events.fail(&failure).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn listen<S: Source>(
        &mut self,
        source: &mut S,
        mut stream: CallStream,
    ) -> Result<(), Error> {
        loop {
            let patience = self.patience.now(self.events.begun);
            let Ok(event) = tokio::time::timeout(patience, stream.next_as::<S::Event>()).await
            else {
                self.role().await?;
                self.events.ping().await?;
                continue;
            };
            let Some(event) = event? else { break };
            if let Some(piece) = source.piece(event, &mut self.frame) {
                self.send(piece).await?;
            }
        }
        let outcome = stream.finish().await?;
        let end = outcome.decode().map_err(|error| {
            Error::worker(
                Code::Failed,
                format!("the answer ended with something unexpected: {error}"),
            )
        })?;
        let (pieces, usage) = source.end(end);
        for piece in pieces {
            self.send(piece).await?;
        }
        if self.frame.usage {
            self.send(Piece::Usage(usage)).await?;
        }
        self.events.done().await
    }

    async fn send(&mut self, piece: Piece) -> Result<(), Error> {
        self.role().await?;
        let chunk = self.frame.chunk(piece);
        self.events.send(&chunk).await
    }

    /// The first chunk says who speaks.
    async fn role(&mut self) -> Result<(), Error> {
        if self.role_sent {
            return Ok(());
        }
        self.role_sent = true;
        let chunk: Value = self.frame.chunk(Piece::Role);
        self.events.send(&chunk).await
    }
}
