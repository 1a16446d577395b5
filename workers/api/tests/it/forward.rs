//! Requests in a provider's own words: sent on as they are, and what comes back too.

use std::sync::Arc;

use agentos_api::Config;
use agentos_contract::llm::{
    Event, FORWARD, FinishReason, ForwardHead, ForwardStart, Forwarded, OTHER_FAMILY,
};
use agentos_sdk::{Code, Error, Payload, Registrar, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::door::{Door, Line};

/// A provider of OpenAI's family that has every model named `raw/…`.
#[derive(Default)]
struct Provider {
    asked: Mutex<Vec<(Value, ForwardHead)>>,
}

const CHUNKS: [&str; 2] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[]}}]}\n\n",
    "data: [DONE]\n\n",
];

impl Worker for Provider {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.streaming(FORWARD, move |context, body: Value, sink| {
            let provider = Arc::clone(&self);
            async move {
                let head = serde_json::from_str(context.metadata().unwrap_or("{}")).unwrap();
                provider.asked.lock().push((body.clone(), head));
                let model = body["model"].as_str().unwrap_or_default();
                if !model.starts_with("raw/") {
                    return Err(
                        Error::worker(Code::Unsupported, "another family").reason(OTHER_FAMILY)
                    );
                }
                if model == "raw/busy" {
                    return Err(Error::worker(Code::Overloaded, "busy")
                        .details(json!({"status": 429, "retry_after_ms": 2000})));
                }
                let headers = [
                    ("x-ratelimit-remaining-requests", "7"),
                    ("set-cookie", "no"),
                ];
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let start = ForwardStart {
                    status: 200,
                    headers: headers.into(),
                    ..ForwardStart::default()
                };
                let mut sink = sink.lock().await;
                sink.send(&start).await?;
                if body["stream"] == true {
                    for chunk in CHUNKS {
                        sink.send_payload(Payload::binary(chunk)).await?;
                        if model == "raw/broken" {
                            return Err(Error::worker(Code::Unavailable, "it broke off"));
                        }
                    }
                } else {
                    sink.send_payload(Payload::binary(
                        r#"{"id":"theirs","z":1,"a":9007199254740993}"#,
                    ))
                    .await?;
                }
                Ok(Forwarded::default())
            }
        });
    }
}

async fn door() -> (Door, Arc<Provider>) {
    let door = Door::open(Config::default()).await;
    let provider = Arc::new(Provider::default());
    door.hub
        .join(Arc::clone(&provider) as Arc<dyn Worker>)
        .await;
    (door, provider)
}

fn ask(model: &str, stream: bool) -> Value {
    json!({"model": model, "logprobs": true, "n": 3, "stream": stream, "their_own": {"z": 1, "a": 2},
        "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn bodies_come_and_go_as_they_are() {
    let (door, provider) = door().await;
    let answer = door.post(ask("raw/m", false)).await;
    assert_eq!(
        answer.body.to_string(),
        r#"{"id":"theirs","z":1,"a":9007199254740993}"#
    );
    assert_eq!(answer.headers["x-ratelimit-remaining-requests"], "7");
    assert!(
        answer.headers.get("set-cookie").is_none() && answer.headers["x-request-id"].is_string()
    );
    let (body, head) = provider.asked.lock().remove(0);
    assert_eq!(body.to_string(), ask("raw/m", false).to_string());
    assert_eq!(json!(head.dialect), "openai.chat");
    assert!(door.asked().is_empty(), "nobody else was asked");
}

#[tokio::test]
async fn streams_go_through_and_say_when_they_break_off() {
    let (door, _provider) = door().await;
    let stream = door.stream(ask("raw/m", true)).await;
    assert_eq!(stream.head["headers"]["content-type"], "text/event-stream");
    assert_eq!(
        stream.head["headers"]["x-ratelimit-remaining-requests"],
        "7"
    );
    assert!(stream.done && stream.events[0]["choices"][0]["logprobs"].is_object());
    let stream = door.stream(ask("raw/broken", true)).await;
    assert!(!stream.done);
    assert_eq!(
        stream.events.last().unwrap()["error"]["message"],
        "it broke off"
    );
    for stream in [false, true] {
        let busy = door.post(ask("raw/busy", stream)).await;
        assert_eq!(
            (busy.status, busy.headers["retry-after"].as_str()),
            (429, Some("2"))
        );
    }
}

#[tokio::test]
async fn models_of_other_families_are_asked_in_our_words() {
    let (door, _provider) = door().await;
    let finish = Line::Event(Event::Finish {
        reason: FinishReason::Stop,
    });
    door.play(vec![
        Line::start(),
        Line::Event(Event::Text {
            text: "ours".into(),
        }),
        finish,
    ]);
    let mut body = ask("test/m", false);
    body["logprobs"] = false.into();
    body["n"] = 1.into();
    let answer = door.post(body).await;
    assert_eq!(answer.body["choices"][0]["message"]["content"], "ours");
    assert_eq!(
        door.post(ask("test/m", false)).await.body["error"]["param"],
        "logprobs"
    );
}
