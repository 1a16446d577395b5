//! An engine on the suite's configuration file, which is one of iii.

use std::{fs, net::TcpListener};

use anyhow::{Context, Result};

use crate::harness::{Engine, root};

/// An engine and its other addresses.
pub(super) struct Setup {
    pub(super) engine: Engine,
    /// The bus's port with rules.
    pub(super) rbac: String,
    /// Where stream clients connect.
    pub(super) stream: String,
}

/// What the environment variable that scenarios name holds.
const SECRET: (&str, &str) = ("CONFORMANCE_SECRET", "s3cret");

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Setup {
    pub(super) async fn start() -> Result<Self> {
        let file = root().join("tests/conformance/iii/engine.yaml");
        let config = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let names = ["BUS", "RBAC", "HTTP", "STREAM"];
        let mut ports = Vec::new();
        for name in names {
            ports.push((format!("CONFORMANCE_{name}_PORT"), free_port()?.to_string()));
        }
        let mut env: Vec<(&str, &str)> = ports
            .iter()
            .map(|(name, port)| (name.as_str(), port.as_str()))
            .collect();
        env.push(SECRET);
        let folder = tempfile::tempdir()?;
        let engine = Engine::start_as(folder, &config, &["--no-workers"], &env).await?;
        let at = |place: usize| format!("ws://127.0.0.1:{}", ports[place].1);
        Ok(Setup {
            engine,
            rbac: at(1),
            stream: at(3),
        })
    }
}
