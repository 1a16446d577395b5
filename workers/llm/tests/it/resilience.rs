//! What happens before the first byte: pauses, other keys, other providers, providers left alone.
//! And what is known afterwards: usage and cost; and bodies that are sent on as they are.

use std::time::{Duration, Instant};

use agentos_contract::{
    llm::{
        self as contract, Breaker, Completion, ForwardStart, Forwarded, Providers, Routed,
        UsageReport,
    },
    testing::{Hub, State},
};
use agentos_sdk::{Bus, Code, Payload};
use serde_json::{Value, json};

use crate::{
    eventually, failure,
    fake::{Fake, chunk, end, head},
    worker,
};

fn answer(text: &str) -> Value {
    json!({"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}})
}

fn refusal(code: &str) -> Value {
    json!({"error": {"message": "no", "type": "t", "code": code}})
}

fn provider(name: &str, base: &str, more: Value) -> Value {
    let mut provider = json!({"name": name, "family": "openai", "base_url": base, "api_key": "sk-secret", "models": ["m"], "retry_wait_ms": 1});
    for (key, value) in more.as_object().unwrap() {
        provider[key] = value.clone();
    }
    provider
}

async fn join(config: Value) -> (Hub, Bus) {
    let hub = Hub::with_state(State::new()).await;
    let seat = hub.join(worker(config)).await;
    (hub, seat.bus)
}

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_failing_provider_is_asked_again_and_then_the_next() {
    let broken = Fake::answering(503, "", &refusal("down")).await;
    let good = Fake::answering(200, "", &answer("from b")).await;
    let (_hub, bus) = join(json!({"providers": [provider("a", &broken.base, json!({})), provider("b", &good.base, json!({}))], "fallbacks": ["b/m"]})).await;
    let completion: Completion = bus.trigger(contract::COMPLETE, &ask("a/m")).await.unwrap();
    assert_eq!(
        (completion.content.as_str(), completion.provider.as_str()),
        ("from b", "b")
    );
    assert_eq!((broken.asked(), good.asked()), (3, 1));
}

#[tokio::test]
async fn a_wrong_request_is_asked_once() {
    let strict = Fake::answering(400, "", &refusal("bad")).await;
    let good = Fake::answering(200, "", &answer("x")).await;
    let (_hub, bus) = join(json!({"providers": [provider("a", &strict.base, json!({})), provider("b", &good.base, json!({}))], "fallbacks": ["b/m"]})).await;
    let error = bus
        .trigger::<Completion>(contract::COMPLETE, &ask("a/m"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, strict.asked(), good.asked()),
        (Code::InvalidInput, 1, 0)
    );
}

#[tokio::test]
async fn a_wait_that_was_asked_for_is_kept() {
    let busy = Fake::answering(
        429,
        "retry-after-ms: 120\r\n",
        &refusal("rate_limit_exceeded"),
    )
    .await;
    let llm = worker(json!({"providers": [provider("a", &busy.base, json!({"retries_max": 1}))]}));
    let began = Instant::now();
    let (error, _) = failure(&llm, true).await;
    // It can take longer, never shorter.
    assert!(began.elapsed() >= Duration::from_millis(120));
    assert_eq!((error.code, busy.asked()), (Code::Overloaded, 2));
    // Longer than anybody has patience for: the next is asked, or nobody.
    let busy = Fake::answering(
        429,
        "retry-after: 3600\r\n",
        &refusal("rate_limit_exceeded"),
    )
    .await;
    let llm = worker(json!({"providers": [provider("a", &busy.base, json!({}))]}));
    failure(&llm, true).await;
    failure(&llm, true).await;
    assert_eq!(busy.asked(), 1);
}

#[tokio::test]
async fn a_refused_key_gives_way_to_the_next() {
    let fake = Fake::answering(401, "", &refusal("invalid_api_key")).await;
    let keys = json!({"api_key": null, "api_keys": [{"api_key": "sk-one"}, {"api_key": "sk-two"}]});
    let (_hub, bus) = join(json!({"providers": [provider("a", &fake.base, keys)]})).await;
    let error = bus
        .trigger::<Completion>(contract::COMPLETE, &ask("a/m"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason.as_deref(), fake.asked()),
        (Some("upstream_auth"), 2)
    );
    assert!(!format!("{error:?}").contains("sk-"));
    let providers: Providers = bus.trigger(contract::PROVIDERS, &json!({})).await.unwrap();
    let health = &providers.providers[0].health;
    assert_eq!((health.keys, health.keys_cooling), (2, 2));
}

#[tokio::test]
async fn a_dead_provider_is_left_alone() {
    let dead = Fake::answering(500, "", &refusal("dead")).await;
    let more = json!({"retries_max": 0, "breaker_failures": 2});
    let (_hub, bus) = join(json!({"providers": [provider("a", &dead.base, more)]})).await;
    for _ in 0..4 {
        let error = bus
            .trigger::<Completion>(contract::COMPLETE, &ask("a/m"))
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::Unavailable);
    }
    assert_eq!(dead.asked(), 2);
    let providers: Providers = bus.trigger(contract::PROVIDERS, &json!({})).await.unwrap();
    assert_eq!(providers.providers[0].health.breaker, Breaker::Open);
}

#[tokio::test]
async fn usage_and_cost_add_up() {
    let fake = Fake::answering(200, "", &answer("x")).await;
    let models = json!({"models": [{"id": "m", "provider": "priced", "usd": [1, 10, 0.5]}], "providers": {"priced": {"base": "http://x", "env": ["X"]}}});
    let (_hub, bus) = join(json!({"catalogue": models, "providers": [
        provider("a", &fake.base, json!({"provider": "priced"})), provider("b", &fake.base, json!({}))]})).await;
    let mut request = ask("a/m");
    for agent in ["ada", "ada", "bob"] {
        request["account"] = json!({"agent": agent, "key": "k1"});
        let completion: Completion = bus.trigger(contract::COMPLETE, &request).await.unwrap();
        let cost = completion.cost_usd.unwrap();
        assert!(
            (cost - (600.0 + 0.5 * 400.0 + 10.0 * 100.0) / 1e6).abs() < 1e-12,
            "{cost}"
        );
    }
    let unpriced: Completion = bus.trigger(contract::COMPLETE, &ask("b/m")).await.unwrap();
    assert_eq!(unpriced.cost_usd, None);
    let report: UsageReport = bus
        .trigger(contract::USAGE, &json!({"by": ["agent"], "provider": "a"}))
        .await
        .unwrap();
    let calls: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.agent.as_deref(), row.calls, row.input_tokens))
        .collect();
    assert_eq!(calls, [(Some("ada"), 2, 2000), (Some("bob"), 1, 1000)]);
    let total: UsageReport = bus.trigger(contract::USAGE, &json!({})).await.unwrap();
    assert_eq!(
        (
            total.total.calls,
            total.total.unpriced_calls,
            total.total.cached_tokens
        ),
        (4, 1, 1600)
    );
    assert!(
        (total.total.cost_usd - 3.0 * 0.0018).abs() < 1e-9,
        "{}",
        total.total.cost_usd
    );
}

