//! How what is said behind becomes pieces of the answer in front.

use agentos_contract::{
    agent::{self, ChatReply},
    llm::{self, Completion},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::shape::{Frame, Piece, agent_finish, aside, finish};

/// How the events behind become pieces of the answer.
pub(super) trait Source {
    type Event: DeserializeOwned;
    type End: DeserializeOwned;

    /// What an event says. `None`: nothing that the client needs to see yet.
    fn piece(&mut self, event: Self::Event, frame: &mut Frame) -> Option<Piece>;

    /// What comes last, before usage.
    fn end(&mut self, end: Self::End) -> (Vec<Piece>, llm::Usage);
}

pub(super) struct FromAgent;

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
pub(super) struct FromModel {
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
            llm::Event::Usage(_)
            | llm::Event::Finish { .. }
            | llm::Event::ReasoningDetail { .. } => return None,
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
