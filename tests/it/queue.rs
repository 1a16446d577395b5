//! Queues and durable topics as workers of iii see them: over a plain socket.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::harness::{Engine, Iii, eventually};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Two groups at least, and attempts that follow quickly.
const ORDERS: &str = "queue:
  queue_configs:
    orders: { type: fifo, message_group_field: customer, backoff_ms: 300 }
    default: {}
";

/// A client that offers `functions`, which are there when this returns. No call may wait for them.
async fn worker(engine: &Engine, functions: &[&str]) -> Result<Iii> {
    let mut worker = heir(engine, functions).await?;
    // Frames of a session are handled in order, so the answer says that all before is done.
    worker
        .call("queue::stats", json!({ "queue": "default" }))
        .await?;
    Ok(worker)
}

/// A client that offers `functions` for which calls may wait: they are what it hears next.
pub(crate) async fn heir(engine: &Engine, functions: &[&str]) -> Result<Iii> {
    let mut worker = Iii::connect(engine).await?;
    let about = json!({ "runtime": "test", "version": "0.11.6", "name": "queue-test" });
    worker
        .say(
            &json!({ "type": "invokefunction", "function_id": "engine::workers::register",
            "data": about, "action": { "type": "void" } }),
        )
        .await?;
    for id in functions {
        worker
            .say(&json!({ "type": "registerfunction", "id": id }))
            .await?;
    }
    Ok(worker)
}

async fn bind(worker: &mut Iii, kind: &str, function: &str, config: Value) -> Result<()> {
    worker
        .say(
            &json!({ "type": "registertrigger", "id": format!("t-{function}"),
            "trigger_type": kind, "function_id": function, "config": config }),
        )
        .await
}

/// As `bind`; the subscription is there when this returns. Nothing may wait for it.
async fn subscribe(worker: &mut Iii, function: &str, config: Value) -> Result<()> {
    bind(worker, "durable:subscriber", function, config).await?;
    worker
        .call("queue::stats", json!({ "queue": "default" }))
        .await?;
    Ok(())
}

/// A call with the enqueue action, whose answer is for `heard` to find.
pub(crate) async fn enqueue(
    client: &mut Iii,
    id: &str,
    queue: &str,
    function: &str,
    data: Value,
) -> Result<()> {
    client
        .say(
            &json!({ "type": "invokefunction", "invocation_id": id, "function_id": function,
            "data": data, "action": { "type": "enqueue", "queue": queue },
            "traceparent": TRACE, "baggage": "k=v", "metadata": { "side": "car" } }),
        )
        .await
}

/// Enqueues and gives the receipt.
async fn receipt(client: &mut Iii, queue: &str, function: &str, data: Value) -> Result<String> {
    enqueue(client, "e1", queue, function, data).await?;
    let answer = client.hear_text().await?;
    let receipt = answer["result"]["messageReceiptId"].as_str();
    Ok(receipt.with_context(|| answer.to_string())?.to_owned())
}

/// The next call that the worker gets.
pub(crate) async fn delivery(worker: &mut Iii) -> Result<Value> {
    let message = worker.hear_text().await?;
    if message["type"] != "invokefunction" {
        bail!("expected a call, heard {message}");
    }
    Ok(message)
}

pub(crate) async fn succeed(worker: &mut Iii, call: &Value) -> Result<()> {
    worker
        .say(
            &json!({ "type": "invocationresult", "invocation_id": call["invocation_id"],
            "function_id": call["function_id"], "result": { "ignored": true } }),
        )
        .await
}

async fn fail(worker: &mut Iii, call: &Value) -> Result<()> {
    worker
        .say(
            &json!({ "type": "invocationresult", "invocation_id": call["invocation_id"],
            "function_id": call["function_id"],
            "error": { "code": "invocation_failed", "message": "boom" } }),
        )
        .await
}