#[tokio::test]
async fn equal_requests_are_answered_from_the_cache_when_that_is_wanted() {
    let fake = Fake::answering(200, "", &answer("x")).await;
    let (_hub, bus) =
        join(json!({"cache": {}, "providers": [provider("a", &fake.base, json!({}))]})).await;
    let first: Completion = bus.trigger(contract::COMPLETE, &ask("a/m")).await.unwrap();
    let second: Completion = bus.trigger(contract::COMPLETE, &ask("a/m")).await.unwrap();
    assert_eq!(
        (
            first.cached,
            second.cached,
            second.content.as_str(),
            fake.asked()
        ),
        (false, true, "x", 1)
    );
    let mut fresh = ask("a/m");
    fresh["cache"] = false.into();
    let third: Completion = bus.trigger(contract::COMPLETE, &fresh).await.unwrap();
    assert_eq!((third.cached, fake.asked()), (false, 2));
}

#[tokio::test]
async fn routes_are_told_without_asking() {
    let (_hub, bus) = join(json!({"aliases": {"quick": "a/gpt-5-nano"}, "providers": [
        {"name": "a", "provider": "openai", "family": "openai", "api_key": "k", "models": ["gpt-5", "gpt-5-mini", "gpt-5-nano"]}]})).await;
    let route = async |model: &str, text: &str, tools: usize| {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let request = json!({"model": model, "tools": vec![tool; tools], "messages": [{"role": "user", "content": text}]});
        bus.trigger::<Routed>(contract::ROUTE, &request)
            .await
            .unwrap()
            .model
    };
    let hard = "Design a distributed lock, prove it correct and analyse its failure modes.";
    assert_eq!(route("quick", hard, 0).await, "a/gpt-5-nano");
    assert_eq!(route("a/gpt-5", "hi", 0).await, "a/gpt-5");
    for tools in [0, 20] {
        assert_eq!(route("auto", "hi", tools).await, "a/gpt-5-nano");
        assert_eq!(route("auto", hard, tools).await, "a/gpt-5");
    }
}

