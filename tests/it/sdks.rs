//! The three SDKs of ours, each playing the scenarios of `tests/conformance/sdk` with workers of all
//! three, and what is left of them afterwards.
//!
//! `cargo xtask test` builds and installs what they need.

mod leaks;
mod proxy;
mod stage;

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use self::stage::{CALLER, LANGUAGES, Stage};
use crate::{
    clients::python,
    conformance::{names_are_different, outcomes, scenarios},
    harness::{binary, root},
};

fn suite() -> PathBuf {
    root().join("tests/conformance/sdk")
}

/// The player of a language, without its arguments.
fn player(language: &str) -> Command {
    let (program, arguments): (PathBuf, &[&str]) = match language {
        "typescript" => ("node".into(), &["--expose-gc", "node/play.mjs"]),
        "python" => (python(), &["python/play.py"]),
        _ => (binary().with_file_name("conformance-sdk-rust"), &[]),
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(suite());
    command
}

#[expect(clippy::print_stdout, reason = "the suite's report")]
async fn play(language: &'static str) -> Result<()> {
    let stage = Stage::with(&LANGUAGES).await?;
    let file = stage.engine.folder.path().join("scenarios.json");
    let scenarios = scenarios(&suite())?;
    std::fs::write(&file, serde_json::to_string(&scenarios)?)?;
    let mut command = player(language);
    command.arg("play").arg(&file);
    stage.lead(&mut command, CALLER);
    // Off the runtime's threads.
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("━━ {language}\n{printed}");
    let outcomes = outcomes(&printed);
    let errors = String::from_utf8_lossy(&output.stderr);
    let ended_well = printed
        .lines()
        .any(|line| line.starts_with("conformance: "));
    ensure!(ended_well, "it ended with {}\n{errors}", output.status);
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, why)| Some(format!("not ok {name}: {}", why.as_ref()?)))
        .collect();
    ensure!(failed.is_empty(), "{}\n{errors}", failed.join("\n"));
    ensure!(
        outcomes.len() >= scenarios.len() * 2,
        "it played {} checks only",
        outcomes.len()
    );
    stage.dismiss().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_plays_with_all() -> Result<()> {
    play("rust").await
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_plays_with_all() -> Result<()> {
    play("typescript").await
}

#[tokio::test(flavor = "multi_thread")]
async fn python_plays_with_all() -> Result<()> {
    play("python").await
}

#[test]
fn a_name_is_one_scenario() -> Result<()> {
    names_are_different(&scenarios(&suite())?)
}
