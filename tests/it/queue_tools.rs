//! Steering queues from outside: with the command line, and from handlers of our SDK.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Client, Code};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::{Engine, eventually};

const QUEUES: &str = "queue:
  queue_configs:
    default: {}
    short: { visibility_timeout_ms: 400, max_retries: 1 }
    once: { max_retries: 1 }
";

/// Runs `agentos queue …` and reads its answer.
fn queue(engine: &Engine, words: &[&str]) -> Result<Value> {
    let words = [&["queue"], words, &["--json"]].concat();
    let (code, answer, complaint) = engine.cli(&words, "")?;
    anyhow::ensure!(
        code == 0,
        "{words:?} ended with {code}: {complaint}{answer}"
    );
    serde_json::from_str(&answer).with_context(|| format!("{words:?}: {answer}"))
}

/// A worker whose function `sum::add` adds to `sum`.
async fn adding(engine: &Engine, sum: &Arc<AtomicU64>) -> Result<Client> {
    let worker = engine.worker("worker").await?;
    let sum = Arc::clone(sum);
    let add = move |_, number: u64| {
        sum.fetch_add(number, Ordering::SeqCst);
        async { Ok(()) }
    };
    worker.function("sum::add", add).await?;
    Ok(worker)
}

async fn stat(engine: &Engine, name: &str, key: &str) -> Result<Value> {
    let caller = engine.worker("looking").await?;
    let stats: Value = caller
        .trigger("queue::stats", &json!({ "queue": name }))
        .await?;
    Ok(stats[key].clone())
}

async fn has(engine: &Engine, name: &str, key: &str, value: Value) -> Option<()> {
    let found = stat(engine, name, key).await.ok()?;
    (found == value).then_some(())
}

#[tokio::test]
async fn a_queue_is_paused_filled_looked_into_and_resumed() -> Result<()> {
    let engine = Engine::start(QUEUES, &["--no-workers"]).await?;
    let sum = Arc::new(AtomicU64::new(0));
    let _worker = adding(&engine, &sum).await?;
    let paused = json!({ "queue": "default", "paused": true });
    assert_eq!(queue(&engine, &["pause", "default"])?, paused);
    let first = queue(&engine, &["enqueue", "sum::add", "1", "--key", "k"])?;
    let again = queue(&engine, &["enqueue", "sum::add", "1", "--key", "k"])?;
    assert_eq!(again["messageReceiptId"], first["messageReceiptId"]);
    assert_eq!(again["duplicate"], true);
    queue(&engine, &["enqueue", "sum::add", "20", "--priority", "9"])?;
    let seen = queue(&engine, &["peek", "default"])?;
    assert_eq!(seen[0]["id"], first["messageReceiptId"]);
    assert_eq!(
        (&seen[1]["payload"], &seen[1]["priority"]),
        (&json!(20), &json!(9))
    );

    // A restart finds it as it was.
    let folder = engine.kill()?;
    let engine = Engine::start_in(folder, QUEUES, &["--no-workers"]).await?;
    let listed = queue(&engine, &["ls"])?;
    let mut found = listed.as_array().into_iter().flatten();
    let found = found.find(|one| one["queue"] == "default");
    let found = found.context("default is listed")?;
    assert_eq!(
        (&found["paused"], &found["depth"]),
        (&json!(true), &json!(2))
    );
    let third = queue(&engine, &["enqueue", "sum::add", "1", "--key", "k"])?;
    assert_eq!(third["duplicate"], true);

    let _worker = adding(&engine, &sum).await?;
    assert_eq!(sum.load(Ordering::SeqCst), 0);
    queue(&engine, &["resume", "default"])?;
    eventually("both are added", async || {
        (sum.load(Ordering::SeqCst) == 21).then_some(())
    })
    .await?;
    let (code, shown, _) = engine.cli(&["queue", "show", "default"], "")?;
    assert_eq!(code, 0);
    assert!(shown.contains("max_retries"), "{shown}");
    let (code, table, _) = engine.cli(&["queue", "ls"], "")?;
    assert_eq!(code, 0);
    assert!(
        table.contains("DEPTH") && table.contains("short"),
        "{table}"
    );
    let (code, _, complaint) = engine.cli(&["queue", "pause", "nope"], "")?;
    assert_eq!(code, 1);
    assert!(complaint.contains("agentos queue ls"), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn dead_letters_are_looked_at_redriven_and_thrown_away() -> Result<()> {
    let engine = Engine::start(QUEUES, &["--no-workers"]).await?;
    let mut ids = Vec::new();
    for number in ["1", "2", "3"] {
        let receipt = queue(
            &engine,
            &["enqueue", "not::there", number, "--queue", "once"],
        )?;
        ids.push(
            receipt["messageReceiptId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    eventually("all are dead", async || {
        has(&engine, "once", "dead", json!(3)).await
    })
    .await?;
    let dead = queue(&engine, &["dead", "once", "-n", "2"])?;
    assert_eq!(dead.as_array().map(Vec::len), Some(2));
    let error = dead[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("not::there"), "{error}");
    queue(&engine, &["discard", "once", &ids[0]])?;
    let redriven = queue(&engine, &["redrive", "once", &ids[1]])?;
    assert_eq!(redriven["redriven"], 1);
    eventually("it died again", async || {
        has(&engine, "once", "dead", json!(2)).await
    })
    .await?;
    assert_eq!(queue(&engine, &["purge", "once", "--dead"])?["purged"], 2);
    assert_eq!(stat(&engine, "once", "dead").await?, 0);
    let (code, _, complaint) = engine.cli(&["queue", "discard", "once", &ids[0]], "")?;
    assert_eq!(code, 1, "{complaint}");
    Ok(())
}

#[tokio::test]
async fn a_handler_extends_its_own_lease() -> Result<()> {
    let engine = Engine::start(QUEUES, &["--no-workers"]).await?;
    let worker = engine.worker("slow").await?;
    worker
        .function("slow::run", async |context, (): ()| {
            // Longer than the 400 ms there are, in steps that are shorter.
            for _ in 0..6 {
                let input = json!({ "timeout_ms": 2000 });
                let extended: Value = context.trigger("queue::extend", &input).await?;
                assert_eq!(extended["timeout_ms"], 2000);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
        .await?;
    queue(
        &engine,
        &["enqueue", "slow::run", "null", "--queue", "short"],
    )?;
    eventually("it is done", async || {
        let totals = stat(&engine, "short", "totals").await.ok()?;
        (totals["acknowledged"] == 1).then_some(())
    })
    .await?;
    assert_eq!(stat(&engine, "short", "dead").await?, 0);
    let outside = worker
        .trigger::<Value>("queue::extend", &json!({ "timeout_ms": 1 }))
        .await;
    assert_eq!(outside.map_err(|error| error.code), Err(Code::InvalidInput));
    Ok(())
}
