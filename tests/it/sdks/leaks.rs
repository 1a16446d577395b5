//! What is left of a worker that loses its connection, leaves and dies again and again.
//!
//! 50 times by default; `AGENTOS_LEAK_CYCLES=1000` is the long form. Memory and handles are printed.

use std::{fmt, fs, time::Duration};

use agentos_sdk::Code;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::Stage;
use crate::harness::eventually;

/// How often each is done before it is measured, so that what is made once is there.
const WARM_UP: u32 = 10;
/// What a process may have grown by, whatever was done how often: allocators keep some.
const GROWTH_KIB_MAX: u64 = 24 << 10;

/// Runtimes start threads for work that blocks, and end them some time after it.
const POOL_THREADS: u64 = 2;

fn cycles() -> u32 {
    let set = std::env::var("AGENTOS_LEAK_CYCLES").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(50)
}

/// What a process holds.
#[derive(Clone, Copy, PartialEq)]
struct Held {
    memory_kib: u64,
    handles: usize,
    threads: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Held> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            Ok(word.context("Linux tells it")?.parse()?)
        };
        Ok(Held {
            memory_kib: number("VmRSS:")?,
            handles: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            threads: number("Threads:")?,
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.memory_kib as f64 / 1024.0;
        let (handles, threads) = (self.handles, self.threads);
        write!(to, "{mib:.1} MiB, {handles} handles, {threads} threads")
    }
}

/// Compares what `pid` holds with what it held, as soon as it has put everything away.
#[expect(clippy::print_stdout, reason = "numbers for people")]
async fn compare(what: &str, pid: u32, before: Held) -> Result<()> {
    let settled = eventually("handles are closed", || async {
        let now = Held::by(pid).ok()?;
        let threads_max = before.threads + POOL_THREADS;
        (now.handles <= before.handles && now.threads <= threads_max).then_some(())
    })
    .await;
    let after = Held::by(pid)?;
    println!("{what}: {before} → {after}");
    settled.with_context(|| format!("{what}: {before} became {after}"))?;
    ensure!(
        after.memory_kib <= before.memory_kib + GROWTH_KIB_MAX,
        "{what}: memory grew: {before} became {after}"
    );
    Ok(())
}

/// Loses the connection in the middle of a call.
async fn reconnect(stage: &Stage, language: &str, times: u32) -> Result<()> {
    let (hang, noted) = (format!("{language}::hang"), format!("{language}::noted"));
    for _ in 0..times {
        let started = || async {
            let noted: Value = stage.worker.trigger(&noted, "leak").await.ok()?;
            noted["started"].as_u64()
        };
        let before = eventually("the worker answers", started).await?;
        let (worker, hang) = (stage.worker.clone(), hang.clone());
        let call = tokio::spawn(async move { worker.trigger::<Value>(&hang, "leak").await });
        eventually("the call runs", || async {
            (started().await? > before).then_some(())
        })
        .await?;
        stage.cut(language);
        let lost = call.await?.expect_err("its worker was lost");
        ensure!(lost.code == Code::WorkerLost, "{lost}");
    }
    stage.is_there(language).await
}

/// Has the worker open sessions of its own and close them again.
async fn reopen(stage: &Stage, language: &str, times: u32) -> Result<()> {
    let function = format!("{language}::reopen");
    let call = stage.worker.bus().call(&function);
    let patience = Duration::from_secs(60 + u64::from(times));
    Ok(call.timeout(patience).send(&times).await?)
}

async fn die(stage: &Stage, language: &str, times: u32) -> Result<()> {
    for _ in 0..times {
        stage.kill(language)?;
        stage.start(language)?;
        stage.is_there(language).await?;
    }
    Ok(())
}

/// Processes take their time to start: fewer of them.
const DEATHS_SHARE: u32 = 10;

async fn check(language: &'static str) -> Result<()> {
    let stage = Stage::with(&[language]).await?;
    let cycles = cycles();
    let pid = stage.pid(language).context("it runs")?;
    let engine = stage.engine.pid();
    reconnect(&stage, language, WARM_UP).await?;
    reopen(&stage, language, WARM_UP).await?;
    let (worker_before, engine_before) = (Held::by(pid)?, Held::by(engine)?);
    reconnect(&stage, language, cycles).await?;
    let what = format!("{language}, reconnected {cycles} times");
    compare(&what, pid, worker_before).await?;
    reopen(&stage, language, cycles).await?;
    let what = format!("{language}, opened and drained {cycles} times");
    compare(&what, pid, worker_before).await?;
    let deaths = cycles.div_ceil(DEATHS_SHARE);
    die(&stage, language, deaths).await?;
    let what = format!("engine, after all that and {deaths} deaths of a worker in {language}");
    compare(&what, engine, engine_before).await?;
    let list: Value = stage
        .worker
        .trigger("engine::workers::list", &json!({}))
        .await?;
    let names: Vec<&Value> = list["workers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["name"])
        .collect();
    ensure!(
        names.iter().filter(|name| **name == language).count() == 1,
        "{names:?}"
    );
    ensure!(
        !names
            .iter()
            .any(|name| *name == &format!("guest-{language}")),
        "{names:?}"
    );
    stage.dismiss().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_rust() -> Result<()> {
    check("rust").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_typescript() -> Result<()> {
    check("typescript").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_python() -> Result<()> {
    check("python").await
}
