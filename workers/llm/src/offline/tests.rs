//! What the offline provider says and calls.

use super::*;
use serde_json::{Value, json};

fn answered(messages: Value) -> Vec<Event> {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let tools = json!([tool("file__list"), tool("file__read"), tool("get_weather")]);
    answer(&serde_json::from_value(json!({ "messages": messages, "tools": tools })).unwrap())
}

fn text(events: &[Event]) -> &str {
    match events {
        [
            Event::Text { text },
            Event::Finish {
                reason: FinishReason::Stop,
            },
        ] => text,
        other => panic!("not one text: {other:?}"),
    }
}

#[test]
fn it_says_what_it_is_and_what_to_do() {
    let events = answered(json!([{"role": "user", "content": "hello"}]));
    for part in [
        "offline provider",
        "OPENAI_API_KEY",
        "config.yaml",
        "file::list {\"path\": \".\"}",
        "get_weather",
    ] {
        assert!(text(&events).contains(part), "{part}");
    }
    let bare = answer(&CompleteRequest {
        messages: vec![Message::user("hello")],
        ..CompleteRequest::default()
    });
    assert!(text(&bare).contains("offers none"));
}

#[test]
fn written_calls_are_made_in_parallel() {
    let content =
        "please\n file::list {\"path\": \".\"}\nfile::read {\n  \"path\": \"a\"\n}\nget_weather {}";
    let events =
        answered(json!([{"role": "user", "content": "old"}, {"role": "user", "content": content}]));
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ToolCallStart { name, .. } => Some(name.clone()),
            Event::ToolCallArguments { piece, .. } => Some(piece.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        calls,
        [
            "file__list",
            r#"{"path":"."}"#,
            "file__read",
            r#"{"path":"a"}"#,
            "get_weather",
            "{}"
        ]
    );
    assert_eq!(
        events.last(),
        Some(&Event::Finish {
            reason: FinishReason::ToolCalls
        })
    );
}

#[test]
fn results_are_shown_as_they_are() {
    let events = answered(json!([
        {"role": "user", "content": "file::list {}"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "file__list", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "a.txt"}]));
    assert_eq!(text(&events), "file::list:\na.txt");
}

#[test]
fn wrong_calls_are_explained() {
    let check = |content: &str, part: &str| {
        let events = answered(json!([{"role": "user", "content": content}]));
        assert!(text(&events).contains(part), "{}", text(&events));
    };
    check(
        "shell::exec {\"command\": \"ls\"}",
        "`shell::exec` is not offered",
    );
    check("file::read {\"path\": }", "arguments of `file::read`");
    check("what does file::read {} do", "No language model");
}
