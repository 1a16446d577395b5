//! Answers as Anthropic's messages, whole and as events.

use std::collections::BTreeMap;

use agentos_contract::llm::{FinishReason, Usage};
use serde_json::{Value, json};

use crate::{
    ask::{Reply, Said},
    error::Failure,
    relay::Wording,
    sse::named,
};

/// What whole and streamed messages begin with.
pub(super) struct Head {
    /// `msg_...`
    pub(super) id: String,
    pub(super) model: String,
}

impl Head {
    fn message(&self, content: Vec<Value>, stop: Option<&str>, used: Usage) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage(used),
        })
    }

    pub(super) fn whole(mut self, reply: &Reply) -> Value {
        let completion = &reply.completion;
        if !completion.model.is_empty() {
            self.model.clone_from(&completion.model);
        }
        let mut content = Vec::new();
        if let Some(thinking) = &completion.reasoning {
            content.push(json!({ "type": "thinking", "thinking": thinking, "signature": "" }));
        }
        if !completion.content.is_empty() {
            content.push(json!({ "type": "text", "text": completion.content }));
        }
        for call in &completion.tool_calls {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
            content.push(
                json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }),
            );
        }
        let mut message = self.message(
            content,
            Some(stop_reason(completion.finish_reason)),
            completion.usage,
        );
        if let Some(aside) = &reply.aside {
            message["agentos"] = aside.clone();
        }
        message
    }
}

fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
    }
}

/// Anthropic does not count what came from a cache as input.
fn usage(usage: Usage) -> Value {
    let cached = usage.cached_tokens.unwrap_or_default();
    json!({
        "input_tokens": usage.input_tokens.saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    })
}

/// What a block is made of.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Thinking,
}

/// A message as it is written, block by block.
pub(super) struct Blocks {
    head: Head,
    /// Blocks begun so far.
    count: usize,
    /// The block of text or thoughts that is open.
    open: Option<(usize, Kind)>,
    /// The open block of each call.
    calls: BTreeMap<u32, usize>,
    end: Option<(FinishReason, Usage)>,
}

impl Blocks {
    pub(super) fn new(head: Head) -> Self {
        Blocks {
            head,
            count: 0,
            open: None,
            calls: BTreeMap::new(),
            end: None,
        }
    }

    fn start(&mut self, block: &Value) -> (usize, String) {
        let index = self.count;
        self.count += 1;
        let event =
            json!({ "type": "content_block_start", "index": index, "content_block": block });
        (index, named(&event))
    }

    fn close_open(&mut self) -> Option<String> {
        let (index, _) = self.open.take()?;
        Some(stop(index))
    }

    fn piece(&mut self, kind: Kind, text: &str) -> Vec<String> {
        let mut events = Vec::new();
        let index = match self.open {
            Some((index, open)) if open == kind => index,
            _ => {
                events.extend(self.close_open());
                let block = match kind {
                    Kind::Text => json!({ "type": "text", "text": "" }),
                    Kind::Thinking => {
                        json!({ "type": "thinking", "thinking": "", "signature": "" })
                    }
                };
                let (index, event) = self.start(&block);
                events.push(event);
                self.open = Some((index, kind));
                index
            }
        };
        events.push(delta(
            index,
            &match kind {
                Kind::Text => json!({ "type": "text_delta", "text": text }),
                Kind::Thinking => json!({ "type": "thinking_delta", "thinking": text }),
            },
        ));
        events
    }
}

fn stop(index: usize) -> String {
    named(&json!({ "type": "content_block_stop", "index": index }))
}

fn delta(index: usize, delta: &Value) -> String {
    named(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
}

impl Wording for Blocks {
    fn begin(&mut self) -> Vec<String> {
        let message = self.head.message(Vec::new(), None, Usage::default());
        vec![named(
            &json!({ "type": "message_start", "message": message }),
        )]
    }

    fn said(&mut self, _: usize, said: Said) -> Vec<String> {
        match said {
            Said::Model(model) => {
                if !model.is_empty() && self.count == 0 {
                    self.head.model = model;
                }
                Vec::new()
            }
            Said::Text(text) => self.piece(Kind::Text, &text),
            Said::Reasoning(text) => self.piece(Kind::Thinking, &text),
            Said::ToolCallStart { index, id, name } => {
                let closed = self.close_open();
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                let (block, event) = self.start(&block);
                self.calls.insert(index, block);
                closed.into_iter().chain([event]).collect()
            }
            Said::ToolCallArguments { index, piece } => {
                let block = self.calls.get(&index);
                let part = json!({ "type": "input_json_delta", "partial_json": piece });
                block
                    .map(|block| delta(*block, &part))
                    .into_iter()
                    .collect()
            }
            Said::Aside(_) => Vec::new(),
        }
    }

    fn reply(&mut self, _: usize, reply: Reply) -> Vec<String> {
        self.end = Some((reply.completion.finish_reason, reply.completion.usage));
        // Calls may be written by turns, so each ends only here.
        let calls = std::mem::take(&mut self.calls);
        let open = self.close_open();
        open.into_iter()
            .chain(calls.into_values().map(stop))
            .collect()
    }

    fn close(&mut self) -> Vec<String> {
        let (reason, used) = self.end.unwrap_or_default();
        let delta = json!({ "stop_reason": stop_reason(reason), "stop_sequence": null });
        vec![
            named(&json!({ "type": "message_delta", "delta": delta, "usage": usage(used) })),
            named(&json!({ "type": "message_stop" })),
        ]
    }

    fn fail(&mut self, failure: &Failure) -> Vec<String> {
        vec![named(&super::error(failure))]
    }

    fn ping(&self) -> String {
        named(&json!({ "type": "ping" }))
    }
}
