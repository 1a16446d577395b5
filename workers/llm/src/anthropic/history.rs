//! A conversation in OpenAI's shape as Anthropic's: the system text apart, roles that alternate,
//! and everything as blocks.

use agentos_contract::chat::{Content, Message, Role, ToolCall};
use agentos_sdk::Error;
use serde_json::{Value, json};

use crate::error::invalid;

/// A conversation must begin with the user; this stands in when it does not.
const OPENING: &str = "(the conversation continues)";

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
        let mut history = History::default();
        for (index, message) in messages.iter().enumerate() {
            history.add(index, message)?;
        }
        if history.messages.is_empty() {
            return Err(invalid(
                "messages",
                "messages holds nothing that the model could answer",
            ));
        }
        history.trim();
        Ok(history)
    }

    fn add(&mut self, index: usize, message: &Message) -> Result<(), Error> {
        let mut content = blocks(index, message.content.as_ref())?;
        match message.role {
            Role::System | Role::Developer => self.system.append(&mut content),
            Role::User => self.say("user", content),
            Role::Assistant => {
                content.extend(message.tool_calls.iter().filter_map(tool_use));
                self.say("assistant", content);
            }
            Role::Tool | Role::Function => {
                let call = message
                    .tool_call_id
                    .as_deref()
                    .or(message.name.as_deref())
                    .unwrap_or_default();
                self.say(
                    "user",
                    vec![json!({ "type": "tool_result", "tool_use_id": call, "content": content })],
                );
            }
        }
        Ok(())
    }

    /// Adds to the turn of `role`, or begins it.
    fn say(&mut self, role: &'static str, mut content: Vec<Value>) {
        if content.is_empty() {
            return;
        }
        match self.messages.last_mut() {
            Some(turn) if turn.role == role => turn.content.append(&mut content),
            None if role == "assistant" => {
                self.messages.push(Turn {
                    role: "user",
                    content: vec![json!({ "type": "text", "text": OPENING })],
                });
                self.messages.push(Turn { role, content });
            }
            _ => self.messages.push(Turn { role, content }),
        }
    }

    /// An answer to be continued must not end in white space.
    fn trim(&mut self) {
        let last = self
            .messages
            .last_mut()
            .filter(|turn| turn.role == "assistant");
        if let Some(Value::String(text)) = last
            .and_then(|turn| turn.content.last_mut())
            .and_then(|block| block.get_mut("text"))
        {
            text.truncate(text.trim_end().len());
        }
    }
}

/// Content as blocks. Empty texts are left out: Anthropic refuses them.
fn blocks(index: usize, content: Option<&Content>) -> Result<Vec<Value>, Error> {
    let blocks = match content {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![json!({ "type": "text", "text": text })],
        Some(Content::Parts(parts)) => parts
            .iter()
            .map(|part| block(index, part))
            .collect::<Result<_, _>>()?,
    };
    Ok(blocks
        .into_iter()
        .filter(|block| block.get("text").is_none_or(|text| text != ""))
        .collect())
}

fn block(index: usize, part: &Value) -> Result<Value, Error> {
    let text = |pointer: &str| part.pointer(pointer).and_then(Value::as_str);
    let mut block = match text("/type") {
        Some("text") => json!({ "type": "text", "text": text("/text").unwrap_or_default() }),
        Some("refusal") => json!({ "type": "text", "text": text("/refusal").unwrap_or_default() }),
        Some("image_url") => {
            json!({ "type": "image", "source": source(text("/image_url/url").unwrap_or_default()) })
        }
        Some("file") if text("/file/file_data").is_some() => {
            json!({ "type": "document", "source": source(text("/file/file_data").unwrap_or_default()) })
        }
        // Anthropic's own blocks, from a client that knows whom it talks to.
        Some("image" | "document" | "thinking" | "redacted_thinking" | "search_result") => {
            part.clone()
        }
        other => {
            let kind = other.unwrap_or("without a type");
            let message =
                format!("messages[{index}] holds a part `{kind}` that this provider cannot take");
            return Err(invalid(&format!("messages[{index}].content"), message));
        }
    };
    if let Some(mark) = part.get("cache_control") {
        block["cache_control"] = mark.clone();
    }
    Ok(block)
}

/// Data of a `data:` URL, or an address to fetch from.
fn source(url: &str) -> Value {
    let data = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((media_type, data)) => {
            json!({ "type": "base64", "media_type": media_type, "data": data })
        }
        None => json!({ "type": "url", "url": url }),
    }
}

/// A call the assistant made. Arguments must be an object here: what the model wrote malformed is
/// shown to it as text.
fn tool_use(call: &ToolCall) -> Option<Value> {
    let function = call.function.as_ref()?;
    let input = match serde_json::from_str(&function.arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ if function.arguments.trim().is_empty() => json!({}),
        _ => json!({ "malformed_arguments": function.arguments }),
    };
    Some(json!({ "type": "tool_use", "id": call.id, "name": function.name, "input": input }))
}

#[cfg(test)]
mod tests;
