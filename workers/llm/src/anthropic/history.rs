//! A conversation as Anthropic's blocks.

use agentos_contract::chat::Message;
use agentos_sdk::Error;
use serde_json::{Value, json};

use crate::history::{Block, Conversation, Source, Speaker};

/// The `format` of details of thinking that are Anthropic's.
pub(super) const FORMAT: &str = "anthropic-claude-v1";

/// System text and messages, ready for the body.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Turn>,
}

/// Everything one side says before the other answers.
#[derive(Debug, PartialEq, serde::Serialize)]
pub(super) struct Turn {
    role: &'static str,
    content: Vec<Value>,
}

impl History {
    /// # Errors
    /// `invalid_input` for parts that Anthropic has no counterpart of, and for an empty history.
    pub(super) fn of(messages: &[Message]) -> Result<Self, Error> {
        let Conversation { system, turns } = Conversation::of(messages)?;
        let messages = turns.iter().map(|turn| -> Result<Turn, Error> {
            Ok(Turn {
                role: match turn.speaker {
                    Speaker::User => "user",
                    Speaker::Assistant => "assistant",
                },
                content: blocks(&turn.blocks)?,
            })
        });
        Ok(History {
            system: blocks(&system)?,
            messages: messages.collect::<Result<_, _>>()?,
        })
    }
}

fn blocks(blocks: &[Block]) -> Result<Vec<Value>, Error> {
    blocks
        .iter()
        .filter_map(|part| block(part).transpose())
        .collect()
}

fn block(block: &Block) -> Result<Option<Value>, Error> {
    let marked = |mut value: Value, cache: &Option<Value>| {
        if let Some(mark) = cache {
            value["cache_control"] = mark.clone();
        }
        Some(value)
    };
    Ok(match block {
        Block::Text { text, cache } => marked(json!({ "type": "text", "text": text }), cache),
        Block::Image { source: at, cache } => {
            marked(json!({ "type": "image", "source": source(at) }), cache)
        }
        Block::File {
            source: at, cache, ..
        } => marked(json!({ "type": "document", "source": source(at) }), cache),
        Block::Call { id, name, input } => {
            Some(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
        }
        Block::Result { id, content, .. } => {
            Some(json!({ "type": "tool_result", "tool_use_id": id, "content": blocks(content)? }))
        }
        Block::Thought(detail) => thought(detail),
        Block::Other { part, .. } => match part["type"].as_str() {
            // Anthropic's own blocks, from a client that knows whom it talks to.
            Some("image" | "document" | "thinking" | "redacted_thinking" | "search_result") => {
                Some(part.clone())
            }
            _ => return Err(block.refused("this provider")),
        },
    })
}

/// A thought of Anthropic's; those of others mean nothing here.
fn thought(detail: &Value) -> Option<Value> {
    if detail["format"] != FORMAT {
        return None;
    }
    match detail["type"].as_str()? {
        "reasoning.text" => Some(json!({
            "type": "thinking", "thinking": detail["text"], "signature": detail["signature"],
        })),
        "reasoning.encrypted" => {
            Some(json!({ "type": "redacted_thinking", "data": detail["data"] }))
        }
        _ => None,
    }
}

fn source(source: &Source) -> Value {
    match source {
        Source::Data { media_type, base64 } => {
            json!({ "type": "base64", "media_type": media_type, "data": base64 })
        }
        Source::Url(url) => json!({ "type": "url", "url": url }),
    }
}

#[cfg(test)]
mod tests;
