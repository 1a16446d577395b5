//! Workers that start after others, and what they may take.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::WIRE;
use crate::harness::{Engine, eventually};

const WORKER: &str = include_str!("limited.py");

fn write(folder: &Path, manifest: &Value) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("worker.py"), WORKER)?;
    fs::write(folder.join("wire.py"), WIRE)?;
    Ok(fs::write(folder.join("worker.yaml"), manifest.to_string())?)
}

fn manifest(name: &str) -> Value {
    json!({ "name": name, "language": "other", "command": ["python3", "worker.py", name] })
}

#[tokio::test]
async fn a_worker_starts_when_those_it_depends_on_are_well() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (shop, bank) = (place.path().join("shop"), place.path().join("bank"));
    let mut needy = manifest("shop");
    needy["depends_on"] = json!(["bank"]);
    write(&shop, &needy)?;
    let mut needed = manifest("bank");
    needed["health"] = json!({ "function": "bank::health" });
    write(&bank, &needed)?;
    // The one that needs the other comes first.
    let config = json!({ "workers": { "builtin": [], "dirs": [shop, bank] } }).to_string();
    let engine = Engine::start_in(place, &config, &[]).await?;
    let caller = engine.worker("caller").await?;
    let states = || async {
        let list: Value = caller.trigger("engine::supervisor::list", &()).await.ok()?;
        let state = |name: &str| {
            let mut workers = list["workers"].as_array()?.iter();
            let found = workers.find(|worker| worker["name"] == name)?;
            Some(found["state"].as_str()?.to_owned())
        };
        Some((state("shop")?, state("bank")?))
    };
    let holds =
        || async { (states().await? == ("waiting".into(), "running".into())).then_some(()) };
    eventually("one waits for the other", holds).await?;
    ensure!(
        !shop.join("started").exists(),
        "it has been started too early"
    );
    fs::write(bank.join("well"), "")?;
    let both = || async { (states().await? == ("running".into(), "running".into())).then_some(()) };
    eventually("both run", both).await?;
    eventually("it has been started", || async {
        shop.join("started").exists().then_some(())
    })
    .await
}

#[tokio::test]
async fn a_worker_has_no_more_than_it_is_given() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = place.path().join("shop");
    let mut limited = manifest("shop");
    limited["resources"] = json!({ "memory_max_mb": 200, "nice": 7 });
    write(&folder, &limited)?;
    let config = json!({ "workers": { "builtin": [], "dirs": [folder] } }).to_string();
    let engine = Engine::start_in(place, &config, &[]).await?;
    let caller = engine.worker("caller").await?;
    let ask = |mb: u64| {
        let caller = caller.clone();
        async move {
            caller
                .trigger::<Value>("shop::take", &json!({ "mb": mb }))
                .await
        }
    };
    let answers = || async { ask(1).await.ok() };
    let given = eventually("the worker answers", answers).await?;
    // To what the engine has, and this with it, is added.
    let nice = (rustix::process::getpriority_process(None)? + 7).min(19);
    assert_eq!(
        (&given["taken"], &given["nice"]),
        (&json!(true), &json!(nice))
    );
    assert_eq!(ask(100).await?["taken"], true);
    assert_eq!(ask(300).await?["taken"], false);
    // What it starts has the same.
    assert_eq!(given["child_nice"], nice);
    Ok(())
}
