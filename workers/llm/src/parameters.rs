//! The parameters of a request as families other than OpenAI's look at them.

use agentos_contract::{chat::FunctionTool, llm::CompleteRequest};
use serde_json::{Map, Value, json};

/// Parameters of OpenAI's that a client may always send and that have no effect elsewhere.
const WITHOUT_EFFECT: [&str; 18] = [
    "frequency_penalty",
    "logit_bias",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "top_logprobs",
    "verbosity",
];

/// Which tools the model may call.
#[derive(Debug, PartialEq)]
pub(crate) enum Choice<'r> {
    Auto,
    None,
    Required,
    Function(&'r str),
}

/// The form that the answer is to have.
pub(crate) enum Format<'r> {
    Text,
    Json,
    Schema(&'r Value),
}

/// What the caller and the settings add by the provider's own names.
pub(crate) fn passed_on(
    request: &CompleteRequest,
    options: &Map<String, Value>,
) -> Map<String, Value> {
    let known = |name: &str| WITHOUT_EFFECT.contains(&name);
    let mut passed = options.clone();
    for (name, value) in request.extra.iter().filter(|(name, _)| !known(name)) {
        passed.insert(name.clone(), value.clone());
    }
    passed
}

pub(crate) fn max_tokens(request: &CompleteRequest) -> Option<u64> {
    let extra = || {
        ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| request.extra.get(*name)?.as_u64())
    };
    request.max_tokens.or_else(extra)
}

pub(crate) fn choice(request: &CompleteRequest) -> Choice<'_> {
    match &request.tool_choice {
        Some(Value::String(mode)) if mode == "none" => Choice::None,
        Some(Value::String(mode)) if mode == "required" => Choice::Required,
        Some(choice) => choice
            .pointer("/function/name")
            .and_then(Value::as_str)
            .map_or(Choice::Auto, Choice::Function),
        None => Choice::Auto,
    }
}

pub(crate) fn format(request: &CompleteRequest) -> Format<'_> {
    let Some(format) = &request.response_format else {
        return Format::Text;
    };
    match format["type"].as_str() {
        Some("json_object") => Format::Json,
        Some("json_schema") => format
            .pointer("/json_schema/schema")
            .map_or(Format::Json, Format::Schema),
        _ => Format::Text,
    }
}

/// The format in words, for families without a parameter for it on all models.
pub(crate) fn format_in_words(request: &CompleteRequest) -> Option<String> {
    match format(request) {
        Format::Text => None,
        Format::Json => Some("Answer with one JSON object and nothing else.".to_owned()),
        Format::Schema(schema) => Some(format!(
            "Answer with one JSON value that matches this JSON Schema, and nothing else:\n{schema}"
        )),
    }
}

/// The functions that are offered; none when the model may call none.
pub(crate) fn functions(request: &CompleteRequest) -> Vec<&FunctionTool> {
    if choice(request) == Choice::None {
        return Vec::new();
    }
    let functions = request
        .tools
        .iter()
        .filter_map(|tool| tool.function.as_ref());
    functions.collect()
}

/// The schema of arguments; families that are strict want one, and want an object.
pub(crate) fn object_schema(parameters: Option<&Value>) -> Value {
    match parameters {
        Some(Value::Object(schema)) if schema.contains_key("type") => schema.clone().into(),
        Some(Value::Object(schema)) => {
            let typed = std::iter::once(("type".to_owned(), json!("object")));
            let schema: Map<String, Value> = typed.chain(schema.clone()).collect();
            schema.into()
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// Sets `name` where there is a value.
pub(crate) fn set(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// Texts at which to stop.
pub(crate) fn stop(request: &CompleteRequest) -> Option<Vec<String>> {
    (!request.stop.is_empty()).then(|| request.stop.clone())
}
