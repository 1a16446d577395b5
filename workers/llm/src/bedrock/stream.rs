//! Bedrock's events as ours: one key each, the event's name.

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
    /// Tool calls by the number of their block, and whether arguments came.
    calls: BTreeMap<u32, (u32, bool)>,
    /// The thought that is coming in, and its signature.
    thought: (String, String),
    usage: Option<Usage>,
    reason: Option<FinishReason>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Piece {
    MessageStart {},
    #[serde(rename_all = "camelCase")]
    ContentBlockStart {
        content_block_index: u32,
        #[serde(default)]
        start: Start,
    },
    #[serde(rename_all = "camelCase")]
    ContentBlockDelta {
        content_block_index: u32,
        delta: Delta,
    },
    #[serde(rename_all = "camelCase")]
    ContentBlockStop {
        content_block_index: u32,
    },
    #[serde(rename_all = "camelCase")]
    MessageStop {
        stop_reason: Option<String>,
    },
    Metadata {
        usage: Option<Counts>,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Start {
    tool_use: Option<Call>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    tool_use_id: String,
    name: String,
    #[serde(default)]
    input: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta {
    text: Option<String>,
    tool_use: Option<Arguments>,
    reasoning_content: Option<Thought>,
}

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
    /// Where the answer is whole.
    reasoning_text: Option<Signed>,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    text: String,
    #[serde(default)]
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

impl Counts {
    /// Cached input is counted apart, as at Anthropic.
    fn usage(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let written = self.cache_write_input_tokens.unwrap_or(0);
        Usage {
            cached_tokens: self.cache_read_input_tokens,
            ..Usage::new(self.input_tokens + cached + written, self.output_tokens)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    output: Output,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    text: Option<String>,
    tool_use: Option<Call>,
    reasoning_content: Option<Thought>,
}

impl Codec {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        Codec {
            provider: provider.to_owned(),
            model: model.to_owned(),
            calls: BTreeMap::new(),
            thought: (String::new(), String::new()),
            usage: None,
            reason: None,
        }
    }

    fn start(&self) -> Event {
        Event::Start {
            model: self.model.clone(),
            provider: self.provider.clone(),
        }
    }

    fn begin(&mut self, block: u32, call: Call, events: &mut VecDeque<Event>) {
        let index = self.calls.len() as u32;
        self.calls.insert(block, (index, false));
        events.push_back(Event::ToolCallStart {
            index,
            id: call.tool_use_id,
            name: call.name,
        });
    }

    fn arguments(&mut self, block: u32, piece: String, events: &mut VecDeque<Event>) {
        if let Some(call) = self.calls.get_mut(&block).filter(|_| !piece.is_empty()) {
            call.1 = true;
            let index = call.0;
            events.push_back(Event::ToolCallArguments { index, piece });
        }
    }

    fn think(&mut self, thought: Thought, events: &mut VecDeque<Event>) {
        let signed = thought.reasoning_text;
        let (text, signature) =
            signed.map_or((None, None), |of| (Some(of.text), Some(of.signature)));
        if let Some(text) = thought.text.or(text).filter(|text| !text.is_empty()) {
            self.thought.0.push_str(&text);
            events.push_back(Event::Reasoning { text });
        }
        if let Some(signature) = thought.signature.or(signature) {
            self.thought.1.push_str(&signature);
        }
        if let Some(data) = thought.redacted_content {
            let detail = json!({ "type": "reasoning.encrypted", "format": FORMAT, "data": data });
            events.push_back(Event::ReasoningDetail { detail });
        }
    }

    fn end_block(&mut self, block: u32, events: &mut VecDeque<Event>) {
        let (text, signature) = std::mem::take(&mut self.thought);
        if !signature.is_empty() {
            let detail = json!({
                "type": "reasoning.text", "format": FORMAT, "text": text, "signature": signature,
            });
            events.push_back(Event::ReasoningDetail { detail });
        }
        if let Some(false) = self.calls.get(&block).map(|call| call.1) {
            self.arguments(block, "{}".to_owned(), events);
        }
    }

    fn over(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let reason = self.reason.ok_or(Fault::Cut)?;
        events.extend(self.usage.map(Event::Usage));
        events.push_back(finish(reason, !self.calls.is_empty()));
        Ok(())
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let piece = serde_json::from_slice(data).or_else(|_| unknown(data))?;
        let Some(piece) = piece else { return Ok(()) };
        match piece {
            Piece::MessageStart {} => events.push_back(self.start()),
            Piece::ContentBlockStart {
                content_block_index,
                start,
            } => {
                if let Some(call) = start.tool_use {
                    self.begin(content_block_index, call, events);
                }
            }
            Piece::ContentBlockDelta {
                content_block_index,
                delta,
            } => {
                if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
                    events.push_back(Event::Text { text });
                }
                if let Some(arguments) = delta.tool_use {
                    self.arguments(content_block_index, arguments.input, events);
                }
                if let Some(thought) = delta.reasoning_content {
                    self.think(thought, events);
                }
            }
            Piece::ContentBlockStop {
                content_block_index,
            } => self.end_block(content_block_index, events),
            Piece::MessageStop { stop_reason } => {
                self.reason = Some(finish_reason(stop_reason.as_deref().unwrap_or_default()));
            }
            // Usage comes last, after the end of the message.
            Piece::Metadata { usage } => {
                self.usage = usage.map(|counts| counts.usage());
                return self.over(events);
            }
        }
        Ok(())
    }

    fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        self.over(events)
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let whole: Whole = serde_json::from_slice(body)?;
        events.push_back(self.start());
        for (number, block) in (0..).zip(whole.output.message.content) {
            if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                events.push_back(Event::Text { text });
            }
            if let Some(thought) = block.reasoning_content {
                self.think(thought, events);
            }
            if let Some(mut call) = block.tool_use {
                let input = call.input.take().unwrap_or_else(|| json!({}));
                self.begin(number, call, events);
                self.arguments(number, input.to_string(), events);
            }
            self.end_block(number, events);
        }
        self.reason = Some(finish_reason(
            whole.stop_reason.as_deref().unwrap_or_default(),
        ));
        self.usage = whole.usage.map(|counts| counts.usage());
        self.over(events)
    }
}

/// An exception, which ends the stream, or an event that came into being later.
fn unknown(data: &[u8]) -> Result<Option<Piece>, Fault> {
    let event: Value = serde_json::from_slice(data)?;
    let Some((name, payload)) = event.as_object().and_then(|event| event.iter().next()) else {
        return Err(Fault::Garbage("an event without a name".to_owned()));
    };
    match payload["message"].as_str() {
        Some(message) => Err(Fault::Refused(Complaint {
            message: message.to_owned(),
            code: Some(name.clone()),
            ..Complaint::default()
        })),
        None => Ok(None),
    }
}

fn finish_reason(text: &str) -> FinishReason {
    match text {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}
