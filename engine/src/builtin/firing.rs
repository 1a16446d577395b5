//! Who is called when an event happens: a trigger's function, its condition, and what waits for it.
//!
//! Shared by everything that provides trigger types. Knows no event, only payloads.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agentos_sdk::{Bus, CallBuilder, Error, Payload, TriggerSpec};
use parking_lot::Mutex;
use serde_json::Value;

/// How long a condition may think.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(10);

/// The target of one trigger.
pub struct Target {
    id: Arc<str>,
    function: Arc<str>,
    namespace: Option<Arc<str>>,
    metadata: Option<Arc<str>>,
    condition: Option<String>,
    waiting_max: usize,
    queue: Mutex<Queue>,
}

/// Events that wait for the condition, and whether a task is at work on them.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Bus, Payload)>,
    draining: bool,
    closed: bool,
}

impl Target {
    /// The target of `trigger`. At most `waiting_max` events wait for the condition; more are
    /// dropped and logged.
    pub fn new(trigger: &TriggerSpec, condition: Option<String>, waiting_max: usize) -> Arc<Self> {
        let metadata = trigger.metadata.as_ref();
        Arc::new(Target {
            id: Arc::clone(&trigger.id),
            function: Arc::clone(&trigger.function),
            namespace: trigger.namespace.clone(),
            metadata: metadata.map(|metadata| metadata.to_string().into()),
            condition,
            waiting_max,
            queue: Mutex::default(),
        })
    }

    /// The trigger's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn function(&self) -> &Arc<str> {
        &self.function
    }

    /// Calls the function and waits for nothing. Events of one target start in the order of
    /// `fire`, also when a condition is asked first.
    pub fn fire(self: &Arc<Self>, bus: &Bus, payload: Payload) {
        if self.condition.is_none() {
            return self.send(bus, payload);
        }
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        if queue.waiting.len() >= self.waiting_max {
            tracing::warn!(trigger = %self.id, "an event was dropped: the condition is too slow");
            return;
        }
        queue.waiting.push_back((bus.clone(), payload));
        if !std::mem::replace(&mut queue.draining, true) {
            tokio::spawn(Arc::clone(self).drain());
        }
    }

    /// Asks the condition, if there is one. Only exactly `false` says no.
    ///
    /// # Errors
    /// The condition's, or the engine's when it is not there.
    pub async fn wants(&self, bus: &Bus, payload: &Payload) -> Result<bool, Error> {
        let Some(condition) = &self.condition else {
            return Ok(true);
        };
        let answer = bus
            .call(condition)
            .namespace(self.namespace.clone())
            .timeout(CONDITION_TIMEOUT)
            .send_payload(payload.clone())
            .await?;
        Ok(!matches!(answer.decode(), Ok(Value::Bool(false))))
    }

    /// Calls the function and waits for its answer.
    ///
    /// # Errors
    /// The function's, or the engine's.
    pub async fn call(
        &self,
        bus: &Bus,
        payload: Payload,
        timeout: Duration,
    ) -> Result<Payload, Error> {
        self.to(bus).timeout(timeout).send_payload(payload).await
    }

    /// Forgets what waits: the trigger is gone.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.waiting.clear();
    }

    fn to<'a>(&self, bus: &'a Bus) -> CallBuilder<'a> {
        let function = Arc::clone(&self.function);
        let call = bus.call_shared(function).namespace(self.namespace.clone());
        match &self.metadata {
            Some(metadata) => call.metadata(Arc::clone(metadata)),
            None => call,
        }
    }

    fn send(&self, bus: &Bus, payload: Payload) {
        if let Err(error) = self.to(bus).void_payload(payload) {
            tracing::warn!(trigger = %self.id, function = %self.function, %error, "an event was not delivered");
        }
    }

    async fn drain(self: Arc<Self>) {
        while let Some((bus, payload)) = self.next() {
            match self.wants(&bus, &payload).await {
                Ok(true) => self.send(&bus, payload),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(trigger = %self.id, condition = self.condition, %error, "a condition failed; the event is skipped");
                }
            }
        }
    }

    fn next(&self) -> Option<(Bus, Payload)> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        queue.draining = next.is_some();
        next
    }
}
