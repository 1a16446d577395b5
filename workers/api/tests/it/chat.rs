//! Chat completions as an OpenAI client sees them, on a bus with a model that follows a script.

use std::{sync::atomic::Ordering, time::Duration};

use crate::door::{Door, Line};
use agentos_api::Config;
use agentos_contract::llm::{Event, FinishReason, ToolCall, Usage};
use agentos_sdk::{Code, Error};
use serde_json::{Value, json};

fn ask(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn text(text: &str) -> Line {
    Line::Event(Event::Text { text: text.into() })
}

fn end(reason: FinishReason) -> Vec<Line> {
    vec![
        Line::Event(Event::Usage(Usage::new(9, 12))),
        Line::Event(Event::Finish { reason }),
    ]
}

fn hello() -> Vec<Line> {
    [
        vec![Line::start(), text("Hel"), text("lo")],
        end(FinishReason::Stop),
    ]
    .concat()
}

fn two_calls() -> Vec<Line> {
    let start = |index: u32, id: &str, name: &str| {
        Line::Event(Event::ToolCallStart {
            index,
            id: id.into(),
            name: name.into(),
        })
    };
    let piece = |index: u32, piece: &str| {
        Line::Event(Event::ToolCallArguments {
            index,
            piece: piece.into(),
        })
    };
    let lines = vec![
        Line::start(),
        start(0, "call_a", "f"),
        piece(0, "{\"x\""),
        start(1, "call_b", "g"),
        piece(0, ":1}"),
        piece(1, "{}"),
    ];
    [lines, end(FinishReason::ToolCalls)].concat()
}

#[tokio::test]
async fn a_completion_has_openais_shape() {
    let door = Door::open(Config::default()).await;
    door.play(hello());
    let answer = door.post(ask("test/m", json!({}))).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.headers["x-request-id"]
            .as_str()
            .unwrap()
            .starts_with("req_")
    );
    let body = answer.body;
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_u64().unwrap() > 1_600_000_000);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "upstream-m");
    assert_eq!(
        body["choices"],
        json!([{
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop"
        }])
    );
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21})
    );
}

#[tokio::test]
async fn tool_calls_of_the_client_come_back_to_it() {
    let door = Door::open(Config::default()).await;
    door.play(two_calls());
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 9_007_199_254_740_993_u64}, "strict": true}}]);
    let answer = door
        .post(ask(
            "test/m",
            json!({"tools": tools, "seed": 7, "top_k": 40}),
        ))
        .await;
    let choice = &answer.body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([
            {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
        ])
    );
    let asked = door.asked().remove(0);
    assert_eq!(
        serde_json::to_string(&asked.tools).unwrap(),
        tools.to_string()
    );
    assert_eq!((asked.seed, &asked.extra["top_k"]), (Some(7), &json!(40)));
}

#[tokio::test]
async fn a_stream_has_openais_order() {
    let door = Door::open(Config::default()).await;
    door.play(hello());
    let stream = door
        .stream(ask(
            "test/m",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ))
        .await;
    assert_eq!(stream.head["status_code"], 200);
    assert_eq!(stream.head["headers"]["content-type"], "text/event-stream");
    assert_eq!(stream.head["headers"]["cache-control"], "no-cache");
    assert_eq!(stream.head["headers"]["x-accel-buffering"], "no");
    assert!(stream.head["headers"]["x-request-id"].is_string());
    let deltas: Vec<_> = stream
        .events
        .iter()
        .map(|event| event["choices"][0]["delta"].clone())
        .collect();
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"content": "Hel"}),
            json!({"content": "lo"}),
            json!({}),
            Value::Null
        ]
    );
    let finishes: Vec<_> = stream.events[..4]
        .iter()
        .map(|event| event["choices"][0]["finish_reason"].clone())
        .collect();
    assert_eq!(
        finishes,
        [Value::Null, Value::Null, Value::Null, json!("stop")]
    );
    assert!(
        stream.events[..4]
            .iter()
            .all(|event| event["usage"].is_null() && event.get("usage").is_some())
    );
    assert_eq!(stream.events[4]["choices"], json!([]));
    assert_eq!(stream.events[4]["usage"]["total_tokens"], 21);
    let first = &stream.events[0];
    assert!(stream.events.iter().all(|event| {
        ["id", "object", "created", "model"]
            .iter()
            .all(|key| event[*key] == first[*key])
    }));
    assert_eq!(
        (&first["object"], &first["model"]),
        (&json!("chat.completion.chunk"), &json!("upstream-m"))
    );
    assert!(stream.done && stream.comments.is_empty());
}

