//! `agent::chat` on the bus: does what [`crate::turn`] decides.
//!
//! Dropping the future drops the model call and the tool calls under way, which cancels them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_contract::{
    agent::{Agent, ChatReply, ChatRequest, Event, StopReason},
    chat::Message,
};
use agentos_sdk::{Code, Context, Error, Sink};
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use crate::{
    Agents,
    history::{repair, window},
    roster::invalid,
    sessions::Session,
    speech::Speech,
    turn::{Limits, Next, Planned, Ran, Turn},
};

mod gather;
mod model;
mod tool;

/// Kept back from the caller's deadline, to answer with what there is.
const CLOSING_TIME: Duration = Duration::from_millis(300);

/// An answer being given.
struct Chat<'a> {
    agents: &'a Agents,
    context: Context,
    sink: Arc<Mutex<Sink>>,
    agent: Agent,
    request: ChatRequest,
    session: Option<Session>,
    turn: Turn,
    speech: Speech,
    depth: u32,
    announced: bool,
}

impl Agents {
    pub(crate) async fn chat(
        self: Arc<Self>,
        context: Context,
        request: ChatRequest,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<ChatReply, Error> {
        let began = Instant::now();
        let mut chat = Chat::begin(&self, context, request, sink).await?;
        let stop_reason = chat.run().await?;
        chat.tell(&Event::Finish { stop_reason }).await?;
        Ok(chat.reply(stop_reason, began.elapsed()))
    }
}

impl<'a> Chat<'a> {
    async fn begin(
        agents: &'a Agents,
        context: Context,
        request: ChatRequest,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<Self, Error> {
        let depth = tool::depth(&context);
        if depth > agents.config.depth_max {
            let message = format!(
                "agents called agents more than {} deep",
                agents.config.depth_max
            );
            return Err(Error::worker(Code::Failed, message));
        }
        let wanted = if request.agent_id.is_empty() {
            &agents.config.default_agent
        } else {
            &request.agent_id
        };
        let agent = agents.roster.get(context.bus(), wanted).await?;
        let said = said(&request)?;
        let mut session = match &request.session_id {
            Some(id) => Some(agents.sessions.open(context.bus(), &agent.id, id).await?),
            None => None,
        };
        let (toolbox, (recalled, notice)) = tokio::join!(
            agents.toolbox(&context, &agent),
            agents.recall(&context, &agent, &said)
        );
        let mut toolbox = toolbox?;
        toolbox.notices.extend(notice);
        if let Some(session) = &mut session {
            session.append(context.bus(), &said).await?;
        }
        let kept = session
            .as_mut()
            .map(|session| std::mem::take(&mut session.messages))
            .unwrap_or_default();
        let (history, left_out) = window(
            repair(kept.into_iter().chain(said).collect()),
            agents.config.history_bytes_max,
        );
        if left_out > 0 {
            toolbox.notices.push(format!(
                "the conversation is long: its first {left_out} messages were left out"
            ));
        }
        let prompt = request
            .system_prompt
            .as_ref()
            .unwrap_or(&agent.system_prompt);
        let messages = instructions(prompt, &recalled)
            .into_iter()
            .chain(history)
            .collect();
        let limits = Limits {
            iterations_max: agent.max_iterations.unwrap_or(agents.config.iterations_max),
            result_bytes_max: agents.config.result_bytes_max,
        };
        let turn = Turn::new(&agent.id, messages, toolbox, limits);
        let speech = Speech::default();
        Ok(Chat {
            agents,
            context,
            sink,
            agent,
            request,
            session,
            turn,
            speech,
            depth,
            announced: false,
        })
    }

    async fn run(&mut self) -> Result<StopReason, Error> {
        let mut next = self.turn.ask();
        loop {
            next = match next {
                Next::Ask { last } => match self.ask(last).await {
                    Ok(completion) => self.turn.heard(completion),
                    Err(error) if error.code == Code::Timeout && self.has_something() => {
                        let unfinished = self.speech.reply().to_owned();
                        self.turn.cut(&unfinished);
                        Next::Done(StopReason::Timeout)
                    }
                    Err(error) => return Err(error),
                },
                Next::Run(planned) => {
                    self.keep().await?;
                    let outcomes = self.run_tools(planned).await?;
                    self.turn.ran(outcomes)
                }
                Next::Done(reason) => {
                    self.keep().await?;
                    return Ok(reason);
                }
            };
            self.keep().await?;
        }
    }

    fn has_something(&self) -> bool {
        !self.speech.said().is_empty() || !self.turn.runs.is_empty()
    }

    /// Writes what was added to the conversation.
    async fn keep(&mut self) -> Result<(), Error> {
        let new = self.turn.take_new();
        match &mut self.session {
            Some(session) => session.append(self.context.bus(), new).await,
            None => Ok(()),
        }
    }

    fn time_left(&self) -> Duration {
        self.context.time_left().saturating_sub(CLOSING_TIME)
    }

    // ── Tools ───────────────────────────────────────────────────────────────────────────────

    /// Runs what was planned, several at a time; the outcomes are in the order of the plan.
    async fn run_tools(&self, planned: Vec<Planned>) -> Result<Vec<Ran>, Error> {
        let count = planned.len();
        let mut outcomes: Vec<Option<Ran>> = vec![None; count];
        let numbered = planned.into_iter().enumerate();
        let mut running = stream::iter(numbered)
            .map(|(index, planned)| async move { (index, self.run_tool(planned).await) })
            .buffer_unordered(self.agents.config.tools_parallel_max.max(1));
        while let Some((index, outcome)) = running.next().await {
            outcomes[index] = Some(outcome?);
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    async fn run_tool(&self, planned: Planned) -> Result<Ran, Error> {
        let (id, name) = (planned.call.id.clone(), planned.function.clone());
        let arguments = planned.call.arguments.clone();
        self.tell(&Event::ToolStart {
            id: id.clone(),
            name: name.clone(),
            arguments,
        })
        .await?;
        let timeout = self
            .time_left()
            .min(Duration::from_millis(self.agents.config.tool_timeout_ms));
        let ran = tool::run(self.context.bus(), planned, timeout, self.depth).await;
        let preview = crate::clip::preview(&ran.text);
        self.tell(&Event::ToolEnd {
            id,
            name,
            ok: ran.ok,
            duration_ms: ran.duration_ms,
            preview,
        })
        .await?;
        Ok(ran)
    }

    // ── The caller ──────────────────────────────────────────────────────────────────────────

    /// Sends an event to a caller that takes them.
    async fn tell(&self, event: &Event) -> Result<(), Error> {
        if self.context.wants_stream() {
            self.sink.lock().await.send(event).await
        } else {
            Ok(())
        }
    }

    fn reply(self, stop_reason: StopReason, took: Duration) -> ChatReply {
        let Chat {
            agent,
            request,
            turn,
            speech,
            ..
        } = self;
        ChatReply {
            agent_id: agent.id,
            content: speech.said().to_owned(),
            reasoning: Some(speech.reasoning).filter(|reasoning| !reasoning.is_empty()),
            model: turn.model,
            usage: turn.usage,
            iterations: turn.iterations,
            duration_ms: took.as_millis() as u64,
            stop_reason,
            tool_calls: turn.runs,
            session_id: request.session_id,
            notices: turn.toolbox.notices,
        }
    }
}

/// What the caller says: a conversation, a message, or both.
fn said(request: &ChatRequest) -> Result<Vec<Message>, Error> {
    let message = request
        .message
        .as_deref()
        .filter(|message| !message.is_empty())
        .map(Message::user);
    let said: Vec<Message> = request.messages.iter().cloned().chain(message).collect();
    if said.is_empty() {
        let message = "there is nothing to answer: give message or messages";
        return Err(invalid("message", message));
    }
    Ok(said)
}

/// The agent's instructions and what it remembers, as the first message.
fn instructions(prompt: &str, recalled: &str) -> Option<Message> {
    let parts: Vec<_> = [prompt, recalled]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    (!parts.is_empty()).then(|| Message::system(parts.join("\n\n")))
}
