//! The Rust worker of the shop: this very test program, which an engine starts.

use std::{
    fs::{self, File},
    io::Write,
    sync::Arc,
    time::Duration,
};

use agentos_sdk::{Client, Context, Error, Options, Registrar, Sink};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What runs it, as its folder's `command`.
pub(super) fn command() -> Result<Vec<String>> {
    let program = std::env::current_exe()?.display().to_string();
    let test = "swap::rust_worker::serves_the_shop";
    let arguments = ["--exact", test, "--ignored", "--nocapture", "--quiet"];
    let words = std::iter::once(program).chain(arguments.map(str::to_owned));
    Ok(words.collect())
}

#[derive(Deserialize)]
struct Build {
    version: i64,
    /// Where the numbers of calls are written down.
    record: Option<String>,
    /// It takes no time for anything.
    #[serde(default)]
    hurries: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Numbered {
    n: u64,
    ms: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Counting {
    to: u64,
    ms: u64,
}

async fn rest(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a worker: an engine of the other tests starts it"]
async fn serves_the_shop() -> Result<()> {
    // Whoever runs all ignored tests is not meant.
    let Ok(build) = fs::read("build.json") else {
        return Ok(());
    };
    let Build {
        version,
        record,
        hurries,
    } = serde_json::from_slice(&build)?;
    let record = record.map(|path| File::options().create(true).append(true).open(path));
    let record = Arc::new(record.transpose()?);
    let mut offers = Registrar::new();
    offers.function("shop::health", |_: Context, _: Value| async { Ok(true) });
    offers.function("shop::version", move |_: Context, _: Value| async move {
        Ok(version)
    });
    offers.function("shop::record", move |_: Context, call: Numbered| {
        let record = Arc::clone(&record);
        async move {
            if let Some(mut file) = record.as_ref().as_ref() {
                let written = file.write_all(format!("{}\n", call.n).as_bytes());
                written
                    .map_err(|error| Error::worker(agentos_sdk::Code::Failed, error.to_string()))?;
            }
            rest(if hurries { 0 } else { call.ms }).await;
            Ok(call.n)
        }
    });
    offers.streaming(
        "shop::count",
        |_: Context, Counting { to, ms }, sink: Arc<Mutex<Sink>>| async move {
            for n in 0..to {
                sink.lock().await.send(&n).await?;
                rest(ms).await;
            }
            Ok(json!(null))
        },
    );
    let worker = Client::connect(Options::new("shop")).await?;
    worker.register(offers).await?;
    Ok(worker.serve().await?)
}
