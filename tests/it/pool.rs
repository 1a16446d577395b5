//! Several workers that offer one function: who gets the calls, and how one is taken out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Client, Code, Error, Options, Registrar};
use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    harness::{Engine, eventually},
    supervised::WIRE,
};

/// A worker `twin` that answers with `mark`, after a while.
pub(crate) async fn twin(engine: &Engine, mark: &'static str, takes: Duration) -> Result<Client> {
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
pub(crate) async fn tally(
    caller: &Client,
    calls: usize,
    at_once: usize,
) -> Result<BTreeMap<String, usize>> {
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
pub(crate) async fn listed(caller: &Client, instance: &str) -> Result<Value> {
    let list: Value = caller.trigger("engine::workers::list", &()).await?;
    let mut workers = list["workers"].as_array().into_iter().flatten();
    let found = workers.find(|worker| worker["instance"] == instance);
    found.cloned().context("the instance is listed")
}

pub(crate) async fn share(caller: &Client, instance: &str, mut share: Value) -> Result<Value> {
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

/// The program of a worker that can be killed.
const MORTAL: &str = include_str!("supervised/worker.py");

/// A process that offers `mortal::pid`, with this metadata.
fn mortal(engine: &Engine, metadata: &Value) -> Result<std::process::Child> {
    let program = engine.folder.path().join("mortal.py");
    std::fs::write(&program, MORTAL)?;
    std::fs::write(engine.folder.path().join("wire.py"), WIRE)?;
    let started = std::process::Command::new("python3")
        .arg(&program)
        .env("WORKER_METADATA", metadata.to_string())
        .env("AGENTOS_URL", &engine.url)
        .env("AGENTOS_TOKEN", &engine.token)
        .spawn();
    started.context("python3 runs the worker")
}

/// 1,000 calls over two processes, one of which is killed at call 500: what became of each.
async fn killed_at_500(metadata: Value) -> Result<Vec<Result<u32, Code>>> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let (mut first, mut second) = (mortal(&engine, &metadata)?, mortal(&engine, &metadata)?);
    let offered = || async {
        let wanted = json!({ "prefix": "mortal::" });
        let list: Value = caller
            .trigger("engine::functions::list", &wanted)
            .await
            .ok()?;
        (list["functions"][0]["workers"].as_array()?.len() == 2).then_some(())
    };
    eventually("both offer the function", offered).await?;
    let mut outcomes = Vec::new();
    let mut calls = stream::iter(0..1_000)
        .map(|_| caller.trigger::<u32>("mortal::pid", &()))
        .buffer_unordered(40);
    while let Some(outcome) = calls.next().await {
        outcomes.push(outcome.map_err(|error| error.code));
        if outcomes.len() == 500 {
            first.kill()?;
        }
    }
    drop(calls);
    first.wait()?;
    second.kill()?;
    second.wait()?;
    Ok(outcomes)
}

#[tokio::test]
async fn a_killed_worker_costs_only_the_calls_that_it_had() -> Result<()> {
    let outcomes = killed_at_500(json!({})).await?;
    let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!((1..=40).contains(&lost), "{lost} calls failed");
    let others = |outcome: &&Result<u32, Code>| outcome.is_err_and(|code| code != Code::WorkerLost);
    assert_eq!(outcomes.iter().find(others), None);
    Ok(())
}

#[tokio::test]
async fn idempotent_calls_of_a_killed_worker_run_elsewhere() -> Result<()> {
    let outcomes = killed_at_500(json!({ "idempotent": true })).await?;
    assert_eq!(outcomes.len(), 1_000);
    assert_eq!(outcomes.iter().find(|outcome| outcome.is_err()), None);
    Ok(())
}

/// 3,000 calls at once of a function that runs 2,048; the most that ran, how many did, and what the
/// others were told.
async fn crowd(waiting_max: u32) -> Result<(usize, usize, Vec<Error>)> {
    const RUN: usize = 2_048;
    let engine = Engine::bare().await?;
    let worker = engine.worker("crowded").await?;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let (count, peak, wait) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
    let answer = move |_: agentos_sdk::Context, (): ()| {
        let (count, peak, wait) = (Arc::clone(&count), Arc::clone(&peak), Arc::clone(&wait));
        async move {
            peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _ = wait.acquire().await;
            count.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let mut registrar = Registrar::new();
    registrar
        .function("crowded::wait", answer)
        .concurrency(RUN as u32)
        .waiting_max(waiting_max);
    worker.register(registrar).await?;
    let caller = engine.worker("caller").await?;
    let calls: Vec<_> = (0..3_000)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.trigger::<()>("crowded::wait", &()).await })
        })
        .collect();
    let all = || async { (running.load(Ordering::SeqCst) == RUN).then_some(()) };
    eventually("as many run as may", all).await?;
    let arrived = || async {
        let status: Value = caller.trigger("engine::status", &()).await.ok()?;
        let held = status["calls_in_flight"].as_u64()?;
        let is_refused = |call: &&tokio::task::JoinHandle<_>| call.is_finished();
        let refused = calls.iter().filter(is_refused).count() as u64;
        // The one that asks is among them.
        (held + refused > 3_000).then_some(())
    };
    eventually("all have arrived", arrived).await?;
    assert_eq!(running.load(Ordering::SeqCst), RUN);
    gate.close();
    let (mut ran, mut refused) = (0, Vec::new());
    for call in calls {
        match call.await? {
            Ok(()) => ran += 1,
            Err(error) => refused.push(error),
        }
    }
    Ok((most.load(Ordering::SeqCst), ran, refused))
}

