//! Runs the front door on its own, over the socket.

use agentos_api::{Api, Config};
use agentos_sdk::{Error, Options, run};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    run(Api::new(Config::default()), Options::new("api")).await
}
