//! Real clients, unmodified: the `openai` packages and the `iii-sdk` packages of npm and PyPI.
//!
//! `cargo xtask test` installs them; `AGENTOS_TEST_PYTHON` is the Python that has them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agentos_sdk::{Client, Context};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    chat::scripted,
    harness::{Engine, eventually, root},
};

fn python() -> PathBuf {
    std::env::var_os("AGENTOS_TEST_PYTHON").map_or_else(|| root().join("target/xtask/venv/bin/python"), PathBuf::from)
}

/// Runs a client in `folder` against the engine and gives what it printed.
pub(crate) fn run(engine: &Engine, folder: &Path, command: &[&str]) -> Result<String> {
    let program = if command[0] == "python" { python() } else { PathBuf::from(command[0]) };
    let output = Command::new(program)
        .args(&command[1..])
        .current_dir(folder)
        .env("AGENTOS_URL", &engine.url)
        .env("AGENTOS_TOKEN", &engine.token)
        .env("AGENTOS_HTTP", &engine.http)
        .env("OTEL_ENABLED", "false")
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} ended with {}\n{out}\n{err}", output.status);
    Ok(out.into_owned())
}

/// Off the runtime's threads, so that an engine in this process could answer meanwhile.
async fn run_client(engine: &Engine, folder: PathBuf, command: Vec<&str>) -> Result<String> {
    tokio::task::block_in_place(|| run(engine, &folder, &command))
}

const TOOL_SCRIPT: &str = "
repeat: true
turns:
  - - tool_calls:
        - { name: 'ts::shout', arguments: { text: hello } }
        - { name: 'py::count', arguments: { text: hello } }
  - - text: [HELLO, ' has ', '5']
";

/// The engine, an agent with two tools, and the two tools: stand-ins for the languages here, so
/// that this suite is about the clients. `chat.rs` runs the real ones.
async fn engine_with_agent() -> Result<(Engine, Client)> {
    let (folder, config) = scripted(TOOL_SCRIPT)?;
    let engine = Engine::start_in(folder, &config, &["--only", "api", "agent", "llm", "memory"]).await?;
    let worker = engine.worker("tools").await?;
    worker.function("ts::shout", |_: Context, input: Value| async move { Ok(input["text"].as_str().unwrap_or_default().to_uppercase()) }).await?;
    worker.function("py::count", |_: Context, input: Value| async move { Ok(input["text"].as_str().unwrap_or_default().len()) }).await?;
    let agent = json!({ "name": "counter", "capabilities": { "functions": ["ts::*", "py::*"] } });
    engine.post("/v1/agents", &agent).send().await?.error_for_status()?;
    Ok((engine, worker))
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_packages_get_answers_whole_and_streamed() -> Result<()> {
    let clients = root().join("tests/clients");
    for (folder, command) in [(clients.join("node"), vec!["node", "openai.mjs"]), (clients.join("python"), vec!["python", "openai_client.py"])] {
        let (engine, _worker) = engine_with_agent().await?;
        let printed = run_client(&engine, folder, command).await?;
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines, ["whole: HELLO has 5", "streamed: HELLO has 5", "pieces: true", "models: true", "missing: 404 model_not_found", "key: 401"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_iii_sdks_call_and_are_called() -> Result<()> {
    let clients = root().join("tests/clients");
    for (name, folder, command) in [("node", clients.join("node"), vec!["node", "iii.mjs"]), ("python", clients.join("python"), vec!["python", "iii_client.py"])] {
        let engine = Engine::start("listen: { bus: { auth: none } }", &["--no-workers"]).await?;
        let ours = engine.worker("ours").await?;
        ours.function("ours::double", |_, input: Value| async move { Ok(json!({ "doubled": input["n"].as_i64().unwrap_or(0) * 2 })) }).await?;
        let calling = ours.clone();
        let theirs = format!("{name}::triple");
        // Their function waits to be called by us before the program ends.
        let call = tokio::spawn(async move {
            let answer = || async { calling.trigger::<Value>(&theirs, &json!({ "n": 14 })).await.ok() };
            eventually("their function answers", answer).await
        });
        let printed = run_client(&engine, folder, command).await?;
        assert_eq!(printed.lines().next(), Some("doubled: 42"), "{printed}");
        assert_eq!(call.await??["tripled"], 42);
    }
    Ok(())
}
