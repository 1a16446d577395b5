//! Parameters of ours and what Anthropic is sent.

use super::*;

fn encoded(request: Value) -> Value {
    let ask = Ask {
        model: "m",
        request: &serde_json::from_value(request).unwrap(),
        stream: false,
    };
    serde_json::from_slice(&encode(ask, &Map::new()).unwrap()).unwrap()
}

fn check(mut request: Value, expect: Value) {
    request["messages"] = json!([{"role": "user", "content": "hi"}]);
    let body = encoded(request);
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&body[name], value, "{name} in {body}");
    }
}

#[test]
fn a_limit_is_always_sent() {
    check(
        json!({}),
        json!({"max_tokens": MAX_TOKENS, "model": "m", "stream": null, "system": null, "tool_choice": null}),
    );
    check(
        json!({"maxTokens": 5, "extra": {"max_tokens": 6}}),
        json!({"max_tokens": 5}),
    );
    check(
        json!({"extra": {"max_completion_tokens": 6}}),
        json!({"max_tokens": 6, "max_completion_tokens": null}),
    );
}

#[test]
fn parameters_get_their_anthropic_names() {
    check(
        json!({"temperature": 1.7, "topP": 0.5, "stop": "x", "user": "ada", "extra": {"top_k": 3, "store": true, "n": 1}}),
        json!({"temperature": 1.0, "top_p": 0.5, "stop_sequences": ["x"], "metadata": {"user_id": "ada"}, "top_k": 3, "store": null, "n": null}),
    );
    check(
        json!({"responseFormat": {"type": "json_object"}}),
        json!({"system": [{"type": "text", "text": "Answer with one JSON object and nothing else."}]}),
    );
}

#[test]
fn tools_and_their_choice() {
    let tools = json!([
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g"}}, {"type": "web_search_20250305", "name": "web_search"}]);
    let choose = |choice: Value, extra: Value, expect: Value| {
        check(
            json!({"tools": tools, "toolChoice": choice, "extra": extra}),
            json!({"tool_choice": expect}),
        );
    };
    check(
        json!({"tools": tools}),
        json!({"tools": [
        {"name": "f", "description": "d", "input_schema": {"type": "object"}},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        {"type": "web_search_20250305", "name": "web_search"}]}),
    );
    choose(json!("auto"), json!({}), json!({"type": "auto"}));
    choose(json!("required"), json!({}), json!({"type": "any"}));
    choose(
        json!("none"),
        json!({"parallel_tool_calls": false}),
        json!({"type": "none"}),
    );
    choose(
        json!({"type": "function", "function": {"name": "f"}}),
        json!({}),
        json!({"type": "tool", "name": "f"}),
    );
    choose(
        Value::Null,
        json!({"parallel_tool_calls": false}),
        json!({"type": "auto", "disable_parallel_tool_use": true}),
    );
}
