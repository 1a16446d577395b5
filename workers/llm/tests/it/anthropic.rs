//! Anthropic's wire format.

use agentos_contract::llm::{Event, FinishReason, Usage};
use agentos_sdk::Code;
use serde_json::{Value, json};

use crate::{completion, events, failure, fake::Fake, llm, sum};

fn sse(events: &[Value]) -> String {
    let event = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    events.iter().map(event).collect::<Vec<_>>().concat()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg", "model": "claude-x", "usage":
        {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1, "output_tokens": 1}}})
}

fn block(index: u32, content: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": content})
}

fn delta(index: u32, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]
}

#[tokio::test]
async fn text_in_pieces() {
    let pieces = [
        vec![
            start(),
            block(0, json!({"type": "thinking", "thinking": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "s"})),
            stop(0),
            json!({"type": "ping"}),
            block(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "hel"})),
            delta(1, json!({"type": "text_delta", "text": "lo"})),
            stop(1),
            json!({"type": "news"}),
        ],
        end("end_turn").to_vec(),
    ]
    .concat();
    let fake = Fake::streaming(&sse(&pieces)).await;
    let events = events(&llm("anthropic", &fake.base, json!({})), true).await;
    let text = |text: &str| Event::Text { text: text.into() };
    let usage = Usage {
        cached_tokens: Some(5),
        ..Usage::new(16, 7)
    };
    assert_eq!(
        events,
        [
            Event::Start {
                model: "claude-x".into(),
                provider: "p".into()
            },
            Event::Reasoning { text: "hm".into() },
            Event::ReasoningDetail {
                detail: json!({"type": "reasoning.text", "format": "anthropic-claude-v1", "text": "hm", "signature": "s"}),
            },
            text("hel"),
            text("lo"),
            Event::Usage(usage),
            Event::Finish {
                reason: FinishReason::Stop
            },
        ]
    );
    let (head, body) = fake.request();
    assert!(
        head.starts_with("post /v1/messages ") && head.contains("x-api-key: sk-secret"),
        "{head}"
    );
    assert!(
        head.contains("anthropic-version: 2023-06-01") && !head.contains("authorization"),
        "{head}"
    );
    assert_eq!(
        (&body["stream"], &body["max_tokens"]),
        (&json!(true), &json!(8192))
    );
    assert_eq!(
        body["tools"][0],
        json!({"name": "file__read", "input_schema": {"type": "object"}})
    );
}

#[tokio::test]
async fn parallel_calls_with_split_arguments() {
    let call =
        |id: &str, name: &str| json!({"type": "tool_use", "id": id, "name": name, "input": {}});
    let piece = |index: u32, text: &str| {
        delta(
            index,
            json!({"type": "input_json_delta", "partial_json": text}),
        )
    };
    let pieces = [
        vec![
            start(),
            block(0, json!({"type": "text", "text": "let me"})),
            stop(0),
            block(1, call("a", "f")),
            piece(1, ""),
            piece(1, "{\"x\":"),
            piece(1, "1}"),
            stop(1),
            block(2, call("b", "g")),
            stop(2),
        ],
        end("tool_use").to_vec(),
    ]
    .concat();
    let fake = Fake::streaming(&sse(&pieces)).await;
    let completion = sum(&events(&llm("anthropic", &fake.base, json!({})), true).await);
    let calls: Vec<_> = completion
        .tool_calls
        .iter()
        .map(|call| (&*call.id, &*call.name, &*call.arguments))
        .collect();
    assert_eq!(calls, [("a", "f", "{\"x\":1}"), ("b", "g", "{}")]);
    assert_eq!(
        (&*completion.content, completion.finish_reason),
        ("let me", FinishReason::ToolCalls)
    );
}

#[tokio::test]
async fn an_answer_in_one_piece() {
    let body = json!({"type": "message", "model": "claude-x", "stop_reason": "max_tokens", "usage": {"input_tokens": 3, "output_tokens": 4},
        "content": [{"type": "text", "text": "so"}, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]});
    let fake = Fake::answering(200, "", &body).await;
    let completion = completion(&llm("anthropic", &fake.base, json!({})), false).await;
    assert_eq!(
        (&*completion.content, &*completion.tool_calls[0].arguments),
        ("so", "{\"x\":1}")
    );
    assert_eq!(
        (completion.finish_reason, completion.usage),
        (FinishReason::Length, Usage::new(3, 4))
    );
}

#[tokio::test]
async fn a_stream_that_fails() {
    let check = async |pieces: &[Value], code: Code, reason: &str| {
        let fake = Fake::streaming(&sse(pieces)).await;
        let (error, text) = failure(&llm("anthropic", &fake.base, json!({})), true).await;
        assert_eq!(
            (error.code, error.reason.as_deref(), error.retryable),
            (code, Some(reason), true)
        );
        text
    };
    let half = [start(), block(0, json!({"type": "text", "text": "half"}))];
    assert_eq!(
        check(&half, Code::Unavailable, "upstream_cut").await,
        "half"
    );
    let overloaded =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    check(
        std::slice::from_ref(&overloaded),
        Code::Overloaded,
        "overloaded_error",
    )
    .await;
    check(
        &[half[0].clone(), half[1].clone(), overloaded],
        Code::Overloaded,
        "overloaded_error",
    )
    .await;
    check(
        &[json!({"type": "content_block_start"})],
        Code::Unavailable,
        "upstream_garbage",
    )
    .await;
}
