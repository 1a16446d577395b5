//! The trigger types `stream:join` and `stream:leave`: functions that hear who subscribes, and may
//! refuse it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Bus, Code, Error, Payload, TriggerProvider, TriggerSpec};
use futures_util::future::try_join_all;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use super::api;
use crate::builtin::firing::Target;

/// Who hears of one kind of visit.
pub(super) struct Visits {
    what: &'static str,
    bound: RwLock<Vec<Arc<Target>>>,
    queue_max: AtomicUsize,
}

impl Visits {
    /// Those bound to the trigger type `what`.
    pub(super) fn new(what: &'static str, queue_max: usize) -> Self {
        Visits {
            what,
            bound: RwLock::default(),
            queue_max: AtomicUsize::new(queue_max),
        }
    }

    /// Room for events of triggers bound from now on.
    pub(super) fn resize(&self, queue_max: usize) {
        self.queue_max.store(queue_max, Ordering::Relaxed);
    }

    /// Asks everybody. One who answers `{"unauthorized": true}` refuses.
    ///
    /// # Errors
    /// When somebody who may refuse, or the condition for asking them, failed: then nobody knows.
    pub(super) async fn admit(
        &self,
        bus: &Bus,
        visit: &api::Visit<'_>,
        timeout: Duration,
    ) -> Result<bool, Error> {
        let bound = self.bound.read().clone();
        if bound.is_empty() {
            return Ok(true);
        }
        let payload = encode(visit)?;
        let asked = bound
            .iter()
            .map(|target| ask(target, bus, &payload, timeout));
        let verdicts = try_join_all(asked).await?;
        Ok(verdicts.into_iter().all(|admits| admits))
    }

    /// Tells everybody, and waits for nobody.
    pub(super) fn tell(&self, bus: &Bus, visit: &api::Visit<'_>) {
        let bound = self.bound.read().clone();
        if bound.is_empty() {
            return;
        }
        match encode(visit) {
            Ok(payload) => {
                for target in bound {
                    target.fire(bus, payload.clone());
                }
            }
            Err(error) => tracing::error!(%error, "a visit has no JSON form"),
        }
    }
}

async fn ask(
    target: &Target,
    bus: &Bus,
    payload: &Payload,
    timeout: Duration,
) -> Result<bool, Error> {
    if !target.wants(bus, payload).await? {
        return Ok(true);
    }
    let answer = target.call(bus, payload.clone(), timeout).await?;
    let answer: Value = answer.decode().unwrap_or_default();
    Ok(answer.get("unauthorized") != Some(&Value::Bool(true)))
}

fn encode(visit: &api::Visit<'_>) -> Result<Payload, Error> {
    Payload::encode(visit).map_err(|error| Error::engine(Code::Internal, error.to_string()))
}

impl TriggerProvider for Visits {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config = match &trigger.config {
            Value::Null => api::Visits::default(),
            config => api::Visits::deserialize(config).map_err(|why| {
                let message = format!("config of a {} trigger: {why}", self.what);
                Error::caller(Code::InvalidInput, message)
            })?,
        };
        let target = Target::new(
            &trigger,
            config.condition_function_id,
            self.queue_max.load(Ordering::Relaxed),
        );
        let mut bound = self.bound.write();
        remove(&mut bound, &trigger.id);
        bound.push(target);
        Ok(())
    }

    fn unbind(&self, id: &str) {
        remove(&mut self.bound.write(), id);
    }
}

fn remove(bound: &mut Vec<Arc<Target>>, id: &str) {
    for gone in bound.extract_if(.., |target| **target.id() == *id) {
        gone.close();
    }
}