#[tokio::test]
async fn without_the_wish_no_chunk_has_usage_or_an_empty_choice() {
    let door = Door::open(Config::default()).await;
    door.play(hello());
    let stream = door.stream(ask("test/m", json!({"stream": true}))).await;
    assert!(
        stream
            .events
            .iter()
            .all(|event| event.get("usage").is_none() && event["choices"][0].is_object())
    );
    assert_eq!(stream.events.len(), 4);
}

#[tokio::test]
async fn arguments_stream_in_pieces_with_index_id_and_type_once() {
    let door = Door::open(Config::default()).await;
    door.play(two_calls());
    let stream = door.stream(ask("test/m", json!({"stream": true}))).await;
    let calls: Vec<_> = stream
        .events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"].get("tool_calls").cloned())
        .collect();
    let start = |index: u32, id: &str, name: &str| json!([{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]);
    let piece =
        |index: u32, piece: &str| json!([{"index": index, "function": {"arguments": piece}}]);
    assert_eq!(
        calls,
        [
            start(0, "call_a", "f"),
            piece(0, "{\"x\""),
            start(1, "call_b", "g"),
            piece(0, ":1}"),
            piece(1, "{}")
        ]
    );
    assert_eq!(
        stream.events.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
}

#[tokio::test]
async fn an_agents_tools_run_here_and_its_text_is_the_content() {
    let door = Door::open(Config::default()).await;
    door.agent("ada", &["echo"]).await;
    let script = || {
        let call = ToolCall {
            id: "1".into(),
            name: "echo".into(),
            arguments: "{\"a\":1}".into(),
        };
        let calls = vec![
            Line::start(),
            text("Let me see."),
            Line::Event(Event::ToolCallStart {
                index: 0,
                id: call.id,
                name: call.name,
            }),
            Line::Event(Event::ToolCallArguments {
                index: 0,
                piece: call.arguments,
            }),
        ];
        [calls, end(FinishReason::ToolCalls)].concat()
    };
    door.play(script());
    door.play(hello());
    let stream = door
        .stream(ask(
            "agent/ada",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ))
        .await;
    assert_eq!(stream.text(), "Let me see.\n\nHello");
    assert!(stream.done);
    assert!(
        stream
            .events
            .iter()
            .all(|event| event["choices"][0]["delta"].get("tool_calls").is_none())
    );
    assert!(
        stream
            .events
            .iter()
            .all(|event| event["model"] == "agent/ada")
    );
    let asides: Vec<_> = stream
        .events
        .iter()
        .filter_map(|event| event.get("agentos"))
        .collect();
    assert_eq!(asides[0]["event"]["type"], "toolStart");
    assert_eq!(asides[1]["event"]["name"], "echo");
    assert_eq!(asides[2]["toolCalls"][0]["ok"], true);
    assert_eq!(stream.events.last().unwrap()["usage"]["total_tokens"], 42);

    for model in ["agent/ada", "ada"] {
        door.play(script());
        door.play(hello());
        let answer = door.post(ask(model, json!({}))).await.body;
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            "Let me see.\n\nHello"
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["model"], model);
        assert_eq!(answer["agentos"]["iterations"], 2);
    }
}

#[tokio::test]
async fn an_agent_can_keep_the_conversation() {
    let door = Door::open(Config::default()).await;
    door.agent("ada", &[]).await;
    for _ in 0..2 {
        door.play(hello());
        door.post(ask("ada", json!({"session_id": "s1"}))).await;
    }
    assert_eq!(
        (
            door.asked()[0].messages.len(),
            door.asked()[1].messages.len()
        ),
        (1, 3)
    );
}

#[tokio::test]
async fn bad_requests_are_plain_errors_in_openais_shape() {
    let door = Door::open(Config::default()).await;
    door.agent("ada", &[]).await;
    let check = async |body: Value, status: u64, param: Value, code: Value| {
        let answer = door.post(body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        let error = answer.body["error"].as_object().unwrap();
        assert_eq!(
            (&error["param"], &error["code"]),
            (&param, &code),
            "{error:?}"
        );
        assert!(error["message"].is_string() && error["type"].is_string());
        assert!(answer.headers["x-request-id"].is_string());
        assert_eq!(answer.headers["content-type"], "application/json");
    };
    let null = Value::Null;
    check(null.clone(), 400, null.clone(), null.clone()).await;
    check(json!([]), 400, null.clone(), null.clone()).await;
    check(json!({"model": "m"}), 400, json!("messages"), null.clone()).await;
    check(
        ask("test/m", json!({"n": 0})),
        400,
        json!("n"),
        null.clone(),
    )
    .await;
    check(
        ask("agent/bob", json!({})),
        404,
        json!("model"),
        json!("model_not_found"),
    )
    .await;
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    check(ask("ada", tools), 400, json!("tools"), null.clone()).await;
    for stream in [false, true] {
        let unknown = Error::caller(Code::InvalidInput, "no such model").reason("model_not_found");
        door.play(vec![Line::Fail(unknown)]);
        check(
            ask("nope", json!({"stream": stream})),
            404,
            json!("model"),
            json!("model_not_found"),
        )
        .await;
        let late = Error::worker(Code::Overloaded, "slow down")
            .details(json!({"status": 429, "retry_after_ms": 2500}));
        door.play(vec![Line::start(), Line::Fail(late)]);
        let answer = door.post(ask("test/m", json!({"stream": stream}))).await;
        assert_eq!(
            (answer.status, &answer.headers["retry-after"]),
            (429, &json!("3"))
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_and_is_never_done() {
    let door = Door::open(Config::default()).await;
    let broken = Error::worker(Code::Unavailable, "the upstream broke off");
    door.play(vec![Line::start(), text("Hel"), Line::Fail(broken)]);
    let stream = door.stream(ask("test/m", json!({"stream": true}))).await;
    let last = stream.events.last().unwrap();
    assert_eq!(last["error"]["message"], "the upstream broke off");
    assert_eq!(last["error"].as_object().unwrap().len(), 4);
    assert!(!stream.done);
    assert!(
        stream.events[..2]
            .iter()
            .all(|event| event["choices"][0]["finish_reason"].is_null())
    );
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let door = Door::open(Config {
        head_wait_ms: 60,
        ping_ms: 30,
        ..Config::default()
    })
    .await;
    let lines = vec![
        Line::start(),
        Line::Wait(Duration::from_millis(150)),
        text("late"),
    ];
    door.play([lines, end(FinishReason::Stop)].concat());
    let stream = door.stream(ask("test/m", json!({"stream": true}))).await;
    assert_eq!(stream.text(), "late");
    assert!(
        stream.comments.len() >= 2
            && stream
                .comments
                .iter()
                .all(|comment| comment == ": ping\n\n")
    );
    assert!(stream.done);
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_model() {
    let door = Door::open(Config::default()).await;
    door.agent("ada", &[]).await;
    for (count, model) in [(1, "test/m"), (2, "ada")] {
        door.play(vec![
            Line::start(),
            text("well"),
            Line::Wait(Duration::from_hours(1)),
        ]);
        let mut stream = door.start(ask(model, json!({"stream": true})));
        for _ in 0..3 {
            stream.next().await.unwrap();
        }
        assert_eq!(door.model.dropped.load(Ordering::Relaxed), count - 1);
        drop(stream);
        door.until(|| door.model.dropped.load(Ordering::Relaxed) == count)
            .await;
    }
    door.until(|| door.hub.in_flight() == 0).await;
}

#[tokio::test]
async fn text_survives_exactly() {
    let door = Door::open(Config::default()).await;
    let odd = "a\u{2028}b\u{0}c\"d\n\n\u{1F600}data: x";
    door.play([vec![Line::start(), text(odd)], end(FinishReason::Length)].concat());
    let stream = door.stream(ask("test/m", json!({"stream": true}))).await;
    assert_eq!(stream.text(), odd);
    assert_eq!(
        stream.events.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
    assert_eq!(door.asked()[0].messages[0].text(), "hi");
}
