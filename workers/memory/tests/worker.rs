//! The memory worker on a bus, with and without an embedder, and across restarts.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_contract::{
    embedding::{Embeddings, GENERATE, GenerateRequest},
    memory::*,
    testing::{Hub, Seat, State},
};
use agentos_memory::{Config, Memory as MemoryWorker};
use agentos_sdk::{Bus, Code, Error, Registrar, Worker};
use serde_json::{Value, json};

/// Knows three topics, one per dimension.
#[derive(Default)]
struct Topics {
    asked: AtomicUsize,
    hangs: AtomicBool,
}

fn vector(text: &str) -> Vec<f32> {
    let about = |words: &[&str]| words.iter().any(|word| text.contains(word)) as u8 as f32;
    vec![
        about(&["tea", "drink", "beverage"]),
        about(&["moon", "orbit"]),
        about(&["Friday", "weekday"]) + 0.01,
    ]
}

impl Worker for Topics {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.function(GENERATE, move |_, request: GenerateRequest| {
            let topics = Arc::clone(&self);
            async move {
                topics.asked.fetch_add(1, Ordering::Relaxed);
                if topics.hangs.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_hours(1)).await;
                }
                let embeddings = request.texts.iter().map(|text| vector(text)).collect();
                Ok(Embeddings {
                    embeddings,
                    model: "topics".into(),
                    dimensions: 3,
                    tokens: None,
                })
            }
        });
    }
}

async fn start(state: &Arc<State>, config: Config) -> (Hub, Seat) {
    let hub = Hub::with_state(Arc::clone(state)).await;
    let seat = hub.join(MemoryWorker::new(config)).await;
    (hub, seat)
}

async fn store(bus: &Bus, content: &str) -> Stored {
    bus.trigger(STORE, &json!({ "agentId": "ada", "content": content }))
        .await
        .unwrap()
}

async fn recall(bus: &Bus, query: &str) -> Recalled {
    bus.trigger(RECALL, &json!({ "agentId": "ada", "query": query }))
        .await
        .unwrap()
}

fn contents(found: &Recalled) -> Vec<&str> {
    found
        .memories
        .iter()
        .map(|hit| hit.memory.content.as_str())
        .collect()
}

/// Waits for what happens in the background, at most two seconds.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn what_is_stored_is_recalled_after_a_restart() {
    let state = State::new();
    let (_hub, seat) = start(&state, Config::default()).await;
    let first = store(&seat.bus, "Ada prefers green tea").await;
    assert!(first.stored && !first.deduplicated);
    let again = store(&seat.bus, "Ada prefers green tea").await;
    assert_eq!(
        (again.id.as_str(), again.stored, again.deduplicated),
        (first.id.as_str(), false, true)
    );

    let (_hub, seat) = start(&state, Config::default()).await;
    let found = recall(&seat.bus, "which tea?").await;
    assert_eq!(contents(&found), ["Ada prefers green tea"]);
    assert!(found.memories[0].memory.created_at > 1_600_000_000_000);
    assert!(store(&seat.bus, "Ada prefers green tea").await.deduplicated);
}

#[tokio::test]
async fn without_an_embedder_words_are_searched_and_the_answer_says_so() {
    let (_hub, seat) = start(&State::new(), Config::default()).await;
    store(&seat.bus, "Ada prefers green tea").await;
    let found = recall(&seat.bus, "tea").await;
    assert_eq!(found.method, Method::Keyword);
    assert_eq!(
        found.notice.as_deref(),
        Some("memories were searched by words only: no worker offers `embedding::generate`")
    );
    assert_eq!(contents(&found).len(), 1);
}

