//! Where everything is kept: adapters, backups, damage, a disk that is full.

mod full;

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Engine;

/// Adapters that keep something.
const ADAPTERS: [&str; 3] = ["fjall", "sqlite", "sled"];

fn settings(adapter: &str) -> String {
    format!("storage: {{ adapter: {adapter} }}\n")
}

async fn start(folder: TempDir, adapter: &str) -> Result<Engine> {
    Engine::start_in(folder, &settings(adapter), &["--no-workers"]).await
}

fn ok(engine: &Engine, arguments: &[&str], input: &str) -> Result<String> {
    let (code, output, complaint) = engine.cli(arguments, input)?;
    assert_eq!(code, 0, "{arguments:?}: {output}{complaint}");
    Ok(output)
}

#[tokio::test]
async fn every_adapter_keeps_what_was_acknowledged_and_is_named() -> Result<()> {
    for adapter in ADAPTERS {
        let engine = start(TempDir::new()?, adapter).await?;
        ok(&engine, &["state", "set", "s", "k", "{\"n\":1}"], "")?;
        let status: Value = serde_json::from_str(&ok(&engine, &["status", "--json"], "")?)?;
        assert_eq!(status["storage"], adapter);
        let engine = start(engine.kill()?, adapter).await?;
        assert_eq!(
            ok(&engine, &["state", "get", "s", "k", "--json"], "")?,
            "{\"n\":1}\n"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_store_of_another_adapter_is_refused_with_a_way_out() -> Result<()> {
    let folder = start(TempDir::new()?, "fjall").await?.kill()?;
    let Err(error) = start(folder, "sqlite").await else {
        panic!("the store of another adapter was opened");
    };
    let error = format!("{error:#}");
    assert!(
        error.contains("adapter `fjall`") && error.contains("agentos backup"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn memory_says_that_it_forgets() -> Result<()> {
    let engine = start(TempDir::new()?, "memory").await?;
    ok(&engine, &["state", "set", "s", "k", "1"], "")?;
    assert!(engine.log().contains("everything is forgotten"));
    let engine = start(engine.kill()?, "memory").await?;
    let (code, _, complaint) = engine.cli(&["state", "get", "s", "k"], "")?;
    assert_eq!(code, 1, "{complaint}");
    Ok(())
}

#[tokio::test]
async fn relaxed_scopes_are_named_and_keep_what_a_crash_leaves() -> Result<()> {
    let settings = "state: { relaxed_scopes: [cache, 'tmp-*'] }\n";
    let engine = Engine::start(settings, &["--no-workers"]).await?;
    assert!(ok(&engine, &["status"], "")?.contains("cache, tmp-*"));
    for scope in ["cache", "tmp-1", "kept"] {
        ok(&engine, &["state", "set", scope, "k", "1"], "")?;
    }
    let engine = Engine::start_in(engine.kill()?, settings, &["--no-workers"]).await?;
    for scope in ["cache", "tmp-1", "kept"] {
        assert_eq!(ok(&engine, &["state", "get", scope, "k"], "")?, "1\n");
    }
    Ok(())
}

#[tokio::test]
async fn relaxed_queues_are_named_and_keep_what_a_crash_leaves() -> Result<()> {
    let settings = "queue: { queue_configs: { fast: { durability: relaxed }, safe: {} } }\n";
    let engine = Engine::start(settings, &["--no-workers"]).await?;
    let status = ok(&engine, &["status"], "")?;
    assert!(status.contains("relaxed queues   fast"), "{status}");
    for queue in ["fast", "safe"] {
        ok(&engine, &["queue", "pause", queue], "")?;
        ok(&engine, &["queue", "enqueue", "a::b", "--queue", queue], "")?;
    }
    let engine = Engine::start_in(engine.kill()?, settings, &["--no-workers"]).await?;
    let client = engine.worker("watcher").await?;
    for queue in ["fast", "safe"] {
        let stats: Value = (client.trigger("queue::stats", &json!({ "queue": queue }))).await?;
        assert_eq!(stats["depth"], 1, "{stats}");
    }
    Ok(())
}

#[tokio::test]
async fn state_from_the_command_line() -> Result<()> {
    let engine = Engine::bare().await?;
    let set = ok(
        &engine,
        &["state", "set", "users", "ada", "{\"age\":36}", "--json"],
        "",
    )?;
    let version = serde_json::from_str::<Value>(&set)?["version"].to_string();
    ok(&engine, &["state", "set", "users", "bob", "plain text"], "")?;
    let (code, _, complaint) =
        engine.cli(&["state", "set", "users", "ada", "1", "--expect", "0"], "")?;
    assert_eq!(code, 1);
    assert!(
        complaint.contains("there is a value already"),
        "{complaint}"
    );
    ok(
        &engine,
        &["state", "set", "users", "ada", "2", "--expect", &version],
        "",
    )?;
    assert_eq!(ok(&engine, &["state", "ls"], "")?, "users\n");
    let listed = ok(&engine, &["state", "ls", "users", "--prefix", "a"], "")?;
    assert!(
        listed.contains("ada") && !listed.contains("bob"),
        "{listed}"
    );

    let exported = ok(&engine, &["state", "export"], "")?;
    assert_eq!(exported.lines().count(), 2);
    let short = ["state", "set", "tmp", "k", "1", "--ttl-ms", "3600000"];
    ok(&engine, &short, "")?;
    let with_term = ok(&engine, &["state", "export", "tmp"], "")?;
    assert!(with_term.contains("\"due_ms\":"), "{with_term}");
    ok(&engine, &["state", "rm", "users", "ada"], "")?;
    let (code, _, complaint) = engine.cli(&["state", "rm", "users", "ada"], "")?;
    assert_eq!(code, 1);
    assert!(complaint.contains("no value under ada"), "{complaint}");
    let other = Engine::bare().await?;
    let imported = ok(&other, &["state", "import", "-"], &exported)?;
    assert_eq!(imported, "2 values imported\n");
    assert_eq!(ok(&other, &["state", "export"], "")?, exported);
    let (code, _, complaint) = other.cli(&["state", "import", "-"], "{\"scope\":1}")?;
    assert_eq!(code, 2);
    assert!(complaint.contains("line 1"), "{complaint}");
    Ok(())
}

/// A backup of a running engine becomes the store of another, kept by another adapter.
#[tokio::test]
async fn a_backup_is_restored_whichever_adapter_made_it() -> Result<()> {
    let engine = start(TempDir::new()?, "fjall").await?;
    let worker = engine.worker("writer").await?;
    for number in 0..300 {
        let value = json!({ "scope": "s", "key": format!("{number:03}"), "value": "v".repeat(number * 40) });
        worker.trigger::<Value>("state::set", &value).await?;
    }
    let entries = json!({ "scope": "s", "limit": 1000 });
    let before: Value = worker.trigger("state::entries", &entries).await?;
    ok(&engine, &["backup", "copy.backup"], "")?;
    assert!(ok(&engine, &["doctor"], "")?.contains(" 0 damaged"));
    let copy = engine
        .folder
        .path()
        .join("copy.backup")
        .display()
        .to_string();

    for adapter in ADAPTERS {
        let folder = TempDir::new()?;
        let (config, data) = (
            folder.path().join("config.yaml"),
            folder.path().join("data"),
        );
        fs::write(&config, settings(adapter))?;
        let (config, data) = (config.display().to_string(), data.display().to_string());
        let restore = ["restore", &copy, "--config", &config, "--data-dir", &data];
        assert!(ok(&engine, &restore, "")?.contains(" records"));
        let (code, _, complaint) = engine.cli(&restore, "")?;
        assert_eq!(code, 1);
        assert!(complaint.contains("--replace"), "{complaint}");
        ok(&engine, &[&restore[..], &["--replace"]].concat(), "")?;

        let restored = start(folder, adapter).await?;
        let worker = restored.worker("reader").await?;
        let after: Value = worker.trigger("state::entries", &entries).await?;
        assert!(before == after, "{adapter}: values or versions differ");
        let version = before["entries"][0]["version"].clone();
        let next = json!({ "scope": "s", "key": "000", "value": 1, "expected_version": version });
        let written: Value = worker.trigger("state::set", &next).await?;
        let newest = before["entries"].as_array().context("a list")?;
        let newest = newest.iter().filter_map(|entry| entry["version"].as_u64());
        assert!(written["version"].as_u64() > newest.max(), "{adapter}");
        let (code, _, complaint) = engine.cli(&restore, "")?;
        assert_eq!(code, 1);
        assert!(complaint.contains("another engine"), "{complaint}");
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_backup_makes_no_store() -> Result<()> {
    let engine = Engine::bare().await?;
    ok(&engine, &["state", "set", "s", "k", "1"], "")?;
    ok(&engine, &["backup", "copy.backup"], "")?;
    let copy = engine.folder.path().join("copy.backup");
    let bytes = fs::read(&copy)?;
    fs::write(&copy, &bytes[..bytes.len() - 1])?;
    let data = engine.folder.path().join("other");
    let (copy, other) = (copy.display().to_string(), data.display().to_string());
    let (code, _, complaint) = engine.cli(&["restore", &copy, "--data-dir", &other], "")?;
    assert_eq!(code, 1);
    assert!(complaint.contains("cut short"), "{complaint}");
    assert!(!data.join("store").exists());
    Ok(())
}

/// A byte of the journal that is another: the engine does not start on it, and the doctor says what
/// to do.
#[tokio::test]
async fn damage_is_found_and_there_is_a_way_out() -> Result<()> {
    let engine = start(TempDir::new()?, "fjall").await?;
    let sentence = "a value that is found again in the journal";
    for key in ["before", "damaged", "after"] {
        ok(&engine, &["state", "set", "s", key, sentence], "")?;
    }
    ok(&engine, &["backup", "copy.backup"], "")?;
    let folder = engine.kill()?;
    let store = folder.path().join("data/store");
    let mut is_damaged = false;
    for file in fs::read_dir(&store)? {
        let path = file?.path();
        if path.extension().is_some_and(|name| name == "jnl") {
            let mut bytes = fs::read(&path)?;
            let places = bytes.windows(sentence.len());
            let mut places = places
                .enumerate()
                .filter(|(_, text)| text == &sentence.as_bytes());
            if let Some((place, _)) = places.nth(1) {
                bytes[place] ^= 1;
                fs::write(&path, bytes)?;
                is_damaged = true;
            }
        }
    }
    assert!(
        is_damaged,
        "the journal has another shape than this test knows"
    );
    let data = folder.path().join("data").display().to_string();
    let copy = folder.path().join("copy.backup").display().to_string();
    let helper = Engine::bare().await?;
    let stopped = |arguments: &[&str]| {
        helper.cli_without_engine(&[arguments, &["--data-dir", &data]].concat())
    };
    let (code, _, complaint) = stopped(&["doctor"])?;
    assert_eq!(code, 1, "{complaint}");
    assert!(
        complaint.contains("damaged") && complaint.contains("restore FILE --replace"),
        "{complaint}"
    );
    let (code, _, complaint) = stopped(&["restore", &copy, "--replace"])?;
    assert_eq!(code, 0, "{complaint}");
    let (code, report, complaint) = stopped(&["doctor", "--json"])?;
    assert_eq!(code, 0, "{complaint}");
    let report: Value = serde_json::from_str(&report)?;
    assert_eq!(
        (&report["damaged"], &report["spaces"]["state"]),
        (&json!(0), &json!(3))
    );
    Ok(())
}
