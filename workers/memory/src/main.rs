//! Runs the memory worker on its own, over the socket.

use agentos_memory::{Config, Memory};
use agentos_sdk::{Error, Options, run};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    run(Memory::new(Config::default()), Options::new("memory")).await
}