async fn result(client: &mut Iii, function: &str, data: Value) -> Result<Value> {
    let mut answer = client.call(function, data).await?;
    if answer.get("error").is_some() {
        bail!("{function}: {answer}");
    }
    Ok(answer["result"].take())
}

/// Waits until `queue` has `depth` messages to deliver and `dead` dead ones.
async fn settled(engine: &Engine, queue: &str, depth: u64, dead: u64) -> Result<()> {
    let client = engine.worker("watcher").await?;
    let input = json!({ "topic": queue });
    eventually("the queue settles", || async {
        let stats: Value = client
            .trigger("engine::queue::topic_stats", &input)
            .await
            .ok()?;
        (stats["depth"] == depth && stats["dlq_depth"] == dead).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_receipt_then_the_call_as_it_was() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = worker(&engine, &["mail::send"]).await?;
    let mut client = Iii::connect(&engine).await?;
    let data = json!({ "to": "y@example.org" });
    let id = receipt(&mut client, "default", "mail::send", data.clone()).await?;
    assert_eq!(id.len(), 36, "{id}");
    let call = delivery(&mut worker).await?;
    assert_eq!(call["function_id"], "mail::send");
    assert_eq!(call["data"], data, "no caller is named");
    // The same trace, from the engine's own span.
    let trace = call["traceparent"].as_str().unwrap_or_default();
    let baggage = format!("k=v,agentos.message={id}");
    assert_eq!(
        (&trace[..36], &call["baggage"]),
        (&TRACE[..36], &json!(baggage))
    );
    assert_eq!(call["metadata"], json!({ "side": "car" }));
    assert!(
        call["invocation_id"].is_string() && call.get("action").is_none(),
        "{call}"
    );
    succeed(&mut worker, &call).await?;
    settled(&engine, "default", 0, 0).await?;
    worker.hears_nothing().await?;
    // The target's existence is not checked; a queue's is.
    receipt(&mut client, "default", "nobody::home", json!(null)).await?;
    enqueue(&mut client, "e2", "nope", "mail::send", json!({})).await?;
    let refused = client.hear_text().await?;
    assert_eq!(refused["invocation_id"], "e2");
    assert_eq!(refused["error"]["code"], "enqueue_error");
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("Queue 'nope' not found; known queues: default"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn three_attempts_then_dead_then_redriven() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = worker(&engine, &["flaky::run"]).await?;
    let mut client = Iii::connect(&engine).await?;
    let id = receipt(&mut client, "default", "flaky::run", json!({ "n": 1 })).await?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let call = delivery(&mut worker).await?;
        times.push(std::time::Instant::now());
        fail(&mut worker, &call).await?;
    }
    assert!(times[1] - times[0] >= std::time::Duration::from_secs(1));
    assert!(times[2] - times[1] >= std::time::Duration::from_secs(2));
    settled(&engine, "default", 0, 1).await?;
    worker.hears_nothing().await?;
    let page = result(
        &mut client,
        "engine::queue::dlq_messages",
        json!({ "topic": "default" }),
    )
    .await?;
    let dead = &page[0];
    assert_eq!(
        (&dead["id"], &dead["payload"]),
        (&json!(id), &json!({ "n": 1 }))
    );
    assert_eq!(
        (&dead["retries"], &dead["size_bytes"]),
        (&json!(3), &json!(7))
    );
    assert!(
        dead["error"].as_str().unwrap_or_default().contains("boom"),
        "{dead}"
    );
    assert!(
        dead["failed_at"].as_u64().unwrap_or_default() > 1_700_000_000,
        "{dead}"
    );
    let redriven = result(
        &mut client,
        "iii::queue::redrive",
        json!({ "queue": "default" }),
    )
    .await?;
    assert_eq!(redriven, json!({ "queue": "default", "redriven": 1 }));
    let call = delivery(&mut worker).await?;
    succeed(&mut worker, &call).await?;
    settled(&engine, "default", 0, 0).await?;
    let unset = client.call("iii::queue::redrive", json!({})).await?;
    assert_eq!(unset["error"]["code"], "queue_not_set");
    Ok(())
}

#[tokio::test]
async fn what_a_lost_worker_had_goes_to_another() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut mortal = worker(&engine, &["job::run"]).await?;
    let mut client = Iii::connect(&engine).await?;
    receipt(&mut client, "default", "job::run", json!(1)).await?;
    delivery(&mut mortal).await?;
    drop(mortal);
    let mut heir = heir(&engine, &["job::run"]).await?;
    let call = delivery(&mut heir).await?;
    assert_eq!(call["data"], 1);
    succeed(&mut heir, &call).await?;
    settled(&engine, "default", 0, 0).await
}

#[tokio::test]
async fn an_attempt_ends_with_its_visibility_timeout() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = worker(&engine, &["slow::run"]).await?;
    let queue = json!({ "visibilityTimeout": 1, "backoffType": "fixed", "backoffDelayMs": 50 });
    let config = json!({ "topic": "slow", "queue_config": queue });
    subscribe(&mut worker, "slow::run", config).await?;
    let mut client = Iii::connect(&engine).await?;
    let input = json!({ "topic": "slow", "data": 1 });
    assert_eq!(
        result(&mut client, "iii::durable::publish", input).await?,
        Value::Null
    );
    let _unanswered = delivery(&mut worker).await?;
    let again = delivery(&mut worker).await?;
    succeed(&mut worker, &again).await?;
    settled(&engine, "slow", 0, 0).await
}

