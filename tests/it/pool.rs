//! Several workers that offer one function: who gets the calls, and how one is taken out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Client, Code, Options};
use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Engine, eventually};

/// A worker `twin` that answers with `mark`, after a while.
async fn twin(engine: &Engine, mark: &'static str, takes: Duration) -> Result<Client> {
    let options = Options::new("twin").url(format!("{}/?instance={mark}", engine.url));
    let worker = Client::connect(options.token(&engine.token)).await?;
    let answer = move |_, (): ()| async move {
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        Ok(mark)
    };
    worker.function("twin::who", answer).await?;
    Ok(worker)
}

/// Calls so often, so many at a time; who answered how often.
async fn tally(caller: &Client, calls: usize, at_once: usize) -> Result<BTreeMap<String, usize>> {
    let mut answers = stream::iter(0..calls)
        .map(|_| caller.trigger::<String>("twin::who", &()))
        .buffer_unordered(at_once);
    let mut tally = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        *tally.entry(answer?).or_default() += 1;
    }
    Ok(tally)
}

/// How the engine lists the instance.
async fn listed(caller: &Client, instance: &str) -> Result<Value> {
    let list: Value = caller.trigger("engine::workers::list", &()).await?;
    let mut workers = list["workers"].as_array().into_iter().flatten();
    let found = workers.find(|worker| worker["instance"] == instance);
    found.cloned().context("the instance is listed")
}

async fn share(caller: &Client, instance: &str, mut share: Value) -> Result<Value> {
    share["worker_id"] = listed(caller, instance).await?["id"].clone();
    Ok(caller.trigger("engine::workers::share", &share).await?)
}

#[tokio::test]
async fn equals_share_evenly() -> Result<()> {
    let engine = Engine::bare().await?;
    let _first = twin(&engine, "first", Duration::ZERO).await?;
    let _second = twin(&engine, "second", Duration::ZERO).await?;
    let caller = engine.worker("caller").await?;
    for at_once in [1, 50] {
        let tally = tally(&caller, 1_000, at_once).await?;
        assert!(tally["first"] >= 400 && tally["second"] >= 400, "{tally:?}");
    }
    let first = listed(&caller, "first").await?;
    let second = listed(&caller, "second").await?;
    let ended = |worker: &Value| worker["ended_invocations"].as_u64().unwrap_or_default();
    assert_eq!(ended(&first) + ended(&second), 2_000);
    assert_eq!(first["failed_invocations"], 0);
    Ok(())
}

#[tokio::test]
async fn the_slower_one_gets_less() -> Result<()> {
    let engine = Engine::bare().await?;
    let _fast = twin(&engine, "fast", Duration::from_millis(10)).await?;
    let _slow = twin(&engine, "slow", Duration::from_millis(100)).await?;
    let caller = engine.worker("caller").await?;
    let tally = tally(&caller, 1_000, 32).await?;
    assert!(tally["fast"] >= 800, "{tally:?}");
    Ok(())
}

#[tokio::test]
async fn weights_are_shares_of_the_calls() -> Result<()> {
    let engine = Engine::bare().await?;
    let _old = twin(&engine, "old", Duration::ZERO).await?;
    let _new = twin(&engine, "new", Duration::ZERO).await?;
    let caller = engine.worker("caller").await?;
    share(&caller, "old", json!({ "weight": 900 })).await?;
    share(&caller, "new", json!({ "weight": 100 })).await?;
    let part = tally(&caller, 1_000, 20).await?;
    assert!((80..=120).contains(&part["new"]), "{part:?}");

    // Nothing at all, for as long as somebody else is there.
    share(&caller, "new", json!({ "weight": 0 })).await?;
    assert_eq!(tally(&caller, 100, 10).await?["old"], 100);
    share(&caller, "new", json!({ "weight": 1000 })).await?;
    share(&caller, "old", json!({ "ready": false })).await?;
    assert_eq!(tally(&caller, 100, 10).await?["new"], 100);
    let list = listed(&caller, "old").await?;
    assert_eq!(
        (&list["weight"], &list["ready"]),
        (&json!(900), &json!(false))
    );
    // Of two that should get nothing, the one that is ready.
    share(&caller, "new", json!({ "weight": 0 })).await?;
    assert_eq!(tally(&caller, 100, 10).await?["new"], 100);

    let too_much = share(&caller, "new", json!({ "weight": 1001 })).await;
    let error = too_much.expect_err("more than everything").to_string();
    assert!(error.contains("at most 1000"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_newer_build_goes_first() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let build = async |build: &'static str| -> Result<Client> {
        let options = Options::new("twin").url(&engine.url).token(&engine.token);
        let worker = Client::connect(options.build(build)).await?;
        let answer = move |_, (): ()| async move { Ok(build) };
        worker.function("twin::who", answer).await?;
        Ok(worker)
    };
    let old = build("one").await?;
    let _new = build("two").await?;
    assert_eq!(tally(&caller, 50, 1).await?["two"], 50);
    // An old one that was restarted is still the old one.
    old.close().await;
    let _again = build("one").await?;
    assert_eq!(tally(&caller, 50, 1).await?["two"], 50);
    Ok(())
}

#[tokio::test]
async fn draining_waits_for_what_runs_and_gives_nothing_new() -> Result<()> {
    let engine = Engine::bare().await?;
    let old = twin(&engine, "old", Duration::ZERO).await?;
    let caller = engine.worker("caller").await?;
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&gate), Arc::clone(&running));
    let answer = move |_, (): ()| {
        let (wait, count) = (Arc::clone(&wait), Arc::clone(&count));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = wait.acquire().await;
            Ok("finished")
        }
    };
    old.function("twin::long", answer).await?;
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.trigger::<String>("twin::long", &()).await })
        })
        .collect();
    let all = || async { (running.load(Ordering::SeqCst) == 5).then_some(()) };
    eventually("all calls run", all).await?;
    let _new = twin(&engine, "new", Duration::ZERO).await?;
    let id = listed(&caller, "old").await?["id"].clone();

    let drain = json!({ "worker_id": id, "timeout_ms": 1 });
    let late: Value = caller.trigger("engine::workers::drain", &drain).await?;
    assert_eq!(late, json!({ "outcome": "late", "calls_left": 5 }));
    assert_eq!(tally(&caller, 100, 10).await?["new"], 100);
    assert_eq!(listed(&caller, "old").await?["status"], "draining");
    let nobody = caller.trigger::<String>("twin::long", &()).await;
    assert_eq!(nobody.expect_err("taken out").code, Code::NotFound);

    let drain = json!({ "worker_id": id });
    let waiting = {
        let caller = caller.clone();
        tokio::spawn(async move {
            caller
                .trigger::<Value>("engine::workers::drain", &drain)
                .await
        })
    };
    gate.close();
    for call in calls {
        assert_eq!(call.await??, "finished");
    }
    assert_eq!(waiting.await??["outcome"], "finished");
    Ok(())
}
