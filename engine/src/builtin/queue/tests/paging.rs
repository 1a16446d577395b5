//! Queues that hold more than they keep in memory.

use super::*;

/// More than wait in memory.
const MANY: u64 = 4096 + 300;

impl Rig {
    async fn paused_with(queue: Value) -> Rig {
        let rig = Rig::with(json!({ "q": queue })).await;
        rig.call(api::PAUSE, json!({"queue": "q"})).await.unwrap();
        rig
    }

    async fn put(&self, mut terms: Value) {
        terms["queue"] = json!("q");
        terms["function_id"] = json!("test::work");
        self.call(api::OUR_ENQUEUE, terms).await.unwrap();
    }

    async fn stats(&self, field: &str) -> Value {
        let stats = self.call(api::OUR_STATS, json!({"queue": "q"})).await;
        stats.unwrap()[field].clone()
    }

    async fn resume(&self) {
        self.call(api::RESUME, json!({"queue": "q"})).await.unwrap();
    }

    /// The next life, over what this one has left.
    async fn again(self) -> Rig {
        let shared = Arc::clone(&self.queue.queues.shared);
        let began = self.crash();
        let config = Config::clone(&shared.config.get());
        Rig::at(Arc::clone(&shared.store), config, began, START_MS).await
    }
}

async fn data(heard: &mut mpsc::Receiver<Delivered>) -> u64 {
    next(heard).await.data().as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_go_first_wherever_they_wait() {
    let rig = Rig::paused_with(json!({"concurrency": 1})).await;
    let is_urgent = |number: u64| number % 400 == 399;
    for number in 0..MANY {
        let priority = u8::from(is_urgent(number)) * 9;
        rig.put(json!({"data": number, "priority": priority})).await;
    }
    assert_eq!(rig.stats("depth").await, MANY);
    let rig = rig.again().await;
    assert_eq!(rig.stats("depth").await, MANY);
    let mut heard = rig.answer("test::work", ok).await;
    rig.resume().await;
    let (urgent, others): (Vec<u64>, Vec<u64>) = (0..MANY).partition(|number| is_urgent(*number));
    for number in urgent.into_iter().chain(others) {
        assert_eq!(data(&mut heard).await, number);
    }
    rig.emptied("q").await;
    silence(&mut heard, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_delayed_comes_when_it_is_due() {
    let rig = Rig::paused_with(json!({})).await;
    for number in 0..MANY {
        // The last ones wait on disk, and some of them are due before the first.
        let delay_ms = 10_000 + (MANY - number) * 10;
        rig.put(json!({"data": number, "delay_ms": delay_ms})).await;
    }
    assert_eq!(rig.stats("delayed").await, MANY);
    let rig = rig.again().await;
    assert_eq!(rig.stats("delayed").await, MANY);
    let mut heard = rig.answer("test::work", ok).await;
    rig.resume().await;
    for number in (0..MANY).rev() {
        let delivered = next(&mut heard).await;
        assert_eq!(delivered.data(), number);
    }
    rig.emptied("q").await;
    silence(&mut heard, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_waits_on_disk_and_dies_after_its_attempts() {
    let rig =
        Rig::paused_with(json!({"max_retries": 2, "backoff_ms": 600_000, "concurrency": 500}))
            .await;
    for number in 0..MANY {
        rig.put(json!({"data": number})).await;
    }
    let mut heard = rig.answer("test::work", boom).await;
    rig.resume().await;
    for _ in 0..MANY {
        data(&mut heard).await;
    }
    silence(&mut heard, 1000).await;
    assert_eq!(rig.stats("delayed").await, MANY);
    for _ in 0..MANY {
        data(&mut heard).await;
    }
    silence(&mut heard, 10_000_000).await;
    assert_eq!(
        (rig.stats("depth").await, rig.stats("dead").await),
        (json!(0), json!(MANY))
    );
}

#[tokio::test(start_paused = true)]
async fn groups_keep_their_order_wherever_they_wait() {
    let fifo = json!({"type": "fifo", "message_group_field": "group", "concurrency": 3});
    let rig = Rig::paused_with(fifo).await;
    for number in 0..MANY {
        let data = json!({"group": number % 7, "number": number});
        rig.put(json!({ "data": data })).await;
    }
    let rig = rig.again().await;
    let mut heard = rig.answer("test::work", ok).await;
    rig.resume().await;
    let mut last = [None; 7];
    for _ in 0..MANY {
        let data = next(&mut heard).await.data();
        let number = data["number"].as_u64();
        let group = data["group"].as_u64().unwrap() as usize;
        assert!(last[group] < number, "{number:?} after {:?}", last[group]);
        last[group] = number;
    }
    rig.emptied("q").await;
}

#[tokio::test(start_paused = true)]
async fn everything_can_be_seen_and_thrown_away() {
    let rig = Rig::paused_with(json!({})).await;
    for number in 0..MANY {
        rig.put(json!({"data": number})).await;
    }
    let page = json!({"queue": "q", "offset": MANY - 2, "limit": 10});
    let page = rig.call(api::PEEK, page).await.unwrap();
    let seen: Vec<&Value> = (page["messages"].as_array().unwrap().iter())
        .map(|message| &message["payload"])
        .collect();
    assert_eq!(seen, [&json!(MANY - 2), &json!(MANY - 1)]);
    let purged = rig.call(api::PURGE, json!({"queue": "q"})).await.unwrap();
    assert_eq!(purged["purged"], MANY);
    assert_eq!(rig.stats("depth").await, 0);
    let heads = rig.queue.queues.shared.store.scan(Scan::all(record::HEADS));
    assert!(heads.await.unwrap().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_topic_hands_over_all_that_waits() {
    let rig = Rig::new().await;
    for number in 0..MANY {
        rig.publish("t", json!(number)).await;
    }
    let rig = rig.again().await;
    assert_eq!(rig.depth("t").await, MANY);
    let mut heard = rig.answer("test::work", ok).await;
    let config = json!({"topic": "t", "queue_config": {"concurrency": 1}});
    rig.bind("b", "test::work", config);
    for number in 0..MANY {
        assert_eq!(data(&mut heard).await, number);
    }
    rig.emptied("t").await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_keeps_no_more_than_it_should_wherever_it_waits() {
    let rig = Rig::new().await;
    for number in 0..MANY {
        rig.publish("t", json!(number)).await;
    }
    let shared = Arc::clone(&rig.queue.queues.shared);
    let began = rig.crash();
    let mut config = Config::clone(&shared.config.get());
    config.topics.retention_messages = 100;
    let rig = Rig::at(Arc::clone(&shared.store), config, began, START_MS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.depth("t").await, 100);
}
