//! The worker whose functions messages and runs reach.

use agentos_sdk::{Client, Code, Error, Registrar, protocol::ErrorBody};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ledger::{Kind, Ledger};
use crate::harness::Engine;

pub(super) const WORK: &str = "crash::work";
pub(super) const POISON: &str = "crash::poison";
pub(super) const TOPIC: &str = "crash-topic";

/// The job's durable name; its runs are a second apart and all made up for.
const JOB: &str = "crash-tick";

/// A message's number.
#[derive(Deserialize, schemars::JsonSchema)]
struct Message {
    id: u64,
}

/// What the job's function gets, as far as it is looked at.
#[derive(Deserialize, schemars::JsonSchema)]
struct Tick {
    scheduled_time: String,
}

/// Connects a worker, offers the functions and binds them.
pub(super) async fn connect(engine: &Engine, ledger: &Ledger) -> Result<Client> {
    let client = engine.worker("crash").await?;
    let mut offer = Registrar::new();
    for (id, kind) in [(WORK, Kind::Queue), ("crash::heard", Kind::Topic)] {
        let ledger = ledger.clone();
        offer.function(id, move |_, message: Message| {
            let ledger = ledger.clone();
            async move {
                ledger.arrive(kind, message.id);
                Ok::<(), ErrorBody>(())
            }
        });
    }
    let book = ledger.clone();
    offer.function(POISON, move |_, message: Message| {
        let ledger = book.clone();
        async move {
            ledger.arrive(Kind::Poison, message.id);
            Err::<(), _>(Error::caller(Code::Failed, "poison"))
        }
    });
    let book = ledger.clone();
    offer.function("crash::tick", move |_, tick: Tick| {
        let ledger = book.clone();
        async move {
            let second = second(&tick.scheduled_time)
                .ok_or_else(|| Error::caller(Code::InvalidInput, "no time"))?;
            ledger.arrive(Kind::Cron, second);
            Ok(())
        }
    });
    offer.trigger(
        "durable:subscriber",
        "crash::heard",
        json!({ "topic": TOPIC }),
    );
    let job = json!({ "interval": "1s", "missed": "all", "name": JOB });
    offer.trigger("cron", "crash::tick", job);
    client.register(offer).await?;
    Ok(client)
}

/// Seconds since 1970 of a time as cron writes it.
pub(super) fn second(time: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp()).ok()
}

/// The second of the job's last run that is on disk, if it has run.
pub(super) async fn last_run(client: &Client) -> Result<Option<u64>> {
    let jobs: Value = client.trigger("cron::list", &json!({})).await?;
    let job = jobs["jobs"].get(0).context("the schedule is gone")?;
    Ok(job["last_run"]["scheduled_time"].as_str().and_then(second))
}
