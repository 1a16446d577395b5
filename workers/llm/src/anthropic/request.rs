//! Our request as Anthropic's. What has a counterpart is translated, OpenAI's parameters that
//! change nothing in the answer are left out, and the rest goes through: the upstream says what
//! it does not know.

use agentos_contract::chat::Tool;
use agentos_contract::llm::CompleteRequest;
use agentos_sdk::Error;
use serde_json::{Value, json};

use super::history::History;
use crate::{error::invalid, provider::Ask};

/// Anthropic wants a limit. Every model it serves today can answer this much.
const MAX_TOKENS: u64 = 8_192;

/// Parameters of OpenAI's that a client may always send and that have no effect here.
const WITHOUT_EFFECT: [&str; 14] = [
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "n",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "verbosity",
];

/// The body to post.
///
/// # Errors
/// `invalid_input` for what Anthropic has no counterpart of.
pub(super) fn encode(ask: &Ask) -> Result<Vec<u8>, Error> {
    let request = &ask.request;
    if request
        .extra
        .get("n")
        .and_then(Value::as_u64)
        .is_some_and(|n| n != 1)
    {
        return Err(invalid(
            "extra.n",
            "one completion is made at a time: leave `n` out and call several times",
        ));
    }
    let mut history = History::of(&request.messages)?;
    history
        .system
        .extend(format_instruction(request.response_format.as_ref()));
    let mut body = json!({ "model": ask.model, "max_tokens": max_tokens(request), "messages": history.messages });
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
    for (name, value) in &request.extra {
        if !WITHOUT_EFFECT.contains(&name.as_str()) && body.get(name).is_none() {
            body[name] = value.clone();
        }
    }
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

fn max_tokens(request: &CompleteRequest) -> u64 {
    let extra = || {
        ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| request.extra.get(*name)?.as_u64())
    };
    request.max_tokens.or_else(extra).unwrap_or(MAX_TOKENS)
}

/// A function of ours as Anthropic's; a tool of Anthropic's own kinds as it is.
fn tool(tool: &Tool) -> Value {
    let Some(function) = &tool.function else {
        return serde_json::to_value(tool).expect("tools always have a JSON form");
    };
    let schema = function
        .parameters
        .clone()
        .unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    let mut value = json!({ "name": function.name, "input_schema": schema });
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

/// Anthropic has no such parameter on all models; asking in words works on all.
fn format_instruction(format: Option<&Value>) -> Option<Value> {
    let format = format?;
    let text = match format.get("type")?.as_str()? {
        "json_object" => "Answer with one JSON object and nothing else.".to_owned(),
        "json_schema" => {
            let schema = format
                .pointer("/json_schema/schema")
                .unwrap_or(&Value::Null);
            format!(
                "Answer with one JSON value that matches this JSON Schema, and nothing else:\n{schema}"
            )
        }
        _ => return None,
    };
    Some(json!({ "type": "text", "text": text }))
}

#[cfg(test)]
mod tests;
