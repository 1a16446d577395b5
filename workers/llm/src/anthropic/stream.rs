//! Anthropic's typed events as ours.

use std::collections::{BTreeMap, VecDeque};

use agentos_contract::llm::{Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::history::FORMAT;
use crate::{
    error::Complaint,
    reading::{self, Fault, finish},
};

/// Reads one answer.
pub(super) struct Codec {
    provider: String,
    model: String,
    /// Tool calls by the number of their block.
    calls: BTreeMap<u32, Call>,
    /// The thinking block that is coming in, and its signature.
    thought: Option<(String, String)>,
    tokens: Counts,
    reason: Option<FinishReason>,
}

struct Call {
    index: u32,
    /// Arguments given at the start of the block, `{}` as a rule; used when no piece follows.
    input: Option<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    MessageStart {
        message: Head,
    },
    ContentBlockStart {
        index: u32,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: Reason,
        #[serde(default)]
        usage: Counts,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, and whatever comes later.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Head {
    model: Option<String>,
    #[serde(default)]
    usage: Counts,
}

#[derive(Deserialize)]
struct Whole {
    model: Option<String>,
    content: Vec<Block>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Counts,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Reason {
    stop_reason: Option<String>,
}

/// Anthropic's counts are cumulative: what a later event names replaces what came before.
#[derive(Clone, Copy, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are Anthropic's")]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Counts {
    fn update(&mut self, later: Counts) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
    }

    /// Anthropic counts cached input apart, everybody else as part of the input.
    fn usage(self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0)
            + self.cache_creation_input_tokens.unwrap_or(0);
        let counted = Usage::new(
            self.input_tokens.unwrap_or(0) + cached,
            self.output_tokens.unwrap_or(0),
        );
        Usage {
            cached_tokens: self.cache_read_input_tokens,
            ..counted
        }
    }
}

impl Codec {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        let (provider, model) = (provider.to_owned(), model.to_owned());
        Codec {
            provider,
            model,
            calls: BTreeMap::new(),
            thought: None,
            tokens: Counts::default(),
            reason: None,
        }
    }

    fn start(&mut self, model: Option<String>, tokens: Counts) -> Event {
        self.tokens.update(tokens);
        let model = model
            .filter(|model| !model.is_empty())
            .unwrap_or_else(|| self.model.clone());
        Event::Start {
            model,
            provider: self.provider.clone(),
        }
    }

    fn begin(&mut self, block: u32, content: Block, events: &mut VecDeque<Event>) {
        match content {
            Block::Text { text } => push_text(text, events),
            Block::Thinking {
                thinking,
                signature,
            } => {
                self.thought = Some((thinking.clone(), signature));
                push_reasoning(thinking, events);
            }
            Block::RedactedThinking { data } => events.push_back(Event::ReasoningDetail {
                detail: json!({ "type": "reasoning.encrypted", "format": FORMAT, "data": data }),
            }),
            Block::ToolUse { id, name, input } => {
                let index = self.calls.len() as u32;
                let input = Some(input.unwrap_or_else(|| json!({})));
                self.calls.insert(block, Call { index, input });
                events.push_back(Event::ToolCallStart { index, id, name });
            }
            Block::Other => {}
        }
    }

    fn go_on(&mut self, block: u32, delta: Delta, events: &mut VecDeque<Event>) {
        match delta {
            Delta::Text { text } => push_text(text, events),
            Delta::Thinking { thinking } => {
                self.thought.get_or_insert_default().0.push_str(&thinking);
                push_reasoning(thinking, events);
            }
            Delta::Signature { signature } => {
                self.thought.get_or_insert_default().1.push_str(&signature);
            }
            Delta::Input { partial_json } => {
                if let Some(call) = self
                    .calls
                    .get_mut(&block)
                    .filter(|_| !partial_json.is_empty())
                {
                    call.input = None;
                    events.push_back(Event::ToolCallArguments {
                        index: call.index,
                        piece: partial_json,
                    });
                }
            }
            Delta::Other => {}
        }
    }

    fn end_block(&mut self, block: u32, events: &mut VecDeque<Event>) {
        // Unsigned thoughts are not wanted back.
        if let Some((text, signature)) = self.thought.take()
            && !signature.is_empty()
        {
            events.push_back(Event::ReasoningDetail {
                detail: json!({
                    "type": "reasoning.text", "format": FORMAT, "text": text, "signature": signature,
                }),
            });
        }
        if let Some(call) = self.calls.get_mut(&block)
            && let Some(input) = call.input.take()
        {
            events.push_back(Event::ToolCallArguments {
                index: call.index,
                piece: input.to_string(),
            });
        }
    }

    fn stop(&mut self, reason: Option<String>) {
        self.reason = reason.as_deref().map(stop_reason).or(self.reason);
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        match serde_json::from_slice(data)? {
            Piece::MessageStart { message } => {
                let start = self.start(message.model, message.usage);
                events.push_back(start);
            }
            Piece::ContentBlockStart {
                index,
                content_block,
            } => self.begin(index, content_block, events),
            Piece::ContentBlockDelta { index, delta } => self.go_on(index, delta, events),
            Piece::ContentBlockStop { index } => self.end_block(index, events),
            Piece::MessageDelta { delta, usage } => {
                self.tokens.update(usage);
                self.stop(delta.stop_reason);
            }
            Piece::MessageStop => return self.end(events),
            Piece::Error { error } => return Err(Fault::Refused(Complaint::read(&error))),
            Piece::Other => {}
        }
        Ok(())
    }

    fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let reason = self.reason.ok_or(Fault::Cut)?;
        events.push_back(Event::Usage(self.tokens.usage()));
        events.push_back(finish(reason, !self.calls.is_empty()));
        Ok(())
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let whole: Whole = serde_json::from_slice(body)?;
        events.push_back(self.start(whole.model, whole.usage));
        for (index, block) in (0..).zip(whole.content) {
            self.begin(index, block, events);
            self.end_block(index, events);
        }
        self.stop(whole.stop_reason);
        self.end(events)
    }
}

fn push_text(text: String, events: &mut VecDeque<Event>) {
    if !text.is_empty() {
        events.push_back(Event::Text { text });
    }
}

fn push_reasoning(text: String, events: &mut VecDeque<Event>) {
    if !text.is_empty() {
        events.push_back(Event::Reasoning { text });
    }
}

fn stop_reason(text: &str) -> FinishReason {
    match text {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}
