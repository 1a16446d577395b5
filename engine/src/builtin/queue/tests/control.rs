//! Time for handlers, pausing, emptying, looking; keys, priorities, groups, lost workers.

use super::*;

async fn enqueue_with(rig: &Rig, terms: Value) -> Value {
    let mut input = json!({"queue": "q", "function_id": "test::work"});
    for (key, value) in terms.as_object().unwrap() {
        input[key] = value.clone();
    }
    rig.call(api::OUR_ENQUEUE, input).await.unwrap()
}

/// The data of what was delivered, in order, as numbers.
async fn numbers(heard: &mut mpsc::Receiver<Delivered>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(next(heard).await.data().as_u64().unwrap());
    }
    numbers
}

fn done(call: Invocation) {
    call.reply(Ok(Payload::NULL));
}

#[tokio::test(start_paused = true)]
async fn a_handler_asks_for_more_time() {
    let queue = json!({"q": {"visibility_timeout_ms": 1000, "max_retries": 1}});
    let rig = Rig::with(queue).await;
    let mut heard = rig.offer("test::work").await;
    let id = rig.enqueue("q", "test::work", json!(1)).await.unwrap();
    let call = next(&mut heard).await;
    // As the context of any SDK calls: in the trace of the call.
    let bus = rig.bus.with_trace(call.call().trace.clone());
    for timeout_ms in [json!(2000), Value::Null, json!(2000)] {
        let asked = json!({ "timeout_ms": timeout_ms });
        let extended: Value = bus.trigger(api::EXTEND, &asked).await.unwrap();
        let expected = timeout_ms.as_u64().unwrap_or(1000);
        assert_eq!(extended, json!({"message_id": id, "timeout_ms": expected}));
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    done(call);
    rig.emptied("q").await;
    let stats = rig
        .call(api::OUR_STATS, json!({"queue": "q"}))
        .await
        .unwrap();
    assert_eq!(
        (&stats["dead"], &stats["totals"]["acknowledged"]),
        (&json!(0), &json!(1))
    );
    let by_id = json!({ "message_id": id });
    rig.refuse(
        api::EXTEND,
        by_id,
        Code::NotFound,
        "extend_failed",
        "no attempt at message",
    )
    .await;
    rig.refuse(
        api::EXTEND,
        json!({}),
        Code::InvalidInput,
        "message_id_not_set",
        "which message",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_is_cancelled() {
    let queue = json!({"q": {"visibility_timeout_ms": 1000, "max_retries": 1}});
    let rig = Rig::with(queue).await;
    let mut heard = rig.offer("test::work").await;
    let id = rig.enqueue("q", "test::work", json!(1)).await.unwrap();
    let call = next(&mut heard).await;
    let extended = rig
        .call(api::EXTEND, json!({"message_id": id, "timeout_ms": 5000}))
        .await;
    assert_eq!(extended.unwrap()["timeout_ms"], 5000);
    tokio::time::sleep(Duration::from_millis(4999)).await;
    assert!(!call.cancelled().is_cancelled());
    call.cancelled().cancelled().await;
    rig.emptied("q").await;
    let page = rig
        .call(api::OUR_DEAD, json!({"queue": "q"}))
        .await
        .unwrap();
    let error = page[0]["error"].as_str().unwrap();
    assert!(error.contains("queue::extend"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_message_for_a_while() {
    let queue = json!({"q": {"deduplication_window_ms": 10_000}});
    let store = memory::open();
    let config: Config = serde_json::from_value(json!({ "queue_configs": queue })).unwrap();
    let rig = Rig::on(Arc::clone(&store) as _, config.clone()).await;
    let mut heard = rig.answer("test::work", ok).await;
    let order = json!({"deduplication_key": "order-7", "data": 1});
    let (first, twin) = tokio::join!(
        enqueue_with(&rig, order.clone()),
        enqueue_with(&rig, order.clone())
    );
    let id = first["messageReceiptId"].clone();
    assert_eq!(first.get("duplicate"), None);
    assert_eq!(twin, json!({"messageReceiptId": id, "duplicate": true}));
    next(&mut heard).await;
    let began = rig.crash();
    let rig = Rig::at(store, config, began, START_MS).await;
    let mut heard = rig.answer("test::work", ok).await;
    let again = json!({"idempotency_key": "order-7", "data": 2});
    assert_eq!(
        enqueue_with(&rig, again.clone()).await["messageReceiptId"],
        id
    );
    silence(&mut heard, 9000).await;
    tokio::time::sleep(Duration::from_millis(1001)).await;
    let later = enqueue_with(&rig, again).await;
    assert_eq!(later.get("duplicate"), None);
    assert_ne!(later["messageReceiptId"], id);
    assert_eq!(numbers(&mut heard, 1).await, [2]);
    // Old keys are forgotten.
    tokio::time::sleep(Duration::from_secs(120)).await;
    for space in [record::KEYS, record::KEY_TERMS] {
        let page = rig.queue.queues.shared.store.scan(Scan::all(space)).await;
        assert_eq!(page.unwrap().entries.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_can_be_the_key() {
    let rig = Rig::with(json!({"q": {"deduplication_field": "order"}})).await;
    let mut heard = rig.answer("test::work", ok).await;
    let enqueue = async |data: Value| rig.enqueue("q", "test::work", data).await.unwrap();
    let first = enqueue(json!({"order": 1, "try": 1})).await;
    assert_eq!(enqueue(json!({"order": 1, "try": 2})).await, first);
    assert_ne!(enqueue(json!({"order": 2})).await, first);
    assert_ne!(enqueue(json!({})).await, enqueue(json!({})).await);
    for _ in 0..4 {
        next(&mut heard).await;
    }
    silence(&mut heard, 1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_publication_with_a_key_is_made_once() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("t", "test::hear", json!({"topic": "news"}));
    for _ in 0..3 {
        let input = json!({"topic": "news", "data": 1, "deduplication_key": "k"});
        rig.check(api::OUR_PUBLISH, input, Value::Null).await;
    }
    next(&mut heard).await;
    silence(&mut heard, 1000).await;
}

#[tokio::test(start_paused = true)]
async fn higher_priorities_go_first() {
    let rig = Rig::with(json!({"q": {"concurrency": 1}})).await;
    rig.check(
        api::PAUSE,
        json!({"queue": "q"}),
        json!({"queue": "q", "paused": true}),
    )
    .await;
    let mut heard = rig.answer("test::work", ok).await;
    for (number, priority) in [(1, 0), (2, 5), (3, 9), (4, 5)] {
        enqueue_with(&rig, json!({"data": number, "priority": priority})).await;
    }
    rig.call(api::RESUME, json!({"queue": "q"})).await.unwrap();
    assert_eq!(numbers(&mut heard, 4).await, [3, 2, 4, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_group_has_no_more_in_work_than_it_may() {
    let queue = json!({"q": {"message_group_field": "of", "group_concurrency": 2}});
    let rig = Rig::with(queue).await;
    let mut heard = rig.offer("test::work").await;
    for of in ["a", "a", "a", "b", "a", "b"] {
        rig.enqueue("q", "test::work", json!({ "of": of }))
            .await
            .unwrap();
    }
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(next(&mut heard).await);
    }
    silence(&mut heard, 1000).await;
    let of = |call: &Invocation| call.call().payload.decode::<Value>().unwrap()["of"].clone();
    let first = calls.iter().position(|call| of(call) == "a").unwrap();
    let work: Vec<Value> = calls.iter().map(of).collect();
    assert_eq!(work.iter().filter(|of| **of == "a").count(), 2, "{work:?}");
    done(calls.remove(first));
    assert_eq!(of(&next(&mut heard).await), "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_stays_so_over_a_restart() {
    let store = memory::open();
    let rig = Rig::on(Arc::clone(&store) as _, Config::default()).await;
    let paused = |queue: &str, paused: bool| json!({"queue": queue, "paused": paused});
    let name = |queue: &str| json!({ "queue": queue });
    rig.bind("t", "test::hear", json!({"topic": "news"}));
    for queue in ["default", "news"] {
        rig.check(api::PAUSE, name(queue), paused(queue, true))
            .await;
    }
    rig.enqueue("default", "test::work", json!(1))
        .await
        .unwrap();
    rig.publish("news", json!(2)).await;
    let began = rig.crash();
    let rig = Rig::at(store, Config::default(), began, START_MS).await;
    let mut worked = rig.answer("test::work", ok).await;
    let mut read = rig.answer("test::hear", ok).await;
    let mut late = rig.answer("test::late", ok).await;
    rig.bind("t", "test::hear", json!({"topic": "news"}));
    // Who subscribes to a paused topic waits with the others.
    rig.bind("u", "test::late", json!({"topic": "news"}));
    rig.publish("news", json!(3)).await;
    silence(&mut worked, 10_000).await;
    silence(&mut late, 10_000).await;
    let stats = rig.call(api::OUR_STATS, name("news")).await.unwrap();
    assert_eq!(
        (&stats["paused"], &stats["depth"]),
        (&json!(true), &json!(3))
    );
    for queue in ["default", "news"] {
        rig.check(api::RESUME, name(queue), paused(queue, false))
            .await;
    }
    assert_eq!(numbers(&mut worked, 1).await, [1]);
    assert_eq!(numbers(&mut read, 2).await, [2, 3]);
    assert_eq!(numbers(&mut late, 1).await, [3]);
    let missing = "no queue or topic 'nope'";
    rig.refuse(
        api::PAUSE,
        name("nope"),
        Code::NotFound,
        "pause_failed",
        missing,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_can_be_looked_into_and_emptied() {
    let rig = Rig::with(json!({"q": {"concurrency": 1}})).await;
    let mut heard = rig.offer("test::work").await;
    let id = rig.enqueue("q", "test::work", json!("run")).await.unwrap();
    let running = next(&mut heard).await;
    enqueue_with(&rig, json!({"data": "wait", "priority": 3})).await;
    enqueue_with(&rig, json!({"data": "later", "delay_ms": 60_000})).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let page = rig.call(api::PEEK, json!({"queue": "q"})).await.unwrap();
    let messages = page["messages"].as_array().unwrap();
    let seen: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| {
            (
                message["payload"].as_str().unwrap(),
                message["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("run", "in_flight"),
            ("wait", "ready"),
            ("later", "delayed")
        ]
    );
    assert_eq!(messages[0]["id"], id);
    assert_eq!(messages[0]["function"], "test::work");
    assert_eq!(
        (&messages[0]["age_ms"], &messages[1]["priority"]),
        (&json!(5000), &json!(3))
    );
    assert_eq!(messages[2]["due_in_ms"], 55_000);
    let second = json!({"queue": "q", "offset": 1, "limit": 1});
    let page = rig.call(api::PEEK, second).await.unwrap();
    assert_eq!(page["messages"][0]["payload"], "wait");
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
    let purged = json!({"queue": "q", "purged": 2});
    rig.check(api::PURGE, json!({"queue": "q"}), purged).await;
    let stats = rig
        .call(api::OUR_STATS, json!({"queue": "q"}))
        .await
        .unwrap();
    assert_eq!(
        (&stats["depth"], &stats["in_flight"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(stats["oldest_ms"], 5000);
    assert_eq!(stats["totals"]["enqueued"], 3);
    done(running);
    rig.emptied("q").await;
    silence(&mut heard, 120_000).await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_can_be_purged_together() {
    let rig = Rig::with(json!({"q": {"max_retries": 1}})).await;
    let _heard = rig.answer("test::work", boom).await;
    for number in 0..3 {
        rig.enqueue("q", "test::work", json!(number)).await.unwrap();
    }
    rig.emptied("q").await;
    let purged = json!({"queue": "q", "purged": 3});
    rig.check(api::PURGE, json!({"queue": "q", "dead": true}), purged)
        .await;
    let list = rig.call(api::LIST, json!({})).await.unwrap();
    let queue = &list["queues"][0];
    assert_eq!((&queue["queue"], &queue["dead"]), (&json!("q"), &json!(0)));
    assert_eq!(queue["totals"]["died"], 3);
    assert!(queue["rates"]["died"].as_f64().unwrap() > 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_costs_a_message_nothing_at_first() {
    let rig = Rig::with(json!({"q": {"max_retries": 2, "backoff_ms": 100}})).await;
    let lost = |_: &Value| Err(Error::engine(Code::WorkerLost, "gone"));
    let mut heard = rig.answer("test::work", lost).await;
    rig.enqueue("q", "test::work", json!(1)).await.unwrap();
    rig.emptied("q").await;
    let mut times = Vec::new();
    while let Ok(delivered) = heard.try_recv() {
        times.push(delivered.at_ms);
    }
    // Ten are handed back at once; then each is an attempt.
    assert_eq!(times.len(), usize::from(machine::LOSSES_MAX) + 2);
    assert!(times[10] < times[0] + 100, "{times:?}");
    assert!(times[11] >= times[10] + 100, "{times:?}");
    let stats = rig
        .call(api::OUR_STATS, json!({"queue": "q"}))
        .await
        .unwrap();
    assert_eq!(stats["dead"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_was_there_is_waited_for() {
    let rig = Rig::with(json!({"q": {"max_retries": 1, "backoff_ms": 1000}})).await;
    // The rig's `missing::` functions are nowhere; this one was there a moment ago.
    let now_ms = rig.queue.queues.shared.now_ms();
    rig.queue
        .queues
        .shared
        .seen
        .note(&"missing::one".into(), now_ms);
    rig.enqueue("q", "missing::one", json!(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(rig.depth("q").await, 1);
    rig.emptied("q").await;
    let stats = rig
        .call(api::OUR_STATS, json!({"queue": "q"}))
        .await
        .unwrap();
    assert_eq!(stats["dead"], 1);
    assert!(rig.began.elapsed() < Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_subscribers_keeps_so_much_for_so_long() {
    let topics = json!({"topics": {"retention_ms": 60_000, "retention_messages": 3}});
    let config: Config = serde_json::from_value(topics).unwrap();
    let rig = Rig::on(memory::open(), config).await;
    for number in 0..5 {
        rig.publish("news", json!(number)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(rig.depth("news").await, 3);
    // The third was published at 20 s, and it is 50 s.
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(rig.depth("news").await, 2);
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("t", "test::hear", json!({"topic": "news"}));
    assert_eq!(numbers(&mut heard, 2).await, [3, 4]);
    silence(&mut heard, 1000).await;
}
