//! One attempt: read the body, call the function, write down what came of it.

use std::sync::Arc;

use agentos_sdk::{Bus, Code, Error, Origin};

use super::{
    acks::Ack,
    error,
    line::Line,
    machine::{Failure, Lease, Verdict},
    name::{Name, Number},
    record::{BODIES, Body, DEAD, DeadLetter, HEADS, Head, body_key, damaged},
    rules::JITTER_PERMILLE_MAX,
};
use crate::storage::Batch;

/// What came of an attempt.
enum Outcome {
    Done,
    Failed(Error),
    /// It did not take place.
    HandBack,
}

impl Line {
    /// Makes the attempt that `lease` stands for.
    pub(super) async fn deliver(self: Arc<Self>, lease: Lease) {
        let mut leased = Leased {
            line: Arc::clone(&self),
            number: lease.number,
            settled: false,
        };
        leased.settled = match self.attempt(&lease).await {
            Outcome::Done => self.acknowledge(&lease).await,
            Outcome::Failed(error) => self.fail(&lease, &error).await,
            Outcome::HandBack => {
                self.with(|machine| machine.release(lease.number));
                true
            }
        };
    }

    async fn attempt(&self, lease: &Lease) -> Outcome {
        let Some(bus) = self.shared.open_bus() else {
            return Outcome::HandBack;
        };
        let called = match self.body(lease).await {
            Ok(body) => self.call(&bus, body).await,
            Err(error) => Err(error),
        };
        match called {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::HandBack,
            // The engine is going, and its sessions with it: nobody's fault.
            Err(_) if self.shared.halted.is_cancelled() => Outcome::HandBack,
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn body(&self, lease: &Lease) -> Result<Body, Error> {
        let key = body_key(lease.head.body);
        let record = match self.shared.store.get(BODIES, &key).await {
            Ok(record) => record.ok_or_else(|| damaged("a message has lost its body")),
            Err(error) => Err(error),
        };
        record
            .and_then(|record| Body::decode(&record.value))
            .map_err(error::from_storage)
    }

    /// True when the message was taken, or its condition did not want it; false when there is
    /// nobody to take it.
    async fn call(&self, bus: &Bus, body: Body) -> Result<bool, Error> {
        let bus = bus.with_trace(body.envelope.trace());
        let timeout = self.with(|machine| machine.rules().timeout());
        match self.name() {
            Name::Waiting(_) => Ok(false),
            Name::Subscriber { .. } => {
                let Some(target) = self.target() else {
                    return Ok(false);
                };
                if target.wants(&bus, &body.payload).await? {
                    target.call(&bus, body.payload, timeout).await?;
                }
                Ok(true)
            }
            Name::Function(_) => {
                let function = body.envelope.function.unwrap_or_default();
                let call = bus.call(&function).timeout(timeout);
                let call = call.namespace(body.envelope.namespace);
                let call = match body.envelope.metadata {
                    Some(metadata) => call.metadata(metadata),
                    None => call,
                };
                call.send_payload(body.payload).await?;
                Ok(true)
            }
        }
    }

    /// True when the lease has ended.
    async fn acknowledge(&self, lease: &Lease) -> bool {
        let ack = Ack {
            head: self.key(lease.number),
            body: lease.head.body,
        };
        let taken = self.shared.acks.push(ack).await;
        if taken {
            self.with(|machine| machine.ack(lease.number));
        }
        taken
    }

    /// True when the lease has ended.
    async fn fail(&self, lease: &Lease, error: &Error) -> bool {
        let number = lease.number;
        let (failure, now_ms) = (self.failure(lease, error), self.shared.now_ms());
        let jitter = fastrand::u64(0..=JITTER_PERMILLE_MAX);
        let verdict = self.with(|machine| machine.verdict(number, now_ms, failure, jitter));
        match verdict {
            Some(Verdict::Retry(head)) => {
                tracing::debug!(queue = %self.name(), attempts = head.attempts, %error, "an attempt failed");
                // What was not the message's fault need not be remembered.
                let written = failure == Failure::Uncounted || self.rewrite(number, head).await;
                if written {
                    self.with(|machine| machine.retry(number, head));
                }
                written
            }
            Some(Verdict::Bury(head)) => {
                tracing::warn!(queue = %self.name(), attempts = head.attempts, %error, "a message is dead");
                let death = self.shared.number();
                let letter = DeadLetter::new(head, now_ms / 1000, text(error));
                let mut batch = Batch::new();
                batch.delete(HEADS, self.key(number));
                batch.put(DEAD, self.key(death), letter.encode());
                let written = self.shared.persist(batch).await;
                if written {
                    self.with(|machine| machine.bury(number, death, head));
                }
                written
            }
            None => true,
        }
    }

    async fn rewrite(&self, number: Number, head: Head) -> bool {
        let mut batch = Batch::new();
        batch.put(HEADS, self.key(number), head.encode());
        self.shared.persist(batch).await
    }

    fn failure(&self, lease: &Lease, error: &Error) -> Failure {
        let grace_ms = self.shared.config.get().missing_function_grace_ms;
        let returning = || {
            lease.inherited && self.shared.now_ms() < self.shared.opened_ms.saturating_add(grace_ms)
        };
        match (error.origin, error.code) {
            (Origin::Engine, Code::Overloaded) => Failure::Uncounted,
            (Origin::Engine, Code::NotFound) if returning() => Failure::Uncounted,
            _ => Failure::Counted,
        }
    }
}

/// The error as it stands beside a dead letter.
fn text(error: &Error) -> String {
    let code = error.reason.as_deref().unwrap_or(error.code.as_str());
    format!("{code}: {}", error.message)
}

/// Ends the lease if the attempt ended without a word on it, and looks who is next.
struct Leased {
    line: Arc<Line>,
    number: Number,
    settled: bool,
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !self.settled {
            // A handler in this process panicked, or the engine stops. Not at once again.
            let (number, now_ms) = (self.number, self.line.shared.now_ms());
            self.line.with(|machine| {
                let verdict = machine.verdict(number, now_ms, Failure::Uncounted, 0);
                if let Some(Verdict::Retry(head) | Verdict::Bury(head)) = verdict {
                    machine.retry(number, head);
                }
            });
        }
        self.line.pump();
    }
}
