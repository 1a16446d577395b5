//! Dead letters.

use super::*;

const ONCE: &str = r#"{"q": {"max_retries": 1}}"#;

/// A rig whose queue `q` has these dead, enqueued one after the other.
async fn with_dead(data: &[Value]) -> (Rig, Vec<String>) {
    let rig = Rig::with(serde_json::from_str(ONCE).unwrap()).await;
    let mut heard = rig.answer("test::work", boom).await;
    let mut ids = Vec::new();
    for data in data {
        ids.push(rig.enqueue("q", "test::work", data.clone()).await.unwrap());
        next(&mut heard).await;
        rig.emptied("q").await;
    }
    (rig, ids)
}

async fn dead(rig: &Rig, input: Value) -> Vec<Value> {
    let page = rig.call(api::DLQ_MESSAGES, input).await.unwrap();
    page.as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_tells_how_it_died() {
    let rig = Rig::new().await;
    let mut heard = rig.answer("test::work", boom).await;
    let id = rig
        .enqueue("default", "test::work", json!({"a": 1}))
        .await
        .unwrap();
    for _ in 0..3 {
        next(&mut heard).await;
    }
    rig.emptied("default").await;
    let page = dead(&rig, json!({"topic": "default"})).await;
    let failed_at = page[0]["failed_at"].as_u64().unwrap();
    assert!((START_MS / 1000 + 3..START_MS / 1000 + 5).contains(&failed_at));
    let expected = json!([{"id": id, "payload": {"a": 1}, "error": "invocation_failed: boom",
        "failed_at": failed_at, "retries": 3, "size_bytes": 7}]);
    assert_eq!(json!(page), expected);
    let topics = json!([{"topic": "default", "broker_type": "builtin", "message_count": 1}]);
    rig.check(api::DLQ_TOPICS, Value::Null, topics).await;
    let stats = rig
        .call(api::TOPIC_STATS, json!({"topic": "default"}))
        .await
        .unwrap();
    assert_eq!(
        (&stats["depth"], &stats["dlq_depth"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(stats["config"]["max_retries"], 3);
}

#[tokio::test(start_paused = true)]
async fn pages_follow_the_order_of_death() {
    let data: Vec<Value> = (0..5).map(|number| json!(number)).collect();
    let (rig, _) = with_dead(&data).await;
    let numbers = async |input: Value| -> Vec<u64> {
        let page = dead(&rig, input).await;
        page.iter()
            .map(|letter| letter["payload"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(json!({"topic": "q"})).await, [0, 1, 2, 3, 4]);
    assert_eq!(
        numbers(json!({"topic": "q", "offset": 1, "limit": 2})).await,
        [1, 2]
    );
    assert_eq!(numbers(json!({"queue": "q", "offset": 4})).await, [4]);
    assert_eq!(
        numbers(json!({"topic": "q", "offset": 9})).await,
        [] as [u64; 0]
    );
    assert_eq!(
        numbers(json!({"topic": "unheard of"})).await,
        [] as [u64; 0]
    );
}

#[tokio::test(start_paused = true)]
async fn everything_redriven_has_all_attempts_again() {
    let (rig, _) = with_dead(&[json!(1), json!(2)]).await;
    let mut heard = rig.answer("test::work", ok).await;
    let expected = json!({"queue": "q", "redriven": 2});
    rig.check(api::REDRIVE, json!({"queue": "q"}), expected)
        .await;
    assert_eq!(next(&mut heard).await.data(), 1);
    assert_eq!(next(&mut heard).await.data(), 2);
    rig.emptied("q").await;
    let nothing = json!({"queue": "q", "redriven": 0});
    rig.check(api::OUR_REDRIVE, json!({"queue": "q"}), nothing)
        .await;
    rig.check(api::DLQ_TOPICS, json!({}), json!([])).await;
}

#[tokio::test(start_paused = true)]
async fn what_dies_again_while_others_are_redriven_stays_dead() {
    let (rig, _) = with_dead(&[json!(1), json!(2)]).await;
    let _heard = rig.answer("test::work", boom).await;
    let expected = json!({"queue": "q", "redriven": 2});
    rig.check(api::REDRIVE, json!({"queue": "q"}), expected)
        .await;
    rig.emptied("q").await;
    assert_eq!(dead(&rig, json!({"topic": "q"})).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn single_letters_are_redriven_and_discarded() {
    let (rig, ids) = with_dead(&[json!(1), json!(2), json!(3)]).await;
    let mut heard = rig.answer("test::work", ok).await;
    let message = |id: &str| json!({"queue": "q", "message_id": id});
    let expected = json!({"queue": "q", "message_id": ids[1], "redriven": 1});
    rig.check(api::REDRIVE_MESSAGE, message(&ids[1]), expected)
        .await;
    assert_eq!(next(&mut heard).await.data(), 2);
    let expected = json!({"queue": "q", "message_id": ids[0], "redriven": 0});
    rig.check(api::DISCARD_MESSAGE, message(&ids[0]), expected)
        .await;
    silence(&mut heard, 10_000).await;
    let left = dead(&rig, json!({"topic": "q"})).await;
    assert_eq!((left.len(), &left[0]["payload"]), (1, &json!(3)));
    for id in [&ids[0], &ids[1], "no uuid"] {
        let (redrive, discard) = ("redrive_message_failed", "discard_message_failed");
        rig.refuse(
            api::REDRIVE_MESSAGE,
            message(id),
            Code::NotFound,
            redrive,
            "no dead letter",
        )
        .await;
        rig.refuse(
            api::DISCARD_MESSAGE,
            message(id),
            Code::NotFound,
            discard,
            "no dead letter",
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_said_has_a_code() {
    let rig = Rig::new().await;
    let bad = Code::InvalidInput;
    for input in [json!({}), json!({"queue": ""}), json!({"queue": null})] {
        rig.refuse(
            api::REDRIVE,
            input.clone(),
            bad,
            "queue_not_set",
            "queue is not set",
        )
        .await;
        rig.refuse(
            api::REDRIVE_MESSAGE,
            input.clone(),
            bad,
            "queue_not_set",
            "",
        )
        .await;
        rig.refuse(api::DISCARD_MESSAGE, input, bad, "queue_not_set", "")
            .await;
    }
    for function in [api::REDRIVE_MESSAGE, api::DISCARD_MESSAGE] {
        rig.refuse(
            function,
            json!({"queue": "q"}),
            bad,
            "message_id_not_set",
            "",
        )
        .await;
    }
    for function in [api::TOPIC_STATS, api::DLQ_MESSAGES] {
        rig.refuse(function, json!({}), bad, "topic_required", "")
            .await;
    }
    for input in [json!({}), json!(null), json!({"topic": ""})] {
        rig.refuse(api::PUBLISH, input, bad, "topic_not_set", "")
            .await;
    }
}
