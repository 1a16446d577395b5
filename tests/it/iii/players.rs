//! The scenarios, played by the unmodified packages of npm, PyPI and crates.io.
//!
//! `cargo xtask test` installs what they need into `target/xtask/conformance`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{check::pending, setup::Setup};
use crate::{
    conformance::{names_are_different, outcomes, scenarios},
    harness::root,
};

pub(super) fn suite() -> PathBuf {
    root().join("tests/conformance/iii")
}

/// Where `xtask` puts what it installs.
pub(super) fn installed() -> PathBuf {
    root().join("target/xtask/conformance")
}

/// Fails when a check fails that is not pending, or the other way round.
pub(super) fn judge(player: &str, outcomes: &BTreeMap<String, Option<String>>) -> Result<()> {
    let pending = pending(player)?;
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes {
        match (outcome, pending.contains(name)) {
            (Some(why), false) => wrong.push(format!("not ok {name}: {why}")),
            (None, true) => wrong.push(format!("passes, take it off pending.txt: {player} {name}")),
            (None, false) | (Some(_), true) => {}
        }
    }
    for name in &pending {
        if !outcomes.contains_key(name) {
            wrong.push(format!("is pending and not played: {player} {name}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!(
            "{player}: {} of {} checks\n{}",
            wrong.len(),
            outcomes.len(),
            wrong.join("\n")
        )
    }
}

#[expect(clippy::print_stdout, reason = "the suite's report")]
async fn play(player: &str, folder: PathBuf, program: PathBuf, arguments: &[&str]) -> Result<()> {
    let setup = Setup::start().await?;
    let scenarios = scenarios(&suite())?;
    let file = setup.engine.folder.path().join("scenarios.json");
    fs::write(&file, serde_json::to_string(&scenarios)?)?;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .arg(&file)
        .current_dir(folder)
        .env("III_URL", &setup.engine.url)
        .env("III_RBAC_URL", &setup.rbac)
        .env("III_HTTP_URL", &setup.engine.http)
        .stdin(Stdio::null());
    // Off the runtime's threads.
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .with_context(|| {
            format!(
                "cannot run {}; `cargo xtask test` installs it",
                program.display()
            )
        })?;
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("━━ {player}\n{printed}");
    let outcomes = outcomes(&printed);
    // A player that ended early has not told of everything.
    ensure!(
        printed
            .lines()
            .any(|line| line.starts_with("conformance: ")),
        "{player} ended with {} after {} checks\n{}",
        output.status,
        outcomes.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        outcomes.len() > 50,
        "{player} played {} checks only",
        outcomes.len()
    );
    judge(player, &outcomes)
}

#[tokio::test]
async fn node_11() -> Result<()> {
    play(
        "node-11",
        suite().join("node"),
        "node".into(),
        &["play.mjs", "11"],
    )
    .await
}

#[tokio::test]
async fn node_22() -> Result<()> {
    play(
        "node-22",
        suite().join("node"),
        "node".into(),
        &["play.mjs", "22"],
    )
    .await
}

#[tokio::test]
async fn python_11() -> Result<()> {
    let program = installed().join("python-11/bin/python");
    play("python-11", suite().join("python"), program, &["play.py"]).await
}

#[tokio::test]
async fn python_25() -> Result<()> {
    let program = installed().join("python-25/bin/python");
    play("python-25", suite().join("python"), program, &["play.py"]).await
}

#[tokio::test]
async fn rust_11() -> Result<()> {
    let program = installed().join("rust-11/release/conformance-iii-rust");
    play("rust-11", suite().join("rust"), program, &[]).await
}

#[test]
fn a_name_is_one_check() -> Result<()> {
    names_are_different(&scenarios(&suite())?)
}
