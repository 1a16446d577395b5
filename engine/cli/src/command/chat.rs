//! `agentos chat`: a conversation with an agent, tool calls and all.

use std::io::{IsTerminal, Read};

use agentos_contract::{
    agent::{self, Approval, ApprovalStatus, ChatReply, ChatRequest, Decide, Event, StopReason},
    chat::{Message, Role},
};
use agentos_sdk::{CallStream, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use crate::{
    args::{Chat, Common},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, DIM, GREEN, RED, Screen, YELLOW, styled},
};

/// Most of a tool's arguments and results that is shown.
const PREVIEW_CHARS: usize = 100;

pub(crate) async fn run(chat: Chat, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let session = chat.session.clone().unwrap_or_else(new_session);
    let mut conversation = Conversation {
        client,
        chat,
        session,
        screen: *screen,
        lines: None,
    };
    let message = conversation.chat.message.clone();
    let outcome = match message.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            conversation.say(text.trim()).await
        }
        Some(message) => conversation.say(message).await,
        None => conversation.talk().await,
    };
    conversation.client.close().await;
    outcome
}

/// The name of a conversation that nobody has named.
fn new_session() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("cli-{}-{}", now.as_millis(), std::process::id())
}

struct Conversation {
    client: Client,
    chat: Chat,
    session: String,
    screen: Screen,
    /// What the person at the terminal types, where there is one.
    lines: Option<Lines<BufReader<Stdin>>>,
}

const HELP: &str = "\
/history  what was said so far
/new      begin another conversation
/agent N  talk to the agent N
/quit     leave; Ctrl-C ends an answer, Ctrl-D leaves too";

impl Conversation {
    /// A line in, an answer out, until the input ends. One failed answer does not end a talk
    /// between people.
    async fn talk(&mut self) -> Result<(), Failure> {
        let on_terminal =
            std::io::stdin().is_terminal() && self.screen.is_terminal() && !self.screen.json;
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        if on_terminal {
            self.screen
                .remark(styled(DIM, "/help tells what else can be typed"));
        }
        while let Some(line) = self.next_line(&mut lines, on_terminal).await? {
            let line = line.trim();
            match line {
                "" => continue,
                "/quit" | "/exit" => break,
                _ => {}
            }
            if on_terminal {
                self.lines = Some(lines);
                let outcome = self.answer_or_command(line).await;
                lines = self
                    .lines
                    .take()
                    .unwrap_or_else(|| BufReader::new(tokio::io::stdin()).lines());
                if let Err(failure) = outcome {
                    self.screen.failure(&failure);
                }
            } else {
                self.say(line).await?;
            }
        }
        Ok(())
    }

    async fn next_line(
        &self,
        lines: &mut Lines<BufReader<Stdin>>,
        on_terminal: bool,
    ) -> Result<Option<String>, Failure> {
        if on_terminal {
            self.screen.text(&styled(BOLD, "you> "));
        }
        let line = lines.next_line().await?;
        if line.is_none() && on_terminal {
            self.screen.line("");
        }
        Ok(line)
    }

    async fn answer_or_command(&mut self, line: &str) -> Result<(), Failure> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/help", _) => self.screen.line(HELP),
            ("/history", _) => return self.history().await,
            ("/new", _) => {
                self.session = new_session();
                self.screen.remark(styled(DIM, &self.session));
            }
            ("/agent", name) if !name.is_empty() => {
                self.chat.agent = Some(name.trim().to_owned());
                self.session = new_session();
            }
            (word, _) if word.starts_with('/') => self.screen.line(HELP),
            _ => return self.answer_or_interrupt(line).await,
        }
        Ok(())
    }

    /// Ctrl-C ends the answer, not the talk.
    async fn answer_or_interrupt(&mut self, message: &str) -> Result<(), Failure> {
        let screen = self.screen;
        tokio::select! {
            outcome = self.say(message) => outcome,
            _ = tokio::signal::ctrl_c() => {
                screen.line(styled(YELLOW, "\n(stopped)"));
                Ok(())
            }
        }
    }

    async fn history(&self) -> Result<(), Failure> {
        let wanted = json!({
            "agentId": self.chat.agent.clone().unwrap_or_default(), "sessionId": self.session,
        });
        let messages: Vec<Message> = self.client.trigger(agent::HISTORY, &wanted).await?;
        for message in &messages {
            match message.role {
                Role::User => {
                    self.screen
                        .line(format!("{} {}", styled(BOLD, "you>"), message.text()))
                }
                Role::Assistant if !message.text().is_empty() => self.screen.line(message.text()),
                _ => {}
            }
            for call in message
                .tool_calls
                .iter()
                .filter_map(|call| call.function.as_ref())
            {
                let call = format!("→ {} {}", call.name, preview(&call.arguments));
                self.screen.line(styled(DIM, call));
            }
        }
        Ok(())
    }

    /// Sends one message and shows the answer as it comes.
    async fn say(&mut self, message: &str) -> Result<(), Failure> {
        let request = ChatRequest {
            agent_id: self.chat.agent.clone().unwrap_or_default(),
            message: Some(message.to_owned()),
            session_id: Some(self.session.clone()),
            model: self.chat.model.clone(),
            ..ChatRequest::default()
        };
        let mut events = self
            .client
            .bus()
            .call(agent::CHAT)
            .timeout(self.chat.timeout)
            .stream(&request)?;
        let mut answer = Answer::new(self.screen);
        self.listen(&mut events, &mut answer).await?;
        answer.end_line();
        let reply: ChatReply = events.finish().await?.decode().map_err(|error| {
            Failure::new(
                FAILED,
                format!(
                    "the answer of `{}` has another shape than expected: {error}",
                    agent::CHAT
                ),
            )
        })?;
        if self.screen.json {
            self.screen.value(&reply);
        } else {
            answer.conclude(&reply);
        }
        Ok(())
    }

    /// Shows events, and asks the person at the terminal what the agent asks.
    async fn listen(
        &mut self,
        events: &mut CallStream,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        // Questions that wait for a line, the first one first.
        let mut open: Vec<Approval> = Vec::new();
        loop {
            let typed = async {
                match &mut self.lines {
                    Some(lines) if !open.is_empty() => lines.next_line().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = events.next() => {
                    let Some(chunk) = chunk else { return Ok(()) };
                    if self.screen.json {
                        self.screen.line(String::from_utf8_lossy(chunk.text()));
                        continue;
                    }
                    match chunk.decode::<Event>() {
                        Ok(Event::ApprovalNeeded(approval)) => {
                            answer.ask(&approval, self.lines.is_some());
                            open.push(approval);
                        }
                        Ok(Event::ApprovalDecided(approval)) => {
                            open.retain(|asked| asked.id != approval.id);
                            answer.decided(&approval);
                        }
                        Ok(event) => answer.show(event),
                        Err(_) => {}
                    }
                }
                line = typed => {
                    let line = line?.unwrap_or_default();
                    let asked = open.remove(0);
                    answer.mid_line = false;
                    let word = Decide {
                        approval_id: asked.id,
                        approve: matches!(line.trim().to_lowercase().as_str(), "y" | "yes"),
                        by: Some("cli".to_owned()),
                        reason: None,
                    };
                    self.client.trigger::<Value>(agent::DECIDE, &word).await?;
                }
            }
        }
    }
}

