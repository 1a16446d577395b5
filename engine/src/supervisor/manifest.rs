//! `worker.yaml`: what a worker folder says about the process it wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::config::{Document, Env, Error};

/// A worker that is a process of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The folder it stands in; the working directory of everything it runs.
    pub folder: PathBuf,
    pub name: String,
    pub language: Language,
    /// One sentence; shown when the worker cannot run, to say what is lost.
    pub description: String,
    /// The worker itself, as program and arguments.
    pub command: Vec<String>,
    /// What must have run before, in order.
    pub prepare: Vec<Vec<String>>,
    /// Globs of the files that `prepare` depends on, relative to the folder.
    pub inputs: Vec<String>,
    /// Files that `prepare` makes; when one is gone, it runs again.
    pub outputs: Vec<String>,
    /// Folders outside its own that `prepare` writes to: one preparation at a time may.
    pub shares: Vec<PathBuf>,
    /// Programs needed beyond those of the language and of the commands.
    pub requires: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub restart: Restart,
    /// It may come to an end: one without a fault is not started again.
    pub ends: bool,
}

/// What a worker is written in; decides which programs it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    TypeScript,
    Python,
    /// Anything that speaks WebSocket.
    Other,
}

impl Language {
    pub fn as_str(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::TypeScript => "typescript",
            Language::Python => "python",
            Language::Other => "other",
        }
    }
}

/// How soon a worker that ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// After the first end; doubles with each that follows soon.
    pub backoff_ms: u64,
    pub backoff_ms_max: u64,
    /// A worker that lived this long starts with a clean record.
    pub stable_ms: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            backoff_ms: 200,
            backoff_ms_max: 30_000,
            stable_ms: 30_000,
        }
    }
}

impl Restart {
    pub(super) fn stable(self) -> Duration {
        Duration::from_millis(self.stable_ms)
    }
}

/// The file as it may be written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    language: Language,
    #[serde(default)]
    description: String,
    command: Vec<String>,
    #[serde(default)]
    prepare: Vec<Vec<String>>,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    outputs: Vec<String>,
    #[serde(default)]
    shares: Vec<PathBuf>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    restart: Restart,
}

impl Manifest {
    /// The file's name in a worker's folder.
    pub const FILE: &str = "worker.yaml";

    /// Reads the manifest of the worker in `folder`.
    ///
    /// # Errors
    /// The first fault, with line and key.
    pub fn open(folder: &Path, env: &dyn Env) -> Result<Manifest, Error> {
        let document = Document::open(&folder.join(Manifest::FILE), env)?;
        let manifest = Manifest::of(folder, document.read()?);
        match manifest.fault() {
            None => Ok(manifest),
            Some((key, message)) => Err(document.error(&key, message)),
        }
    }

    fn of(folder: &Path, written: Written) -> Manifest {
        let Written {
            name,
            language,
            description,
            command,
            prepare,
            inputs,
            outputs,
            shares,
            requires,
            env,
            restart,
        } = written;
        let folder = folder.to_owned();
        Manifest {
            folder,
            name,
            language,
            description,
            command,
            prepare,
            inputs,
            outputs,
            shares,
            requires,
            env,
            restart,
            ends: false,
        }
    }

    fn fault(&self) -> Option<(String, String)> {
        let fault = |key: String, message: &str| Some((key, message.to_owned()));
        if !is_name(&self.name) {
            return fault(
                "name".into(),
                "expected letters, digits, `-` and `_`, at most 64, for instance image-tools",
            );
        }
        if self.command.is_empty() {
            return fault(
                "command".into(),
                "expected a program and its arguments, for instance [node, dist/index.js]",
            );
        }
        if let Some(index) = self.prepare.iter().position(Vec::is_empty) {
            return fault(
                format!("prepare.{index}"),
                "expected a program and its arguments, for instance [npm, ci]",
            );
        }
        if let Some(index) = self
            .inputs
            .iter()
            .position(|glob| glob::Pattern::new(glob).is_err())
        {
            return fault(
                format!("inputs.{index}"),
                "expected a glob, for instance src/**/*.ts",
            );
        }
        if !self.prepare.is_empty() && self.inputs.is_empty() {
            return fault(
                "prepare".into(),
                "`inputs` must say which files these steps depend on, for instance [package.json, src/**/*.ts]",
            );
        }
        if self.restart.backoff_ms == 0 || self.restart.backoff_ms > self.restart.backoff_ms_max {
            return fault(
                "restart".into(),
                "expected 0 < backoff_ms <= backoff_ms_max",
            );
        }
        None
    }
}

/// It becomes a file name, and a word on a command line.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
}
