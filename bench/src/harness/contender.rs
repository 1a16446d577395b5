//! What is measured: a server, and the dialect its clients speak.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::child::Child;
use crate::args::{Run, Tongue, built_engine};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

pub(crate) struct Contender {
    pub(crate) name: String,
    server: Server,
    tongue: Tongue,
    /// Whom its figures are divided by.
    pub(crate) reference: String,
}

enum Server {
    Relay { plain: bool },
    Engine(PathBuf),
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    /// Goes last: the process has ended by then.
    folder: Option<TempDir>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(crate) async fn end(self) {
        self.child.end().await;
        drop(self.folder);
    }
}

/// All that can be measured here, in the order in which they take turns.
pub(crate) fn all(options: &Run) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    let mut add = |name: String, server: Server, tongue: Tongue| {
        let reference = format!("relay {}", tongue_name(tongue));
        all.push(Contender {
            name,
            server,
            tongue,
            reference,
        });
    };
    for (name, tongue) in [("iii", Tongue::Iii), ("v2", Tongue::V2)] {
        add(
            format!("relay {name}"),
            Server::Relay { plain: false },
            tongue,
        );
    }
    add(
        "plain relay iii".to_owned(),
        Server::Relay { plain: true },
        Tongue::Iii,
    );
    for (label, file) in engines(&options.engine)? {
        for (name, tongue) in [("iii", Tongue::Iii), ("v2", Tongue::V2)] {
            add(
                format!("{label} {name}"),
                Server::Engine(file.clone()),
                tongue,
            );
        }
    }
    all.retain(|one| {
        options.only.is_empty() || options.only.iter().any(|part| one.name.contains(part))
    });
    if all.is_empty() {
        bail!("no contender has a name like {}", options.only.join(", "));
    }
    Ok(all)
}

/// Names and files of the engines, as they were asked for.
fn engines(written: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let mut engines: Vec<(String, PathBuf)> = written
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, file)) => (name.to_owned(), PathBuf::from(file)),
            None => ("agentos".to_owned(), PathBuf::from(text)),
        })
        .collect();
    if engines.is_empty() {
        engines.push(("agentos".to_owned(), built_engine()));
    }
    for (_, file) in &mut engines {
        *file = file.canonicalize().with_context(|| {
            format!(
                "no engine at {}; build it, or name one with --engine",
                file.display()
            )
        })?;
    }
    Ok(engines)
}

fn tongue_name(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::Iii => "iii",
        Tongue::V2 => "v2",
    }
}

impl Contender {
    pub(crate) fn tongue_name(&self) -> &'static str {
        tongue_name(self.tongue)
    }

    /// It copies between pairs and knows no functions.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.server, Server::Relay { .. })
    }

    pub(crate) async fn start(&self) -> Result<Running> {
        match &self.server {
            Server::Relay { plain } => {
                let mut words = vec!["relay".to_owned()];
                words.extend(plain.then(|| "--plain".to_owned()));
                let mut child = Child::role(&words)?;
                Ok(Running {
                    address: child.line(START).await?,
                    child,
                    folder: None,
                })
            }
            Server::Engine(file) => engine(file).await,
        }
    }
}

/// The bus with its built-ins alone, as `config.yaml` has it by default, but for who may come in.
async fn engine(file: &Path) -> Result<Running> {
    let folder = TempDir::new()?;
    let data = folder.path().join("data");
    let log = fs::File::create(folder.path().join("engine.log"))?;
    let mut command = Command::new(file);
    command
        .args(["start", "--no-workers", "--auth", "none"])
        .args(["--bus-port", "0", "--http-port", "0", "--stream-port", "0"])
        .arg("--data-dir")
        .arg(&data)
        .current_dir(folder.path())
        .env("AGENTOS_HOME", folder.path().join("home"))
        .stderr(log);
    let child = Child::spawn(command)?;
    let note = data.join("engine.json");
    let began = Instant::now();
    loop {
        if let Ok(text) = fs::read(&note) {
            let note: Value = serde_json::from_slice(&text)?;
            let address = note["url"]
                .as_str()
                .and_then(|url| url.strip_prefix("ws://"))
                .context("the engine does not say where it is")?
                .trim_end_matches('/')
                .to_owned();
            return Ok(Running {
                child,
                address,
                folder: Some(folder),
            });
        }
        if began.elapsed() > START {
            let log = fs::read_to_string(folder.path().join("engine.log"))?;
            bail!("the engine is not ready after {START:?}: {log}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
