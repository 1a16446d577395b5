//! Offers a function and calls it. Run `agentos start` first.

use agentos_sdk::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let worker = Client::connect(Options::new("hello-rust")).await?;
    worker
        .function("hello-rust::greet", |_, name: String| async move {
            Ok(format!("hello {name}"))
        })
        .await?;
    let greeting: String = worker.trigger("hello-rust::greet", "Ada").await?;
    println!("{greeting}");
    worker.close().await;
    Ok(())
}
