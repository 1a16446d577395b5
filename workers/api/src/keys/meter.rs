//! How much each key uses: requests by the generic cell rate algorithm, tokens by the day.
//!
//! Tokens are reserved before a model is asked and settled when it has answered, so that requests
//! at the same time do not overrun a budget together.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use agentos_contract::{keys::Key, llm::Usage, state};
use agentos_sdk::{Bus, Error};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Who;
use crate::{chat::now_s, error::Failure, http::Top};

const STATE: &str = "api-key-usage";
const DAY_S: u64 = 24 * 60 * 60;

/// How long the count of a day is kept.
const KEPT_MS: u64 = 40 * DAY_S * 1000;

/// Tokens reserved for the answer of a request that names no limit.
const ANSWER_TOKENS: u64 = 1_000;
const BYTES_PER_TOKEN: u64 = 4;

/// What the keys have used.
#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<HashMap<String, Meter>>>);

struct Meter {
    /// The limit that `rate` was made for.
    per_minute: u32,
    rate: Option<Arc<DefaultDirectRateLimiter>>,
    /// Days since 1970.
    day: u64,
    tokens: u64,
    /// The day's tokens were read from where they are kept.
    known: bool,
}

/// A request that is being answered. Dropped, it is settled.
pub(crate) struct Charge {
    meters: Meters,
    bus: Bus,
    id: String,
    day: u64,
    reserved: u64,
    used: Mutex<Option<u64>>,
}

impl Meters {
    /// Lets a request in and reserves what it may cost. `None`: nothing is counted.
    ///
    /// # Errors
    /// 429 when the key has had its share; the client is told when to come back.
    pub(crate) async fn admit(
        &self,
        bus: &Bus,
        who: &Who,
        top: &Top,
        bytes: usize,
    ) -> Result<Option<Arc<Charge>>, Failure> {
        let Who::Key(key) = who else { return Ok(None) };
        self.rate(key)?;
        let Some(budget) = key.tokens_per_day else {
            return Ok(None);
        };
        let today = now_s() / DAY_S;
        self.know(bus, &key.id, today).await?;
        let reserved = estimate(top, bytes);
        let mut meters = self.0.lock();
        let meter = meters
            .entry(key.id.clone())
            .or_insert_with(|| Meter::new(today));
        if meter.tokens + reserved > budget {
            let left_s = DAY_S - now_s() % DAY_S;
            return Err(Failure::no_budget(budget, meter.tokens, left_s));
        }
        meter.tokens += reserved;
        Ok(Some(Arc::new(Charge {
            meters: self.clone(),
            bus: bus.detached(),
            id: key.id.clone(),
            day: today,
            reserved,
            used: Mutex::new(None),
        })))
    }

    fn rate(&self, key: &Key) -> Result<(), Failure> {
        let Some(per_minute) = key.requests_per_minute.and_then(NonZeroU32::new) else {
            return Ok(());
        };
        let rate = {
            let mut meters = self.0.lock();
            let meter = meters
                .entry(key.id.clone())
                .or_insert_with(|| Meter::new(now_s() / DAY_S));
            if meter.per_minute != per_minute.get() {
                meter.per_minute = per_minute.get();
                meter.rate = None;
            }
            let rate = meter.rate.get_or_insert_with(|| {
                Arc::new(RateLimiter::direct(Quota::per_minute(per_minute)))
            });
            Arc::clone(rate)
        };
        rate.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Failure::too_many(per_minute.get(), wait.as_millis() as u64 + 1)
        })
    }

    /// Reads what was used today before this worker began.
    async fn know(&self, bus: &Bus, id: &str, today: u64) -> Result<(), Error> {
        let fresh = {
            let mut meters = self.0.lock();
            let meter = meters
                .entry(id.to_owned())
                .or_insert_with(|| Meter::new(today));
            if meter.day != today {
                (meter.day, meter.tokens, meter.known) = (today, 0, true);
            }
            meter.known
        };
        if fresh {
            return Ok(());
        }
        let kept: Option<u64> = bus.trigger(state::GET, &row(id, today)).await?;
        let mut meters = self.0.lock();
        if let Some(meter) = meters.get_mut(id).filter(|meter| !meter.known) {
            meter.known = true;
            meter.tokens += kept.unwrap_or_default();
        }
        Ok(())
    }
}

impl Meter {
    fn new(day: u64) -> Self {
        Meter {
            per_minute: 0,
            rate: None,
            day,
            tokens: 0,
            known: false,
        }
    }
}

impl Charge {
    /// What an answer has used; of several, the sum counts.
    pub(crate) fn used(&self, usage: Usage) {
        let tokens = usage.input_tokens + usage.output_tokens;
        *self.used.lock().get_or_insert(0) += tokens;
    }
}

impl Drop for Charge {
    /// An answer that broke off before its usage was told costs what was reserved.
    fn drop(&mut self) {
        let used = self.used.lock().unwrap_or(self.reserved);
        let mut meters = self.meters.0.lock();
        let Some(meter) = meters
            .get_mut(&self.id)
            .filter(|meter| meter.day == self.day)
        else {
            return;
        };
        meter.tokens = (meter.tokens + used).saturating_sub(self.reserved);
        let row = row(&self.id, self.day);
        let set =
            json!({ "scope": row.scope, "key": row.key, "value": meter.tokens, "ttl_ms": KEPT_MS });
        drop(meters);
        let bus = self.bus.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = bus.trigger::<Value>(state::SET, &set).await {
                    tracing::warn!(%error, "what a key has used could not be kept");
                }
            });
        }
    }
}

fn row(id: &str, day: u64) -> state::Key {
    state::Key {
        scope: STATE.to_owned(),
        key: format!("{id}/{day}"),
    }
}

/// What a request may cost: its bytes, and as long an answer as it allows.
fn estimate(top: &Top, bytes: usize) -> u64 {
    let count = |value: &Option<Value>| value.as_ref()?.as_u64();
    let limit = count(&top.max_completion_tokens)
        .or_else(|| count(&top.max_tokens))
        .or_else(|| count(&top.max_output_tokens));
    let choices = count(&top.n).unwrap_or(1).clamp(1, 128);
    let answer = limit.unwrap_or(ANSWER_TOKENS).saturating_mul(choices);
    (bytes as u64 / BYTES_PER_TOKEN).saturating_add(answer)
}