#[tokio::test]
async fn every_subscriber_of_a_topic_has_its_own_fate() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    let publish = |number: u64| json!({ "topic": "order.paid", "data": { "n": number } });
    // Before anybody subscribes: kept for the first one.
    result(&mut client, "iii::durable::publish", publish(0)).await?;
    let mut good = worker(&engine, &["stock::take"]).await?;
    let mut bad = worker(&engine, &["mail::thank"]).await?;
    bind(
        &mut good,
        "queue",
        "stock::take",
        json!({ "topic": "order.paid" }),
    )
    .await?;
    let call = delivery(&mut good).await?;
    assert_eq!(call["data"], json!({ "n": 0 }));
    succeed(&mut good, &call).await?;
    let twice = json!({ "maxRetries": 2, "backoffDelayMs": 50 });
    let config = json!({ "topic": "order.paid", "queue_config": twice });
    subscribe(&mut bad, "mail::thank", config).await?;
    result(&mut client, "iii::durable::publish", publish(1)).await?;
    let call = delivery(&mut good).await?;
    assert_eq!(call["data"], json!({ "n": 1 }));
    succeed(&mut good, &call).await?;
    for _ in 0..2 {
        let call = delivery(&mut bad).await?;
        assert_eq!(call["data"], json!({ "n": 1 }));
        fail(&mut bad, &call).await?;
    }
    settled(&engine, "order.paid", 0, 1).await?;
    good.hears_nothing().await?;
    bad.hears_nothing().await?;
    let topics = result(&mut client, "engine::queue::list_topics", json!({})).await?;
    let topic = json!({ "name": "order.paid", "broker_type": "builtin", "subscriber_count": 2 });
    assert!(
        topics
            .as_array()
            .is_some_and(|topics| topics.contains(&topic)),
        "{topics}"
    );
    let dead = result(&mut client, "engine::queue::dlq_topics", json!({})).await?;
    assert_eq!(
        dead,
        json!([{ "topic": "order.paid", "broker_type": "builtin", "message_count": 1 }])
    );
    let unset = client
        .call("iii::durable::publish", json!({ "data": 1 }))
        .await?;
    assert_eq!(unset["error"]["code"], "topic_not_set");
    Ok(())
}

