//! What was acknowledged is there after kill -9.

use agentos_sdk::Code;
use anyhow::Result;
use serde_json::{Value, json};

use crate::harness::Engine;

#[tokio::test]
async fn acknowledged_state_survives_kill_9() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let mut acknowledged = 0_u64;
    for round in 0..5 {
        let caller = engine.worker("writer").await?;
        let writes = (0..50_u64).map(|number| {
            let (caller, number) = (caller.clone(), round * 50 + number);
            tokio::spawn(async move {
                caller
                    .trigger::<Value>(
                        "state::set",
                        &json!({ "scope": "crash", "key": number.to_string(), "value": number }),
                    )
                    .await
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await??;
            acknowledged += 1;
        }
        let folder = engine.kill()?;
        engine = Engine::start_in(folder, "", &["--no-workers"]).await?;
        let reader = engine.worker("reader").await?;
        let values: Vec<u64> = reader
            .trigger("state::list", &json!({ "scope": "crash" }))
            .await?;
        assert_eq!(values.len() as u64, acknowledged, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn memories_agents_and_the_token_survive_kill_9() -> Result<()> {
    let only = ["--only", "api", "agent", "llm", "memory"];
    let engine = Engine::start("", &only).await?;
    let token = engine.token.clone();
    let caller = engine.worker("caller").await?;
    caller
        .trigger::<Value>(
            "memory::store",
            &json!({ "agentId": "a", "content": "the key is under the mat" }),
        )
        .await?;
    engine
        .post("/v1/agents", &json!({ "name": "keeper" }))
        .send()
        .await?
        .error_for_status()?;
    let folder = engine.kill()?;
    let engine = Engine::start_in(folder, "", &only).await?;
    assert_eq!(engine.token, token);
    let caller = engine.worker("caller").await?;
    let recalled: Value = caller
        .trigger(
            "memory::recall",
            &json!({ "agentId": "a", "query": "key mat" }),
        )
        .await?;
    assert_eq!(
        recalled["memories"][0]["content"], "the key is under the mat",
        "{recalled}"
    );
    assert!(
        engine
            .get("/v1/agents")
            .send()
            .await?
            .text()
            .await?
            .contains("keeper")
    );
    Ok(())
}

#[tokio::test]
async fn two_racing_writers_have_one_winner() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("racer").await?;
    let race = (0..10).map(|number| {
        let caller = caller.clone();
        let write = json!({ "scope": "race", "key": "k", "value": number, "expected_version": 0 });
        tokio::spawn(async move { caller.trigger::<Value>("state::set", &write).await })
    });
    let mut won = 0;
    for write in race.collect::<Vec<_>>() {
        match write.await? {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.code, Code::Conflict),
        }
    }
    assert_eq!(won, 1);
    Ok(())
}

#[tokio::test]
async fn a_data_directory_has_one_engine() -> Result<()> {
    let engine = Engine::bare().await?;
    let data = engine.folder.path().join("data").display().to_string();
    let (code, _, complaint) = engine.cli(
        &[
            "start",
            "--data-dir",
            &data,
            "--bus-port",
            "0",
            "--http-port",
            "0",
            "--no-workers",
        ],
        "",
    )?;
    assert_ne!(code, 0);
    assert!(
        complaint.contains("another engine uses the data directory"),
        "{complaint}"
    );
    Ok(())
}

#[tokio::test]
async fn sigterm_ends_the_engine_cleanly() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let worker = engine.worker("guest").await?;
    worker
        .function("guest::hi", |_, (): ()| async { Ok("hi") })
        .await?;
    assert_eq!(engine.terminate().await?, 0, "{}", engine.log());
    assert!(!engine.folder.path().join("data/engine.json").exists());
    Ok(())
}
