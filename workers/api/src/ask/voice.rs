//! What agents and models say, as one kind of event, whoever speaks.

use std::{collections::VecDeque, sync::Arc};

use agentos_contract::{
    agent::{self, ChatReply},
    llm::{self, Completion},
};
use agentos_sdk::{CallStream, Code, Error};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    keys::Charge,
    shape::{agent_finish, aside, finish},
};

/// A step of an answer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Said {
    /// Who really speaks.
    Model(String),
    Text(String),
    Reasoning(String),
    /// `index` counts the calls of this answer from 0.
    ToolCallStart {
        index: u32,
        id: String,
        name: String,
    },
    ToolCallArguments {
        index: u32,
        piece: String,
    },
    /// What happens behind the scenes.
    Aside(Value),
}

/// A whole answer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Reply {
    /// `finish_reason` says what clients must hear: calls always say so.
    pub(crate) completion: Completion,
    /// What an agent did.
    pub(crate) aside: Option<Value>,
}

impl From<Completion> for Reply {
    fn from(mut completion: Completion) -> Self {
        completion.finish_reason = finish(&completion);
        Reply {
            completion,
            aside: None,
        }
    }
}

impl From<ChatReply> for Reply {
    fn from(reply: ChatReply) -> Self {
        let aside = Some(aside(&reply));
        let completion = Completion {
            finish_reason: agent_finish(reply.stop_reason),
            content: reply.content,
            reasoning: reply.reasoning,
            usage: reply.usage,
            // To the client the agent is the model.
            ..Completion::default()
        };
        Reply { completion, aside }
    }
}

/// What comes of one voice: steps, then the whole once.
pub(crate) enum Heard {
    Said(Said),
    Reply(Box<Reply>),
}

/// One answer as it is given. Dropping it stops whoever speaks.
pub(crate) struct Voice {
    call: Option<CallStream>,
    is_agent: bool,
    spoke: bool,
    waiting: VecDeque<Heard>,
}

impl Voice {
    pub(super) fn agent(call: CallStream) -> Self {
        Self::of(call, true)
    }

    pub(super) fn model(call: CallStream) -> Self {
        Self::of(call, false)
    }

    fn of(call: CallStream, is_agent: bool) -> Self {
        Voice {
            call: Some(call),
            is_agent,
            spoke: false,
            waiting: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Option<Result<Heard, Error>> {
        loop {
            if let Some(heard) = self.waiting.pop_front() {
                return Some(Ok(heard));
            }
            let call = self.call.as_mut()?;
            let said = if self.is_agent {
                call.next_as().await.map(|event| event.map(of_agent))
            } else {
                call.next_as().await.map(|event| event.map(of_model))
            };
            match said {
                Ok(Some(said)) => {
                    self.spoke |= said
                        .as_ref()
                        .is_some_and(|said| !matches!(said, Said::Model(_)));
                    self.waiting.extend(said.map(Heard::Said));
                }
                Ok(None) => {
                    if let Err(error) = self.end().await {
                        return Some(Err(error));
                    }
                }
                Err(error) => {
                    self.call = None;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn end(&mut self) -> Result<(), Error> {
        let Some(call) = self.call.take() else {
            return Ok(());
        };
        let reply = if self.is_agent {
            whole::<ChatReply>(call).await?.into()
        } else {
            Reply::from(whole::<Completion>(call).await?)
        };
        if !self.spoke {
            // A worker that does not stream has said everything at once.
            self.waiting
                .extend(all_at_once(&reply.completion).into_iter().map(Heard::Said));
        }
        self.waiting.push_back(Heard::Reply(Box::new(reply)));
        Ok(())
    }
}

async fn whole<T: DeserializeOwned>(call: CallStream) -> Result<T, Error> {
    call.finish().await?.decode().map_err(|error| {
        Error::worker(
            Code::Failed,
            format!("the answer ended with something unexpected: {error}"),
        )
    })
}

fn of_agent(event: agent::Event) -> Option<Said> {
    match event {
        agent::Event::Text { text } => Some(Said::Text(text)),
        agent::Event::Reasoning { text } => Some(Said::Reasoning(text)),
        agent::Event::ToolStart { .. }
        | agent::Event::ToolEnd { .. }
        | agent::Event::ApprovalNeeded(_)
        | agent::Event::ApprovalDecided(_) => Some(Said::Aside(json!({ "event": event }))),
        agent::Event::Start { .. } | agent::Event::Usage(_) | agent::Event::Finish { .. } => None,
    }
}

fn of_model(event: llm::Event) -> Option<Said> {
    Some(match event {
        llm::Event::Start { model, .. } => Said::Model(model),
        llm::Event::Usage(_) | llm::Event::Finish { .. } | llm::Event::ReasoningDetail { .. } => {
            return None;
        }
        llm::Event::Text { text } => Said::Text(text),
        llm::Event::Reasoning { text } => Said::Reasoning(text),
        llm::Event::ToolCallStart { index, id, name } => Said::ToolCallStart { index, id, name },
        llm::Event::ToolCallArguments { index, piece } => Said::ToolCallArguments { index, piece },
    })
}

/// A whole answer as the steps that it would have taken.
pub(crate) fn all_at_once(completion: &Completion) -> Vec<Said> {
    let mut said = vec![Said::Model(completion.model.clone())];
    said.extend(completion.reasoning.clone().map(Said::Reasoning));
    if !completion.content.is_empty() {
        said.push(Said::Text(completion.content.clone()));
    }
    for (index, call) in (0..).zip(&completion.tool_calls) {
        said.push(Said::ToolCallStart {
            index,
            id: call.id.clone(),
            name: call.name.clone(),
        });
        said.push(Said::ToolCallArguments {
            index,
            piece: call.arguments.clone(),
        });
    }
    said
}

/// Several answers at a time, each under its number.
pub(crate) struct Choir {
    voices: SelectAll<BoxStream<'static, (usize, Result<Heard, Error>)>>,
    charge: Option<Arc<Charge>>,
}

impl Choir {
    pub(super) fn of(voices: Vec<Voice>, charge: Option<Arc<Charge>>) -> Self {
        let numbered = voices.into_iter().enumerate().map(|(number, voice)| {
            stream::unfold(voice, move |mut voice| async move {
                let heard = voice.next().await?;
                Some(((number, heard), voice))
            })
            .boxed()
        });
        Choir {
            voices: stream::select_all(numbered),
            charge,
        }
    }

    /// What is heard next; `None` when all have ended. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<(usize, Result<Heard, Error>)> {
        let heard = self.voices.next().await;
        if let (Some((_, Ok(Heard::Reply(reply)))), Some(charge)) = (&heard, &self.charge) {
            charge.used(reply.completion.usage);
        }
        heard
    }
}