#[tokio::test]
async fn memories_from_before_the_embedder_came_are_found_by_meaning() {
    let state = State::new();
    let (hub, seat) = start(&state, Config::default()).await;
    store(&seat.bus, "Ada prefers green tea").await;
    store(&seat.bus, "the moon is far").await;
    hub.join(Arc::new(Topics::default())).await;
    let found = recall(&seat.bus, "a warm beverage").await;
    assert_eq!(found.method, Method::Hybrid);
    assert_eq!(found.notice, None);
    assert_eq!(contents(&found), ["Ada prefers green tea"]);
    assert_eq!(found.memories[0].sources, [Source::Vector]);

    // The vectors are durable: after a restart nothing but the query is embedded.
    let topics = Arc::new(Topics::default());
    let (hub, seat) = start(&state, Config::default()).await;
    hub.join(Arc::clone(&topics) as Arc<dyn Worker>).await;
    assert_eq!(
        contents(&recall(&seat.bus, "a warm beverage").await),
        ["Ada prefers green tea"]
    );
    assert_eq!(topics.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_stored_is_embedded_in_the_background() {
    let state = State::new();
    let (hub, seat) = start(&state, Config::default()).await;
    hub.join(Arc::new(Topics::default())).await;
    store(&seat.bus, "the moon is far").await;
    until(|| {
        state
            .scope("memory:ada")
            .iter()
            .all(|(_, row)| row["embedding"]["model"] == "topics")
    })
    .await;
}

#[tokio::test]
async fn a_hanging_embedder_costs_little_and_only_once() {
    let config = Config {
        embed_timeout_ms: 50,
        ..Config::default()
    };
    let (hub, seat) = start(&State::new(), config).await;
    let topics = Arc::new(Topics::default());
    topics.hangs.store(true, Ordering::Relaxed);
    hub.join(Arc::clone(&topics) as Arc<dyn Worker>).await;
    for _ in 0..3 {
        let found = recall(&seat.bus, "tea").await;
        assert_eq!(found.method, Method::Keyword);
        assert!(
            found
                .notice
                .unwrap()
                .contains("did not answer within 50 ms")
        );
    }
    assert_eq!(topics.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn agents_do_not_share_and_small_caches_lose_nothing() {
    let (_hub, seat) = start(
        &State::new(),
        Config {
            agents_max: 2,
            ..Config::default()
        },
    )
    .await;
    for agent in 0..6 {
        let content = format!("tea of agent{agent}");
        let _: Stored = seat
            .bus
            .trigger(
                STORE,
                &json!({ "agentId": format!("a{agent}"), "content": content }),
            )
            .await
            .unwrap();
    }
    for agent in 0..6 {
        let found: Recalled = seat
            .bus
            .trigger(
                RECALL,
                &json!({ "agentId": format!("a{agent}"), "query": "tea" }),
            )
            .await
            .unwrap();
        assert_eq!(contents(&found), [format!("tea of agent{agent}")]);
    }
}

#[tokio::test]
async fn the_oldest_gives_way_when_there_are_too_many() {
    let state = State::new();
    let (_hub, seat) = start(
        &state,
        Config {
            records_max: 3,
            ..Config::default()
        },
    )
    .await;
    let first = store(&seat.bus, "one").await;
    for content in ["two", "three"] {
        assert_eq!(store(&seat.bus, content).await.evicted, None);
    }
    assert_eq!(store(&seat.bus, "four").await.evicted, Some(first.id));
    assert_eq!(state.scope("memory:ada").len(), 3);
}

#[tokio::test]
async fn forgetting_is_durable_and_naming_nothing_forgets_nothing() {
    let state = State::new();
    let (_hub, seat) = start(&state, Config::default()).await;
    let stored = store(&seat.bus, "one").await;
    store(&seat.bus, "two").await;
    let forget = async |request: Value| seat.bus.trigger::<Forgotten>(FORGET, &request).await;
    let code = |outcome: Result<Forgotten, Error>| outcome.unwrap_err().code;
    assert_eq!(
        code(forget(json!({ "agentId": "ada" })).await),
        Code::InvalidInput
    );
    assert_eq!(
        code(forget(json!({ "agentId": "ada", "id": "mem_x" })).await),
        Code::NotFound
    );
    assert_eq!(
        forget(json!({ "agentId": "ada", "id": stored.id }))
            .await
            .unwrap()
            .forgotten,
        1
    );
    assert_eq!(state.scope("memory:ada").len(), 1);
    assert_eq!(
        forget(json!({ "agentId": "ada", "all": true }))
            .await
            .unwrap()
            .forgotten,
        1
    );
    assert!(state.scope("memory:ada").is_empty());
}

#[tokio::test]
async fn many_are_stored_at_once_in_their_order() {
    let state = State::new();
    let config = Config {
        records_max: 3,
        store_many_max: 4,
        ..Config::default()
    };
    let (_hub, seat) = start(&state, config).await;
    let known = store(&seat.bus, "known").await;
    let request = |contents: &[&str]| {
        let memories: Vec<_> = contents
            .iter()
            .map(|content| json!({ "content": content }))
            .collect();
        json!({ "agentId": "ada", "memories": memories })
    };
    let stored: StoredMany = seat
        .bus
        .trigger(STORE_MANY, &request(&["one", "known", "two", "one"]))
        .await
        .unwrap();
    let fates: Vec<_> = stored.memories.iter().map(|memory| memory.stored).collect();
    assert_eq!(fates, [true, false, true, false]);
    assert_eq!(stored.memories[1].id, known.id);
    assert_eq!(stored.memories[3].id, stored.memories[0].id);
    let stored: StoredMany = seat
        .bus
        .trigger(STORE_MANY, &request(&["three", "four"]))
        .await
        .unwrap();
    assert_eq!(stored.evicted.len(), 2);
    assert_eq!(stored.evicted[0], known.id);
    let found: Listed = seat
        .bus
        .trigger(LIST, &json!({ "agentId": "ada" }))
        .await
        .unwrap();
    let contents: Vec<_> = found
        .memories
        .into_iter()
        .map(|memory| memory.content)
        .collect();
    assert_eq!(contents, ["four", "three", "two"]);
    assert_eq!(state.scope("memory:ada").len(), 3);

    for (wrong, field) in [
        (request(&["1", "2", "3", "4", "5"]), "memories"),
        (request(&["1", " "]), "memories[1].content"),
    ] {
        let error = seat
            .bus
            .trigger::<StoredMany>(STORE_MANY, &wrong)
            .await
            .unwrap_err();
        assert_eq!(
            (error.code, error.details.unwrap()["field"].as_str()),
            (Code::InvalidInput, Some(field))
        );
    }
}

#[tokio::test]
async fn two_instances_see_what_the_other_wrote() {
    let state = State::new();
    let (_hub, one) = start(&state, Config::default()).await;
    let (_hub, two) = start(&state, Config::default()).await;
    store(&one.bus, "green tea").await;
    assert_eq!(contents(&recall(&two.bus, "tea").await), ["green tea"]);
    let black = store(&two.bus, "black tea").await;
    assert_eq!(recall(&one.bus, "tea").await.memories.len(), 2);
    assert!(store(&one.bus, "black tea").await.deduplicated);
    let forget = json!({ "agentId": "ada", "id": black.id });
    let _: Forgotten = one.bus.trigger(FORGET, &forget).await.unwrap();
    assert_eq!(contents(&recall(&two.bus, "tea").await), ["green tea"]);
}

#[tokio::test]
async fn a_recall_makes_an_old_memory_fresh_for_good() {
    let state = State::new();
    let (_hub, seat) = start(&state, Config::default()).await;
    let row = json!({ "id": "mem_1", "content": "green tea", "createdAt": 1_000 });
    let set = json!({ "scope": "memory:ada", "key": "mem_1", "value": row });
    let _: Value = seat.bus.trigger("state::set", &set).await.unwrap();
    assert_eq!(
        recall(&seat.bus, "tea").await.memories[0].memory.used_at,
        None
    );
    until(|| state.scope("memory:ada")[0].1["usedAt"].as_u64() > Some(1_600_000_000_000)).await;
    assert!(
        recall(&seat.bus, "tea").await.memories[0]
            .memory
            .used_at
            .is_some()
    );
}

#[tokio::test]
async fn what_waits_is_embedded_when_the_embedder_comes() {
    let state = State::new();
    let (hub, seat) = start(&state, Config::default()).await;
    store(&seat.bus, "the moon is far").await;
    hub.join(Arc::new(Topics::default())).await;
    let event =
        |id: &str| json!({ "event": "functions_changed", "functions": [{ "function_id": id }] });
    let catch_up =
        async |id: &str| -> Waiting { seat.bus.trigger(CATCH_UP, &event(id)).await.unwrap() };
    assert_eq!(catch_up("other::one").await.waiting, 0);
    assert_eq!(catch_up(GENERATE).await.waiting, 1);
    until(|| state.scope("memory:ada")[0].1["embedding"]["model"] == "topics").await;
}

#[tokio::test]
async fn another_function_or_none_may_embed() {
    let config = |function: &str| Config {
        embed_function: function.to_owned(),
        ..Config::default()
    };
    for (function, notice) in [
        (
            "",
            "memories were searched by words only: `memory.embed_function` names none that embeds",
        ),
        (
            "my::vectors",
            "memories were searched by words only: no worker offers `my::vectors`",
        ),
    ] {
        let (hub, seat) = start(&State::new(), config(function)).await;
        hub.join(Arc::new(Topics::default())).await;
        assert_eq!(
            recall(&seat.bus, "tea").await.notice.as_deref(),
            Some(notice)
        );
    }
}

#[tokio::test]
async fn merging_says_what_it_could_not_compare() {
    let (_hub, seat) = start(&State::new(), Config::default()).await;
    for (content, source) in [("Green tea.", "a"), ("the green tea", "b")] {
        let request = json!({ "agentId": "ada", "content": content, "metadata": { "source": source, source: 1 } });
        let _: Stored = seat.bus.trigger(STORE, &request).await.unwrap();
    }
    let request = json!({ "agentId": "ada" });
    let done: Consolidated = seat.bus.trigger(CONSOLIDATE, &request).await.unwrap();
    assert_eq!((done.merged, done.groups.len()), (1, 1));
    assert!(
        done.notice
            .unwrap()
            .starts_with("2 memories have no vector")
    );
    let left = recall(&seat.bus, "tea").await.memories.remove(0).memory;
    assert_eq!((left.content.as_str(), left.merged), ("the green tea", 1));
    assert_eq!(
        left.metadata.unwrap(),
        json!({ "source": "b", "a": 1, "b": 1 })
    );
    let wrong = json!({ "agentId": "ada", "similarity": 0.1 });
    let error = seat
        .bus
        .trigger::<Consolidated>(CONSOLIDATE, &wrong)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let (_hub, seat) = start(&State::new(), Config::default()).await;
    for number in 0..5 {
        store(&seat.bus, &format!("number {number}")).await;
    }
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page: Listed = seat
            .bus
            .trigger(
                LIST,
                &json!({ "agentId": "ada", "limit": 2, "cursor": cursor }),
            )
            .await
            .unwrap();
        assert_eq!(page.total, 5);
        seen.extend(page.memories.into_iter().map(|memory| memory.content));
        match page.cursor {
            Some(next) => cursor = json!(next),
            None => break,
        }
    }
    assert_eq!(
        seen,
        ["number 4", "number 3", "number 2", "number 1", "number 0"]
    );
}

#[tokio::test]
async fn bad_input_names_its_field() {
    let (_hub, seat) = start(
        &State::new(),
        Config {
            content_bytes_max: 8,
            ..Config::default()
        },
    )
    .await;
    let check = async |function: &str, request: Value, field: &str| {
        let error = seat
            .bus
            .trigger::<Value>(function, &request)
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::InvalidInput, "{error}");
        assert_eq!(error.details.unwrap()["field"], field);
    };
    check(STORE, json!({ "agentId": "", "content": "x" }), "agentId").await;
    check(STORE, json!({ "agentId": "a", "content": " " }), "content").await;
    check(
        STORE,
        json!({ "agentId": "a", "content": "123456789" }),
        "content",
    )
    .await;
    check(STORE, json!({ "agentId": "a", "content": 7 }), "content").await;
    check(
        RECALL,
        json!({ "agentId": "a", "query": "x", "limit": 0 }),
        "limit",
    )
    .await;
}
