//! Real clients, unmodified: the `openai` packages and the `iii-sdk` packages of npm and PyPI.
//!
//! `cargo xtask test` installs them; `AGENTOS_TEST_PYTHON` is the Python that has them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    chat::{POLYGLOT, polyglot, records, tool_results},
    harness::{Engine, eventually, root},
};

pub(crate) fn python() -> PathBuf {
    std::env::var_os("AGENTOS_TEST_PYTHON").map_or_else(
        || root().join("target/xtask/venv/bin/python"),
        PathBuf::from,
    )
}

/// Runs a client in `folder` against the engine and gives what it printed.
pub(crate) fn run(engine: &Engine, folder: &Path, command: &[&str]) -> Result<String> {
    let program = if command[0] == "python" {
        python()
    } else {
        PathBuf::from(command[0])
    };
    let output = Command::new(program)
        .args(&command[1..])
        .current_dir(folder)
        .env("AGENTOS_URL", &engine.url)
        .env("AGENTOS_TOKEN", &engine.token)
        .env("AGENTOS_HTTP", &engine.http)
        .env("OTEL_ENABLED", "false")
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{command:?} ended with {}\n{out}\n{err}",
        output.status
    );
    Ok(out.into_owned())
}

/// Off the runtime's threads, so that an engine in this process could answer meanwhile.
pub(crate) fn run_client(engine: &Engine, folder: PathBuf, command: Vec<&str>) -> Result<String> {
    tokio::task::block_in_place(|| run(engine, &folder, &command))
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_packages_get_answers_whole_and_streamed() -> Result<()> {
    let clients = root().join("tests/clients");
    for (folder, command) in [
        (clients.join("node"), vec!["node", "openai.mjs"]),
        (clients.join("python"), vec!["python", "openai_client.py"]),
    ] {
        let engine = polyglot(POLYGLOT).await?;
        let printed = run_client(&engine, folder, command)?;
        let lines: Vec<&str> = printed.lines().collect();
        let answer = "written and embedded";
        let expected = [
            &format!("whole: {answer}"),
            &format!("streamed: {answer}"),
            "pieces: true",
            "models: true",
            "missing: 404 model_not_found",
            "key: 401",
        ];
        assert_eq!(lines, expected);
        let asked: Vec<Value> = records(&engine)
            .into_iter()
            .filter(|record| record["event"] == "request")
            .collect();
        assert_eq!(
            tool_results(&asked[1]).len(),
            2,
            "both functions ran for one reply of the model"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_iii_sdks_call_and_are_called() -> Result<()> {
    let clients = root().join("tests/clients");
    for (name, folder, command) in [
        ("node", clients.join("node"), vec!["node", "iii.mjs"]),
        (
            "python",
            clients.join("python"),
            vec!["python", "iii_client.py"],
        ),
    ] {
        let engine = Engine::start("listen: { bus: { auth: none } }", &["--no-workers"]).await?;
        let ours = engine.worker("ours").await?;
        ours.function("ours::double", |_, input: Value| async move {
            Ok(json!({ "doubled": input["n"].as_i64().unwrap_or(0) * 2 }))
        })
        .await?;
        let calling = ours.clone();
        let theirs = format!("{name}::triple");
        // Their function waits to be called by us before the program ends.
        let call = tokio::spawn(async move {
            let answer = || async {
                calling
                    .trigger::<Value>(&theirs, &json!({ "n": 14 }))
                    .await
                    .ok()
            };
            eventually("their function answers", answer).await
        });
        let printed = run_client(&engine, folder, command)?;
        assert!(
            printed.lines().any(|line| line == "doubled: 42"),
            "{printed}"
        );
        assert_eq!(call.await??["tripled"], 42);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_examples_register_and_call() -> Result<()> {
    let engine = Engine::bare().await?;
    let examples = root().join("examples");
    let rows: [(PathBuf, &[&str]); 4] = [
        (root().join("target/release"), &["./hello-rust"]),
        (examples.join("hello-websocket"), &["node", "hello.mjs"]),
        (examples.join("hello-ts"), &["npm", "--silent", "start"]),
        (examples.join("hello-python"), &["python", "hello.py"]),
    ];
    for (folder, command) in rows {
        let output = run_client(&engine, folder, command.to_vec())?;
        assert_eq!(output.trim(), "hello Ada", "{command:?}");
    }
    Ok(())
}

/// Rust starts a sum, TypeScript, Python and Rust each add a number.
#[tokio::test(flavor = "multi_thread")]
async fn a_sum_crosses_three_languages() -> Result<()> {
    let engine = Engine::bare().await?;
    let example = root().join("examples/polyglot-sum");
    let worker = |program: PathBuf, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .current_dir(&example)
            .env("AGENTOS_URL", &engine.url)
            .env("AGENTOS_TOKEN", &engine.token)
            .stdin(Stdio::null())
            .spawn()
    };
    let workers = [
        worker("node".into(), &["typescript/dist/sum.js"])?,
        worker(python(), &["python/add.py"])?,
    ];
    let printed = run_client(
        &engine,
        root().join("target/release"),
        vec!["./polyglot-sum"],
    );
    for mut worker in workers {
        worker.kill()?;
        worker.wait()?;
    }
    assert_eq!(printed?.trim(), "321");
    Ok(())
}