#[tokio::test]
async fn calls_above_the_limit_wait() -> Result<()> {
    let (most, ran, refused) = crowd(1_000).await?;
    assert_eq!((most, ran, refused.first()), (2_048, 3_000, None));
    Ok(())
}

#[tokio::test]
async fn calls_that_find_no_place_to_wait_are_told_when_to_come_again() -> Result<()> {
    let (most, ran, refused) = crowd(500).await?;
    assert_eq!((most, ran, refused.len()), (2_048, 2_548, 452));
    for error in refused {
        assert_eq!((error.code, error.retryable), (Code::Overloaded, true));
        assert_eq!(error.details, Some(json!({ "retry_after_ms": 1000 })));
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("closed").await?;
    let mut registrar = Registrar::new();
    registrar
        .function("closed::never", |_: agentos_sdk::Context, (): ()| async {
            Ok(())
        })
        .concurrency(0);
    let error = worker.register(registrar).await.expect_err("never runs");
    assert_eq!(error.code, Code::InvalidInput);
    assert!(error.message.contains("`concurrency` is 0"), "{error}");
    Ok(())
}

#[tokio::test]
async fn who_fails_call_after_call_gets_none_for_a_while() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let sick = engine.worker("sick").await?;
    let fail = |_: agentos_sdk::Context, (): ()| async {
        Err::<String, _>(Error::worker(Code::Failed, "no"))
    };
    sick.function("twin::who", fail).await?;
    // Alone it goes on being asked.
    for _ in 0..10 {
        let failed = caller.trigger::<String>("twin::who", &()).await;
        assert_eq!(failed.expect_err("it always fails").code, Code::Failed);
    }
    let _well = twin(&engine, "well", Duration::ZERO).await?;
    let mut failures = 0;
    for _ in 0..100 {
        failures += usize::from(caller.trigger::<String>("twin::who", &()).await.is_err());
    }
    assert!(failures <= 5, "{failures} of 100 failed");
    let list: Value = caller.trigger("engine::workers::list", &()).await?;
    let mut workers = list["workers"].as_array().into_iter().flatten();
    let sick = workers.find(|worker| worker["name"] == "sick");
    assert_eq!(sick.context("it is listed")?["resting"], true);
    Ok(())
}
