//! `agentos chat`: a conversation with an agent, tool calls and all.

use std::io::{IsTerminal, Read};

use agentos_contract::agent::{self, ChatReply, ChatRequest, Event, StopReason};
use agentos_sdk::Client;
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
    let conversation = Conversation {
        client,
        chat,
        session,
        screen: *screen,
    };
    let outcome = match conversation.chat.message.as_deref() {
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
}

impl Conversation {
    /// A line in, an answer out, until the input ends. One failed answer does not end a talk
    /// between people.
    async fn talk(&self) -> Result<(), Failure> {
        let on_terminal =
            std::io::stdin().is_terminal() && self.screen.is_terminal() && !self.screen.json;
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = self.next_line(&mut lines, on_terminal).await? {
            match line.trim() {
                "" => {}
                "/quit" | "/exit" => break,
                message => match self.answer_or_interrupt(message, on_terminal).await {
                    Err(failure) if on_terminal => self.screen.failure(&failure),
                    outcome => outcome?,
                },
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

    /// Ctrl-C ends the answer, not the talk.
    async fn answer_or_interrupt(&self, message: &str, on_terminal: bool) -> Result<(), Failure> {
        tokio::select! {
            outcome = self.say(message) => outcome,
            _ = tokio::signal::ctrl_c(), if on_terminal => {
                self.screen.line(styled(YELLOW, "\n(stopped)"));
                Ok(())
            }
        }
    }

    /// Sends one message and shows the answer as it comes.
    async fn say(&self, message: &str) -> Result<(), Failure> {
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
        while let Some(chunk) = events.next().await {
            if self.screen.json {
                self.screen.line(String::from_utf8_lossy(chunk.text()));
            } else if let Ok(event) = chunk.decode::<Event>() {
                answer.show(event);
            }
        }
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
            Event::Start { .. } | Event::Usage(_) | Event::Finish { .. } => {}
        }
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
