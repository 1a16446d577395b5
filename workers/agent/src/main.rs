//! Runs the agent worker on its own, over the socket.

use agentos_agent::{Agents, Config};
use agentos_sdk::{Error, Options, run};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    run(Agents::new(Config::default()), Options::new("agent")).await
}
