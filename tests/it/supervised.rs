//! Worker processes: started, restarted, never left behind.

mod order;

use std::fs;

use agentos_sdk::Code;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::{Engine, eventually};

/// The program of a worker that needs no SDK and nothing installed: Python and a socket.
const WORKER: &str = include_str!("supervised/worker.py");
/// What workers of this kind have in common.
pub(crate) const WIRE: &str = include_str!("supervised/wire.py");

/// An engine that supervises one small worker.
async fn engine() -> Result<Engine> {
    let folder = tempfile::tempdir()?;
    let worker = folder.path().join("mortal");
    fs::create_dir(&worker)?;
    fs::write(worker.join("worker.py"), WORKER)?;
    fs::write(worker.join("wire.py"), WIRE)?;
    fs::write(
        worker.join("worker.yaml"),
        "name: mortal\nlanguage: python\ncommand: [python3, worker.py]\n",
    )?;
    let config = json!({ "workers": { "builtin": [], "dirs": [worker] } }).to_string();
    Engine::start_in(folder, &config, &[]).await
}

async fn pid_of(caller: &agentos_sdk::Client) -> Result<i32> {
    let pid = eventually("the worker answers", || async {
        caller.trigger::<i32>("mortal::pid", &()).await.ok()
    });
    pid.await
}

fn kill(pid: i32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).context("a process has a number")?;
    Ok(rustix::process::kill_process(
        pid,
        rustix::process::Signal::KILL,
    )?)
}

fn lives(pid: i32) -> bool {
    // A zombie has no command line left.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_killed_worker_fails_its_call_at_once_and_comes_back() -> Result<()> {
    let engine = engine().await?;
    let caller = engine.worker("caller").await?;
    let pid = pid_of(&caller).await?;
    let hanging = caller.clone();
    let call = tokio::spawn(async move { hanging.trigger::<Value>("mortal::hang", &()).await });
    let busy = || async {
        let list: Value = caller.trigger("engine::workers::list", &()).await.ok()?;
        let worker = list["workers"]
            .as_array()?
            .iter()
            .find(|worker| worker["name"] == "mortal")?
            .clone();
        (worker["active_invocations"].as_u64()? > 0).then_some(())
    };
    eventually("the call is running", busy).await?;
    kill(pid)?;
    assert_eq!(
        call.await?.expect_err("its worker died").code,
        Code::WorkerLost
    );
    let again = pid_of(&caller).await?;
    assert_ne!(again, pid);
    let (code, log, _) = engine.cli(&["logs", "mortal"], "")?;
    assert_eq!(code, 0);
    assert!(log.contains("mortal is up"), "{log}");
    Ok(())
}

#[tokio::test]
async fn kill_9_of_the_engine_leaves_no_process() -> Result<()> {
    let engine = engine().await?;
    let caller = engine.worker("caller").await?;
    let pid = pid_of(&caller).await?;
    let child: i32 = caller.trigger("mortal::spawn", &()).await?;
    // A process just forked has no command line until it runs its program.
    eventually("both run", || async {
        (lives(pid) && lives(child)).then_some(())
    })
    .await?;
    let _folder = engine.kill()?;
    eventually("both processes are gone", || async {
        (!lives(pid) && !lives(child)).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_stopped_engine_leaves_no_process() -> Result<()> {
    let mut engine = engine().await?;
    let caller = engine.worker("caller").await?;
    let pid = pid_of(&caller).await?;
    assert_eq!(engine.terminate().await?, 0);
    assert!(!lives(pid));
    Ok(())
}

#[tokio::test]
async fn a_missing_program_is_named_and_the_rest_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = folder.path().join("exotic");
    fs::create_dir(&worker)?;
    fs::write(
        worker.join("worker.yaml"),
        "name: exotic\nlanguage: other\ncommand: [no-such-program-anywhere]\n",
    )?;
    let config = json!({ "workers": { "builtin": [], "dirs": [worker] } }).to_string();
    let engine = Engine::start_in(folder, &config, &[]).await?;
    let caller = engine.worker("caller").await?;
    let told = || async {
        let status: Value = caller.trigger("engine::supervisor::list", &()).await.ok()?;
        let error = status["workers"][0]["last_error"].as_str()?.to_owned();
        error.contains("no-such-program-anywhere").then_some(())
    };
    eventually("the missing program is named", told).await
}
