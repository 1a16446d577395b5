//! Our request as OpenAI's for responses: items instead of messages.

use agentos_contract::{
    chat::{Content, Message, Role, Tool},
    llm::CompleteRequest,
};
use agentos_sdk::Error;
use serde_json::{Map, Value, json};

use super::FORMAT;
use crate::{
    error::{invalid, one_choice},
    history::{details, repaired},
    parameters::set,
    provider::Ask,
};

/// The body to post.
///
/// # Errors
/// `invalid_input` for parts that have no counterpart.
pub(super) fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let mut input = Vec::new();
    for (index, message) in repaired(&request.messages).iter().enumerate() {
        items(index, message, &mut input)?;
    }
    let mut body = options.clone();
    set(&mut body, "model", Some(ask.model));
    set(&mut body, "input", Some(input));
    // What we do not keep, nobody need keep; thoughts come back sealed instead.
    set(&mut body, "store", Some(false));
    set(
        &mut body,
        "include",
        Some(json!(["reasoning.encrypted_content"])),
    );
    set(&mut body, "temperature", request.temperature);
    set(&mut body, "top_p", request.top_p);
    let limit = crate::parameters::max_tokens(request);
    set(&mut body, "max_output_tokens", limit);
    set(&mut body, "user", request.user.clone());
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(tool).collect();
        set(&mut body, "tools", Some(tools));
        set(
            &mut body,
            "tool_choice",
            request.tool_choice.as_ref().map(tool_choice),
        );
    }
    set(&mut body, "text", text(request));
    if ask.stream {
        set(&mut body, "stream", Some(true));
    }
    for (name, value) in &request.extra {
        match name.as_str() {
            "reasoning_effort" => set(&mut body, "reasoning", Some(json!({ "effort": value }))),
            "max_tokens"
            | "max_completion_tokens"
            | "n"
            | "stream"
            | "stream_options"
            | "verbosity" => {}
            _ if body.contains_key(name) => {}
            _ => set(&mut body, name, Some(value.clone())),
        }
    }
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

fn items(index: usize, message: &Message, input: &mut Vec<Value>) -> Result<(), Error> {
    if message.role == Role::Tool {
        let output = message.text();
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        input.push(json!({ "type": "function_call_output", "call_id": id, "output": output }));
        return Ok(());
    }
    for detail in details(message).filter(|detail| detail["format"] == FORMAT) {
        let summary = match detail["summary"].as_array() {
            Some(summary) => summary.clone(),
            None => Vec::new(),
        };
        input.push(json!({ "type": "reasoning", "id": detail["id"], "summary": summary, "encrypted_content": detail["data"] }));
    }
    let role = match message.role {
        Role::Developer => "developer",
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::User | Role::Function | Role::Tool => "user",
    };
    let content = match &message.content {
        None => None,
        Some(Content::Text(text)) if text.is_empty() => None,
        Some(Content::Text(text)) => Some(Value::from(text.as_str())),
        Some(Content::Parts(parts)) => {
            let parts = parts.iter().map(|part| content(index, role, part));
            Some(parts.collect::<Result<Vec<_>, _>>()?.into())
        }
    };
    if let Some(content) = content {
        input.push(json!({ "role": role, "content": content }));
    }
    for call in &message.tool_calls {
        if let Some(function) = &call.function {
            input.push(json!({ "type": "function_call", "call_id": call.id, "name": function.name, "arguments": function.arguments }));
        }
    }
    Ok(())
}

fn content(index: usize, role: &str, part: &Value) -> Result<Value, Error> {
    let text = if role == "assistant" {
        "output_text"
    } else {
        "input_text"
    };
    Ok(match part["type"].as_str() {
        Some("text") => json!({ "type": text, "text": part["text"] }),
        Some("refusal") => part.clone(),
        Some("image_url") => {
            let mut image = json!({ "type": "input_image", "image_url": part["image_url"]["url"] });
            if let Some(detail) = part.pointer("/image_url/detail") {
                image["detail"] = detail.clone();
            }
            image
        }
        Some("file") => {
            let mut file = part["file"].clone();
            file["type"] = "input_file".into();
            file
        }
        Some("input_text" | "input_image" | "input_file" | "output_text") => part.clone(),
        other => {
            let kind = other.unwrap_or("without a type");
            let message =
                format!("messages[{index}] holds a part `{kind}` that this provider cannot take");
            return Err(invalid(&format!("messages[{index}].content"), message));
        }
    })
}

/// Functions are flat here; tools of other kinds are as they are.
fn tool(tool: &Tool) -> Value {
    let flat = tool.function.as_ref().map(serde_json::to_value);
    match flat {
        Some(Ok(mut function)) => {
            function["type"] = "function".into();
            function
        }
        _ => serde_json::to_value(tool).unwrap_or_default(),
    }
}

fn tool_choice(choice: &Value) -> Value {
    match choice.pointer("/function/name") {
        Some(name) => json!({ "type": "function", "name": name }),
        None => choice.clone(),
    }
}

fn text(request: &CompleteRequest) -> Option<Value> {
    let verbosity = request.extra.get("verbosity");
    let format = request.response_format.as_ref().map(|format| {
        let mut flat = format["json_schema"].clone();
        if flat.is_object() {
            flat["type"] = format["type"].clone();
            return flat;
        }
        format.clone()
    });
    if verbosity.is_none() && format.is_none() {
        return None;
    }
    let mut text = Map::new();
    set(&mut text, "format", format);
    set(&mut text, "verbosity", verbosity.cloned());
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_items() {
        let request = json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "https://h/i.png"}}]},
                {"role": "assistant", "content": "wait", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    "reasoning_details": [{"type": "reasoning.encrypted", "format": FORMAT, "id": "rs", "data": "sealed"}, {"format": "other"}]},
                {"role": "tool", "tool_call_id": "c", "content": "42"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}, {"type": "web_search"}],
            "toolChoice": {"type": "function", "function": {"name": "f"}}, "maxTokens": 5,
            "responseFormat": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
            "extra": {"reasoning_effort": "low", "metadata": {"a": "b"}},
        });
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(request).unwrap(),
            stream: true,
        };
        let body: Value = serde_json::from_slice(&encode(ask, &Map::new()).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m", "store": false, "stream": true, "include": ["reasoning.encrypted_content"], "max_output_tokens": 5,
                "input": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": [{"type": "input_text", "text": "what?"}, {"type": "input_image", "image_url": "https://h/i.png"}]},
                    {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "sealed"},
                    {"role": "assistant", "content": "wait"},
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "42"}],
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}, {"type": "web_search"}],
                "tool_choice": {"type": "function", "name": "f"}, "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
                "reasoning": {"effort": "low"}, "metadata": {"a": "b"},
            })
        );
    }
}
