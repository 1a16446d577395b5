//! The worker against fake providers and scripts, through its plain functions: no bus but in `worker`.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests; clippy sees that only of the functions marked so"
)]

mod anthropic;
mod docs;
mod fake;
mod families;
mod openai;
mod resilience;
mod scripted;
mod transport;
mod worker;

use std::sync::Arc;

use agentos_contract::llm::{CompleteRequest, Completion, Event};
use agentos_llm::{Config, EventStream, Llm};
use agentos_sdk::Error;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// A worker with one provider `p` at `base`.
fn llm(family: &str, base: &str, more: Value) -> Arc<Llm> {
    let mut provider = json!({"name": "p", "family": family, "base_url": base, "api_key": "sk-secret", "models": ["m"],
        "retries_max": 0});
    for (key, value) in more.as_object().unwrap() {
        provider[key] = value.clone();
    }
    worker(json!({ "providers": [provider] }))
}

fn worker(config: Value) -> Arc<Llm> {
    let config = serde_json::from_value::<Config>(config).unwrap();
    Llm::new(config.with_env(|_| None).unwrap()).unwrap()
}

/// A question with two tools offered.
fn question() -> CompleteRequest {
    request(json!({
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "file__read", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "now"}}],
    }))
}

fn request(value: Value) -> CompleteRequest {
    serde_json::from_value(value).unwrap()
}

/// Everything that comes, and the error that ends it, if one does.
async fn drain(mut events: EventStream) -> (Vec<Event>, Option<Error>) {
    let mut read = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => read.push(event),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

async fn events(llm: &Llm, stream: bool) -> Vec<Event> {
    let (events, error) = drain(llm.start(question(), stream).await.unwrap()).await;
    assert_eq!(error, None);
    events
}

async fn completion(llm: &Llm, stream: bool) -> Completion {
    sum(&events(llm, stream).await)
}

fn sum(events: &[Event]) -> Completion {
    let mut completion = Completion::default();
    for event in events {
        completion.absorb(event);
    }
    completion
}

/// The error of a completion, wherever it comes, and the text that came before it.
async fn failure(llm: &Llm, stream: bool) -> (Error, String) {
    match llm.start(question(), stream).await {
        Err(error) => (error, String::new()),
        Ok(events) => {
            let (events, error) = drain(events).await;
            (
                error.expect("the completion should fail"),
                sum(&events).content,
            )
        }
    }
}

/// Waits for something that another task is about to do.
async fn eventually(mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 5 s");
}
