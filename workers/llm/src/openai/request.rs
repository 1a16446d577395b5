//! Our request as OpenAI's. Messages, tools and unknown parameters go through as they came.

use agentos_contract::chat::{Extra, Message, Tool};
use agentos_sdk::Error;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::messages::fit;
use crate::{
    error::{invalid, one_choice},
    provider::Ask,
    table::Entry,
};

/// The body to post.
///
/// # Errors
/// `invalid_input` for several choices at once, of which only one would come back.
pub(super) fn encode(
    ask: Ask<'_>,
    habits: &Entry,
    options: &Map<String, Value>,
) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let mut rest = Extra::new();
    put(&mut rest, "model", Some(ask.model));
    put(
        &mut rest,
        "tool_choice",
        tool_choice(request.tool_choice.as_ref(), habits).as_ref(),
    );
    let warmest = habits.temperature_max.unwrap_or(f64::INFINITY);
    let temperature = request
        .temperature
        .map(|temperature| temperature.min(warmest));
    put(&mut rest, "temperature", temperature.as_ref());
    put(&mut rest, "top_p", request.top_p.as_ref());
    put(
        &mut rest,
        "stop",
        (!request.stop.is_empty()).then_some(&request.stop),
    );
    put(
        &mut rest,
        "response_format",
        request.response_format.as_ref(),
    );
    put(&mut rest, "seed", request.seed.as_ref());
    put(&mut rest, "user", request.user.as_ref());
    if !["max_tokens", "max_completion_tokens"]
        .iter()
        .any(|name| request.extra.contains_key(*name))
    {
        put(&mut rest, &habits.limit, request.max_tokens.as_ref());
    }
    for (name, value) in request.extra.iter().chain(options) {
        // What we decide ourselves stays ours.
        if !OURS.contains(&name.as_str()) && !rest.contains_key(name) {
            rest.insert(name.clone(), value.clone());
        }
    }
    for name in &habits.drop {
        rest.shift_remove(name);
    }
    for (name, theirs) in &habits.rename {
        if let Some(value) = rest.shift_remove(name) {
            rest.insert(theirs.clone(), value);
        }
    }
    if ask.stream {
        rest.insert("stream".to_owned(), true.into());
    }
    if ask.stream && habits.stream_usage {
        let options = json!({ "include_usage": true });
        rest.insert("stream_options".to_owned(), options);
    }
    let body = Body {
        rest,
        messages: &fit(&request.messages, habits),
        tools: &request.tools,
    };
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

/// The choice of tools in the host's words.
fn tool_choice(choice: Option<&Value>, habits: &Entry) -> Option<Value> {
    match (choice?, &habits.required) {
        (Value::String(mode), Some(theirs)) if mode == "required" => Some(theirs.as_str().into()),
        (other, _) => Some(other.clone()),
    }
}

/// Parameters that `extra` cannot set.
const OURS: [&str; 4] = ["messages", "tools", "stream", "stream_options"];

/// The large parts are written straight from the request; prompts can be megabytes.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    rest: Extra,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "<[Tool]>::is_empty")]
    tools: &'a [Tool],
}

fn put<T: Serialize + ?Sized>(body: &mut Extra, name: &str, value: Option<&T>) {
    if let Some(value) = value {
        let value = serde_json::to_value(value).expect("texts and numbers always have a JSON form");
        body.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded_for(habits: &Entry, request: Value, stream: bool) -> Value {
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(request).unwrap(),
            stream,
        };
        serde_json::from_slice(&encode(ask, habits, &Map::new()).unwrap()).unwrap()
    }

    fn encoded(request: Value, stream: bool) -> Value {
        encoded_for(&Entry::default(), request, stream)
    }

    #[test]
    fn hosts_have_their_own_words() {
        let habits = |name: &str| crate::table::Table::embedded().provider(name).unwrap();
        let request = json!({"messages": [], "seed": 7, "temperature": 1.5, "toolChoice": "required", "maxTokens": 3,
            "user": "ada", "extra": {"logprobs": true}});
        assert_eq!(
            encoded_for(habits("mistral"), request.clone(), true),
            json!({"model": "m", "messages": [], "random_seed": 7, "temperature": 1.5, "tool_choice": "any", "max_tokens": 3,
                "stream": true})
        );
        let moonshot = encoded_for(habits("moonshot"), request.clone(), false);
        assert_eq!(
            (&moonshot["temperature"], &moonshot["tool_choice"]),
            (&json!(1.0), &json!("auto"))
        );
        assert_eq!(
            encoded_for(habits("openai"), request, false)["max_completion_tokens"],
            3
        );
    }

    #[test]
    fn parameters_get_their_openai_names() {
        let request = json!({
            "model": "p/m", "messages": [{"role": "user", "content": "hi", "odd": 1}], "temperature": 0.5,
            "maxTokens": 9, "topP": 0.1, "stop": "x", "toolChoice": "auto", "seed": 7, "user": "ada",
            "responseFormat": {"type": "json_object"}, "extra": {"logit_bias": {"1": 2}, "model": "no", "stream": true},
            "tools": [{"type": "function", "function": {"name": "f", "strict": true}}],
        });
        assert_eq!(
            encoded(request, false),
            json!({
                "model": "m", "messages": [{"role": "user", "content": "hi", "odd": 1}], "temperature": 0.5,
                "max_tokens": 9, "top_p": 0.1, "stop": ["x"], "tool_choice": "auto", "seed": 7, "user": "ada",
                "response_format": {"type": "json_object"}, "logit_bias": {"1": 2},
                "tools": [{"type": "function", "function": {"name": "f", "strict": true}}],
            })
        );
    }

    #[test]
    fn streams_ask_for_usage() {
        let body = encoded(json!({"messages": []}), true);
        assert_eq!(
            body,
            json!({"model": "m", "messages": [], "stream": true, "stream_options": {"include_usage": true}})
        );
    }

    #[test]
    fn the_callers_own_limit_wins() {
        let body = encoded(
            json!({"messages": [], "maxTokens": 1, "extra": {"max_completion_tokens": 2}}),
            false,
        );
        assert_eq!(
            body,
            json!({"model": "m", "messages": [], "max_completion_tokens": 2})
        );
    }

    #[test]
    fn several_choices_are_refused() {
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(json!({"messages": [], "extra": {"n": 2}})).unwrap(),
            stream: false,
        };
        assert!(
            encode(ask, &Entry::default(), &Map::new())
                .unwrap_err()
                .message
                .contains("`n`")
        );
    }
}
