//! `agent::chat` on the bus: does what [`crate::turn`] decides.
//!
//! Dropping the future drops the model call and the tool calls under way, which cancels them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_contract::{
    agent::{Agent, ChatReply, ChatRequest, Event, Run, RunStatus, StopReason},
    chat::Message,
    llm,
};
use agentos_sdk::{Bus, Code, Context, Error, Sink};
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use crate::{
    Agents,
    history::reopen,
    roster::invalid,
    runs::Running,
    sessions::Session,
    speech::Speech,
    turn::{Limits, Next, Planned, Ran, Turn},
};
use compact::Party;
use tool::Line;

mod asking;
pub(crate) mod compact;
mod gather;
mod model;
pub(crate) mod resume;
mod tool;

/// Kept back from the caller's deadline, to answer with what there is.
const CLOSING_TIME: Duration = Duration::from_millis(300);

/// `reason` of a model's error when the conversation is too long for it.
const TOO_LONG: &str = "context_length_exceeded";

/// Who waits for an answer.
struct Caller {
    bus: Bus,
    deadline: Instant,
    /// Takes events, where somebody does.
    sink: Option<Arc<Mutex<Sink>>>,
    line: Line,
}

/// An answer being given.
struct Chat<'a> {
    agents: &'a Agents,
    bus: Bus,
    caller: Caller,
    agent: Agent,
    request: ChatRequest,
    session: Option<Session>,
    turn: Turn,
    speech: Speech,
    run: Option<Running>,
    /// Calls that a run left when the engine ended, which may still be made.
    left: Vec<llm::ToolCall>,
    /// The engine ended after the last word and before the note of it.
    complete: bool,
    announced: bool,
    heard_text: bool,
}

impl Agents {
    pub(crate) async fn chat(
        self: Arc<Self>,
        context: Context,
        request: ChatRequest,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<ChatReply, Error> {
        let caller = Caller {
            bus: context.bus().clone(),
            deadline: context.deadline(),
            sink: context.wants_stream().then_some(sink),
            line: Line::of(&context),
        };
        self.answer(caller, request, None).await
    }

    /// A person who says something new has seen the question, and did not say yes.
    async fn go_on_without_answer(
        &self,
        bus: &Bus,
        agent_id: &str,
        session_id: &str,
    ) -> Result<(), Error> {
        for run_id in self.runs.waiting(agent_id, session_id) {
            self.approvals.supersede(bus, &run_id).await?;
        }
        Ok(())
    }

    async fn answer(
        &self,
        caller: Caller,
        request: ChatRequest,
        earlier: Option<Run>,
    ) -> Result<ChatReply, Error> {
        let began = Instant::now();
        let mut chat = Chat::begin(self, caller, request, earlier).await?;
        let outcome = chat.finish().await;
        let run = chat.run.take();
        match outcome {
            Ok(stop_reason) => {
                let run_id = run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
                let content = chat.speech.said().to_owned();
                if let Some(run) = run {
                    run.note(&chat.turn, &content);
                    run.end(|run| {
                        run.status = RunStatus::Done;
                        run.stop_reason = Some(stop_reason);
                    })
                    .await?;
                }
                Ok(chat.reply(run_id, stop_reason, began.elapsed()))
            }
            Err(error) => {
                // A caller that has gone away is not a failure; the run says `interrupted`, or
                // still waits.
                let goes_on = error.code == Code::Cancelled
                    || error.reason.as_deref() == Some("approval_open");
                if let Some(run) = run.filter(|_| !goes_on) {
                    run.note(&chat.turn, chat.speech.said());
                    let message = error.message.clone();
                    run.end(|run| {
                        run.status = RunStatus::Failed;
                        run.error = Some(message);
                    })
                    .await?;
                }
                Err(error)
            }
        }
    }
}

impl<'a> Chat<'a> {
    async fn begin(
        agents: &'a Agents,
        caller: Caller,
        request: ChatRequest,
        earlier: Option<Run>,
    ) -> Result<Self, Error> {
        let bus = caller.bus.clone();
        let wanted = if request.agent_id.is_empty() {
            &agents.config.default_agent
        } else {
            &request.agent_id
        };
        let agent = agents.roster.get(&bus, wanted).await?;
        caller.line.admits(&agent, agents.config.depth_max)?;
        let said = if earlier.is_some() {
            Vec::new()
        } else {
            said(&request)?
        };
        if let (Some(id), None) = (&request.session_id, &earlier) {
            agents.go_on_without_answer(&bus, &agent.id, id).await?;
        }
        let mut session = match &request.session_id {
            Some(id) => Some(agents.sessions.open(&bus, &agent.id, id).await?),
            None => None,
        };
        let (toolbox, (recalled, notice)) = tokio::join!(
            agents.toolbox(&bus, &agent, &caller.line),
            agents.recall(&bus, &agent, &said)
        );
        let mut toolbox = toolbox?;
        toolbox.notices.extend(notice);
        if let Some(session) = &mut session {
            session.append(&bus, &said).await?;
        }
        let kept = session
            .as_mut()
            .map(|session| std::mem::take(&mut session.messages))
            .unwrap_or_default();
        let left = match &earlier {
            Some(run) => resume::left(&bus, &run.id, &kept).await?,
            None => Vec::new(),
        };
        let model = request.model.as_ref().unwrap_or(&agent.model);
        let party = Party {
            bus: &bus,
            agent: &agent,
            model,
        };
        let opening = agents.open(&party, session.as_mut(), kept, said);
        let mut opening = opening.await?;
        reopen(&mut opening.history, &left);
        let history = opening.history;
        let complete = earlier.is_some() && left.is_empty() && resume::is_complete(&history);
        toolbox.notices.extend(opening.notice);
        let prompt = request
            .system_prompt
            .as_ref()
            .unwrap_or(&agent.system_prompt);
        let messages = instructions(prompt, &recalled, &opening.summary)
            .into_iter()
            .chain(history)
            .collect();
        let mut turn = Turn::new(
            &agent.id,
            messages,
            toolbox,
            limits(agents, &agent, &request),
        );
        turn.usage += opening.usage;
        let run = agents
            .runs
            .begin(&bus, &agent.id, &request, earlier)
            .await?;
        Ok(Chat {
            agents,
            bus,
            caller,
            agent,
            request,
            session,
            turn,
            speech: Speech::default(),
            run: Some(run),
            left: left.iter().filter_map(resume::wanted).collect(),
            complete,
            announced: false,
            heard_text: false,
        })
    }

