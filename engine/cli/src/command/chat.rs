//! `agentos chat`: a conversation with an agent, tool calls and all.

use std::io::{IsTerminal, Read};

use crate::{
    args::{Chat, Common},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, DIM, Screen, YELLOW, styled},
};
use agentos_contract::{
    agent::{self, Approval, ChatReply, ChatRequest, Decide, Event},
    chat::{Message, Role},
};
use agentos_sdk::{CallStream, Client};
use answer::{Answer, preview};
use prompt::{Prompt, Typed};
use serde_json::{Value, json};

mod answer;
mod prompt;

pub(crate) async fn run(chat: Chat, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let session = chat.session.clone().unwrap_or_else(new_session);
    let mut conversation = Conversation {
        client,
        chat,
        session,
        screen: *screen,
        prompt: None,
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
    /// What is typed in the course of a talk.
    prompt: Option<Prompt>,
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
        let mut prompt = Prompt::new(on_terminal);
        if on_terminal {
            self.screen
                .remark(styled(DIM, "/help tells what else can be typed"));
        }
        loop {
            let line = match prompt.line("you> ").await? {
                Typed::Line(line) => line,
                Typed::Nothing => continue,
                Typed::End => return Ok(()),
            };
            let line = line.trim();
            match line {
                "" => continue,
                "/quit" | "/exit" => return Ok(()),
                _ => {}
            }
            if !on_terminal {
                self.say(line).await?;
                continue;
            }
            self.prompt = Some(prompt);
            let outcome = self.answer_or_command(line).await;
            prompt = self.prompt.take().unwrap_or_else(|| Prompt::new(true));
            if let Err(failure) = outcome {
                self.screen.failure(&failure);
            }
        }
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
                match (&mut self.prompt, open.first()) {
                    (Some(prompt), Some(asked)) => prompt.word(&answer::question(asked)).await,
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
                            let here = self.prompt.as_ref().is_some_and(Prompt::is_terminal);
                            answer.ask(&approval, here);
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
                    let line = line?;
                    let asked = open.remove(0);
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
