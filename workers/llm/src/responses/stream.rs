//! The events of a response as ours.

use std::collections::{BTreeMap, VecDeque};

use agentos_contract::llm::{Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::FORMAT;
use crate::{
    error::Complaint,
    reading::{self, Fault, finish},
};

/// Reads one answer.
pub(super) struct Codec {
    provider: String,
    model: String,
    started: bool,
    /// Calls by their place in the output, and whether pieces of their arguments came.
    calls: BTreeMap<u64, (u32, bool)>,
    /// Whether any text of this message came in pieces.
    streamed: bool,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    delta: Value,
    item: Option<Item>,
    response: Option<Response>,
    // Of an `error` event, which is flat.
    message: Option<String>,
    code: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type", default)]
    kind: String,
    id: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    encrypted_content: Option<String>,
    #[serde(default)]
    content: Option<Vec<Value>>,
    #[serde(default)]
    summary: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Response {
    model: Option<String>,
    status: Option<String>,
    error: Option<Value>,
    incomplete_details: Option<Incomplete>,
    usage: Option<Counts>,
    #[serde(default)]
    output: Vec<Item>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        Usage {
            cached_tokens: counts.input_tokens_details.and_then(|of| of.cached_tokens),
            reasoning_tokens: counts
                .output_tokens_details
                .and_then(|of| of.reasoning_tokens),
            ..Usage::new(counts.input_tokens, counts.output_tokens)
        }
    }
}

impl Codec {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        Codec {
            provider: provider.to_owned(),
            model: model.to_owned(),
            started: false,
            calls: BTreeMap::new(),
            streamed: false,
        }
    }

    fn start(&mut self, model: Option<String>, events: &mut VecDeque<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            events.push_back(Event::Start {
                model: model.unwrap_or_else(|| self.model.clone()),
                provider: self.provider.clone(),
            });
        }
    }

    fn begin(&mut self, place: u64, item: &mut Item, events: &mut VecDeque<Event>) {
        if item.kind != "function_call" || self.calls.contains_key(&place) {
            return;
        }
        let index = self.calls.len() as u32;
        let id = item.call_id.take().or(item.id.take()).unwrap_or_default();
        let name = item.name.take().unwrap_or_default();
        self.calls.insert(place, (index, false));
        events.push_back(Event::ToolCallStart { index, id, name });
    }

    /// An item is whole: what did not come in pieces comes now.
    fn done(&mut self, place: u64, mut item: Item, events: &mut VecDeque<Event>) {
        match item.kind.as_str() {
            "function_call" => {
                self.begin(place, &mut item, events);
                let call = self.calls.get_mut(&place).expect("the call was begun");
                let (index, piece) = (call.0, item.arguments.unwrap_or_default());
                if !std::mem::replace(&mut call.1, true) && !piece.is_empty() {
                    events.push_back(Event::ToolCallArguments { index, piece });
                }
            }
            "reasoning" => {
                if let Some(data) = item.encrypted_content {
                    let detail = json!({
                        "type": "reasoning.encrypted", "format": FORMAT, "id": item.id, "data": data,
                        "summary": item.summary.unwrap_or_default(),
                    });
                    events.push_back(Event::ReasoningDetail { detail });
                }
            }
            _ => {}
        }
    }

    fn whole_text(item: &Item, events: &mut VecDeque<Event>) {
        let thinks = item.kind == "reasoning";
        let parts = if thinks { &item.summary } else { &item.content };
        for part in parts.iter().flatten() {
            let text = part["text"].as_str().or(part["refusal"].as_str());
            match text.unwrap_or_default() {
                "" => {}
                text if thinks => events.push_back(Event::Reasoning { text: text.into() }),
                text => events.push_back(Event::Text { text: text.into() }),
            }
        }
    }

    fn over(&mut self, response: Response, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            return Err(Fault::Refused(Complaint::read(&json!({ "error": error }))));
        }
        let reason = match response
            .incomplete_details
            .and_then(|why| why.reason)
            .as_deref()
        {
            Some("content_filter") => FinishReason::ContentFilter,
            Some(_) => FinishReason::Length,
            None if response.status.as_deref() == Some("incomplete") => FinishReason::Length,
            None => FinishReason::Stop,
        };
        events.extend(response.usage.map(|usage| Event::Usage(usage.into())));
        events.push_back(finish(reason, !self.calls.is_empty()));
        Ok(())
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let piece: Piece = serde_json::from_slice(data)?;
        let text = || piece.delta.as_str().unwrap_or_default().to_owned();
        match piece.kind.as_str() {
            "response.created" | "response.in_progress" => {
                self.start(piece.response.and_then(|response| response.model), events);
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.streamed = true;
                events.push_back(Event::Text { text: text() });
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                events.push_back(Event::Reasoning { text: text() });
            }
            "response.output_item.added" => {
                if let Some(mut item) = piece.item {
                    self.begin(piece.output_index, &mut item, events);
                }
            }
            "response.function_call_arguments.delta" => {
                if let Some(call) = self.calls.get_mut(&piece.output_index) {
                    call.1 = true;
                    let index = call.0;
                    events.push_back(Event::ToolCallArguments {
                        index,
                        piece: text(),
                    });
                }
            }
            "response.output_item.done" => {
                if let Some(item) = piece.item {
                    if !self.streamed && item.kind == "message" {
                        Self::whole_text(&item, events);
                    }
                    self.done(piece.output_index, item, events);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = piece
                    .response
                    .ok_or_else(|| Fault::Garbage("an end without a response".to_owned()))?;
                return self.over(response, events);
            }
            "error" => {
                let complaint = Complaint {
                    message: piece.message.unwrap_or_default(),
                    code: piece.code,
                    ..Complaint::default()
                };
                return Err(Fault::Refused(match piece.error {
                    Some(error) => Complaint::read(&json!({ "error": error })),
                    None => complaint,
                }));
            }
            "" => {
                let body = serde_json::from_slice(data)?;
                return Err(Fault::Refused(Complaint::read(&body)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: &mut VecDeque<Event>) -> Result<(), Fault> {
        Err(Fault::Cut)
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let mut response: Response = serde_json::from_slice(body)?;
        if response.status.is_none() && response.error.is_none() {
            return Err(Fault::Garbage("something that is no response".to_owned()));
        }
        self.start(response.model.take(), events);
        for (place, item) in (0..).zip(std::mem::take(&mut response.output)) {
            Self::whole_text(&item, events);
            self.done(place, item, events);
        }
        self.over(response, events)
    }
}
