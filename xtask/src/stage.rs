//! Stages: commands that are run one after the other, timed, and told of at the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is in the workspace")
        .to_owned()
}

/// A command line in a folder of the workspace.
pub(crate) struct Step {
    folder: PathBuf,
    words: Vec<String>,
    env: Vec<(&'static str, PathBuf)>,
}

/// `program arguments…` in `folder`, both relative to the root of the workspace.
pub(crate) fn step(folder: &str, line: &str) -> Step {
    let words = line.split_whitespace().map(str::to_owned).collect();
    Step {
        folder: root().join(folder),
        words,
        env: Vec::new(),
    }
}

impl Step {
    pub(crate) fn env(mut self, name: &'static str, value: PathBuf) -> Self {
        self.env.push((name, value));
        self
    }

    pub(crate) fn run(&self) -> Result<()> {
        let line = self.words.join(" ");
        println!("\n▸ {line}");
        let status = Command::new(&self.words[0])
            .args(&self.words[1..])
            .current_dir(&self.folder)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .status()
            .with_context(|| format!("cannot run `{}`; is it installed?", self.words[0]))?;
        if !status.success() {
            bail!("`{line}` in {} ended with {status}", self.folder.display());
        }
        Ok(())
    }
}

struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<anyhow::Error>,
}

/// What has been run so far.
#[derive(Default)]
pub(crate) struct Report(Vec<Outcome>);

impl Report {
    /// Runs the steps until one fails; true when none did.
    pub(crate) fn stage(&mut self, name: &'static str, steps: &[Step]) -> bool {
        println!("\n━━ {name}");
        let began = Instant::now();
        let error = steps.iter().find_map(|step| step.run().err());
        if let Some(error) = &error {
            eprintln!("✗ {name}: {error:#}");
        }
        let passed = error.is_none();
        self.0.push(Outcome {
            name,
            took: began.elapsed(),
            error,
        });
        passed
    }

    /// Prints the table; an error when any stage failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        for Outcome { name, took, error } in &self.0 {
            let mark = if error.is_none() { "✓" } else { "✗" };
            println!("{mark} {name:<24} {:>6.1} s", took.as_secs_f64());
        }
        let failed = self
            .0
            .iter()
            .filter(|outcome| outcome.error.is_some())
            .count();
        println!(
            "\nstages: {} passed, {failed} failed",
            self.0.len() - failed
        );
        if failed > 0 {
            bail!("{failed} of {} stages failed", self.0.len())
        } else {
            Ok(())
        }
    }
}
