//! `engine::workers::share` and `engine::workers::drain`: who of several gets the calls.

use std::{sync::Arc, time::Duration};

use agentos_core::{SessionView, Share, WEIGHT_MAX};
use agentos_sdk::{Code, Context, Error, Registrar};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::bus::{Drained, Parting};

/// Longest time a worker may be given to finish what it runs.
const PATIENCE_MAX: Duration = Duration::from_hours(1);
const PATIENCE_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Deserialize, JsonSchema)]
struct Sharing {
    /// As `engine::workers::list` names it.
    worker_id: String,
    /// Share of the calls, relative to the others that offer the same functions: 0 to 1000.
    weight: Option<u16>,
    /// Whether it is to get calls at all while another can.
    ready: Option<bool>,
    /// The share grows to this over so many milliseconds; at once unless said.
    over_ms: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
struct Draining {
    /// As `engine::workers::list` names it.
    worker_id: String,
    /// How long to wait for what it runs; 30 s unless said.
    timeout_ms: Option<u64>,
    /// What becomes of its connection once it has finished: `stay` unless said, `reconnect`, or `stop`.
    #[serde(default)]
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Then {
    /// It stays connected, and may call others.
    #[default]
    Stay,
    /// It is closed, and connects again as new.
    Reconnect,
    /// It is closed, and stays away.
    Stop,
}

pub(super) fn register(admin: &Arc<Admin>, to: &mut Registrar) {
    let this = Arc::clone(admin);
    to.function(
        "engine::workers::share",
        move |_: Context, wanted: Sharing| std::future::ready(this.share(&wanted)),
    )
    .describe("sets which share of the calls a connected worker gets")
    .idempotent();
    let this = Arc::clone(admin);
    to.function(
        "engine::workers::drain",
        move |_: Context, wanted: Draining| {
            let this = Arc::clone(&this);
            async move { this.drain(&wanted).await }
        },
    )
    .describe(
        "gives a connected worker no new calls, and waits until it has finished what it runs",
    );
}

impl Admin {
    fn session(&self, worker_id: &str) -> Result<SessionView, Error> {
        let mut workers = self.directory.workers().into_iter();
        let found = workers.find(|worker| *worker.public_id == *worker_id);
        found.ok_or_else(|| {
            let message = format!(
                "no worker of the id `{worker_id}` is connected; `engine::workers::list` shows those that are"
            );
            Error::caller(Code::NotFound, message)
        })
    }

    fn share(&self, wanted: &Sharing) -> Result<Value, Error> {
        let worker = self.session(&wanted.worker_id)?;
        let share = Share {
            weight: wanted.weight.unwrap_or(worker.share.weight),
            ready: wanted.ready.unwrap_or(worker.share.ready),
        };
        if share.weight > WEIGHT_MAX {
            let message = format!("`weight` is {}, at most {WEIGHT_MAX}", share.weight);
            return Err(Error::caller(Code::InvalidInput, message));
        }
        let over = Duration::from_millis(wanted.over_ms.unwrap_or(0));
        self.directory.set_share(worker.session, share, over);
        Ok(json!({ "weight": share.weight, "ready": share.ready }))
    }

    async fn drain(&self, wanted: &Draining) -> Result<Value, Error> {
        let worker = self.session(&wanted.worker_id)?;
        if wanted.then != Then::Stay && worker.peer.is_none() {
            let message = "a worker of the engine's process has no connection to close";
            return Err(Error::caller(Code::Unsupported, message));
        }
        if wanted.then == Then::Stop && !self.directory.can_be_stopped(worker.session) {
            let message = "the SDK of this worker connects again whatever it is told; end its process instead";
            return Err(Error::caller(Code::Unsupported, message));
        }
        let patience = wanted
            .timeout_ms
            .map_or(PATIENCE_DEFAULT, Duration::from_millis)
            .min(PATIENCE_MAX);
        let (outcome, left) = match self.directory.drain(worker.session, patience).await {
            Drained::Finished => ("finished", 0),
            Drained::Late(left) => ("late", left),
            Drained::Gone => ("gone", 0),
        };
        let parting = match wanted.then {
            Then::Stay => None,
            Then::Reconnect => Some(Parting::Reconnect),
            Then::Stop => Some(Parting::Stop),
        };
        if let Some(parting) = parting.filter(|_| left == 0) {
            self.directory.part(worker.session, parting);
        }
        Ok(json!({ "outcome": outcome, "calls_left": left }))
    }
}
