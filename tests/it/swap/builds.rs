//! New builds that take over, and new builds that do not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::shop::{Shop, names, step};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_takes_over_under_load_and_goes_back() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(6);
    let second = shop.build("second", &json!({ "version": 2 }))?;
    let (code, steps) = shop.worker(&["swap", "shop", "--to", &second])?;
    ensure!(code == 0, "{steps:#?}");
    let expected = [
        "swap_started",
        "instance_ready",
        "health_passed",
        "traffic_shifted",
        "drain_started",
        "drained",
        "swap_done",
    ];
    let told = names(&steps);
    let told: Vec<&str> = told
        .into_iter()
        .filter(|name| expected.contains(name))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(step(&steps, "drained")["cut"], 0);
    assert_eq!(shop.version().await, Some(2));

    // The same folder, rebuilt in place; then what was there before, though its files are gone.
    shop.build("second", &json!({ "version": 3 }))?;
    assert_eq!(shop.worker(&["swap", "shop"])?.0, 0);
    assert_eq!(shop.version().await, Some(3));
    let (code, steps) = shop.worker(&["rollback", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(shop.version().await, Some(2));

    let (code, steps) = shop.worker(&["restart", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    let calls = load.end().await?;
    ensure!(calls > 0, "there was a load");

    let (_, versions) = shop.worker(&["versions", "shop"])?;
    let standings: Vec<&str> = versions[0]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| version["standing"].as_str())
        .collect();
    assert_eq!(standings[0], "serving");
    ensure!(
        standings[1..]
            .iter()
            .all(|standing| *standing == "replaced")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_serve_never_gets_a_call() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(4);
    // The crash is seen whenever it comes; the others are given up after a while.
    for (name, build, patience, reason, message) in [
        (
            "crashing",
            json!({ "version": 2, "crashes": true }),
            "60s",
            "start_failed",
            "it crashed at start: exit code 1",
        ),
        (
            "silent",
            json!({ "version": 2, "silent": true }),
            "2s",
            "never_registered",
            "has registered no function",
        ),
        (
            "unwell",
            json!({ "version": 2, "unwell": true }),
            "10s",
            "unhealthy",
            "`shop::health` does not pass: it answered false",
        ),
    ] {
        let folder = shop.build(name, &build)?;
        let (code, steps) = shop.worker(&["swap", "shop", "--to", &folder, "--ready", patience])?;
        assert_eq!(code, 1, "{name}: {steps:#?}");
        let failed = step(&steps, "swap_failed");
        assert_eq!(failed["reason"], reason);
        let said = failed["message"].as_str().unwrap_or_default();
        ensure!(said.contains(message), "{name}: {said}");
        if name == "crashing" {
            let output = failed["output"].to_string();
            ensure!(output.contains("this build cannot start"), "{output}");
        }
        let error = &steps.last().expect("a failure is told")["error"];
        let said = error["message"].as_str().unwrap_or_default();
        ensure!(said.contains("the old build serves as before"), "{said}");
        assert_eq!(shop.version().await, Some(1), "{name}");
    }
    ensure!(load.end().await? > 0, "there was a load");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_its_calls_is_taken_back_by_itself() -> Result<()> {
    let shop = Shop::open().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (caller, stopping) = (shop.caller.clone(), Arc::clone(&stop));
    // Of a canary that fails, some calls do.
    let calling = tokio::spawn(async move {
        let (mut good, mut bad) = (0, 0);
        while !stopping.load(Ordering::Relaxed) {
            match caller.trigger::<i64>("shop::version", &json!({})).await {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        (good, bad)
    });
    let broken = shop.build("broken", &json!({ "version": 2, "fails": true }))?;
    let (code, steps) = shop.worker(&[
        "swap", "shop", "--to", &broken, "--canary", "20%", "--hold", "60s",
    ])?;
    assert_eq!(code, 1, "{steps:#?}");
    assert_eq!(step(&steps, "trial_started")["percent"], 20);
    assert_eq!(step(&steps, "swap_failed")["reason"], "errors");
    assert_eq!(shop.version().await, Some(1));
    stop.store(true, Ordering::Relaxed);
    let (good, bad) = calling.await?;
    ensure!(bad >= 5, "the canary had calls: {good} good, {bad} bad");
    ensure!(
        good > bad,
        "most went to the old one: {good} good, {bad} bad"
    );

    let good = shop.build("good", &json!({ "version": 3 }))?;
    let (code, steps) = shop.worker(&[
        "swap", "shop", "--to", &good, "--canary", "50%", "--hold", "300ms",
    ])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(shop.version().await, Some(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_a_function_and_its_steps_are_events() -> Result<()> {
    let shop = Shop::open().await?;
    let watcher = shop.engine.worker("watcher").await?;
    let call = watcher.bus().call("engine::events");
    let mut events = call.stream(&json!({ "events": ["swap_done", "swap_failed"] }))?;
    let second = shop.build("second", &json!({ "version": 2 }))?;
    let swapped: Value = shop
        .caller
        .trigger(
            "engine::workers::swap",
            &json!({ "name": "shop", "to": second }),
        )
        .await?;
    assert_eq!(swapped["worker"], "shop");
    let event: Option<Value> = events.next_as().await?;
    let event = event.expect("the stream goes on");
    assert_eq!(
        (&event["event"], &event["worker"], &event["build"]),
        (&json!("swap_done"), &json!("shop"), &swapped["build"])
    );
    for (input, message) in [
        (
            json!({ "name": "nobody" }),
            "runs no worker `nobody`; it runs shop",
        ),
        (
            json!({ "name": "shop", "to": "relative" }),
            "expected an absolute path",
        ),
        (
            json!({ "name": "shop", "canary_percent": 0 }),
            "from 1 to 99",
        ),
        (
            json!({ "name": "shop", "to": "in-process" }),
            "no worker of the engine's process",
        ),
    ] {
        let refused = shop
            .caller
            .trigger::<Value>("engine::workers::swap", &input)
            .await
            .expect_err("it cannot be done");
        ensure!(refused.message.contains(message), "{refused}");
    }
    assert_eq!(shop.version().await, Some(2));
    Ok(())
}