    /// Runs to its end, or until somebody stops it.
    async fn finish(&mut self) -> Result<StopReason, Error> {
        let stop = self
            .run
            .as_ref()
            .map(|run| run.stop.clone())
            .unwrap_or_default();
        let outcome = tokio::select! {
            outcome = self.run() => Some(outcome?),
            () = stop.cancelled() => None,
        };
        let stop_reason = match outcome {
            Some(reason) => reason,
            None => {
                let unfinished = self.speech.unfinished().to_owned();
                self.turn.cut(&unfinished);
                self.keep().await?;
                StopReason::Stopped
            }
        };
        self.tell(&Event::Finish { stop_reason }).await?;
        Ok(stop_reason)
    }

    async fn run(&mut self) -> Result<StopReason, Error> {
        if self.complete {
            return Ok(StopReason::Stop);
        }
        let mut next = if self.left.is_empty() {
            self.turn.ask()
        } else {
            self.turn.pick_up(std::mem::take(&mut self.left))
        };
        loop {
            next = match next {
                Next::Ask { last, on } => match self.ask(last, on).await {
                    Ok(completion) => {
                        self.speech.heard();
                        self.turn.heard(completion)
                    }
                    Err(error) if error.code == Code::Timeout && self.has_something() => {
                        let unfinished = self.speech.unfinished().to_owned();
                        self.turn.cut(&unfinished);
                        Next::Done(StopReason::Timeout)
                    }
                    Err(error) if error.reason.as_deref() == Some(TOO_LONG) => {
                        let model = self.request.model.as_ref().unwrap_or(&self.agent.model);
                        self.agents.rooms.refused(model, self.turn.bytes());
                        if !self.turn.shrink() {
                            return Err(error);
                        }
                        Next::Ask { last, on }
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
        if let Some(run) = &self.run {
            run.note(&self.turn, self.speech.said());
        }
        let new = self.turn.take_new();
        match &mut self.session {
            Some(session) => session.append(&self.bus, new).await,
            None => Ok(()),
        }
    }

    fn time_left(&self) -> Duration {
        let deadline = self.caller.deadline;
        deadline
            .saturating_duration_since(Instant::now())
            .saturating_sub(CLOSING_TIME)
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
        let planned = self.approved(planned).await?;
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
        let ran = tool::run(&self.bus, planned, timeout, &self.caller.line, &self.agent).await;
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
        match &self.caller.sink {
            Some(sink) => sink.lock().await.send(event).await,
            None => Ok(()),
        }
    }

    fn reply(self, run_id: String, stop_reason: StopReason, took: Duration) -> ChatReply {
        let Chat {
            agent,
            request,
            turn,
            speech,
            ..
        } = self;
        ChatReply {
            run_id,
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

fn limits(agents: &Agents, agent: &Agent, request: &ChatRequest) -> Limits {
    let config = &agents.config;
    // A limit of tokens that somebody has set is meant.
    let is_limited = request.max_tokens.or(agent.max_tokens).is_some();
    Limits {
        iterations_max: agent.max_iterations.unwrap_or(config.iterations_max),
        tool_calls_max: config.tool_calls_max,
        continuations_max: if is_limited {
            0
        } else {
            config.continuations_max
        },
        result_bytes_max: config.result_bytes_max,
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

/// The agent's instructions, what it remembers and what was said before, as the first message.
fn instructions(prompt: &str, recalled: &str, summary: &str) -> Option<Message> {
    let summary = match summary {
        "" => String::new(),
        text => format!("What was said earlier in this conversation, in short:\n{text}"),
    };
    let parts: Vec<_> = [prompt, recalled, &summary]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    (!parts.is_empty()).then(|| Message::system(parts.join("\n\n")))
}
