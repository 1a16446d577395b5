//! Conversations in OpenAI's shape and what Anthropic is sent.

use super::*;
use crate::history::{CLOSING, OPENING};

fn check(messages: Value, system: Value, turns: Value) {
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    let history = History::of(&messages).unwrap();
    assert_eq!(Value::from(history.system), system);
    assert_eq!(serde_json::to_value(&history.messages).unwrap(), turns);
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

#[test]
fn the_system_text_stands_apart() {
    check(
        json!([{"role": "system", "content": "a"}, {"role": "user", "content": "hi"}, {"role": "developer", "content": "b"}]),
        json!([text("a"), text("b")]),
        json!([{"role": "user", "content": [text("hi")]}]),
    );
}

#[test]
fn results_of_parallel_calls_and_what_follows_are_one_turn() {
    check(
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
                {"id": "c3", "type": "function", "function": {"name": "g", "arguments": "{oops"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "tool", "tool_call_id": "c3", "content": "three"},
            {"role": "user", "content": "and?"}]),
        json!([]),
        json!([
            {"role": "user", "content": [text("go")]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                {"type": "tool_use", "id": "c3", "name": "g", "input": {"malformed_arguments": "{oops"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [text("one")]},
                {"type": "tool_result", "tool_use_id": "c2", "content": []},
                {"type": "tool_result", "tool_use_id": "c3", "content": [text("three")]},
                text("and?")]}]),
    );
}

#[test]
fn roles_alternate_and_the_user_begins() {
    check(
        json!([
            {"role": "assistant", "content": "hello"}, {"role": "user", "content": "a"}, {"role": "user", "content": ""},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": "so far \n"}]),
        json!([]),
        json!([
            {"role": "user", "content": [text(OPENING)]},
            {"role": "assistant", "content": [text("hello")]},
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content": [text("so far \n")]},
            {"role": "user", "content": [text(CLOSING)]}]),
    );
}

#[test]
fn images_documents_and_cache_marks() {
    check(
        json!([{"role": "user", "content": [
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://h/i.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}}]}]),
        json!([]),
        json!([{"role": "user", "content": [
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://h/i.png"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}}]}]),
    );
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let error = |messages: Value| {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        History::of(&messages).unwrap_err().message
    };
    let audio =
        error(json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]));
    assert!(
        audio.contains("messages[0]") && audio.contains("input_audio"),
        "{audio}"
    );
    assert!(error(json!([{"role": "system", "content": "alone"}])).contains("nothing"));
}
