//! Runs the worker over the socket, as a program of its own.
//!
//! Its settings are the YAML or JSON text in `AGENTOS_WORKER_CONFIG`, shaped like the section `llm`
//! of config.yaml; without it, what the environment says.

use std::env;

use agentos_llm::{Config, Llm};
use agentos_sdk::Options;
use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config: Config = match env::var("AGENTOS_WORKER_CONFIG") {
        Ok(text) => serde_saphyr::from_str(&text).context("AGENTOS_WORKER_CONFIG")?,
        Err(_) => Config::default(),
    };
    let llm = Llm::new(config.with_env(|name| env::var(name).ok())?)?;
    agentos_sdk::run(llm, Options::new("llm")).await?;
    Ok(())
}
