//! Calls that belong together, and workers that are given their calls by and by.

use std::collections::BTreeMap;

use agentos_sdk::{Client, Options};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Iii, eventually},
    pool::{listed, share, tally, twin},
};

const KEYS: usize = 300;

/// Who answers calls of each key, which each of several calls says alike.
async fn keepers(caller: &Client) -> Result<Vec<String>> {
    let mut keepers = Vec::new();
    for key in 0..KEYS {
        let ask = || {
            let call = caller
                .bus()
                .call("twin::who")
                .affinity(format!("key-{key}"));
            call.send::<String>(&())
        };
        let keeper = ask().await?;
        for _ in 0..2 {
            assert_eq!(ask().await?, keeper, "key {key}");
        }
        keepers.push(keeper);
    }
    Ok(keepers)
}

fn count(keepers: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for keeper in keepers {
        *counts.entry(keeper.as_str()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn calls_of_one_key_go_to_one_worker_for_as_long_as_it_is_there() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let none = std::time::Duration::ZERO;
    let _first = twin(&engine, "first", none).await?;
    let second = twin(&engine, "second", none).await?;
    let _third = twin(&engine, "third", none).await?;
    let before = keepers(&caller).await?;
    let counts = count(&before);
    // Each has its part: of 300 by chance, far from none.
    ensure!(
        counts.len() == 3 && counts.values().all(|keys| *keys >= 50),
        "{counts:?}"
    );

    // In the other dialect, and with SDKs that say it beside the payload.
    let mut iii = Iii::connect(&engine).await?;
    for (key, keeper) in before.iter().enumerate().take(30) {
        let metadata = json!({ "affinity": format!("key-{key}") });
        let call = json!({
            "type": "invokefunction", "invocation_id": uuid::Uuid::new_v4().to_string(),
            "function_id": "twin::who", "data": null, "metadata": metadata,
        });
        iii.say(&call).await?;
        assert_eq!(iii.hear_text().await?["result"], **keeper, "key {key}");
        let beside = caller
            .bus()
            .call("twin::who")
            .metadata(metadata.to_string());
        assert_eq!(beside.send::<String>(&()).await?, *keeper);
    }

    // One that is not ready, or gone, has none; only its keys move, and come back.
    share(&caller, "second", json!({ "ready": false })).await?;
    let without = keepers(&caller).await?;
    for (before, now) in before.iter().zip(&without) {
        ensure!(now != "second" && (before == "second" || before == now));
    }
    share(&caller, "second", json!({ "ready": true })).await?;
    assert_eq!(keepers(&caller).await?, before);
    second.close().await;
    assert_eq!(keepers(&caller).await?, without);
    Ok(())
}

#[tokio::test]
async fn a_share_may_grow() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let none = std::time::Duration::ZERO;
    let _old = twin(&engine, "old", none).await?;
    let _new = twin(&engine, "new", none).await?;
    // An hour: nothing of it is over while the test runs. A tenth of an equal share is an eleventh.
    share(&caller, "new", json!({ "over_ms": 3_600_000 })).await?;
    let part = tally(&caller, 1_100, 1).await?;
    ensure!((90..=110).contains(&part["new"]), "{part:?}");
    share(&caller, "new", json!({ "over_ms": 1 })).await?;
    let whole = || async {
        let part = tally(&caller, 100, 1).await.ok()?;
        (part["new"] >= 40).then_some(())
    };
    eventually("it has its whole share", whole).await
}

#[tokio::test]
async fn an_instance_may_start_slowly() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = folder.path().join("mortal");
    std::fs::create_dir(&worker)?;
    std::fs::write(
        worker.join("worker.py"),
        include_str!("supervised/worker.py"),
    )?;
    std::fs::write(worker.join("wire.py"), crate::supervised::WIRE)?;
    std::fs::write(
        worker.join("worker.yaml"),
        "name: mortal\nlanguage: python\ncommand: [python3, worker.py]\nslow_start_ms: 3600000\n",
    )?;
    let config = json!({ "workers": { "builtin": [], "dirs": [worker] } }).to_string();
    let engine = Engine::start_in(folder, &config, &[]).await?;
    let caller = engine.worker("caller").await?;
    let pid = || async { caller.trigger::<i64>("mortal::pid", &()).await.ok() };
    eventually("the worker answers", pid).await?;
    let options = Options::new("other").url(format!("{}/?instance=other", engine.url));
    let other = Client::connect(options.token(&engine.token)).await?;
    other
        .function("mortal::pid", |_, (): ()| async { Ok(-1) })
        .await?;
    listed(&caller, "other").await.context("it is there")?;
    let mut calls = [0, 0];
    for _ in 0..1_100 {
        let pid: i64 = caller.trigger("mortal::pid", &()).await?;
        calls[usize::from(pid == -1)] += 1;
    }
    ensure!((90..=110).contains(&calls[0]), "{calls:?}");
    let list: Value = caller.trigger("engine::workers::list", &()).await?;
    ensure!(list.to_string().contains("\"weight\":1000"), "{list}");
    Ok(())
}
