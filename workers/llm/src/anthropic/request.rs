//! Our request as Anthropic's. What has a counterpart is translated, OpenAI's parameters that
//! change nothing in the answer are left out, and the rest goes through: the upstream says what
//! it does not know.

use agentos_contract::chat::Tool;
use agentos_contract::llm::CompleteRequest;
use agentos_sdk::Error;
use serde_json::{Map, Value, json};

use super::history::History;
use crate::{
    error::{invalid, one_choice},
    parameters,
    provider::Ask,
};

/// Anthropic wants a limit. Every model it serves today can answer this much.
const MAX_TOKENS: u64 = 8_192;

/// The body to post.
///
/// # Errors
/// `invalid_input` for what Anthropic has no counterpart of.
pub(super) fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let mut history = History::of(&request.messages)?;
    let format = parameters::format_in_words(request);
    history
        .system
        .extend(format.map(|text| json!({ "type": "text", "text": text })));
    let max_tokens = parameters::max_tokens(request).unwrap_or(MAX_TOKENS);
    let mut body =
        json!({ "model": ask.model, "max_tokens": max_tokens, "messages": history.messages });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    set(
        "system",
        (!history.system.is_empty()).then_some(history.system.into()),
    );
    set(
        "tools",
        (!request.tools.is_empty()).then(|| request.tools.iter().map(tool).collect()),
    );
    set("tool_choice", tool_choice(request));
    // OpenAI's scale goes to 2, Anthropic's to 1.
    set(
        "temperature",
        request
            .temperature
            .map(|temperature| temperature.min(1.0).into()),
    );
    set("top_p", request.top_p.map(Into::into));
    set(
        "stop_sequences",
        (!request.stop.is_empty()).then(|| request.stop.clone().into()),
    );
    set(
        "metadata",
        request.user.as_ref().map(|user| json!({ "user_id": user })),
    );
    set("stream", ask.stream.then_some(true.into()));
    for (name, value) in parameters::passed_on(request, options) {
        if body.get(&name).is_none() {
            body[name] = value;
        }
    }
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

/// A function of ours as Anthropic's; a tool of Anthropic's own kinds as it is.
fn tool(tool: &Tool) -> Value {
    let Some(function) = &tool.function else {
        return serde_json::to_value(tool).expect("tools always have a JSON form");
    };
    let mut value = json!({ "name": function.name, "input_schema": parameters::object_schema(function.parameters.as_ref()) });
    if let Some(description) = &function.description {
        value["description"] = description.as_str().into();
    }
    if let Some(mark) = tool
        .extra
        .get("cache_control")
        .or_else(|| function.extra.get("cache_control"))
    {
        value["cache_control"] = mark.clone();
    }
    value
}

fn tool_choice(request: &CompleteRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let single = request.extra.get("parallel_tool_calls") == Some(&Value::Bool(false));
    let mut choice = match request.tool_choice.as_ref() {
        None if !single => return None,
        None => json!({ "type": "auto" }),
        Some(Value::String(mode)) => match mode.as_str() {
            "required" => json!({ "type": "any" }),
            other => json!({ "type": other }),
        },
        Some(choice) => match choice.pointer("/function/name") {
            Some(name) => json!({ "type": "tool", "name": name }),
            None => choice.clone(),
        },
    };
    if single && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

#[cfg(test)]
mod tests;
