//! OpenAI's wire format, as OpenAI and its many relatives write it.

use agentos_contract::llm::{Event, FinishReason, Usage};
use agentos_sdk::Code;
use serde_json::{Value, json};

use crate::{completion, events, failure, fake::Fake, llm, sum};

/// A stream of these chunks, ended properly.
fn sse(chunks: &[Value]) -> String {
    let events = chunks
        .iter()
        .map(Value::to_string)
        .chain(["[DONE]".to_owned()]);
    events
        .flat_map(|data| ["data: ".to_owned(), data, "\n\n".to_owned()])
        .collect()
}

fn delta(delta: Value) -> Value {
    json!({"id": "x", "model": "m-2025", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "x", "model": "m-2025", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn call(piece: Value) -> Value {
    delta(json!({ "tool_calls": [piece] }))
}

async fn streamed(chunks: &[Value]) -> Vec<Event> {
    let fake = Fake::streaming(&sse(chunks)).await;
    events(&llm("openai", &fake.base, json!({})), true).await
}

/// Id, name and arguments of every call of a stream.
async fn calls(chunks: &[Value]) -> Vec<(String, String, String)> {
    let completion = sum(&streamed(chunks).await);
    assert_eq!(completion.finish_reason, FinishReason::ToolCalls);
    completion
        .tool_calls
        .into_iter()
        .map(|call| (call.id, call.name, call.arguments))
        .collect()
}

fn expect(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    calls
        .iter()
        .map(|(id, name, arguments)| ((*id).into(), (*name).into(), (*arguments).into()))
        .collect()
}

#[tokio::test]
async fn text_in_one_piece() {
    let body = json!({"model": "m-2025", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": null},
        "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}});
    let fake = Fake::answering(200, "", &body).await;
    let completion = completion(
        &llm("openai", &format!("{}/v1", fake.base), json!({})),
        false,
    )
    .await;
    assert_eq!(
        (
            completion.content.as_str(),
            completion.model.as_str(),
            completion.provider.as_str()
        ),
        ("hello", "m-2025", "p")
    );
    let usage = Usage {
        cached_tokens: Some(4),
        reasoning_tokens: Some(2),
        ..Usage::new(9, 3)
    };
    assert_eq!(
        (completion.usage, completion.finish_reason),
        (usage, FinishReason::Stop)
    );
    let (head, body) = fake.request();
    assert!(head.starts_with("post /v1/chat/completions "), "{head}");
    assert!(head.contains("authorization: bearer sk-secret"));
    assert_eq!(
        (&body["model"], &body["stream"]),
        (&json!("m"), &Value::Null)
    );
}

#[tokio::test]
async fn text_in_pieces() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    let chunks = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "hel"})),
        delta(json!({"content": "lo"})),
        finish("length"),
        usage,
    ];
    let start = Event::Start {
        model: "m-2025".into(),
        provider: "p".into(),
    };
    let text = |text: &str| Event::Text { text: text.into() };
    let end = [
        Event::Usage(Usage::new(1, 2)),
        Event::Finish {
            reason: FinishReason::Length,
        },
    ];
    assert_eq!(
        streamed(&chunks).await,
        [vec![start, text("hel"), text("lo")], end.to_vec()].concat()
    );
}

#[tokio::test]
async fn parallel_calls_with_split_arguments() {
    let chunks = [
        call(
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        ),
        call(
            json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"y\""}}),
        ),
        call(json!({"index": 0, "function": {"arguments": "{\"x\":"}})),
        call(json!({"index": 1, "function": {"arguments": ":2}"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
        finish("tool_calls"),
    ];
    assert_eq!(
        calls(&chunks).await,
        expect(&[("a", "f", "{\"x\":1}"), ("b", "g", "{\"y\":2}")])
    );
    let pieces = streamed(&chunks).await;
    let indexes = |event: &Event| {
        if let Event::ToolCallArguments { index, .. } = event {
            Some(*index)
        } else {
            None
        }
    };
    assert_eq!(
        pieces.iter().filter_map(indexes).collect::<Vec<_>>(),
        [1, 0, 1, 0]
    );
}

#[tokio::test]
async fn liberties_that_servers_take_with_calls() {
    // A second call under the index of the first; the reason says stop.
    let reused = [
        call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}})),
        call(json!({"index": 0, "id": "b", "function": {"name": "f", "arguments": "{}"}})),
        finish("stop"),
    ];
    assert_eq!(
        calls(&reused).await,
        expect(&[("a", "f", "{}"), ("b", "f", "{}")])
    );
    // The id on every piece, and another id on every piece.
    let repeated = [
        call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}})),
        call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "\"x\":"}})),
        call(json!({"index": 0, "id": "z", "function": {"name": null, "arguments": "1}"}})),
        finish("tool_calls"),
    ];
    assert_eq!(calls(&repeated).await, expect(&[("a", "f", "{\"x\":1}")]));
    // The name after the id; arguments as an object; no index.
    let late = [
        call(json!({"index": 3, "id": "a", "function": {"arguments": "{"}})),
        call(json!({"index": 3, "function": {"name": "f", "arguments": "}"}})),
        call(json!({"id": "b", "function": {"name": "g", "arguments": {"y": 2}}})),
        finish("function_call"),
    ];
    assert_eq!(
        calls(&late).await,
        expect(&[("a", "f", "{}"), ("b", "g", "{\"y\":2}")])
    );
    // No ids at all: they are made, and differ.
    let anonymous = [
        call(json!({"index": 0, "function": {"name": "f", "arguments": "{}"}})),
        call(json!({"index": 1, "function": {"name": "f", "arguments": "{}"}})),
        finish("tool_calls"),
    ];
    let calls = calls(&anonymous).await;
    assert!(calls[0].0.starts_with("call_") && calls[0].0 != calls[1].0);
}

