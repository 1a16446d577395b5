//! The trigger type `trace`: calls bound functions with the ids of traces that are complete.

use std::sync::Arc;

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use super::{
    api,
    calls::Calls,
    completion::Completion,
    id::{Place, TraceId},
    lineage::Lineage,
    span::Span,
};
use crate::builtin::firing::Target;

/// Events of one trigger that wait for its condition.
const WAITING_MAX: usize = 1024;

pub(super) struct TraceTriggers {
    bindings: RwLock<Vec<Arc<Target>>>,
    lineage: Arc<Mutex<Lineage>>,
    completion: Mutex<Completion>,
    calls: Arc<Calls>,
    /// Spans are wanted at once even when nobody is bound.
    always: bool,
}

impl TraceTriggers {
    pub(super) fn new(
        calls: Arc<Calls>,
        lineage: Arc<Mutex<Lineage>>,
        age_max_ns: u64,
        always: bool,
    ) -> Self {
        calls.set_eager(always);
        TraceTriggers {
            bindings: RwLock::default(),
            lineage,
            completion: Mutex::new(Completion::new(age_max_ns)),
            calls,
            always,
        }
    }

    fn is_bound(&self) -> bool {
        !self.bindings.read().is_empty()
    }

    /// Takes note of spans that have ended.
    pub(super) fn heard<'a>(&self, now_ns: u64, spans: impl IntoIterator<Item = &'a Span>) {
        if !self.is_bound() {
            return;
        }
        let mut completion = self.completion.lock();
        for span in spans {
            completion.heard(now_ns, span.trace, span.parent.is_none());
        }
    }

    /// When to call [`TraceTriggers::fire`]; `None` while no trace is near its end.
    pub(super) fn due(&self, now_ns: u64) -> Option<u64> {
        self.completion.lock().due(now_ns)
    }

    /// Calls the bound functions if traces are complete; says when to look again.
    pub(super) fn fire(&self, bus: &Bus, now_ns: u64) -> Option<u64> {
        let (complete, next) = self.completion.lock().take(now_ns);
        let targets = self.bindings.read().clone();
        for target in targets {
            let news: Vec<TraceId> = {
                let lineage = self.lineage.lock();
                let new = |trace: &TraceId| !lineage.leads(target.id(), *trace);
                complete.iter().copied().filter(new).collect()
            };
            if news.is_empty() {
                continue;
            }
            let ids: Vec<String> = news.iter().map(ToString::to_string).collect();
            // Not recorded, so that looking at traces makes none.
            let place = Place::random(false);
            self.lineage.lock().begin(place.trace, target.id(), news);
            let payload = Payload::json(json!({ "trace_ids": ids }).to_string());
            target.fire(&bus.detached().with_trace(place.to_trace()), payload);
        }
        next
    }
}

impl TriggerProvider for TraceTriggers {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config: api::TraceTrigger = match &trigger.config {
            Value::Null => api::TraceTrigger::default(),
            config => {
                serde::Deserialize::deserialize(config).map_err(|error: serde_json::Error| {
                    Error::caller(
                        Code::InvalidInput,
                        format!("config of a trace trigger: {error}"),
                    )
                })?
            }
        };
        let target = Target::new(&trigger, config.condition_function_id, WAITING_MAX);
        let mut bindings = self.bindings.write();
        remove(&mut bindings, &trigger.id);
        bindings.push(target);
        self.calls.set_eager(true);
        Ok(())
    }

    fn unbind(&self, id: &str) {
        let mut bindings = self.bindings.write();
        remove(&mut bindings, id);
        if bindings.is_empty() {
            self.calls.set_eager(self.always);
            self.completion.lock().clear();
        }
    }
}

fn remove(bindings: &mut Vec<Arc<Target>>, id: &str) {
    for gone in bindings.extract_if(.., |target| &**target.id() == id) {
        gone.close();
    }
}
