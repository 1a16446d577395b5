//! Scripted models, as tests and people use them.

use std::sync::Arc;

use agentos_contract::llm::{CompleteRequest, Event, FinishReason, Usage};
use agentos_llm::Llm;
use agentos_sdk::Code;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{drain, request, sum, worker};

const SCRIPT: &str = r#"
scripts:
  weather:
    turns:
      - - expect: in Paris
        - expect: {tools: [{function: {name: weather__now}}]}
        - reasoning: hm
        - text: ["Let me ", look.]
        - tool_calls:
            - {name: "weather::now", arguments: {city: Paris}, pieces: 3}
            - {name: "file::read", arguments: '{"broken', id: mine}
        - usage: {inputTokens: 2, outputTokens: 3}
      - - text: sunny
        - finish: length
  failing:
    turns:
      - - error: {status: 429, message: slow down, retry_after_ms: 50}
      - - text: half
        - error: {code: unavailable, message: gone}
      - - error: {status: 400, code: context_length_exceeded, message: too long}
  endless:
    repeat: true
    turns:
      - - text: again
"#;

/// A worker with the script, and where it records.
fn scripted(script: &str) -> (Arc<Llm>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (script_file, record) = (
        dir.path().join("script.yaml"),
        dir.path().join("record.jsonl"),
    );
    std::fs::write(&script_file, script).unwrap();
    let provider =
        json!({"name": "s", "family": "scripted", "script": script_file, "record": record});
    (worker(json!({ "providers": [provider] })), dir)
}

fn records(dir: &TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.path().join("record.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ask(model: &str) -> CompleteRequest {
    request(json!({
        "model": model, "messages": [{"role": "user", "content": "weather in Paris?"}],
        "tools": [{"type": "function", "function": {"name": "weather__now"}}],
    }))
}

#[tokio::test]
async fn turns_are_played_in_order() {
    let (llm, dir) = scripted(SCRIPT);
    let (events, error) = drain(llm.start(ask("s/weather"), true).await.unwrap()).await;
    assert_eq!(error, None);
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Event::Text { .. }))
            .count(),
        2
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Event::ToolCallArguments { .. }))
            .count(),
        4
    );
    let first = sum(&events);
    let calls: Vec<_> = first
        .tool_calls
        .iter()
        .map(|call| (&*call.id, &*call.name, &*call.arguments))
        .collect();
    assert_eq!(
        calls,
        [
            ("call_1_1", "weather__now", "{\"city\":\"Paris\"}"),
            ("mine", "file__read", "{\"broken")
        ]
    );
    assert_eq!(
        (&*first.content, first.usage, first.finish_reason),
        ("Let me look.", Usage::new(2, 3), FinishReason::ToolCalls)
    );
    let second = sum(&drain(llm.start(ask("weather"), false).await.unwrap())
        .await
        .0);
    assert_eq!(
        (&*second.content, second.finish_reason, &*second.model),
        ("sunny", FinishReason::Length, "weather")
    );
    let error = llm.start(ask("weather"), true).await.err().unwrap();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::Failed, Some("script_exhausted"))
    );
    let ends: Vec<_> = records(&dir)
        .into_iter()
        .filter(|record| record["event"] == "end")
        .map(|record| record["outcome"].clone())
        .collect();
    assert_eq!(ends, ["finished", "finished", "error"]);
    assert_eq!(
        records(&dir)[0]["request"]["messages"][0]["content"],
        "weather in Paris?"
    );
}

#[tokio::test]
async fn scripts_do_not_disturb_each_other() {
    let (llm, _dir) = scripted(SCRIPT);
    for _ in 0..3 {
        assert_eq!(
            sum(&drain(llm.start(ask("endless"), true).await.unwrap())
                .await
                .0)
            .content,
            "again"
        );
    }
    assert!(llm.start(ask("weather"), true).await.is_ok());
    let error = llm.start(ask("s/none"), true).await.err().unwrap();
    assert!(
        error.message.contains("it has: endless, failing, weather"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missed_expectation_says_what_is_missing() {
    let (llm, _dir) = scripted(SCRIPT);
    let bare =
        request(json!({"model": "weather", "messages": [{"role": "user", "content": "in Paris"}]}));
    let error = llm.start(bare, true).await.err().unwrap();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::InvalidInput, Some("script_expectation"))
    );
    assert!(
        error.message.contains("weather__now") || error.message.contains("`tools`"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_fail_as_upstreams_do() {
    let (llm, _dir) = scripted(SCRIPT);
    let error = llm.start(ask("failing"), true).await.err().unwrap();
    assert_eq!((error.code, error.retryable), (Code::Overloaded, true));
    assert_eq!(error.details.unwrap()["retry_after_ms"], 50);
    let (events, error) = drain(llm.start(ask("failing"), true).await.unwrap()).await;
    let error = error.unwrap();
    assert_eq!(
        (
            sum(&events).content.as_str(),
            error.code,
            error.message.as_str()
        ),
        ("half", Code::Unavailable, "gone")
    );
    let error = llm.start(ask("failing"), true).await.err().unwrap();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::InvalidInput, Some("context_length_exceeded"))
    );
}

#[tokio::test]
async fn leaving_is_recorded_with_what_was_sent() {
    let (llm, dir) = scripted("turns: [[text: one, {hold: never}, text: two]]");
    let mut events = llm.start(ask("s/any"), true).await.unwrap();
    events.next().await;
    assert_eq!(
        events.next().await,
        Some(Ok(Event::Text { text: "one".into() }))
    );
    drop(events);
    let end = records(&dir).pop().unwrap();
    assert_eq!(
        (&end["outcome"], &end["text"], &end["events"]),
        (&json!("cancelled"), &json!("one"), &json!(2))
    );
}

#[tokio::test]
async fn leaving_before_the_first_word_is_recorded_too() {
    let (llm, dir) = scripted("turns: [[{hold: never}, text: one]]");
    let waiting = tokio::time::timeout(
        std::time::Duration::from_millis(20),
        llm.start(ask("s/any"), true),
    )
    .await;
    assert!(waiting.is_err());
    assert_eq!(records(&dir).pop().unwrap()["outcome"], "cancelled");
}