#[tokio::test]
async fn calls_in_one_piece() {
    let call = |function: Value| json!({"type": "function", "function": function});
    let body = json!({"choices": [{"message": {"content": null, "reasoning_content": "hm", "tool_calls": [
        call(json!({"name": "f", "arguments": "{}"})), call(json!({"name": "f", "arguments": {"x": 1}}))]}, "finish_reason": "tool_calls"}]});
    let fake = Fake::answering(200, "", &body).await;
    let completion = completion(&llm("openai", &fake.base, json!({})), false).await;
    let arguments: Vec<_> = completion
        .tool_calls
        .iter()
        .map(|call| call.arguments.as_str())
        .collect();
    assert_eq!(
        (arguments, completion.reasoning.as_deref()),
        (vec!["{}", "{\"x\":1}"], Some("hm"))
    );
}

#[tokio::test]
async fn usage_where_others_put_it() {
    let groq = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}],
        "x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": 6}}});
    assert_eq!(sum(&streamed(&[groq]).await).usage, Usage::new(5, 6));
    // A server that ignores `stream` and answers in one piece.
    let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}});
    let fake = Fake::answering(200, "", &body).await;
    assert_eq!(
        completion(&llm("openai", &fake.base, json!({})), true)
            .await
            .usage,
        Usage::new(1, 0)
    );
}

#[tokio::test]
async fn a_stream_may_lack_its_last_lines() {
    let body = format!(
        "data: {}\n\ndata: {}",
        delta(json!({"content": "x"})),
        finish("stop")
    );
    let fake = Fake::streaming(&body).await;
    assert_eq!(
        completion(&llm("openai", &fake.base, json!({})), true)
            .await
            .content,
        "x"
    );
}

#[tokio::test]
async fn a_cut_stream_is_no_stop() {
    let partial = format!("data: {}\n\n", delta(json!({"content": "half"})));
    for body in [
        partial.clone(),
        format!("{partial}data: [DONE]\n\n"),
        format!("{partial}data: {{\"choi"),
    ] {
        let fake = Fake::streaming(&body).await;
        let (error, text) = failure(&llm("openai", &fake.base, json!({})), true).await;
        assert_eq!(
            (error.code, error.reason.as_deref(), error.retryable),
            (Code::Unavailable, Some("upstream_cut"), true)
        );
        assert_eq!(text, "half");
    }
}

#[tokio::test]
async fn errors_inside_a_stream() {
    let check = async |chunks: &[Value], code: Code, retryable: bool, part: &str| {
        let fake = Fake::streaming(&sse(chunks)).await;
        let (error, _) = failure(&llm("openai", &fake.base, json!({})), true).await;
        assert_eq!((error.code, error.retryable), (code, retryable), "{error}");
        assert!(error.message.contains(part), "{error}");
    };
    let overloaded = json!({"error": {"message": "busy", "code": 429}});
    check(
        std::slice::from_ref(&overloaded),
        Code::Overloaded,
        true,
        "busy",
    )
    .await;
    check(
        &[delta(json!({"content": "x"})), overloaded],
        Code::Overloaded,
        true,
        "busy",
    )
    .await;
    check(
        &[delta(json!({"content": "x"})), finish("error")],
        Code::Unavailable,
        true,
        "in the middle",
    )
    .await;
    check(&[json!([1])], Code::Unavailable, true, "wire format").await;
}
