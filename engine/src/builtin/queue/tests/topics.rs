//! Durable topics.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_subscriber_gets_a_copy_and_fails_alone() {
    let rig = Rig::new().await;
    let mut good = rig.answer("test::good", ok).await;
    let mut bad = rig.answer("test::bad", boom).await;
    rig.bind("g", "test::good", json!({"topic": "t"}));
    rig.bind("b", "test::bad", json!({"topic": "t", "queue_config": {"maxRetries": 2, "backoffType": "fixed", "backoffDelayMs": 5}}));
    rig.publish("t", json!({"n": 1})).await;
    let delivered = next(&mut good).await;
    assert_eq!(delivered.data(), json!({"n": 1}));
    assert_eq!(delivered.call.metadata.as_deref(), Some(r#"{"from":"g"}"#));
    assert_eq!(delivered.call.caller, None);
    next(&mut bad).await;
    next(&mut bad).await;
    rig.emptied("t").await;
    silence(&mut good, 100_000).await;
    silence(&mut bad, 100_000).await;
    let listed = json!([
        {"name": "default", "broker_type": "builtin", "subscriber_count": 1},
        {"name": "t", "broker_type": "builtin", "subscriber_count": 2},
    ]);
    rig.check(api::LIST_TOPICS, Value::Null, listed).await;
    let dead = json!([{"topic": "t", "broker_type": "builtin", "message_count": 1}]);
    rig.check(api::DLQ_TOPICS, Value::Null, dead).await;
    let mut bad = rig.answer("test::bad", ok).await;
    let redriven = json!({"queue": "t::test::bad", "redriven": 1});
    rig.check(api::REDRIVE, json!({"queue": "t::test::bad"}), redriven)
        .await;
    next(&mut bad).await;
    silence(&mut good, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_the_publisher_is_restored() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("t", "test::hear", json!({"topic": "t"}));
    let trace = Trace {
        parent: Some("tp".into()),
        baggage: Some("b".into()),
    };
    let bus = rig.bus.with_trace(trace.clone());
    let input = json!({"topic": "t", "data": null});
    bus.trigger::<Value>(api::PUBLISH, &input).await.unwrap();
    let delivered = next(&mut heard).await.call.trace;
    assert_eq!(delivered.parent, trace.parent);
    let baggage = delivered.baggage.unwrap();
    assert!(baggage.starts_with("b,agentos.message="), "{baggage}");
}

#[tokio::test(start_paused = true)]
async fn triggers_of_one_function_share_one_queue() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("a", "test::hear", json!({"topic": "t"}));
    rig.bind("b", "test::hear", json!({"topic": "t"}));
    rig.bind("b", "test::hear", json!({"topic": "t"}));
    rig.publish("t", json!(1)).await;
    assert_eq!(next(&mut heard).await.data(), 1);
    silence(&mut heard, 10_000).await;
    rig.unbind("b");
    rig.publish("t", json!(2)).await;
    assert_eq!(next(&mut heard).await.data(), 2);
    rig.unbind("a");
    rig.unbind("never bound");
    rig.publish("t", json!(3)).await;
    silence(&mut heard, 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_trigger_may_move_to_another_topic() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("a", "test::hear", json!({"topic": "t"}));
    rig.bind("a", "test::hear", json!({"topic": "u"}));
    rig.publish("t", json!(1)).await;
    rig.publish("u", json!(2)).await;
    assert_eq!(next(&mut heard).await.data(), 2);
    silence(&mut heard, 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn only_false_keeps_a_message_from_its_function_and_a_failed_condition_is_an_attempt() {
    let rig = Rig::new().await;
    let mut asked = rig
        .answer("test::condition", |data| match data.as_i64() {
            Some(number) => Ok(json!(number % 2 == 0)),
            None if data.is_null() => Ok(Value::Null),
            None => Err(Error::worker(Code::Failed, "not a number")),
        })
        .await;
    let mut heard = rig.answer("test::hear", ok).await;
    let once = json!({"maxRetries": 1});
    rig.bind(
        "t",
        "test::hear",
        json!({"topic": "t", "condition_function_id": "test::condition", "queue_config": once}),
    );
    for data in [json!(1), json!(2), json!(null), json!("three")] {
        rig.publish("t", data.clone()).await;
        assert_eq!(next(&mut asked).await.data(), data);
        rig.emptied("t").await;
    }
    assert_eq!(next(&mut heard).await.data(), 2);
    assert_eq!(next(&mut heard).await.data(), Value::Null);
    silence(&mut heard, 10_000).await;
    let dead = rig
        .call(api::DLQ_MESSAGES, json!({"topic": "t"}))
        .await
        .unwrap();
    assert_eq!(
        (&dead[0]["payload"], &dead[0]["error"]),
        (&json!("three"), &json!("failed: not a number"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_published_to_nobody_waits_for_the_first_subscriber() {
    let rig = Rig::new().await;
    for number in 0..600 {
        rig.publish("t", json!(number)).await;
    }
    assert_eq!(rig.depth("t").await, 600);
    let mut first = rig.answer("test::first", ok).await;
    let mut second = rig.answer("test::second", ok).await;
    rig.bind(
        "1",
        "test::first",
        json!({"topic": "t", "queue_config": {"type": "fifo"}}),
    );
    rig.bind("2", "test::second", json!({"topic": "t"}));
    rig.publish("t", json!(600)).await;
    for number in 0..=600 {
        assert_eq!(next(&mut first).await.data(), number);
    }
    assert_eq!(next(&mut second).await.data(), 600);
    silence(&mut second, 10_000).await;
    rig.emptied("t").await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_comes_back_has_missed_nothing() {
    let store = memory::open();
    let rig = Rig::on(Arc::clone(&store), Config::default()).await;
    let config = json!({"topic": "t"});
    rig.bind("t", "test::hear", config.clone());
    rig.unbind("t");
    rig.publish("t", json!("while it was away")).await;
    let began = rig.crash();
    let rig = Rig::at(store, Config::default(), began, START_MS).await;
    // Somebody else has come first, after a restart even.
    let mut other = rig.answer("test::other", ok).await;
    rig.bind("o", "test::other", config.clone());
    rig.publish("t", json!("and now")).await;
    assert_eq!(next(&mut other).await.data(), "and now");
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("t", "test::hear", config.clone());
    assert_eq!(next(&mut heard).await.data(), "while it was away");
    assert_eq!(next(&mut heard).await.data(), "and now");
    // For ever is too long.
    rig.unbind("t");
    tokio::time::sleep(Duration::from_secs(601)).await;
    rig.publish("t", json!("too late")).await;
    assert_eq!(next(&mut other).await.data(), "too late");
    rig.bind("t", "test::hear", config);
    silence(&mut heard, 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_has_gone_holds_up_nobody() {
    let config = Config {
        messages_per_queue_max: 2,
        ..Config::default()
    };
    let rig = Rig::on(memory::open(), config).await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("gone", "test::gone", json!({"topic": "t"}));
    rig.bind("t", "test::hear", json!({"topic": "t"}));
    rig.unbind("gone");
    for number in 0..5 {
        rig.publish("t", json!(number)).await;
        assert_eq!(next(&mut heard).await.data(), number);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.depth("t::test::gone").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_somebody_holds_up_is_overloaded_for_all() {
    let config = Config {
        messages_per_queue_max: 1,
        ..Config::default()
    };
    let rig = Rig::on(memory::open(), config).await;
    let _calls = rig.offer("test::slow").await;
    let mut heard = rig.answer("test::hear", ok).await;
    rig.bind("h", "test::hear", json!({"topic": "t"}));
    rig.bind("s", "test::slow", json!({"topic": "t"}));
    rig.publish("t", json!(1)).await;
    next(&mut heard).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let input = json!({"topic": "t", "data": 2});
    rig.refuse(
        api::PUBLISH,
        input,
        Code::Overloaded,
        "publish_failed",
        "holds 1",
    )
    .await;
    silence(&mut heard, 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn topics_are_bounded_and_those_that_are_empty_cost_nothing() {
    let config = Config {
        topics_max: 2,
        ..Config::default()
    };
    let rig = Rig::on(memory::open(), config).await;
    rig.publish("a", json!(1)).await;
    rig.publish("b", json!(1)).await;
    let input = json!({"topic": "c", "data": 1});
    rig.refuse(
        api::PUBLISH,
        input,
        Code::Overloaded,
        "publish_failed",
        "2 topics",
    )
    .await;
    let long = json!({"topic": "x".repeat(513)});
    rig.refuse(
        api::PUBLISH,
        long,
        Code::InvalidInput,
        "publish_failed",
        "512 bytes",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn delays_and_visibility_of_a_trigger_are_kept() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::hear", ok).await;
    let queue = json!({"delaySeconds": 3, "visibilityTimeout": 7, "concurrency": 1});
    rig.bind(
        "t",
        "test::hear",
        json!({"topic": "t", "queue_config": queue}),
    );
    rig.publish("t", json!(1)).await;
    let delivered = next(&mut heard).await;
    assert!((3000..3010).contains(&delivered.at_ms));
    let stats = rig.call(api::TOPIC_STATS, json!({"topic": "t"})).await;
    assert_eq!(stats.unwrap()["config"]["visibility_timeout_ms"], 7000);
}

#[tokio::test(start_paused = true)]
async fn a_config_that_cannot_be_used_is_refused() {
    use agentos_sdk::TriggerProvider;
    let rig = Rig::new().await;
    let refuse = |config: Value, message: &str| {
        let spec = TriggerSpec::new("t", api::TRIGGER_TYPE, "test::hear", config);
        let error = rig.queue.topics.bind(spec).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput);
        assert!(error.message.contains(message), "{error}");
    };
    refuse(json!(null), "config of a durable:subscriber trigger");
    refuse(json!({}), "missing field `topic`");
    refuse(json!({"topic": ""}), "topic is not set");
    refuse(
        json!({"topic": "t", "queue_config": {"type": "lifo"}}),
        "unknown variant `lifo`",
    );
}
