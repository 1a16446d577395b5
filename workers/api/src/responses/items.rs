//! Items of OpenAI's responses as messages of a conversation.

use agentos_contract::chat::{Content, Extra, Message, Role, ToolCall};
use serde_json::{Value, json};

use crate::error::Failure;

/// Items as they are kept and listed: each an object with a type.
pub(super) fn items(input: Value) -> Result<Vec<Value>, Failure> {
    let mut items = match input {
        Value::String(text) => {
            vec![
                json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] }),
            ]
        }
        Value::Array(items) => items,
        _ => {
            return Err(Failure::invalid(
                "input",
                "input is a text or a list of items",
            ));
        }
    };
    for (index, item) in items.iter_mut().enumerate() {
        let Some(fields) = item.as_object_mut() else {
            return Err(wrong(index, "it is no object"));
        };
        // The type may be missing where the role says it.
        if !fields.contains_key("type") && fields.contains_key("role") {
            fields.insert("type".to_owned(), "message".into());
        }
    }
    Ok(items)
}

/// The conversation that `items` are.
pub(super) fn messages(items: &[Value]) -> Result<Vec<Message>, Failure> {
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item["type"].as_str() {
            Some("message") => messages.push(message(item, index)?),
            Some("function_call") => {
                let text = |name: &str| item[name].as_str().unwrap_or_default();
                let call = ToolCall::function(text("call_id"), text("name"), text("arguments"));
                called(&mut messages, call);
            }
            Some("custom_tool_call") => {
                let custom = json!({ "name": item["name"], "input": item["input"] });
                let call = ToolCall {
                    id: item["call_id"].as_str().unwrap_or_default().to_owned(),
                    kind: "custom".to_owned(),
                    function: None,
                    extra: Extra::from_iter([("custom".to_owned(), custom)]),
                };
                called(&mut messages, call);
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                let id = item["call_id"].as_str();
                let id = id.ok_or_else(|| wrong(index, "its call_id is missing"))?;
                messages.push(Message::tool(id, content(&item["output"], index)?));
            }
            // Thoughts belong to the model that had them.
            Some("reasoning") => {}
            Some(kind) => {
                return Err(wrong(
                    index,
                    &format!("items of the type `{kind}` are not understood here"),
                ));
            }
            None => return Err(wrong(index, "its type is missing")),
        }
    }
    Ok(messages)
}

/// Calls in a row, and what was said before them, are one message.
fn called(messages: &mut Vec<Message>, call: ToolCall) {
    match messages.last_mut() {
        Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
        _ => messages.push(Message::assistant("", vec![call])),
    }
}

fn message(item: &Value, index: usize) -> Result<Message, Failure> {
    let role = match item["role"].as_str() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        _ => {
            return Err(wrong(
                index,
                "its role is user, assistant, system or developer",
            ));
        }
    };
    let mut content = content(&item["content"], index)?;
    if role == Role::Assistant {
        // Providers differ in whether an assistant may speak in parts.
        content = content.text().into();
    }
    Ok(Message::new(role, content))
}

fn content(written: &Value, index: usize) -> Result<Content, Failure> {
    match written {
        Value::String(text) => Ok(text.as_str().into()),
        Value::Array(parts) => {
            let parts: Result<Vec<_>, _> =
                parts.iter().map(|written| part(written, index)).collect();
            Ok(simple(parts?))
        }
        _ => Err(wrong(index, "its content is a text or a list of parts")),
    }
}

/// One plain text needs no list of parts.
fn simple(mut parts: Vec<Value>) -> Content {
    let plain = |part: &Value| {
        part["type"] == "text" && part.as_object().is_some_and(|fields| fields.len() == 2)
    };
    match parts.as_mut_slice() {
        [only] if plain(only) => match only["text"].take() {
            Value::String(text) => Content::Text(text),
            _ => Content::Text(String::new()),
        },
        _ => Content::Parts(parts),
    }
}

fn part(written: &Value, index: usize) -> Result<Value, Failure> {
    let mut part = match written["type"].as_str() {
        Some("input_text" | "output_text" | "text" | "summary_text") => {
            json!({ "type": "text", "text": written["text"].as_str().unwrap_or_default() })
        }
        Some("refusal") => {
            json!({ "type": "text", "text": written["refusal"].as_str().unwrap_or_default() })
        }
        Some("input_image") => {
            let url = written["image_url"].as_str().ok_or_else(|| {
                wrong(
                    index,
                    "an input_image needs an image_url; files are not kept here",
                )
            })?;
            let detail = written["detail"].as_str().unwrap_or("auto");
            json!({ "type": "image_url", "image_url": { "url": url, "detail": detail } })
        }
        Some("input_file") => {
            let data = written["file_data"].as_str().ok_or_else(|| {
                wrong(
                    index,
                    "an input_file needs file_data; files are not kept here",
                )
            })?;
            let name = written["filename"].as_str().unwrap_or("file");
            json!({ "type": "file", "file": { "filename": name, "file_data": data } })
        }
        Some("input_audio") => {
            json!({ "type": "input_audio", "input_audio": written["input_audio"] })
        }
        _ => return Err(wrong(index, "a part of its content is of an unknown type")),
    };
    if let Some(mark) = written.get("prompt_cache_breakpoint") {
        part["prompt_cache_breakpoint"] = mark.clone();
    }
    Ok(part)
}

fn wrong(index: usize, message: &str) -> Failure {
    let path = format!("input[{index}]");
    Failure::invalid(&path, format!("{path}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_response_put_out_can_be_put_in() {
        let written = items(json!([
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "look", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:x"}]},
        ]))
        .unwrap();
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        assert_eq!(
            json!(messages(&written).unwrap()),
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "look", "tool_calls": [call("c1", "f"), call("c2", "g")]},
                {"role": "tool", "content": "one", "tool_call_id": "c1"},
                {"role": "tool", "content": "two", "tool_call_id": "c2"},
                {"role": "user", "content": [
                    {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:x", "detail": "auto"}}]},
            ])
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |item: Value| {
            let failure = items(json!([item]))
                .and_then(|items| messages(&items))
                .unwrap_err();
            assert_eq!(failure.body()["error"]["param"], "input[0]");
        };
        check(json!(7));
        check(json!({}));
        check(json!({"type": "web_search_call"}));
        check(json!({"role": "wizard", "content": "x"}));
        check(json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}));
        check(json!({"type": "function_call_output", "output": "x"}));
    }
}
