//! A sum that crosses three languages: Rust starts it, TypeScript adds the first number, Python
//! the second, Rust the third. How to run it: `examples/README.md`.

use std::time::Duration;

use agentos_sdk::prelude::*;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sum {
    numbers: Vec<i64>,
    total: i64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let worker = Client::connect(Options::new("polyglot-sum")).await?;
    worker
        .function("sum::rust", |_, sum: Sum| async move {
            Ok(sum.total + sum.numbers.iter().sum::<i64>())
        })
        .await?;
    wait_for(&worker, &["sum::typescript", "sum::python"]).await?;
    let total: i64 = worker
        .trigger(
            "sum::typescript",
            &Sum {
                numbers: vec![1, 20, 300],
                total: 0,
            },
        )
        .await?;
    println!("{total}");
    worker.close().await;
    Ok(())
}

/// The other two may still be starting.
async fn wait_for(worker: &Client, functions: &[&str]) -> Result<(), Error> {
    for _ in 0..300 {
        let list: serde_json::Value = worker.trigger("engine::functions::list", &()).await?;
        let offered = list["functions"].as_array().cloned().unwrap_or_default();
        let is_there = |id: &&str| {
            offered
                .iter()
                .any(|function| function["function_id"] == **id)
        };
        if functions.iter().all(is_there) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::worker(
        Code::NotFound,
        format!("start the workers of {} first", functions.join(" and ")),
    ))
}
