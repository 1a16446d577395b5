//! Long conversations: what does not fit before the model is told to it in short.
//!
//! Nothing is deleted by it. A summary that cannot be made leaves the conversation as it is; then the
//! model sees the newest part of it, the caller is told, and the next answer tries again.

use std::{collections::HashMap, fmt::Write, time::Duration};

use agentos_contract::{
    agent::Agent,
    chat::{Message, Role},
    llm::{Account, COMPLETE, CompleteRequest, Completion, Usage},
};
use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;

use crate::{
    Agents,
    clip::clip,
    history::{cut, size, window},
    sessions::{Session, Summary},
};

/// Of a conversation that has become too long, the newest part that stays as it is: one in so many
/// bytes. The rest is told in short, and it takes a while until the whole is too long again.
const KEPT: usize = 4;
/// Of a message, what a summary is made from.
const MESSAGE_BYTES_MAX: usize = 4_000;
/// Tokens of a summary.
const SUMMARY_TOKENS: u64 = 1_024;
/// Of a summary, what is believed: a model may ignore its limit.
const SUMMARY_BYTES_MAX: usize = 16_000;
/// Models that are remembered to have refused a length.
const MODELS_MAX: usize = 256;

const ASK: &str = "You keep the minutes of a conversation between a user and an assistant. Write down, \
in at most 400 words, what the assistant must know to go on: what the user wants, what was decided, \
names, numbers, paths and ids that may be needed again, what was done with which result, and what is \
still open. Only what was said; no advice.";

/// How long a conversation each model took, as far as it has refused one.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<HashMap<String, usize>>);

impl Rooms {
    /// A conversation of so many bytes was too long for the model.
    pub(crate) fn refused(&self, model: &str, bytes: usize) {
        let mut rooms = self.0.lock();
        if rooms.len() < MODELS_MAX || rooms.contains_key(model) {
            rooms.insert(model.to_owned(), bytes / 2);
        }
    }

    fn of(&self, model: &str, bytes_max: usize) -> usize {
        let rooms = self.0.lock();
        rooms
            .get(model)
            .map_or(bytes_max, |room| bytes_max.min(*room))
    }
}

/// A conversation as its next answer begins with it.
pub(super) struct Opening {
    pub(super) history: Vec<Message>,
    /// What came before, in short.
    pub(super) summary: String,
    pub(super) usage: Usage,
    pub(super) notice: Option<String>,
}

/// Whose conversation it is, and who is asked.
pub(super) struct Party<'a> {
    pub(super) bus: &'a Bus,
    pub(super) agent: &'a Agent,
    pub(super) model: &'a str,
}

impl Agents {
    /// Makes `kept` and `said` as long as the model takes.
    pub(super) async fn open(
        &self,
        party: &Party<'_>,
        session: Option<&mut Session>,
        mut kept: Vec<Message>,
        said: Vec<Message>,
    ) -> Result<Opening, Error> {
        let bytes_max = self.rooms.of(party.model, self.config.history_bytes_max);
        let mut opening = Opening {
            history: Vec::new(),
            summary: String::new(),
            usage: Usage::default(),
            notice: None,
        };
        if let Some(session) = session {
            let earlier = session.summary(party.bus).await?;
            kept.drain(..earlier.covers.min(kept.len()));
            opening.summary.clone_from(&earlier.text);
            let bytes: usize = kept.iter().chain(&said).map(size).sum();
            if bytes > bytes_max {
                let room = (bytes_max / KEPT).saturating_sub(said.iter().map(size).sum());
                let older = cut(&kept, room);
                if older > 0 {
                    self.shorten(party, session, &earlier, &kept[..older], &mut opening)
                        .await?;
                    if opening.notice.is_none() {
                        kept.drain(..older);
                        opening.notice = Some(format!(
                            "the conversation is long: {older} earlier messages are told in short"
                        ));
                    }
                }
            }
        }
        let whole = crate::history::repair(kept.into_iter().chain(said).collect());
        let (history, left_out) = window(whole, bytes_max);
        opening.history = history;
        if left_out > 0 && opening.notice.is_none() {
            opening.notice = Some(format!(
                "the conversation is long: its first {left_out} messages were left out"
            ));
        }
        Ok(opening)
    }

    /// Puts `older` into the summary, which is kept. Without one, the notice says why.
    async fn shorten(
        &self,
        party: &Party<'_>,
        session: &Session,
        earlier: &Summary,
        older: &[Message],
        opening: &mut Opening,
    ) -> Result<(), Error> {
        match self.summarise(party, &earlier.text, older).await {
            Ok((text, usage)) => {
                opening.usage += usage;
                opening.summary.clone_from(&text);
                let covers = earlier.covers + older.len();
                session
                    .keep_summary(party.bus, &Summary { covers, text })
                    .await
            }
            Err(error) if error.code == Code::Cancelled => Err(error),
            Err(error) => {
                opening.notice = Some(format!(
                    "the conversation is long, and could not be told in short ({}): its beginning was left out",
                    error.message
                ));
                Ok(())
            }
        }
    }

    /// What was said, in short.
    async fn summarise(
        &self,
        party: &Party<'_>,
        earlier: &str,
        messages: &[Message],
    ) -> Result<(String, Usage), Error> {
        let mut text = String::new();
        if !earlier.is_empty() {
            let _ = writeln!(
                text,
                "The minutes so far:\n{earlier}\n\nWhat was said since:"
            );
        }
        for message in messages {
            let said = message.text();
            let calls = message.tool_calls.iter();
            let calls = calls.filter_map(|call| call.function.as_ref());
            let calls = calls.map(|call| format!(" [calls {} {}]", call.name, call.arguments));
            let line = said + &calls.collect::<String>();
            let who = match message.role {
                Role::User => "User",
                Role::Tool => "Result",
                _ => "Assistant",
            };
            let _ = writeln!(text, "{who}: {}", clip(&line, MESSAGE_BYTES_MAX));
        }
        let config = &self.config;
        let Party { bus, agent, model } = *party;
        // What is too long for the model is too long in one piece, too.
        let room = self.rooms.of(model, config.history_bytes_max);
        let request = CompleteRequest {
            model: config
                .summary_model
                .clone()
                .unwrap_or_else(|| model.to_owned()),
            messages: vec![
                Message::system(ASK),
                Message::user(clip(&text, room).into_owned()),
            ],
            max_tokens: Some(SUMMARY_TOKENS),
            account: Account {
                agent: Some(agent.id.clone()),
                ..Account::default()
            },
            ..CompleteRequest::default()
        };
        let patience = Duration::from_millis(config.summary_timeout_ms);
        let call = bus.call(COMPLETE).timeout(patience);
        let made: Completion = call.send(&request).await?;
        if made.content.trim().is_empty() {
            return Err(Error::worker(Code::Failed, "the summary was empty"));
        }
        let text = clip(made.content.trim(), SUMMARY_BYTES_MAX).into_owned();
        Ok((text, made.usage))
    }
}
