use super::*;

fn body(more: Value) -> Map<String, Value> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body.as_object().unwrap().clone()
}

fn good(more: Value) -> ChatRequest {
    read(body(more)).unwrap()
}

#[test]
fn what_does_not_fit_is_named() {
    let check = |more: Value, param: &str| {
        let failure = read(body(more)).unwrap_err();
        assert_eq!(
            (
                failure.status,
                failure.body()["error"]["param"].as_str().unwrap()
            ),
            (400, param)
        );
    };
    check(json!({"model": null}), "model");
    check(json!({"model": ""}), "model");
    check(json!({"model": 7}), "model");
    check(json!({"messages": []}), "messages");
    check(json!({"messages": "hi"}), "messages");
    check(
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "wizard"}]}),
        "messages[1].role",
    );
    check(json!({"messages": [{"content": "x"}]}), "messages[0]");
    check(json!({"stream": "yes"}), "stream");
    check(
        json!({"stream_options": {"include_usage": true}}),
        "stream_options",
    );
    check(
        json!({"stream": true, "stream_options": {"include_usage": 1}}),
        "stream_options.include_usage",
    );
    check(json!({"n": 17}), "n");
    check(json!({"n": 0}), "n");
    check(json!({"temperature": 2.5}), "temperature");
    check(json!({"temperature": "hot"}), "temperature");
    check(json!({"top_p": -1}), "top_p");
    check(json!({"max_tokens": 0}), "max_tokens");
    check(
        json!({"max_completion_tokens": -1}),
        "max_completion_tokens",
    );
    check(json!({"stop": ["a", "b", "c", "d", "e"]}), "stop");
    check(
        json!({"tools": [{"type": "function"}]}),
        "tools[0].function",
    );
    check(
        json!({"tools": [{"type": "function", "function": {"description": "x"}}]}),
        "tools[0].function",
    );
    check(json!({"tool_choice": "maybe"}), "tool_choice");
    check(json!({"logprobs": true}), "logprobs");
    check(json!({"modalities": ["text", "audio"]}), "modalities");
    check(json!({"response_format": "json"}), "response_format");
}

#[test]
fn both_names_of_the_limit_are_taken() {
    assert_eq!(good(json!({"max_tokens": 5})).ask.max_tokens, Some(5));
    assert_eq!(
        good(json!({"max_completion_tokens": 6, "max_tokens": 5}))
            .ask
            .max_tokens,
        Some(6)
    );
}

#[test]
fn unknown_fields_are_passed_on_and_nulls_say_nothing() {
    let request = good(json!({
        "reasoning_effort": "low", "top_k": 9_007_199_254_740_993_u64, "logit_bias": null, "n": 1, "stop": null,
        "temperature": null, "logprobs": false, "parallel_tool_calls": false,
    }));
    let extra = Value::Object(request.ask.extra);
    let expect =
        r#"{"reasoning_effort":"low","top_k":9007199254740993,"parallel_tool_calls":false}"#;
    assert_eq!(extra.to_string(), expect);
    assert_eq!(
        (
            request.ask.temperature,
            request.stream,
            request.include_usage
        ),
        (None, false, false)
    );
}

#[test]
fn stop_is_one_text_or_several() {
    assert_eq!(good(json!({"stop": "x"})).ask.stop, ["x"]);
    assert_eq!(good(json!({"stop": ["x", "y"]})).ask.stop, ["x", "y"]);
}

#[test]
fn deprecated_functions_become_tools() {
    let request = good(
        json!({"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}}),
    );
    assert_eq!(request.ask.tools[0].name(), Some("f"));
    assert_eq!(
        request.ask.tool_choice,
        Some(json!({"type": "function", "function": {"name": "f"}}))
    );
}

#[test]
fn streams_may_ask_for_usage() {
    let request = good(
        json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}}),
    );
    assert!(request.stream && request.include_usage);
}
