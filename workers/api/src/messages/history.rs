//! Anthropic's messages and blocks as the messages of our models, and nothing lost that says
//! something.

use agentos_contract::chat::{Content, Message, Role, ToolCall};
use serde_json::{Value, json};

use crate::error::Failure;

/// The conversation; `system` becomes its first message.
pub(super) fn messages(system: Option<Value>, said: Vec<Value>) -> Result<Vec<Message>, Failure> {
    if said.is_empty() {
        return Err(Failure::invalid(
            "messages",
            "messages must have at least one message",
        ));
    }
    let mut messages = Vec::with_capacity(said.len() + 1);
    if let Some(system) = system {
        messages.push(Message::system(content(&system, "system")?));
    }
    for (index, message) in said.iter().enumerate() {
        let path = format!("messages[{index}]");
        match message["role"].as_str() {
            Some("user") => user(&message["content"], &path, &mut messages)?,
            Some("assistant") => messages.push(assistant(&message["content"], &path)?),
            Some("system") => {
                messages.push(Message::system(content(&message["content"], &path)?));
            }
            _ => {
                let message = format!("{path}.role: it is user or assistant");
                return Err(Failure::invalid(&format!("{path}.role"), message));
            }
        }
    }
    Ok(messages)
}

/// Text, or blocks of text and media.
fn content(written: &Value, path: &str) -> Result<Content, Failure> {
    match written {
        Value::String(text) => Ok(text.as_str().into()),
        Value::Array(blocks) => {
            let parts = blocks
                .iter()
                .enumerate()
                .map(|(index, block)| part(block, &format!("{path}.content[{index}]")));
            Ok(Content::Parts(parts.collect::<Result<_, _>>()?))
        }
        _ => Err(wrong(path, "content is a text or a list of blocks")),
    }
}

/// What a user says: results of tools first, each a message of its own, then the rest.
fn user(written: &Value, path: &str, messages: &mut Vec<Message>) -> Result<(), Failure> {
    let Value::Array(blocks) = written else {
        messages.push(Message::user(content(written, path)?));
        return Ok(());
    };
    let mut parts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{index}]");
        if block["type"] != "tool_result" {
            parts.push(part(block, &path)?);
            continue;
        }
        let id = block["tool_use_id"]
            .as_str()
            .ok_or_else(|| wrong(&path, "a tool_result needs its tool_use_id"))?;
        let result = match &block["content"] {
            Value::Null => Content::from(""),
            written => content(written, &path)?,
        };
        let result = if block["is_error"] == true {
            Content::from(format!("error: {}", result.text()))
        } else {
            result
        };
        messages.push(Message::tool(id, result));
    }
    if !parts.is_empty() {
        messages.push(Message::user(Content::Parts(parts)));
    }
    Ok(())
}

fn assistant(written: &Value, path: &str) -> Result<Message, Failure> {
    let Value::Array(blocks) = written else {
        return Ok(Message::new(Role::Assistant, content(written, path)?));
    };
    let mut text = String::new();
    let mut calls = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => calls.push(ToolCall::function(
                block["id"].as_str().unwrap_or_default(),
                block["name"].as_str().unwrap_or_default(),
                block["input"].to_string(),
            )),
            // Thoughts are signed for the one model that had them.
            Some("thinking" | "redacted_thinking") => {}
            _ => {
                let path = format!("{path}.content[{index}]");
                return Err(wrong(&path, "it is text, tool_use or thinking"));
            }
        }
    }
    Ok(Message::assistant(text, calls))
}

/// A block as a part of OpenAI's; marks for caches stay on it.
fn part(block: &Value, path: &str) -> Result<Value, Failure> {
    let mut part = match block["type"].as_str() {
        Some("text") => json!({ "type": "text", "text": block["text"] }),
        Some("image") => {
            json!({ "type": "image_url", "image_url": { "url": url(&block["source"], path)? } })
        }
        Some("document") if block["source"]["type"] == "text" => {
            json!({ "type": "text", "text": block["source"]["data"] })
        }
        Some("document") => {
            let name = block["title"].as_str().unwrap_or("document.pdf");
            json!({ "type": "file", "file": { "filename": name, "file_data": url(&block["source"], path)? } })
        }
        _ => return Err(wrong(path, "it is text, image, document or tool_result")),
    };
    if part["type"] == "text" && !part["text"].is_string() {
        return Err(wrong(path, "its text is missing"));
    }
    if let Some(mark) = block.get("cache_control") {
        part["cache_control"] = mark.clone();
    }
    Ok(part)
}

fn url(source: &Value, path: &str) -> Result<String, Failure> {
    match (source["type"].as_str(), source["media_type"].as_str()) {
        (Some("base64"), Some(media)) => Ok(format!(
            "data:{media};base64,{}",
            source["data"].as_str().unwrap_or_default()
        )),
        (Some("url"), _) => source["url"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| wrong(path, "its url is missing")),
        _ => Err(wrong(
            path,
            "its source is base64 with a media_type, or url",
        )),
    }
}

fn wrong(path: &str, message: &str) -> Failure {
    Failure::invalid(path, format!("{path}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_behind_their_calls_and_before_what_is_said() {
        let said = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "look"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "and?", "cache_control": {"type": "ephemeral"}},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "no"}], "is_error": true}]},
        ]);
        let said = said.as_array().unwrap().clone();
        let messages = messages(Some(json!("be brief")), said).unwrap();
        assert_eq!(
            json!(messages),
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "look", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "content": "error: no", "tool_call_id": "t1"},
                {"role": "user", "content": [{"type": "text", "text": "and?", "cache_control": {"type": "ephemeral"}}]},
            ])
        );
    }

    #[test]
    fn images_become_urls() {
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
        assert_eq!(
            part(&image, "p").unwrap(),
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}})
        );
        assert!(part(&json!({"type": "image", "source": {"type": "file"}}), "p").is_err());
        assert!(part(&json!({"type": "text"}), "p").is_err());
    }
}
