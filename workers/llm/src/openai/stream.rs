//! OpenAI's chunks as events, with the liberties that compatible servers take.

use std::collections::VecDeque;

use agentos_contract::llm::{Event, FinishReason, Usage};
use serde_json::json;
use uuid::Uuid;

use super::response::{Answer, CallPiece, Choice, Message, finish_reason};
use crate::{
    error::Complaint,
    reading::{self, Fault, finish},
};

/// Reads one answer.
pub(super) struct Codec {
    provider: String,
    model: String,
    started: bool,
    calls: Vec<Call>,
    /// Calls told to the reader so far; calls without a name wait.
    told: u32,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
}

/// A tool call that is coming in.
struct Call {
    upstream_index: Option<u32>,
    id: String,
    name: String,
    /// Its number for the reader, once it has a name.
    index: Option<u32>,
    /// Arguments that came before the name.
    early: String,
}

impl Codec {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        Codec {
            provider: provider.to_owned(),
            model: model.to_owned(),
            started: false,
            calls: Vec::new(),
            told: 0,
            usage: None,
            finish: None,
        }
    }

    fn take(&mut self, answer: Answer, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if let Some(error) = answer.error.filter(|error| !error.is_null()) {
            return Err(Fault::Refused(Complaint::read(&json!({ "error": error }))));
        }
        if !self.started {
            self.started = true;
            let model = answer
                .model
                .filter(|model| !model.is_empty())
                .unwrap_or_else(|| self.model.clone());
            events.push_back(Event::Start {
                model,
                provider: self.provider.clone(),
            });
        }
        if let Some(tokens) = answer.usage.or(answer.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Some(tokens.into());
        }
        // Only one choice is ever asked for.
        for choice in answer
            .choices
            .into_iter()
            .filter(|choice| choice.index.unwrap_or(0) == 0)
        {
            self.choice(choice, events)?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if let Some(message) = choice.message {
            self.message(message, events);
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error") => {
                let message = "the model failed in the middle of its answer".to_owned();
                return Err(Fault::Refused(Complaint {
                    message,
                    ..Complaint::default()
                }));
            }
            Some(reason) => self.finish = Some(finish_reason(reason)),
        }
        Ok(())
    }

    fn message(&mut self, message: Message, events: &mut VecDeque<Event>) {
        let text = message.text();
        let reasoning = message
            .reasoning_content
            .or(message.reasoning)
            .unwrap_or_default();
        if !reasoning.is_empty() {
            events.push_back(Event::Reasoning { text: reasoning });
        }
        if !text.is_empty() {
            events.push_back(Event::Text { text });
        }
        for detail in message.reasoning_details {
            events.push_back(Event::ReasoningDetail { detail });
        }
        for piece in message.tool_calls {
            self.call(&piece, events);
        }
    }

    fn call(&mut self, piece: &CallPiece, events: &mut VecDeque<Event>) {
        let function = piece.function.as_ref();
        let name = function
            .and_then(|function| function.name.clone())
            .unwrap_or_default();
        let arguments = function
            .map(super::response::FunctionPiece::arguments)
            .unwrap_or_default();
        let position = self.find(piece, &name).unwrap_or_else(|| self.begin(piece));
        let call = &mut self.calls[position];
        if call.name.is_empty() {
            call.name = name;
        }
        call.early.push_str(&arguments);
        if call.index.is_none() && !call.name.is_empty() {
            call.index = Some(self.told);
            self.told += 1;
            events.push_back(Event::ToolCallStart {
                index: self.told - 1,
                id: call.id.clone(),
                name: call.name.clone(),
            });
        }
        if let Some(index) = call.index
            && !call.early.is_empty()
        {
            events.push_back(Event::ToolCallArguments {
                index,
                piece: std::mem::take(&mut call.early),
            });
        }
    }

    /// The call that `piece` belongs to; `None` when it begins another.
    ///
    /// Servers repeat the id on every piece, leave it out, make a new one for every piece, or put
    /// a second call under the index of the first with a new id *and* a name.
    fn find(&self, piece: &CallPiece, name: &str) -> Option<usize> {
        let id = piece.id.as_deref().unwrap_or_default();
        if let Some(known) = self
            .calls
            .iter()
            .rposition(|call| !id.is_empty() && call.id == id)
        {
            return Some(known);
        }
        let place = match piece.index {
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.upstream_index == Some(index))?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[place];
        let another = !name.is_empty()
            && !call.name.is_empty()
            && (!id.is_empty() || call.name != name || piece.index.is_none());
        (!another).then_some(place)
    }

    fn begin(&mut self, piece: &CallPiece) -> usize {
        let minted = || format!("call_{}", Uuid::new_v4().simple());
        let id = piece
            .id
            .clone()
            .filter(|id| !id.is_empty())
            .unwrap_or_else(minted);
        self.calls.push(Call {
            upstream_index: piece.index,
            id,
            name: String::new(),
            index: None,
            early: String::new(),
        });
        self.calls.len() - 1
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        match data.trim_ascii() {
            b"" => Ok(()),
            b"[DONE]" => self.end(events),
            data => self.take(serde_json::from_slice(data)?, events),
        }
    }

    fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let reason = self.finish.ok_or(Fault::Cut)?;
        if self.calls.iter().any(|call| call.index.is_none()) {
            return Err(Fault::Garbage("a tool call without a name".to_owned()));
        }
        events.extend(self.usage.map(Event::Usage));
        events.push_back(finish(reason, !self.calls.is_empty()));
        Ok(())
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let mut answer: Answer = serde_json::from_slice(body)?;
        number_calls(&mut answer);
        self.take(answer, events)?;
        self.end(events)
    }
}

/// Gives the calls of a whole answer the indexes that a stream would give them, so that calls
/// without ids stay apart.
fn number_calls(answer: &mut Answer) {
    for message in answer
        .choices
        .iter_mut()
        .filter_map(|choice| choice.message.as_mut())
    {
        for (index, call) in (0..).zip(&mut message.tool_calls) {
            call.index = Some(index);
        }
    }
}
