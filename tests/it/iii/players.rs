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
use serde_json::Value;

use super::{check::pending, setup::Setup};
use crate::harness::root;

pub(super) fn suite() -> PathBuf {
    root().join("tests/conformance/iii")
}

/// Where `xtask` puts what it installs.
pub(super) fn installed() -> PathBuf {
    root().join("target/xtask/conformance")
}

/// All scenarios in one list, as players read them.
fn scenarios() -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = fs::read_dir(suite().join("scenarios"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let some: Vec<Value> =
            serde_saphyr::from_str(&text).with_context(|| format!("{}", file.display()))?;
        all.extend(some);
    }
    Ok(all)
}

/// What a player has printed, by name of the check; `None` is a pass.
fn outcomes(printed: &str) -> BTreeMap<String, Option<String>> {
    let mut outcomes = BTreeMap::new();
    for line in printed.lines() {
        if let Some(name) = line.strip_prefix("ok ") {
            outcomes.insert(name.to_owned(), None);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
            outcomes.insert(name.to_owned(), Some(why.to_owned()));
        }
    }
    outcomes
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
    let scenarios = scenarios()?;
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
    let mut names = std::collections::BTreeSet::new();
    for scenario in scenarios()? {
        let checks = scenario["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|step| step["check"].as_str());
        for name in scenario["name"].as_str().into_iter().chain(checks) {
            ensure!(
                !name.contains(": "),
                "{name}: the report cuts a name at a colon"
            );
            ensure!(names.insert(name.to_owned()), "{name} is there twice");
        }
    }
    Ok(())
}
