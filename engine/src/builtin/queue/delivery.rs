//! One attempt: read the body, call the function, write down what came of it.

use std::sync::Arc;

use agentos_sdk::{Bus, Code, Error, Origin};

use super::{
    acks::Ack,
    attempts::{self, ATTEMPT_MAX},
    error,
    line::Line,
    machine::{Failure, Lease, Verdict},
    name::{Name, Number},
    record::{BODIES, Body, DEAD, DeadLetter, HEADS, Head, body_key, damaged},
    rules::JITTER_PERMILLE_MAX,
};

/// What came of an attempt.
enum Outcome {
    Done,
    Failed(Error, Failure),
    /// It did not take place.
    HandBack,
}

/// What came of a call that did not fail.
enum Called {
    /// The message was taken, or its condition did not want it.
    Taken,
    /// Nobody subscribes.
    Nobody,
    /// The function was there a moment ago.
    Away(Error),
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
            Outcome::Failed(error, failure) => self.fail(&lease, &error, failure).await,
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
            Ok(body) => self.call_in_time(&bus, lease.head.id, body).await,
            Err(error) => Err(error),
        };
        match called {
            Ok(Called::Taken) => Outcome::Done,
            Ok(Called::Nobody) => Outcome::HandBack,
            // The engine is going, and its sessions with it: nobody's fault.
            Ok(Called::Away(_)) | Err(_) if self.shared.halted.is_cancelled() => Outcome::HandBack,
            Ok(Called::Away(error)) => Outcome::Failed(error, Failure::Uncounted),
            Err(error) => {
                let failure = self.failure(lease, &error);
                Outcome::Failed(error, failure)
            }
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

    /// As [`Line::call`], within the visibility timeout and what the handler adds to it.
    async fn call_in_time(&self, bus: &Bus, id: u128, body: Body) -> Result<Called, Error> {
        let bus = bus.with_trace(attempts::naming(body.envelope.trace(), id));
        let timeout = self.with(|machine| machine.rules().timeout());
        let attempt = self.shared.attempts.begin(id, timeout);
        tokio::select! {
            biased;
            called = self.call(&bus, body) => called,
            // The call is dropped, and so cancelled.
            () = attempt.passed() => {
                let message = "the attempt took longer than its visibility timeout; \
                    a handler that needs longer calls `queue::extend`";
                Err(Error::engine(Code::Timeout, message))
            }
        }
    }

    async fn call(&self, bus: &Bus, body: Body) -> Result<Called, Error> {
        match self.name() {
            Name::Waiting(_) => Ok(Called::Nobody),
            Name::Subscriber { .. } => {
                let Some(target) = self.target() else {
                    return Ok(Called::Nobody);
                };
                if target.wants(bus, &body.payload).await? {
                    target.call(bus, body.payload, ATTEMPT_MAX).await?;
                }
                Ok(Called::Taken)
            }
            Name::Function(_) => {
                let function = body.envelope.function.unwrap_or_default();
                let call = bus.call(&function).timeout(ATTEMPT_MAX);
                let call = call.namespace(body.envelope.namespace);
                let call = match body.envelope.metadata {
                    Some(metadata) => call.metadata(metadata),
                    None => call,
                };
                let answer = call.send_payload(body.payload).await;
                let (now_ms, seen) = (self.shared.now_ms(), &self.shared.seen);
                let grace_ms = self.shared.config.get().missing_function_grace_ms;
                match answer {
                    Err(error) if is_missing(&error) => {
                        match seen.lately(&function, now_ms, grace_ms) {
                            true => Ok(Called::Away(error)),
                            false => Err(error),
                        }
                    }
                    answer => {
                        seen.note(&function, now_ms);
                        answer.map(|_| Called::Taken)
                    }
                }
            }
        }
    }

    /// True when the lease has ended.
    async fn acknowledge(&self, lease: &Lease) -> bool {
        let ack = Ack {
            head: self.key(lease.number),
            body: lease.head.body,
            durability: self.durability(),
        };
        let taken = self.shared.acks.push(ack).await;
        if taken {
            self.with(|machine| machine.ack(lease.number));
            self.count(|paces| &mut paces.acknowledged);
        }
        taken
    }

    /// True when the lease has ended.
    async fn fail(&self, lease: &Lease, error: &Error, failure: Failure) -> bool {
        let (number, now_ms) = (lease.number, self.shared.now_ms());
        self.count(|paces| &mut paces.failed);
        let jitter = fastrand::u64(0..=JITTER_PERMILLE_MAX);
        let verdict = self.with(|machine| machine.verdict(number, now_ms, failure, jitter));
        match verdict {
            Some(Verdict::Retry(head)) => {
                tracing::debug!(queue = %self.name(), attempts = head.attempts, %error, "an attempt failed");
                let aside = head.due_ms > 0 && self.with(|machine| machine.is_crowded());
                // What was not the message's fault need not be remembered, but where it waits.
                let is_as_before = failure == Failure::Uncounted && !aside;
                let written = is_as_before || self.rewrite(number, head, aside).await;
                if written {
                    self.with(|machine| match aside {
                        true => machine.set_aside(number, &head),
                        false => machine.retry(number, head),
                    });
                }
                written
            }
            Some(Verdict::Bury(head)) => {
                tracing::warn!(queue = %self.name(), attempts = head.attempts, %error, "a message is dead");
                let death = self.shared.number();
                let letter = DeadLetter::new(head, now_ms / 1000, text(error));
                let mut batch = self.batch();
                batch.delete(HEADS, self.key(number));
                batch.put(DEAD, self.key(death), letter.encode());
                let written = self.shared.persist(batch).await;
                if written {
                    self.with(|machine| machine.bury(number, death, head));
                    self.count(|paces| &mut paces.buried);
                }
                written
            }
            None => true,
        }
    }

    async fn rewrite(&self, number: Number, head: Head, aside: bool) -> bool {
        let mut batch = self.batch();
        if aside {
            self.write_due(number, &head, &mut batch);
        }
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
            _ if is_missing(error) && returning() => Failure::Uncounted,
            (Origin::Engine, Code::WorkerLost) => Failure::Lost,
            _ => Failure::Counted,
        }
    }
}

/// Nobody offers the function.
fn is_missing(error: &Error) -> bool {
    (error.origin, error.code) == (Origin::Engine, Code::NotFound)
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
