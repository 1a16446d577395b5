//! Our request as OpenAI's. Messages, tools and unknown parameters go through as they came.

use agentos_contract::chat::{Extra, Message, Tool};
use agentos_sdk::Error;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{error::invalid, provider::Ask};

/// How a host calls the limit of answered tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LimitName {
    /// OpenAI's own thinking models accept only this.
    MaxCompletionTokens,
    /// What everybody else understands.
    MaxTokens,
}

impl LimitName {
    pub(super) fn for_host(host: &str) -> Self {
        if host == "api.openai.com" {
            LimitName::MaxCompletionTokens
        } else {
            LimitName::MaxTokens
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            LimitName::MaxCompletionTokens => "max_completion_tokens",
            LimitName::MaxTokens => "max_tokens",
        }
    }
}

/// The body to post.
///
/// # Errors
/// `invalid_input` for several choices at once, of which only one would come back.
pub(super) fn encode(ask: &Ask, limit: LimitName) -> Result<Vec<u8>, Error> {
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
    let mut rest = Extra::new();
    put(&mut rest, "model", Some(&ask.model));
    put(&mut rest, "tool_choice", request.tool_choice.as_ref());
    put(&mut rest, "temperature", request.temperature.as_ref());
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
        put(&mut rest, limit.as_str(), request.max_tokens.as_ref());
    }
    for (name, value) in &request.extra {
        // What we decide ourselves stays ours.
        if !OURS.contains(&name.as_str()) && !rest.contains_key(name) {
            rest.insert(name.clone(), value.clone());
        }
    }
    if ask.stream {
        rest.insert("stream".to_owned(), true.into());
        rest.insert(
            "stream_options".to_owned(),
            json!({ "include_usage": true }),
        );
    }
    let body = Body {
        rest,
        messages: &request.messages,
        tools: &request.tools,
    };
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
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

    fn encoded(request: Value, stream: bool) -> Value {
        let ask = Ask {
            model: "m".into(),
            request: serde_json::from_value(request).unwrap(),
            stream,
        };
        serde_json::from_slice(&encode(&ask, LimitName::MaxTokens).unwrap()).unwrap()
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
        assert_eq!(
            LimitName::for_host("api.openai.com"),
            LimitName::MaxCompletionTokens
        );
    }

    #[test]
    fn several_choices_are_refused() {
        let request = serde_json::from_value(json!({"messages": [], "extra": {"n": 2}})).unwrap();
        let ask = Ask {
            model: "m".into(),
            request,
            stream: false,
        };
        assert!(
            encode(&ask, LimitName::MaxTokens)
                .unwrap_err()
                .message
                .contains("`n`")
        );
    }
}
