//! The crash loops, whole: `tests/it/crash.rs` has them, and CI plays a few rounds.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::count::Count;
use crate::stage::{root, step};

pub(crate) fn run(given: &[&str]) -> Result<()> {
    let mut test = "crash::whole";
    let mut asked = Vec::new();
    let mut words = given.iter();
    while let Some(word) = words.next() {
        let variable = match *word {
            "--power-cut" => {
                test = "crash::power_cut";
                continue;
            }
            "--rounds" => "AGENTOS_CRASH_ROUNDS",
            "--seed" => "AGENTOS_CRASH_SEED",
            "--storage" => "AGENTOS_CRASH_STORAGE",
            other => bail!("crash does not know {other}; see `cargo xtask help`"),
        };
        let value = words
            .next()
            .with_context(|| format!("{word} wants a value"))?;
        asked.push((variable, *value));
    }
    play(test, &["--exact"], &asked)
}

/// Runs tests that are not played in CI, or not so long, and shows what they print.
pub(crate) fn play(tests: &str, more: &[&str], asked: &[(&str, &str)]) -> Result<()> {
    if std::env::var_os("AGENTOS_BIN").is_none() {
        step(".", "cargo build --release --package agentos").run(&mut Count::default())?;
    }
    let status = Command::new("cargo")
        .args(["test", "--release", "--quiet", "--package", "agentos-tests"])
        .args(["--test", "it", "--", tests])
        .args(["--include-ignored", "--nocapture"])
        .args(more)
        .envs(asked.iter().copied())
        .current_dir(root())
        .status()?;
    if !status.success() {
        bail!("{tests} ended with {status}");
    }
    Ok(())
}
