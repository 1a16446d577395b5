//! The trigger type `log`: calls bound functions when a record of their level comes in.
//!
//! `lineage` says why a handler that logs does not call itself for ever. To know which handlers
//! run, a firing waits for its answer; nothing waits for the firing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use futures_util::FutureExt;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::{
    api,
    id::{Place, TraceId},
    lineage::{Hops, Lineage},
    log::Record,
};
use crate::builtin::firing::Target;

/// Firings of one trigger that run or wait at one time; more are dropped, with a warning.
const RUNNING_MAX: usize = 1024;
/// How long a handler may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a trigger's `level` says to hear of everything.
const ALL: &str = "all";

/// A firing that has begun a trace.
pub(super) struct Fired {
    pub(super) place: Place,
    pub(super) function: Arc<str>,
    pub(super) trigger: Arc<str>,
}

pub(super) struct LogTriggers {
    bindings: RwLock<Vec<Arc<Binding>>>,
    lineage: Arc<Mutex<Lineage>>,
}

struct Binding {
    target: Arc<Target>,
    level: Option<String>,
    hops: Mutex<Hops>,
    running: AtomicUsize,
    warned: AtomicBool,
}

impl LogTriggers {
    pub(super) fn new(lineage: Arc<Mutex<Lineage>>) -> Self {
        LogTriggers {
            bindings: RwLock::default(),
            lineage,
        }
    }

    /// Calls every function that wants to hear of `record`. `sampled` decides whether the trace
    /// of a call of that function is recorded.
    pub(super) fn publish(
        &self,
        bus: &Bus,
        record: &Record,
        sampled: impl Fn(&str) -> bool,
    ) -> Vec<Fired> {
        let wanting: Vec<Arc<Binding>> = {
            let bindings = self.bindings.read();
            let level = |binding: &&Arc<Binding>| {
                binding
                    .level
                    .as_deref()
                    .is_none_or(|level| record.severity.is(level))
            };
            bindings.iter().filter(level).cloned().collect()
        };
        if wanting.is_empty() {
            return Vec::new();
        }
        let payload = match Payload::encode(&record.to_json()) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a log record has no JSON form");
                return Vec::new();
            }
        };
        let fire = |binding: Arc<Binding>| {
            let hop = self.hop(&binding, record.trace)?;
            let function = Arc::clone(binding.target.function());
            let place = Place::random(sampled(&function));
            let trigger = Arc::clone(binding.target.id());
            self.lineage
                .lock()
                .begin(place.trace, &trigger, record.trace);
            binding.fire(
                bus.detached().with_trace(place.to_trace()),
                payload.clone(),
                hop,
            );
            Some(Fired {
                place,
                function,
                trigger,
            })
        };
        wanting.into_iter().filter_map(fire).collect()
    }

    /// How far the record is from one that no handler made; `None` when it goes round in circles.
    fn hop(&self, binding: &Binding, trace: Option<TraceId>) -> Option<u32> {
        let hop = match trace {
            Some(trace) if self.lineage.lock().leads(binding.target.id(), trace) => return None,
            Some(_) => Some(0),
            None => binding.hops.lock().next(),
        };
        let why = match hop {
            None => "its handler seems to cause them",
            Some(_) if binding.running.load(Ordering::Relaxed) >= RUNNING_MAX => {
                "its handler is too slow"
            }
            Some(hop) => {
                binding.warned.store(false, Ordering::Relaxed);
                return Some(hop);
            }
        };
        // Once per streak: the reason must not become a flood of its own.
        if !binding.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(trigger = %binding.target.id(), "logs do not fire a trigger: {why}");
        }
        None
    }
}

impl Binding {
    fn fire(self: Arc<Self>, bus: Bus, payload: Payload, hop: u32) {
        self.hops.lock().start(hop);
        self.running.fetch_add(1, Ordering::Relaxed);
        let mut work = Box::pin(async move {
            let outcome = self.run(&bus, payload).await;
            if let Err(error) = outcome {
                tracing::warn!(trigger = %self.target.id(), function = %self.target.function(), %error, "a handler of logs failed");
            }
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.hops.lock().end(hop);
        });
        // Started here, so that without a condition firings start in the order of their records.
        if work.as_mut().now_or_never().is_none() {
            tokio::spawn(work);
        }
    }

    async fn run(&self, bus: &Bus, payload: Payload) -> Result<(), Error> {
        match self.target.wants(bus, &payload).await {
            Ok(true) => self.target.call(bus, payload, TIMEOUT).await.map(|_| ()),
            Ok(false) => Ok(()),
            Err(error) => {
                tracing::error!(trigger = %self.target.id(), %error, "a condition failed; the event is skipped");
                Ok(())
            }
        }
    }
}

impl TriggerProvider for LogTriggers {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config = config(&trigger.config)?;
        let level = config
            .level
            .filter(|level| !level.eq_ignore_ascii_case(ALL));
        let known = |level: &String| {
            api::LEVELS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(level))
        };
        if let Some(level) = level.as_ref().filter(|level| !known(level)) {
            return Err(Error::caller(
                Code::InvalidInput,
                format!(
                    "a log trigger has no level `{level}`; there are all, {}",
                    api::LEVELS.join(", ")
                ),
            ));
        }
        let binding = Arc::new(Binding {
            target: Target::new(&trigger, config.condition_function_id, RUNNING_MAX),
            level,
            hops: Mutex::default(),
            running: AtomicUsize::new(0),
            warned: AtomicBool::new(false),
        });
        let mut bindings = self.bindings.write();
        bindings.retain(|binding| *binding.target.id() != trigger.id);
        bindings.push(binding);
        Ok(())
    }

    fn unbind(&self, id: &str) {
        self.bindings
            .write()
            .retain(|binding| &**binding.target.id() != id);
    }
}

fn config(config: &Value) -> Result<api::LogTrigger, Error> {
    match config {
        Value::Null => Ok(api::LogTrigger::default()),
        config => serde::Deserialize::deserialize(config).map_err(|error: serde_json::Error| {
            Error::caller(
                Code::InvalidInput,
                format!("config of a log trigger: {error}"),
            )
        }),
    }
}
