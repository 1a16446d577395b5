//! Function queues: receipts, deliveries, attempts, order.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_is_delivered_as_it_was_enqueued() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::work", ok).await;
    let call = Call {
        metadata: Some(r#"{"a":1}"#.into()),
        namespace: Some("shop".into()),
        caller: Some("somebody".into()),
        trace: Trace {
            parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            baggage: Some("k=v".into()),
        },
        ..Call::new(None, "test::work", Payload::json(r#"{"to": "x", "n":1.0}"#))
    };
    let id = rig.enqueue_call("default", call.clone()).await.unwrap();
    let delivered = next(&mut heard).await.call;
    assert_eq!(delivered.payload, call.payload);
    assert_eq!(delivered.metadata, call.metadata);
    assert_eq!(delivered.namespace, call.namespace);
    let baggage = format!("k=v,agentos.message={id}");
    assert_eq!(delivered.trace.parent, call.trace.parent);
    assert_eq!(delivered.trace.baggage.as_deref(), Some(&*baggage));
    assert_eq!(delivered.caller, None);
    assert_eq!(delivered.delivery, Delivery::Reply);
    rig.emptied("default").await;
    silence(&mut heard, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_enqueued_is_refused() {
    let rig =
        Rig::with(json!({"b": {}, "a": {"type": "fifo", "message_group_field": "key"}})).await;
    let check = async |queue: &str, data: Value, code: Code, message: &str| {
        let error = rig.enqueue(queue, "test::work", data).await.unwrap_err();
        assert_eq!(error.reason.as_deref(), Some("enqueue_error"));
        assert_eq!((error.code, error.message.as_str()), (code, message));
    };
    let unknown = "Queue 'default' not found; known queues: a, b";
    check("default", json!({}), Code::NotFound, unknown).await;
    let no_group = "queue 'a' is fifo and needs `key` in data";
    for data in [json!({}), json!({"key": null}), json!([1]), json!(null)] {
        check("a", data, Code::InvalidInput, no_group).await;
    }
    assert_eq!(rig.depth("a").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_overloaded() {
    let config = Config {
        messages_per_queue_max: 2,
        ..Config::default()
    };
    let rig = Rig::on(memory::open(), config).await;
    let mut calls = rig.offer("test::work").await;
    for _ in 0..2 {
        rig.enqueue("default", "test::work", json!(1))
            .await
            .unwrap();
    }
    let error = rig.enqueue("default", "test::work", json!(1)).await;
    assert_eq!(error.unwrap_err().code, Code::Overloaded);
    next(&mut calls).await.reply(Ok(Payload::NULL));
    next(&mut calls).await.reply(Ok(Payload::NULL));
    rig.emptied("default").await;
    rig.enqueue("default", "test::work", json!(1))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_come_after_waits_that_double() {
    let rig = Rig::with(json!({"q": {"max_retries": 4, "backoff_ms": 100}})).await;
    let mut heard = rig.answer("test::work", boom).await;
    rig.enqueue("q", "test::work", json!(1)).await.unwrap();
    let mut before = next(&mut heard).await.at_ms;
    for wait in [100, 200, 400] {
        let at = next(&mut heard).await.at_ms;
        // A timer of tokio may be a millisecond late.
        assert!(
            (wait..=wait + wait / 10 + 1).contains(&(at - before)),
            "{wait}: {}",
            at - before
        );
        before = at;
    }
    silence(&mut heard, 100_000).await;
    assert_eq!(rig.depth("q").await, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_may_run_at_the_same_time() {
    let rig = Rig::with(json!({"q": {"concurrency": 2}})).await;
    let mut calls = rig.offer("test::work").await;
    for number in 0..3 {
        rig.enqueue("q", "test::work", json!(number)).await.unwrap();
    }
    let first = next(&mut calls).await;
    let _second = next(&mut calls).await;
    silence(&mut calls, 1000).await;
    first.reply(Ok(Payload::NULL));
    assert_eq!(next(&mut calls).await.payload().decode::<u64>().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_head_holds_up_its_group_alone() {
    let queue = json!({"type": "fifo", "message_group_field": "g", "backoff_ms": 1000});
    let rig = Rig::with(json!({ "q": queue })).await;
    let failures = Arc::new(Mutex::new(2));
    let mut heard = rig
        .answer("test::work", move |data| {
            let mut left = failures.lock();
            if data["n"] == 0 && *left > 0 {
                *left -= 1;
                return boom(data);
            }
            ok(data)
        })
        .await;
    // Without waiting for receipts: the order is that of the calls.
    let receipts: Vec<_> = (0..6)
        .map(|number| {
            let data = json!({"g": (["a", "b"][number % 2]), "n": number});
            let call = Call::new(None, "test::work", Payload::encode(&data).unwrap());
            rig.start_enqueue("q", call)
        })
        .collect();
    for receipt in receipts {
        receipt.await.unwrap().unwrap();
    }
    let mut order: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    for _ in 0..8 {
        let delivered = next(&mut heard).await;
        let data = delivered.data();
        let group = order
            .entry(data["g"].as_str().unwrap().to_owned())
            .or_default();
        group.push((data["n"].as_u64().unwrap(), delivered.at_ms));
    }
    let numbers = |group: &str| -> Vec<u64> { order[group].iter().map(|(n, _)| *n).collect() };
    assert_eq!(numbers("a"), [0, 0, 0, 2, 4]);
    assert_eq!(numbers("b"), [1, 3, 5]);
    assert!(order["b"].iter().all(|(_, at_ms)| *at_ms < 1000));
    assert!(order["a"].iter().skip(3).all(|(_, at_ms)| *at_ms >= 3000));
}

#[tokio::test(start_paused = true)]
async fn plain_calls_enqueue_too_and_may_wait() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::work", ok).await;
    let id = Uuid::new_v4().to_string();
    let input = json!({"queue": "default", "function_id": "test::work", "data": {"a": 1},
        "messageReceiptId": id, "traceparent": "tp", "baggage": "b", "namespace": "n"});
    rig.check(api::ENQUEUE, input, json!({ "messageReceiptId": id }))
        .await;
    let delivered = next(&mut heard).await;
    assert_eq!(delivered.data(), json!({"a": 1}));
    assert_eq!(delivered.call.trace.parent.as_deref(), Some("tp"));
    assert_eq!(delivered.call.namespace.as_deref(), Some("n"));
    let before = delivered.at_ms;
    let input = json!({"function_id": "test::work", "delay_ms": 5000});
    rig.call(api::OUR_ENQUEUE, input).await.unwrap();
    let stats = rig.call(api::OUR_STATS, json!({"queue": "default"}));
    let stats = stats.await.unwrap();
    let expected = json!({"depth": 1, "in_flight": 0, "delayed": 1, "dead": 0, "consumers": 1, "paused": false});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&stats[key], value, "{key}: {stats}");
    }
    let delivered = next(&mut heard).await;
    assert_eq!(delivered.data(), Value::Null);
    assert!((5000..5010).contains(&(delivered.at_ms - before)));
    let bad = json!({"function_id": "x", "messageReceiptId": "1"});
    rig.refuse(
        api::ENQUEUE,
        bad,
        Code::InvalidInput,
        "enqueue_error",
        "not a UUID",
    )
    .await;
    rig.refuse(
        api::ENQUEUE,
        json!({}),
        Code::InvalidInput,
        "enqueue_error",
        "function_id",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_write_gives_no_receipt_and_nothing_is_delivered() {
    let store = Arc::new(Stubborn::default());
    let rig = Rig::on(Arc::clone(&store) as _, Config::default()).await;
    let mut heard = rig.answer("test::work", ok).await;
    rig.bind("t", "test::work", json!({"topic": "t"}));
    store.refuses(true);
    let error = rig
        .enqueue("default", "test::work", json!(1))
        .await
        .unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("enqueue_error"));
    assert_eq!(error.code, Code::Unavailable);
    let input = json!({"topic": "t", "data": 1});
    rig.refuse(api::PUBLISH, input, Code::Unavailable, "publish_failed", "")
        .await;
    silence(&mut heard, 100_000).await;
    assert_eq!((rig.depth("default").await, rig.depth("t").await), (0, 0));
    store.refuses(false);
    rig.enqueue("default", "test::work", json!(2))
        .await
        .unwrap();
    assert_eq!(next(&mut heard).await.data(), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_wait_for_the_store() {
    let store = Arc::new(Stubborn::default());
    let rig = Rig::on(Arc::clone(&store) as _, Config::default()).await;
    let mut calls = rig.offer("test::work").await;
    rig.enqueue("default", "test::work", json!(1))
        .await
        .unwrap();
    let call = next(&mut calls).await;
    store.refuses(true);
    call.reply(Err(Error::worker(Code::Failed, "boom")));
    silence(&mut calls, 100_000).await;
    store.refuses(false);
    next(&mut calls).await.reply(Ok(Payload::NULL));
    rig.emptied("default").await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_not_asked_again_at_once() {
    let rig = Rig::new().await;
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let _heard = rig
        .answer("test::work", move |_| {
            *count.lock() += 1;
            panic!("a test's own")
        })
        .await;
    rig.enqueue("default", "test::work", json!(1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(*asked.lock(), 3);
}

/// A store that can be told to refuse writes.
struct Stubborn {
    store: Arc<dyn Storage>,
    refuses: std::sync::atomic::AtomicBool,
}

impl Default for Stubborn {
    fn default() -> Self {
        Stubborn {
            store: memory::open(),
            refuses: false.into(),
        }
    }
}

impl Stubborn {
    fn refuses(&self, refuses: bool) {
        self.refuses
            .store(refuses, std::sync::atomic::Ordering::Relaxed);
    }
}

#[async_trait]
impl Storage for Stubborn {
    async fn get(
        &self,
        space: crate::storage::Space,
        key: &[u8],
    ) -> Result<Option<crate::storage::Record>, crate::storage::Error> {
        self.store.get(space, key).await
    }

    async fn scan(
        &self,
        scan: crate::storage::Scan,
    ) -> Result<crate::storage::Page, crate::storage::Error> {
        self.store.scan(scan).await
    }

    async fn commit(
        &self,
        batch: crate::storage::Batch,
    ) -> Result<crate::storage::Committed, crate::storage::Error> {
        if self.refuses.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(crate::storage::Error::Unavailable("told so".into()));
        }
        self.store.commit(batch).await
    }

    fn health(&self) -> crate::storage::Health {
        self.store.health()
    }
}
