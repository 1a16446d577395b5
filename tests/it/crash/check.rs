//! Compares what an engine has after a crash with what was acknowledged before.

use std::collections::BTreeSet;

use agentos_sdk::Client;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    figures::Figures,
    ledger::{Kind, Ledger},
    load, worker,
};
use crate::harness::eventually;

/// Attempts of a poison message, as the settings say; a crash may cut one off, which is made again.
const POISON_ATTEMPTS: u32 = 3;

/// What a record says about itself.
#[derive(Deserialize)]
struct Said {
    id: u64,
    text: String,
}

/// What `round` left, and that every message of it comes to its end.
pub(super) async fn round(
    client: &Client,
    round: u32,
    ledger: &Ledger,
    figures: &mut Figures,
) -> Result<()> {
    let missing =
        |kind, found: &BTreeSet<u64>| ledger.written(kind, round).difference(found).count() as u64;
    figures.lose(
        Kind::State,
        missing(Kind::State, &state(client, round).await?),
    );
    figures.lose(
        Kind::Stream,
        missing(Kind::Stream, &stream(client, round).await?),
    );
    counter(client, ledger, figures).await?;
    drained(client).await?;
    for kind in [Kind::Queue, Kind::Topic, Kind::Poison] {
        let arrived: BTreeSet<u64> = ledger.arrived(kind).into_keys().collect();
        figures.lose(kind, missing(kind, &arrived));
    }
    settle(client, ledger).await?;
    figures.doubled = ledger.doubled();
    Ok(())
}

/// All rounds once more, and what can only be said at the end.
pub(super) async fn everything(
    client: &Client,
    ledger: &Ledger,
    figures: &mut Figures,
) -> Result<()> {
    figures.lost.clear();
    for number in 0..ledger.rounds() {
        round(client, number, ledger, figures).await?;
    }
    poison(client, ledger, figures).await?;
    cron(ledger, figures);
    Ok(())
}

/// Numbers of the intact values of a round.
async fn state(client: &Client, round: u32) -> Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut cursor = Value::Null;
    loop {
        let page: Value = client
            .trigger(
                "state::entries",
                &json!({ "scope": load::scope(round), "limit": 1000, "cursor": cursor }),
            )
            .await?;
        let entries = page["entries"].as_array().into_iter().flatten();
        found.extend(entries.filter_map(|entry| intact(&entry["value"])));
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            return Ok(found);
        }
    }
}

async fn stream(client: &Client, round: u32) -> Result<BTreeSet<u64>> {
    let group = json!({ "stream_name": "crash", "group_id": load::scope(round) });
    let items: Vec<Value> = client.trigger("stream::list", &group).await?;
    Ok(items.iter().filter_map(intact).collect())
}

fn intact(value: &Value) -> Option<u64> {
    let said = Said::deserialize(value).ok()?;
    (said.text == load::text(said.id)).then_some(said.id)
}

/// Every acknowledged increment is in the sum, and nothing that nobody asked for.
async fn counter(client: &Client, ledger: &Ledger, figures: &mut Figures) -> Result<()> {
    let key = json!({ "scope": "crash", "key": "count" });
    let value: Value = client.trigger("state::get", &key).await?;
    let counted = value["n"].as_u64().unwrap_or(0);
    let rounds = 0..ledger.rounds();
    let acknowledged: usize = rounds
        .map(|round| ledger.written(Kind::Counter, round).len())
        .sum();
    let lost = (acknowledged as u64).saturating_sub(counted);
    figures.lost.remove(&Kind::Counter);
    figures.lose(Kind::Counter, lost);
    let tried = ledger.counter_tried();
    if counted > tried {
        figures
            .wrong
            .push(format!("{counted} increments of {tried}"));
    }
    Ok(())
}

/// Waits until every message has been delivered, or is dead.
async fn drained(client: &Client) -> Result<()> {
    for queue in ["default", "poison", worker::TOPIC] {
        eventually(&format!("{queue} is drained"), async || {
            let stats: Value = client
                .trigger("queue::stats", &json!({ "queue": queue }))
                .await
                .ok()?;
            (stats["depth"] == 0).then_some(())
        })
        .await?;
    }
    Ok(())
}

/// What has ended must not come again. An acknowledgement rides on the next commit, so one is made.
async fn settle(client: &Client, ledger: &Ledger) -> Result<()> {
    let last_run = worker::last_run(client).await?;
    let write = json!({ "scope": "crash", "key": "settled", "value": true });
    client.trigger::<Value>("state::set", &write).await?;
    for kind in [Kind::Queue, Kind::Topic, Kind::Poison] {
        ledger.settle(kind, u64::MAX);
    }
    if let Some(second) = last_run {
        ledger.settle(Kind::Cron, second);
    }
    Ok(())
}

/// Every acknowledged poison message is a dead letter, after exactly its attempts.
async fn poison(client: &Client, ledger: &Ledger, figures: &mut Figures) -> Result<()> {
    let mut dead = BTreeSet::new();
    loop {
        let page = json!({ "topic": "poison", "offset": dead.len(), "limit": 1000 });
        let letters: Vec<Value> = client.trigger("queue::dead", &page).await?;
        if letters.is_empty() {
            break;
        }
        for letter in &letters {
            let Some(id) = intact(&letter["payload"]) else {
                figures.wrong.push(format!("a dead letter: {letter}"));
                return Ok(());
            };
            if letter["retries"] != POISON_ATTEMPTS {
                let attempts = &letter["retries"];
                figures
                    .wrong
                    .push(format!("poison {id} died after {attempts} attempts"));
            }
            dead.insert(id);
        }
    }
    for round in 0..ledger.rounds() {
        let lost = ledger.written(Kind::Poison, round);
        figures.lose(Kind::Poison, lost.difference(&dead).count() as u64);
    }
    for (id, calls) in ledger.arrived(Kind::Poison) {
        // One that was cut off by the crash of its round is made again.
        if !(POISON_ATTEMPTS..=POISON_ATTEMPTS + 1).contains(&calls) {
            figures
                .wrong
                .push(format!("poison {id} was called {calls} times"));
        }
    }
    Ok(())
}

/// A job of every second that makes up for all runs has no second missing.
fn cron(ledger: &Ledger, figures: &mut Figures) {
    let ran: BTreeSet<u64> = ledger.arrived(Kind::Cron).into_keys().collect();
    if let (Some(first), Some(last)) = (ran.first(), ran.last()) {
        figures.lose(Kind::Cron, last - first + 1 - ran.len() as u64);
    }
}
