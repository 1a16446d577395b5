//! A shop whose builds behave as they are told, an engine that runs it, and who calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agentos_sdk::Client;
use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    harness::{Engine, eventually},
    supervised::WIRE,
};

pub(super) const WORKER: &str = include_str!("worker.py");

/// The program that a file beside it, `build.json`, tells how to behave.
pub(super) fn plain() -> Vec<String> {
    vec!["python3".to_owned(), "worker.py".to_owned()]
}

/// Writes the folder of a build that behaves as `build` says.
pub(super) fn write(folder: &Path, command: &[String], build: &Value) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("worker.py"), WORKER)?;
    fs::write(folder.join("wire.py"), WIRE)?;
    let mut build = build.clone();
    build["record"] = json!(record_beside(folder));
    fs::write(folder.join("build.json"), build.to_string())?;
    // Who is unwell stays so; who is well may be slow to say it on a busy machine.
    let within_ms = if build["unwell"] == true { 500 } else { 10_000 };
    let manifest = json!({
        "name": "shop",
        "language": "other",
        "command": command,
        "health": { "function": "shop::health", "timeout_ms": 1000, "within_ms": within_ms },
    });
    fs::write(folder.join("worker.yaml"), manifest.to_string())?;
    Ok(())
}

/// Where all builds write down the numbers of their calls.
pub(super) fn record_beside(folder: &Path) -> PathBuf {
    folder.with_file_name("record")
}

/// An engine whose worker `shop` serves its version 1.
pub(super) struct Shop {
    pub(super) engine: Engine,
    pub(super) caller: Client,
    pub(super) folder: PathBuf,
    command: Vec<String>,
}

impl Shop {
    pub(super) async fn open() -> Result<Self> {
        Shop::of(plain()).await
    }

    pub(super) async fn of(command: Vec<String>) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let folder = place.path().join("shop");
        write(&folder, &command, &json!({ "version": 1 }))?;
        let config = json!({
            "workers": { "builtin": [], "dirs": [folder] },
            // Unmodified clients of iii know no token.
            "listen": { "bus": { "auth": "none" } },
        });
        let config = config.to_string();
        let engine = Engine::start_in(place, &config, &[]).await?;
        let caller = engine.worker("caller").await?;
        let shop = Shop {
            engine,
            caller,
            folder,
            command,
        };
        shop.serves(1).await?;
        Ok(shop)
    }

    pub(super) async fn version(&self) -> Option<i64> {
        self.caller.trigger("shop::version", &json!({})).await.ok()
    }

    pub(super) async fn serves(&self, version: i64) -> Result<()> {
        let answers = || async { (self.version().await? == version).then_some(()) };
        eventually(&format!("version {version} serves"), answers).await
    }

    /// Puts another build beside the first one.
    pub(super) fn build(&self, name: &str, build: &Value) -> Result<String> {
        let folder = self.folder.with_file_name(name);
        write(&folder, &self.command, build)?;
        Ok(folder.display().to_string())
    }

    /// Runs `agentos worker …` off the runtime's threads; gives its exit code and its steps.
    pub(super) fn worker(&self, arguments: &[&str]) -> Result<(i32, Vec<Value>)> {
        let arguments = [&["--json", "worker"][..], arguments].concat();
        let (code, out, err) = tokio::task::block_in_place(|| self.engine.cli(&arguments, ""))?;
        let steps = out
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>();
        let steps = steps.map_err(|error| anyhow::anyhow!("{error}: {out}{err}"))?;
        Ok((code, steps))
    }

    /// Calls without pause until it is told to stop; each call is to succeed.
    pub(super) fn load(&self, callers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |number: usize| {
            let (caller, stop) = (self.caller.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Some take a moment, so that some run whenever the build changes.
                    let input = json!({ "ms": number % 3 * 20 });
                    let _: i64 = caller.trigger("shop::version", &input).await?;
                    calls += 1;
                }
                Ok(calls)
            })
        };
        let callers = (0..callers).map(one).collect();
        Load { stop, callers }
    }
}

/// Calls that go on.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Result<usize, agentos_sdk::Error>>>,
}

impl Load {
    /// Stops it; fails when a call has failed.
    pub(super) async fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = 0;
        for caller in self.callers {
            calls += caller.await??;
        }
        Ok(calls)
    }
}

pub(super) fn names(steps: &[Value]) -> Vec<&str> {
    let names = steps.iter();
    names.filter_map(|step| step["event"].as_str()).collect()
}

pub(super) fn step<'a>(steps: &'a [Value], name: &str) -> &'a Value {
    let found = steps.iter().find(|step| step["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {steps:#?}"))
}
