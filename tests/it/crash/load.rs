//! Writers that write until the engine is gone, all kinds at once.

use std::sync::Arc;

use agentos_sdk::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    ledger::{Kind, Ledger},
    worker::{POISON, TOPIC, WORK},
};

/// Writers per kind; a few share a commit, and a few come alone.
const WRITERS: usize = 3;

/// Kinds that are written until the end.
const ENDLESS: [Kind; 5] = [
    Kind::State,
    Kind::Counter,
    Kind::Stream,
    Kind::Queue,
    Kind::Topic,
];

/// Poison messages per round: each has to be called until it dies.
const POISONS: u64 = 2;

pub(super) struct Load(JoinSet<()>);

impl Load {
    /// Waits until every writer has seen the end.
    pub(super) async fn end(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

pub(super) fn start(client: &Client, round: u32, ledger: &Ledger, only_state: bool) -> Load {
    let mut tasks = JoinSet::new();
    let writer = Arc::new(Writer {
        client: client.clone(),
        round,
        ledger: ledger.clone(),
    });
    let endless = match only_state {
        true => &[Kind::State][..],
        false => &ENDLESS,
    };
    for kind in endless.iter().copied() {
        for _ in 0..WRITERS {
            let writer = Arc::clone(&writer);
            tasks.spawn(async move { while writer.write(kind).await {} });
        }
    }
    let poisons = if only_state { 0 } else { POISONS };
    tasks.spawn(async move {
        for _ in 0..poisons {
            writer.write(Kind::Poison).await;
        }
    });
    Load(tasks)
}

struct Writer {
    client: Client,
    round: u32,
    ledger: Ledger,
}

impl Writer {
    /// One write; false when the engine is gone.
    async fn write(&self, kind: Kind) -> bool {
        let number = self.ledger.number();
        let (function, input) = self.request(kind, number);
        let acknowledge = || self.ledger.acknowledge(kind, self.round, number);
        if self.ledger.is_weak {
            acknowledge();
        }
        if kind == Kind::Counter {
            self.ledger.try_counting();
        }
        let outcome = self.client.trigger::<Value>(function, &input).await;
        if outcome.is_ok() && !self.ledger.is_weak {
            acknowledge();
        }
        outcome.is_ok()
    }

    fn request(&self, kind: Kind, number: u64) -> (&'static str, Value) {
        let message = json!({ "id": number, "text": text(number) });
        match kind {
            Kind::State => (
                "state::set",
                json!({ "scope": scope(self.round), "key": number.to_string(), "value": message }),
            ),
            Kind::Counter => (
                "state::update",
                json!({ "scope": "crash", "key": "count",
                    "ops": [{ "type": "increment", "path": "n", "by": 1 }] }),
            ),
            Kind::Stream => (
                "stream::set",
                json!({ "stream_name": "crash", "group_id": scope(self.round),
                    "item_id": number.to_string(), "data": message }),
            ),
            Kind::Queue => (
                "queue::enqueue",
                json!({ "function_id": WORK, "data": message }),
            ),
            Kind::Poison => (
                "queue::enqueue",
                json!({ "queue": "poison", "function_id": POISON, "data": message }),
            ),
            Kind::Topic => ("queue::publish", json!({ "topic": TOPIC, "data": message })),
            Kind::Cron => unreachable!("the engine makes runs itself"),
        }
    }
}

pub(super) fn scope(round: u32) -> String {
    format!("crash-{round}")
}

/// What a record of this number says, so that one that was changed is seen: up to 2 KiB.
pub(super) fn text(number: u64) -> String {
    format!("{number:x}-").repeat(1 + usize::try_from(number % 200).unwrap_or(0))
}
