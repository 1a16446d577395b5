//! `worker.yaml`: what a worker folder says about the process it wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{environment::Setting, fingerprint::DERIVED, resources::Resources};
use crate::config::{Document, Env, Error};

/// Instances of one worker on one machine; more is a slip of the finger.
pub(crate) const REPLICAS_MAX: usize = 64;

/// A worker that is slow for longer than this is not slow at first.
const SLOW_START_MAX: Duration = Duration::from_hours(1);

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
    pub env: BTreeMap<String, Setting>,
    pub restart: Restart,
    /// It may come to an end: one without a fault is not started again, whatever `restart` says.
    pub ends: bool,
    /// Instances that run when the engine starts.
    pub replicas: usize,
    /// How it says that it is well; without it, one that has registered is.
    pub health: Option<Health>,
    /// Workers that are to serve before it is started.
    pub depends_on: Vec<String>,
    pub resources: Resources,
    /// Over which time a new instance gets its whole share of the calls.
    pub slow_start: Duration,
}

/// The function that says whether a worker is well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    pub function: String,
    /// For one answer.
    pub timeout: Duration,
    /// From the registration to the first good answer.
    pub within: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHealth {
    function: String,
    #[serde(default = "health_timeout_ms")]
    timeout_ms: u64,
    #[serde(default = "health_within_ms")]
    within_ms: u64,
}

fn health_timeout_ms() -> u64 {
    2_000
}

fn health_within_ms() -> u64 {
    10_000
}

impl From<WrittenHealth> for Health {
    fn from(written: WrittenHealth) -> Self {
        Health {
            function: written.function,
            timeout: Duration::from_millis(written.timeout_ms),
            within: Duration::from_millis(written.within_ms),
        }
    }
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

/// Which ends of a worker are followed by a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    #[default]
    Always,
    /// All but an exit with code 0.
    OnFailure,
    Never,
}

/// Whether, and how soon, a worker that ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    pub policy: Policy,
    /// After the first end; doubles with each that follows soon.
    pub backoff_ms: u64,
    pub backoff_ms_max: u64,
    /// A worker that lived this long starts with a clean record.
    pub stable_ms: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            policy: Policy::Always,
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
    env: BTreeMap<String, Setting>,
    #[serde(default)]
    restart: Restart,
    #[serde(default = "one")]
    replicas: usize,
    health: Option<WrittenHealth>,
    #[serde(default)]
    depends_on: Vec<String>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    slow_start_ms: u64,
}

fn one() -> usize {
    1
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
            replicas,
            health,
            depends_on,
            resources,
            slow_start_ms,
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
            replicas,
            health: health.map(Health::from),
            depends_on,
            resources,
            slow_start: Duration::from_millis(slow_start_ms),
        }
    }

    /// A program that no folder describes.
    pub fn program(name: &str, folder: PathBuf, command: Vec<String>) -> Manifest {
        Manifest {
            folder,
            name: name.to_owned(),
            language: Language::Other,
            description: String::new(),
            command,
            prepare: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            shares: Vec::new(),
            requires: Vec::new(),
            env: BTreeMap::new(),
            restart: Restart::default(),
            ends: false,
            replicas: 1,
            health: None,
            depends_on: Vec::new(),
            resources: Resources::default(),
            slow_start: Duration::ZERO,
        }
    }

    /// Whether a process that has ended, well or not, is started again.
    pub(super) fn goes_on(&self, is_well: bool) -> bool {
        match self.restart.policy {
            Policy::Always => !(self.ends && is_well),
            Policy::OnFailure => !is_well,
            Policy::Never => false,
        }
    }

    /// Whether `path` is a file that a person writes for this worker: not one that a tool has made or
    /// installed.
    pub fn is_written(&self, path: &Path) -> bool {
        let Ok(name) = path.strip_prefix(&self.folder) else {
            return false;
        };
        let is_hidden = |part: &Path| {
            part.as_os_str().as_encoded_bytes().starts_with(b".")
                || DERIVED.iter().any(|derived| part == Path::new(derived))
        };
        // What is made beside its sources is itself; what is made in a folder has that to itself.
        let is_made =
            |output: &String| name.components().next() == Path::new(output).components().next();
        !name.iter().any(|part| is_hidden(Path::new(part))) && !self.outputs.iter().any(is_made)
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
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Some(("replicas".into(), format!("expected 1 to {REPLICAS_MAX}")));
        }
        if let Some(health) = &self.health
            && (health.function.is_empty() || health.timeout.is_zero())
        {
            return fault(
                "health".into(),
                "expected a function of this worker and times above 0, for instance { function: tools::health }",
            );
        }
        if let Some((key, message)) = self.resources.fault() {
            return Some((key.into(), message));
        }
        if self.slow_start > SLOW_START_MAX {
            let message = format!("expected at most {} (an hour)", SLOW_START_MAX.as_millis());
            return Some(("slow_start_ms".into(), message));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_make_is_not_written() {
        let manifest = Manifest {
            outputs: vec!["dist/index.js".into(), "built".into()],
            ..Manifest::program("one", PathBuf::from("/w"), vec!["sh".into()])
        };
        let check = |path, expect| {
            assert_eq!(manifest.is_written(Path::new(path)), expect, "{path}");
        };
        check("/w/src/index.ts", true);
        check("/w/worker.yaml", true);
        check("/w/dist/other.js", false);
        check("/w/built", false);
        check("/w/node_modules/a/index.js", false);
        check("/w/src/__pycache__/a.pyc", false);
        check("/w/.git/HEAD", false);
        check("/elsewhere/a.ts", false);
    }
}
