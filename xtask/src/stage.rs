//! Stages: commands that are run one after the other, timed, and told of at the end.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::count::Count;

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

    /// Runs to the end, showing all that is printed; `count` takes what it says of tests.
    pub(crate) fn run(&self, count: &mut Count) -> Result<()> {
        let line = self.words.join(" ");
        println!("\n▸ {line}");
        let mut child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .current_dir(&self.folder)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`; is it installed?", self.words[0]))?;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                count.read(&line);
                println!("{line}");
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("`{line}` in {} ended with {status}", self.folder.display());
        }
        Ok(())
    }
}

/// What a command prints, whose own complaints nobody needs to see; `None` when it fails or is not there.
pub(crate) fn output(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

struct Outcome {
    name: &'static str,
    took: Duration,
    count: Count,
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
        let mut count = Count::default();
        let error = steps.iter().find_map(|step| step.run(&mut count).err());
        if let Some(error) = &error {
            eprintln!("✗ {name}: {error:#}");
        }
        let passed = error.is_none();
        self.0.push(Outcome {
            name,
            took: began.elapsed(),
            count,
            error,
        });
        passed
    }

    /// Prints the table; an error when any stage failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        let mut total = Count::default();
        for Outcome {
            name,
            took,
            count,
            error,
        } in &self.0
        {
            let mark = if error.is_none() { "✓" } else { "✗" };
            let tests = if count.is_zero() {
                String::new()
            } else {
                count.to_string()
            };
            println!("{mark} {name:<24} {:>6.1} s  {tests}", took.as_secs_f64());
            total += *count;
        }
        let failed = self
            .0
            .iter()
            .filter(|outcome| outcome.error.is_some())
            .count();
        println!("\ntests: {total}");
        println!("stages: {} passed, {failed} failed", self.0.len() - failed);
        if failed > 0 {
            bail!("{failed} of {} stages failed", self.0.len())
        } else {
            Ok(())
        }
    }
}
