//! What is consumed, by whom, on which day: counted in memory, kept in the store.
//!
//! Sums are added with the store's own increments, so that several workers may count at once. What
//! has not been written yet is written at the next chance, and at the end.

mod read;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use agentos_contract::{
    llm::{Account, Usage, UsageReport, UsageRequest},
    state,
};
use agentos_sdk::{Bus, Code, Error, Stop};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Where the sums are kept.
const SCOPE: &str = "llm:usage";
/// Combinations of account, model and day that may wait to be written. Beyond, they are counted
/// for the model and the day only.
const ROWS_MAX: usize = 10_000;
/// The pause after the store could not be reached.
const PAUSE: Duration = Duration::from_secs(2);
/// What the end of the worker waits for the last rows.
const LAST: Duration = Duration::from_secs(2);
/// Costs are kept in billionths of a dollar: sums of whole numbers stay exact.
const NANO: f64 = 1e9;

/// See the module.
#[derive(Default)]
pub(crate) struct Meter {
    pending: Mutex<HashMap<Row, Sums>>,
    more: Notify,
    /// One writer at a time, so that nothing is counted twice.
    writing: tokio::sync::Mutex<()>,
}

/// Whose sums.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
struct Row {
    day: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    key: Option<String>,
    provider: String,
    model: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Sums {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    reasoning_tokens: u64,
    cost_nano_usd: u64,
    unpriced_calls: u64,
    uncounted_calls: u64,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.calls += other.calls;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cached_tokens += other.cached_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cost_nano_usd += other.cost_nano_usd;
        self.unpriced_calls += other.unpriced_calls;
        self.uncounted_calls += other.uncounted_calls;
    }
}

impl Meter {
    /// Counts one completion. `usage` is `None` when the provider did not say.
    pub(crate) fn count(
        &self,
        account: &Account,
        provider: &str,
        model: &str,
        usage: Option<&Usage>,
        cost_usd: Option<f64>,
    ) {
        let row = Row {
            day: day(SystemTime::now()),
            agent: account.agent.clone(),
            key: account.key.clone(),
            provider: provider.to_owned(),
            model: model.to_owned(),
        };
        let counted = usage.copied().unwrap_or_default();
        let sums = Sums {
            calls: 1,
            input_tokens: counted.input_tokens,
            output_tokens: counted.output_tokens,
            cached_tokens: counted.cached_tokens.unwrap_or(0),
            reasoning_tokens: counted.reasoning_tokens.unwrap_or(0),
            cost_nano_usd: (cost_usd.unwrap_or(0.0) * NANO).round() as u64,
            unpriced_calls: u64::from(usage.is_some() && cost_usd.is_none()),
            uncounted_calls: u64::from(usage.is_none()),
        };
        self.put(row, &sums);
        self.more.notify_one();
    }

    fn put(&self, row: Row, sums: &Sums) {
        let mut pending = self.pending.lock();
        let row = if pending.len() < ROWS_MAX || pending.contains_key(&row) {
            row
        } else {
            Row {
                agent: None,
                key: None,
                ..row
            }
        };
        pending.entry(row).or_default().add(sums);
    }

    /// Writes what is counted as it is counted, until `stop`.
    pub(crate) async fn run(&self, bus: &Bus, stop: &Stop) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.more.notified() => {}
            }
            if let Err(error) = self.write(bus).await {
                tracing::warn!(%error, "usage could not be stored yet");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(PAUSE) => self.more.notify_one(),
                }
            }
        }
        let last = tokio::time::timeout(LAST, self.write(bus)).await;
        if !matches!(last, Ok(Ok(()))) {
            let rows = self.pending.lock().len();
            tracing::warn!(rows, "usage could not be stored");
        }
    }

    /// Writes all that waits.
    async fn write(&self, bus: &Bus) -> Result<(), Error> {
        let _one = self.writing.lock().await;
        let rows = std::mem::take(&mut *self.pending.lock());
        let mut rows = rows.into_iter();
        while let Some((row, sums)) = rows.next() {
            if let Err(error) = add(bus, &row, &sums).await {
                self.put(row, &sums);
                for (row, sums) in rows {
                    self.put(row, &sums);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sums of all that was ever counted.
    ///
    /// # Errors
    /// When the store cannot be reached, or a day is none.
    pub(crate) async fn report(
        &self,
        bus: &Bus,
        request: &UsageRequest,
    ) -> Result<UsageReport, Error> {
        for day in [&request.from, &request.to].into_iter().flatten() {
            let parts: Vec<_> = day.split('-').map(str::len).collect();
            if parts != [4, 2, 2] {
                let message = format!("a day is written like 2026-08-21, not `{day}`");
                return Err(Error::caller(Code::InvalidInput, message));
            }
        }
        self.write(bus).await?;
        read::report(bus, request).await
    }
}

/// Adds `sums` to what is stored of `row`.
async fn add(bus: &Bus, row: &Row, sums: &Sums) -> Result<(), Error> {
    let names = serde_json::to_value(row).expect("texts have a JSON form");
    let counts = serde_json::to_value(sums).expect("numbers have a JSON form");
    let mut ops = vec![json!({ "type": "merge", "path": "", "value": names })];
    for (name, by) in counts.as_object().into_iter().flatten() {
        if by.as_u64() != Some(0) {
            ops.push(json!({ "type": "increment", "path": name, "by": by }));
        }
    }
    let who = json!([row.agent, row.key, row.provider, row.model]);
    let update = json!({ "scope": SCOPE, "key": format!("{}/{who}", row.day), "ops": ops });
    let written: Value = bus.trigger(state::UPDATE, &update).await?;
    match written["errors"].as_array() {
        Some(errors) if !errors.is_empty() => Err(Error::worker(
            Code::Failed,
            format!("the store skipped part of a sum: {}", errors[0]),
        )),
        _ => Ok(()),
    }
}

fn day(at: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(at)
        .format("%Y-%m-%d")
        .to_string()
}