#[tokio::test]
async fn a_failing_head_blocks_its_group_and_no_other() -> Result<()> {
    let engine = Engine::start(ORDERS, &["--no-workers"]).await?;
    let mut worker = worker(&engine, &["order::ship"]).await?;
    let mut client = Iii::connect(&engine).await?;
    // All at once: their order is that of the frames.
    for number in 0..10 {
        let data = json!({ "customer": (["ada", "bob"][number % 2]), "n": number });
        enqueue(
            &mut client,
            &format!("e{number}"),
            "orders",
            "order::ship",
            data,
        )
        .await?;
    }
    for _ in 0..10 {
        let answer = client.hear_text().await?;
        assert!(answer.get("error").is_none(), "{answer}");
    }
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    let mut order = Vec::new();
    for _ in 0..12 {
        let call = delivery(&mut worker).await?;
        let customer = call["data"]["customer"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let number = call["data"]["n"].as_u64().context("a number")?;
        let attempts = seen.entry(customer).or_default();
        attempts.push(number);
        order.push(number);
        // The first of ada fails twice.
        match number == 0 && attempts.len() < 3 {
            true => fail(&mut worker, &call).await?,
            false => succeed(&mut worker, &call).await?,
        }
    }
    assert_eq!(seen["ada"], [0, 0, 0, 2, 4, 6, 8]);
    assert_eq!(seen["bob"], [1, 3, 5, 7, 9]);
    let last_of_bob = order.iter().position(|number| *number == 9);
    let second_of_ada = order.iter().position(|number| *number == 2);
    assert!(last_of_bob < second_of_ada, "{order:?}");
    settled(&engine, "orders", 0, 0).await?;
    enqueue(
        &mut client,
        "e",
        "orders",
        "order::ship",
        json!({ "customer": null }),
    )
    .await?;
    let refused = client.hear_text().await?;
    assert_eq!(refused["error"]["code"], "enqueue_error");
    Ok(())
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() -> Result<()> {
    const MESSAGES: u64 = 500;
    let engine = Engine::bare().await?;
    let mut first = worker(&engine, &["job::run"]).await?;
    let mut client = Iii::connect(&engine).await?;
    // Works while messages come, so that the end finds some done, some in work and some waiting.
    let working = tokio::spawn(async move {
        let mut done = BTreeSet::new();
        while let Ok(call) = delivery(&mut first).await {
            let answered = succeed(&mut first, &call).await.is_ok();
            if let Some(number) = call["data"]["n"].as_u64().filter(|_| answered) {
                done.insert(number);
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        done
    });
    for number in 0..MESSAGES {
        let data = json!({ "n": number });
        enqueue(
            &mut client,
            &format!("e{number}"),
            "default",
            "job::run",
            data,
        )
        .await?;
    }
    let mut receipts = BTreeSet::new();
    for _ in 0..MESSAGES {
        let answer = client.hear_text().await?;
        let receipt = answer["result"]["messageReceiptId"].as_str();
        receipts.insert(receipt.with_context(|| answer.to_string())?.to_owned());
    }
    assert_eq!(receipts.len() as u64, MESSAGES);
    let folder = engine.kill()?;
    let mut done = working.await?;
    assert!((done.len() as u64) < MESSAGES, "nothing was left in flight");
    let engine = Engine::start_in(folder, "", &["--no-workers"]).await?;
    let mut second = heir(&engine, &["job::run"]).await?;
    while (done.len() as u64) < MESSAGES {
        let call = delivery(&mut second)
            .await
            .with_context(|| format!("{} of {MESSAGES} were delivered", done.len()))?;
        succeed(&mut second, &call).await?;
        done.extend(call["data"]["n"].as_u64());
    }
    assert!(done.into_iter().eq(0..MESSAGES));
    // Those delivered twice end, too; and nobody died of the crash.
    let rest = tokio::spawn(async move {
        while let Ok(call) = delivery(&mut second).await {
            if succeed(&mut second, &call).await.is_err() {
                break;
            }
        }
    });
    settled(&engine, "default", 0, 0).await?;
    rest.abort();
    Ok(())
}
