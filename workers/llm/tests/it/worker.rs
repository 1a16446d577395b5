//! The worker on a bus: streams, final values, lists, and the functions for scripts.

use agentos_contract::{
    llm::{self, Completion, Event, Models, Providers, Released, ScriptRecords},
    testing::Hub,
};
use agentos_sdk::{Bus, CallStream, Code};
use serde_json::{Value, json};

use crate::{eventually, worker};

/// A bus with the worker on it. The hub must live as long as the bus is used.
async fn join(config: Value) -> (Hub, Bus) {
    let hub = Hub::new();
    let seat = hub.join(worker(config)).await;
    (hub, seat.bus)
}

/// A bus with a worker that plays `script`.
async fn scripted(script: &str) -> (Hub, Bus) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, script).unwrap();
    join(json!({"providers": [{"name": "s", "family": "scripted", "script": file.path()}]})).await
}

fn ask() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

async fn next(stream: &mut CallStream) -> Event {
    stream.next_as().await.unwrap().expect("another event")
}

#[tokio::test]
async fn a_hold_proves_that_pieces_come_while_the_model_talks() {
    let (_hub, bus) = scripted("turns: [[text: one, {hold: h}, text: two]]").await;
    let mut stream = bus.call(llm::COMPLETE).stream(&ask()).unwrap();
    assert!(matches!(next(&mut stream).await, Event::Start { .. }));
    assert_eq!(next(&mut stream).await, Event::Text { text: "one".into() });
    let released: Released = bus
        .trigger(llm::SCRIPT_RELEASE, &json!({"hold": "h"}))
        .await
        .unwrap();
    assert_eq!(released.waiting, 1);
    assert_eq!(next(&mut stream).await, Event::Text { text: "two".into() });
    let completion: Completion = stream.finish().await.unwrap().decode().unwrap();
    assert_eq!(completion.content, "onetwo");
}

#[tokio::test]
async fn one_reply_is_the_whole_completion() {
    let (_hub, bus) =
        scripted("turns: [[text: [a, b]], [error: {status: 503, message: no}]]").await;
    let completion: Completion = bus.trigger(llm::COMPLETE, &ask()).await.unwrap();
    assert_eq!(completion.content, "ab");
    let error = bus
        .trigger::<Completion>(llm::COMPLETE, &ask())
        .await
        .unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::Unavailable, true));
    let error = bus
        .trigger::<Completion>(llm::COMPLETE, &json!({"messages": [{"role": "boss"}]}))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert!(error.message.contains("messages[0].role"), "{error}");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_completion() {
    let (_hub, bus) = scripted("turns: [[text: one, {hold: never}, text: two]]").await;
    let mut stream = bus.call(llm::COMPLETE).stream(&ask()).unwrap();
    next(&mut stream).await;
    next(&mut stream).await;
    drop(stream);
    let mut last = Value::Null;
    for _ in 0..500 {
        let records: ScriptRecords = bus.trigger(llm::SCRIPT_REQUESTS, &json!({})).await.unwrap();
        last = records.records.last().unwrap().clone();
        if last["event"] == "end" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(
        (&last["outcome"], &last["text"]),
        (&json!("cancelled"), &json!("one"))
    );
}

#[tokio::test]
async fn a_reset_starts_again() {
    let (_hub, bus) = scripted("turns: [[text: one]]").await;
    let text = async || {
        bus.trigger::<Completion>(llm::COMPLETE, &ask())
            .await
            .map(|completion| completion.content)
    };
    assert_eq!(text().await.unwrap(), "one");
    assert_eq!(
        text().await.unwrap_err().reason.as_deref(),
        Some("script_exhausted")
    );
    bus.trigger::<()>(llm::SCRIPT_RESET, &Value::Null)
        .await
        .unwrap();
    let records: ScriptRecords = bus
        .trigger(llm::SCRIPT_REQUESTS, &Value::Null)
        .await
        .unwrap();
    assert!(records.records.is_empty());
    assert_eq!(text().await.unwrap(), "one");
}

#[tokio::test]
async fn without_a_model_the_offline_provider_answers() {
    let (_hub, bus) = join(json!({})).await;
    let completion: Completion = bus.trigger(llm::COMPLETE, &ask()).await.unwrap();
    assert!(
        completion
            .content
            .contains("No language model is configured")
    );
    let models: Models = bus.trigger(llm::MODELS, &Value::Null).await.unwrap();
    assert_eq!(models.models[0].id, "offline/offline");
    let providers: Providers = bus.trigger(llm::PROVIDERS, &json!({})).await.unwrap();
    assert!(providers.providers[0].configured && providers.providers[0].family == "offline");
    let error = bus
        .trigger::<Value>(llm::SCRIPT_RESET, &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[tokio::test]
async fn a_leaving_caller_ends_the_request_upstream() {
    use crate::fake::{Fake, Say, chunk, head};
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let fake = Fake::start(vec![
        head(200, "text/event-stream", ""),
        chunk(piece),
        Say::Linger,
    ])
    .await;
    let config = json!({"providers": [{"name": "p", "family": "openai", "base_url": fake.base, "models": ["m"]}]});
    let (_hub, bus) = join(config).await;
    let mut stream = bus.call(llm::COMPLETE).stream(&ask()).unwrap();
    next(&mut stream).await;
    drop(stream);
    eventually(|| fake.left()).await;
}
