//! What a life of the engine leaves to the next.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_in_work_at_a_crash_is_delivered_again() {
    let store = memory::open();
    let rig = Rig::on(Arc::clone(&store), Config::default()).await;
    let mut calls = rig.offer("test::work").await;
    for number in 0..3 {
        rig.enqueue("default", "test::work", json!(number))
            .await
            .unwrap();
    }
    let _in_work = (next(&mut calls).await, next(&mut calls).await);
    next(&mut calls).await.reply(Ok(Payload::NULL));
    // The acknowledgement is on its way as soon as the others had their turn.
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.crash();
    let rig = Rig::on(store, Config::default()).await;
    let mut heard = rig.answer("test::work", ok).await;
    // Delivered before the function was there: no attempt is lost, its worker is on the way.
    assert_eq!(next(&mut heard).await.data(), 0);
    assert_eq!(next(&mut heard).await.data(), 1);
    rig.emptied("default").await;
    silence(&mut heard, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn attempts_and_dead_letters_survive() {
    let store = memory::open();
    let rig = Rig::on(Arc::clone(&store), Config::default()).await;
    let mut heard = rig.answer("test::work", boom).await;
    rig.enqueue("default", "test::work", json!("dead"))
        .await
        .unwrap();
    rig.emptied("default").await;
    for _ in 0..3 {
        next(&mut heard).await;
    }
    rig.enqueue("default", "test::work", json!("tired"))
        .await
        .unwrap();
    next(&mut heard).await;
    next(&mut heard).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = rig.crash();
    let rig = Rig::at(store, Config::default(), began, START_MS).await;
    let mut heard = rig.answer("test::work", boom).await;
    // The third attempt, and the last.
    assert_eq!(next(&mut heard).await.data(), "tired");
    silence(&mut heard, 100_000).await;
    let page = rig
        .call(api::OUR_DEAD, json!({"queue": "default"}))
        .await
        .unwrap();
    let dead: Vec<&Value> = page
        .as_array()
        .unwrap()
        .iter()
        .map(|dead| &dead["payload"])
        .collect();
    assert_eq!(dead, ["dead", "tired"]);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_missing_after_a_start_costs_no_attempt() {
    let store = memory::open();
    let rig = Rig::on(Arc::clone(&store), Config::default()).await;
    rig.queue.halt();
    rig.enqueue("default", "missing::work", json!(1))
        .await
        .unwrap();
    rig.crash();
    let rig = Rig::on(store, Config::default()).await;
    rig.enqueue("default", "missing::work", json!(2))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let dead = rig
        .call(api::DLQ_MESSAGES, json!({"topic": "default"}))
        .await
        .unwrap();
    // The new one is nobody's heritage.
    assert_eq!(dead[0]["payload"], 2);
    assert_eq!(dead.as_array().unwrap().len(), 1);
    assert_eq!(rig.depth("default").await, 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(rig.depth("default").await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_engine_is_no_failed_attempt() {
    let store = memory::open();
    let mut config = Config::default();
    config.queue_configs.get_mut("default").unwrap().max_retries = 1;
    let rig = Rig::on(Arc::clone(&store), config.clone()).await;
    let mut calls = rig.offer("test::work").await;
    rig.enqueue("default", "test::work", json!("fails"))
        .await
        .unwrap();
    rig.enqueue("default", "test::work", json!("succeeds"))
        .await
        .unwrap();
    let (failing, succeeding) = (next(&mut calls).await, next(&mut calls).await);
    rig.queue.halt();
    rig.enqueue("default", "test::work", json!("new"))
        .await
        .unwrap();
    failing.reply(Err(Error::engine(Code::WorkerLost, "the worker is gone")));
    succeeding.reply(Ok(Payload::NULL));
    silence(&mut calls, 10_000).await;
    assert_eq!(rig.depth("default").await, 2);
    rig.crash();
    let rig = Rig::on(store, config).await;
    let mut heard = rig.answer("test::work", ok).await;
    assert_eq!(next(&mut heard).await.data(), "fails");
    assert_eq!(next(&mut heard).await.data(), "new");
    rig.emptied("default").await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_not_configured_any_more_delivers_what_it_has() {
    let store = memory::open();
    let config: Config = serde_json::from_value(json!({"queue_configs": {"old": {}}})).unwrap();
    let rig = Rig::on(Arc::clone(&store), config).await;
    rig.queue.halt();
    rig.enqueue("old", "test::work", json!(1)).await.unwrap();
    rig.crash();
    let rig = Rig::on(store, Config::default()).await;
    let mut heard = rig.answer("test::work", ok).await;
    assert_eq!(next(&mut heard).await.data(), 1);
    let error = rig
        .enqueue("old", "test::work", json!(2))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn numbers_are_not_given_twice() {
    let store = memory::open();
    for life in 0..4 {
        let rig = Rig::on(Arc::clone(&store), Config::default()).await;
        rig.queue.halt();
        for number in 0..3 {
            rig.enqueue("default", "test::work", json!(life * 3 + number))
                .await
                .unwrap();
        }
        rig.crash();
    }
    let rig = Rig::on(store, Config::default()).await;
    let mut heard = rig.answer("test::work", ok).await;
    let mut numbers = Vec::new();
    for _ in 0..12 {
        numbers.push(next(&mut heard).await.data().as_u64().unwrap());
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..12));
}