const STREAM: [&str; 3] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"é\"}}],\"odd\":9007199254740993}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
];

#[tokio::test]
async fn bodies_are_sent_on_and_bytes_come_back() {
    let mut says = vec![head(200, "text/event-stream", "x-request-id: r1\r\n")];
    says.extend(STREAM.map(chunk));
    says.push(end());
    let fake = Fake::start(says).await;
    let (_hub, bus) = join(json!({"providers": [provider("a", &fake.base, json!({})), {"name": "c", "family": "anthropic", "base_url": fake.base, "models": ["claude"]}]})).await;
    let body = "{\"model\":\"a/m\", \"stream\":true,\"messages\":[], \"odd\": 9007199254740993}";
    let mut stream = bus
        .call(contract::FORWARD)
        .stream_payload(Payload::json(body))
        .unwrap();
    let start: ForwardStart = stream.next_as().await.unwrap().unwrap();
    assert_eq!(
        (
            start.status,
            start.event_stream,
            start.provider.as_str(),
            start.headers["x-request-id"].as_str()
        ),
        (200, true, "a", "r1")
    );
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.bytes);
    }
    // The usage that only we have asked for is left out.
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        [STREAM[0], STREAM[2]].concat()
    );
    let over: Forwarded = stream.finish().await.unwrap().decode().unwrap();
    assert_eq!(over.usage, Some(contract::Usage::new(1, 2)));
    let (head, sent) = fake.request();
    assert!(head.contains("authorization: bearer sk-secret"), "{head}");
    assert_eq!(
        sent,
        json!({"model": "m", "stream": true, "messages": [], "odd": 9_007_199_254_740_993u64, "stream_options": {"include_usage": true}})
    );
    let other = bus
        .call(contract::FORWARD)
        .send_payload(Payload::json("{\"model\":\"c/claude\"}"))
        .await
        .unwrap_err();
    assert_eq!(
        (other.code, other.reason.as_deref()),
        (Code::Unsupported, Some(contract::OTHER_FAMILY))
    );
    let counted = async || {
        bus.trigger::<UsageReport>(contract::USAGE, &json!({}))
            .await
            .unwrap()
            .total
    };
    assert_eq!(counted().await.output_tokens, 2);
}

#[tokio::test]
async fn a_plain_caller_gets_the_whole_body() {
    let fake = Fake::answering(200, "", &answer("x")).await;
    let (_hub, bus) = join(json!({"providers": [provider("a", &fake.base, json!({}))]})).await;
    let reply = bus
        .call(contract::FORWARD)
        .send_payload(Payload::json("{\"model\":\"a/m\"}"))
        .await
        .unwrap();
    assert_eq!(reply.bytes, answer("x").to_string());
}

#[tokio::test]
async fn a_leaving_caller_ends_what_was_sent_on() {
    let says = vec![
        head(200, "text/event-stream", ""),
        chunk(STREAM[0]),
        crate::fake::Say::Linger,
    ];
    let fake = Fake::start(says).await;
    let (_hub, bus) = join(json!({"providers": [provider("a", &fake.base, json!({}))]})).await;
    let body = "{\"model\":\"a/m\",\"stream\":true}";
    let mut stream = bus
        .call(contract::FORWARD)
        .stream_payload(Payload::json(body))
        .unwrap();
    let _: Option<ForwardStart> = stream.next_as().await.unwrap();
    assert!(stream.next().await.is_some());
    drop(stream);
    eventually(|| fake.left()).await;
}
