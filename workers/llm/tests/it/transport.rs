//! What happens below the wire formats: refusals, silence, broken connections, clients that leave.

use std::time::Duration;

use agentos_contract::llm::Event;
use agentos_sdk::{Code, Error};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{
    drain, eventually, failure,
    fake::{Fake, Say, chunk, end, head, pause},
    llm, question,
};

const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
const LAST: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn sse_head() -> Say {
    head(200, "text/event-stream; charset=utf-8", "")
}

/// The error of a provider that behaves like this, and what it said before.
async fn failing(says: Vec<Say>, more: Value) -> (Error, String) {
    let fake = Fake::start(says).await;
    failure(&llm("openai", &fake.base, more), true).await
}

#[tokio::test]
async fn refusals_tell_status_and_wait() {
    let body = json!({"error": {"message": "slow down", "type": "requests", "param": null, "code": "rate_limit_exceeded"}});
    let fake = Fake::answering(429, "retry-after: 2\r\nx-request-id: r1\r\n", &body).await;
    for family in ["openai", "anthropic"] {
        let (error, _) = failure(&llm(family, &fake.base, json!({})), true).await;
        assert_eq!(
            (error.code, error.retryable, error.reason.as_deref()),
            (Code::Overloaded, true, Some("rate_limit_exceeded"))
        );
        assert_eq!(error.message, "p answered 429: slow down");
        let expect = json!({"provider": "p", "status": 429, "type": "requests", "retry_after_ms": 2000, "request_id": "r1",
            "upstream_message": "slow down"});
        assert_eq!(error.details, Some(expect));
    }
}

#[tokio::test]
async fn a_refused_key_is_our_fault_and_shown_to_nobody() {
    let body = json!({"error": {"message": "Incorrect API key provided: sk-secret", "code": "invalid_api_key"}});
    let fake = Fake::answering(401, "", &body).await;
    let (error, _) = failure(&llm("openai", &fake.base, json!({})), true).await;
    assert_eq!(
        (error.code, error.reason.as_deref(), error.retryable),
        (Code::Unavailable, Some("upstream_auth"), false)
    );
    assert!(!format!("{error:?}").contains("sk-secret"));
}

#[tokio::test]
async fn an_absent_host_is_unavailable() {
    let (error, _) = failure(&llm("openai", "http://127.0.0.1:1", json!({})), true).await;
    assert_eq!(
        (error.code, error.reason.as_deref(), error.retryable),
        (Code::Unavailable, Some("upstream_unreachable"), true)
    );
}

#[tokio::test]
async fn each_deadline_has_its_name() {
    let check = async |says: Vec<Say>, more: Value, reason: &str| {
        let (error, text) = failing(says, more).await;
        assert_eq!(
            (error.code, error.reason.as_deref(), error.retryable),
            (Code::Timeout, Some(reason), true),
            "{error}"
        );
        text
    };
    check(
        vec![Say::Linger],
        json!({"first_byte_timeout_ms": 50}),
        "first_byte_timeout",
    )
    .await;
    let text = check(
        vec![sse_head(), chunk(PIECE), Say::Linger],
        json!({"idle_timeout_ms": 50}),
        "idle_timeout",
    )
    .await;
    assert_eq!(text, "half");
    // TLS to somebody who never says hello is part of connecting.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", silent.local_addr().unwrap());
    let (error, _) = failure(
        &llm("openai", &base, json!({"connect_timeout_ms": 50})),
        true,
    )
    .await;
    assert_eq!(error.reason.as_deref(), Some("connect_timeout"), "{error}");
}

#[tokio::test]
async fn comments_keep_a_slow_stream_alive() {
    let mut says = vec![sse_head(), chunk(PIECE)];
    for _ in 0..6 {
        says.extend([pause(60), chunk(": still thinking\n\n")]);
    }
    says.extend([chunk(LAST), end()]);
    let fake = Fake::start(says).await;
    let llm = llm(
        "openai",
        &fake.base,
        json!({"idle_timeout_ms": 200, "first_byte_timeout_ms": 200}),
    );
    let (events, error) = drain(llm.start(question(), true).await.unwrap()).await;
    assert_eq!((events.len(), error), (3, None));
}

#[tokio::test]
async fn broken_connections_are_told_from_ends() {
    for says in [
        vec![sse_head(), chunk(PIECE)],
        vec![sse_head(), chunk(PIECE), Say::Bytes(b"zzz".to_vec())],
        vec![],
    ] {
        let (error, _) = failing(says, json!({})).await;
        assert_eq!(
            (error.code, error.reason.as_deref()),
            (Code::Unavailable, Some("upstream_cut")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn garbage_is_called_garbage() {
    let page = || chunk("<html>welcome</html>");
    for says in [
        vec![head(200, "text/html", ""), page(), end()],
        vec![head(200, "application/json", ""), page(), end()],
    ] {
        let (error, _) = failing(says, json!({})).await;
        assert_eq!(
            (error.code, error.reason.as_deref()),
            (Code::Unavailable, Some("upstream_garbage")),
            "{error}"
        );
    }
    let (error, _) = failing(
        vec![sse_head(), chunk(vec![b'x'; (1 << 20) + 1]), Say::Linger],
        json!({}),
    )
    .await;
    assert!(error.message.contains("larger than 1 MiB"), "{error}");
}

#[tokio::test]
async fn text_split_inside_characters_arrives_whole() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"né\u{2028}😀\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let mut says = vec![sse_head()];
    for byte in text.as_bytes() {
        says.extend([chunk([*byte]), pause(0)]);
    }
    says.push(end());
    let fake = Fake::start(says).await;
    let (events, error) = drain(
        llm("openai", &fake.base, json!({}))
            .start(question(), true)
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(error, None);
    assert!(
        events.contains(&Event::Text {
            text: "né\u{2028}😀".into()
        }),
        "{events:?}"
    );
}

#[tokio::test]
async fn pieces_arrive_while_the_model_still_talks() {
    let fake = Fake::start(vec![sse_head(), chunk(PIECE), Say::Linger]).await;
    let mut events = llm("openai", &fake.base, json!({}))
        .start(question(), true)
        .await
        .unwrap();
    assert!(matches!(events.next().await, Some(Ok(Event::Start { .. }))));
    // The provider says no more before its client leaves, so this is no matter of timing.
    assert_eq!(
        events.next().await,
        Some(Ok(Event::Text {
            text: "half".into()
        }))
    );
    assert!(!fake.left());
    drop(events);
    eventually(|| fake.left()).await;
}

#[tokio::test]
async fn leaving_before_the_answer_ends_the_request() {
    for says in [vec![Say::Linger], vec![sse_head(), Say::Linger]] {
        let fake = Fake::start(says).await;
        let llm = llm("openai", &fake.base, json!({}));
        let asking =
            tokio::time::timeout(Duration::from_millis(100), llm.start(question(), true)).await;
        assert!(asking.is_err() && fake.asked() == 1);
        eventually(|| fake.left()).await;
    }
}