/// An answer on its way to the screen.
struct Answer {
    screen: Screen,
    /// The cursor stands in the middle of a line.
    mid_line: bool,
    /// Some of the text was shown.
    spoke: bool,
}

impl Answer {
    fn new(screen: Screen) -> Self {
        Answer {
            screen,
            mid_line: false,
            spoke: false,
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Text { text } => {
                self.screen.text(&text);
                self.spoke = true;
                self.mid_line = !text.ends_with('\n');
            }
            Event::Reasoning { text } => {
                self.screen.text(&styled(DIM, &text));
                self.mid_line = !text.ends_with('\n');
            }
            Event::ToolStart {
                name, arguments, ..
            } => {
                self.end_line();
                self.screen
                    .line(styled(DIM, format!("→ {name} {}", preview(&arguments))));
            }
            Event::ToolEnd {
                name,
                ok,
                duration_ms,
                preview: result,
                ..
            } => {
                self.end_line();
                let mark = if ok {
                    styled(GREEN, "✓")
                } else {
                    styled(RED, "✗")
                };
                self.screen.line(format!(
                    "{mark} {}",
                    styled(
                        DIM,
                        format!("{name} {duration_ms} ms  {}", preview(&result))
                    )
                ));
            }
            Event::Start { .. }
            | Event::ApprovalNeeded(_)
            | Event::ApprovalDecided(_)
            | Event::Usage(_)
            | Event::Finish { .. } => {}
        }
    }

    /// `here`: the answer is typed here and now.
    fn ask(&mut self, approval: &Approval, here: bool) {
        self.end_line();
        let call = format!("{} {}", approval.name, preview(&approval.arguments));
        if here {
            self.screen
                .text(&format!("{} {call} [y/N] ", styled(YELLOW, "allow?")));
            self.mid_line = true;
        } else {
            self.screen
                .remark(format!("{} {call}", styled(YELLOW, "waits for a yes:")));
            self.screen.remark(styled(
                DIM,
                format!("agentos agent approve {}", approval.id),
            ));
        }
    }

    fn decided(&mut self, approval: &Approval) {
        self.end_line();
        let word = match approval.status {
            ApprovalStatus::Approved => styled(GREEN, "allowed"),
            ApprovalStatus::Denied => styled(RED, "refused"),
            _ => styled(RED, "nobody answered"),
        };
        self.screen
            .line(format!("{word} {}", styled(DIM, &approval.name)));
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.mid_line) {
            self.screen.line("");
        }
    }

    /// What the stream did not say.
    fn conclude(&self, reply: &ChatReply) {
        if !self.spoke && !reply.content.is_empty() {
            self.screen.line(&reply.content);
        }
        for notice in &reply.notices {
            self.screen.remark(styled(DIM, format!("note: {notice}")));
        }
        if reply.stop_reason != StopReason::Stop {
            let reason = serde_json::to_value(reply.stop_reason).unwrap_or_default();
            self.screen.remark(styled(
                YELLOW,
                format!(
                    "the answer is not complete: {}",
                    crate::screen::plain(&reason)
                ),
            ));
        }
    }
}

/// The beginning of `text` on one line.
fn preview(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(PREVIEW_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
