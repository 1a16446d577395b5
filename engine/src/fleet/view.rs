//! The fleet as it is shown.

use agentos_core::SessionView;
use agentos_protocol::ErrorBody;
use serde_json::{Value, json};

use super::{Counts, Fleet, Seat, Source, Worker};
use crate::supervisor::usage;

impl Fleet {
    /// Every worker, its instances, and what they do and use; and what the engine itself uses.
    pub(crate) fn list(&self) -> Value {
        let workers: Vec<_> = self.0.workers.lock().values().cloned().collect();
        let usage = usage::by_leader();
        let shown = workers.iter().map(|worker| self.show(worker, &usage));
        let own = usage::own();
        json!({
            "workers": shown.collect::<Vec<_>>(),
            "engine": {
                "pid": std::process::id(),
                "memory_bytes": own.map(|used| used.memory_bytes),
                "cpu_ms": own.map(|used| used.cpu_ms),
            },
        })
    }

    /// The builds of a worker that have served, or tried to.
    pub(crate) fn versions(&self, name: &str) -> Result<Value, ErrorBody> {
        Ok(self.worker(name)?.now.lock().versions.to_json())
    }

    fn show(&self, worker: &Worker, usage: &usage::Usages) -> Value {
        let (source, seats, replicas, mode) = {
            let now = worker.now.lock();
            (
                now.source.clone(),
                now.seats.clone(),
                now.replicas,
                now.mode,
            )
        };
        let instances = seats.iter().map(|seat| self.instance(*seat, usage));
        json!({
            "name": worker.name,
            "mode": mode.as_str(),
            "language": match &source {
                Source::InProcess => "rust",
                Source::Process(manifest) => manifest.language.as_str(),
            },
            "source": source.describe(),
            "build": self.build_of(worker),
            "replicas": replicas,
            "busy": worker.turn.try_lock().is_err(),
            "instances": instances.collect::<Vec<_>>(),
        })
    }

    fn instance(&self, seat: Seat, usage: &usage::Usages) -> Value {
        let sessions = self.sessions_of(seat);
        let counts = sessions.iter().fold(Counts::default(), |sum, session| {
            sum.plus(Counts::of(session))
        });
        let in_flight: u32 = sessions.iter().map(|session| session.calls_in_flight).sum();
        let mut shown = json!({
            "sessions": sessions.len(),
            "functions": super::ready::functions(&sessions).len(),
            "share": sessions.iter().map(share).max(),
            "calls_in_flight": in_flight,
            "calls": counts.calls,
            "errors": counts.errors,
        });
        let more = match seat {
            Seat::Local(_) => json!({ "state": "running", "pid": std::process::id() }),
            Seat::Process(instance) => match self.status(instance) {
                None => json!({ "state": "stopped" }),
                Some(status) => {
                    let used = status.pid.and_then(|pid| usage.get(&pid));
                    json!({
                        "instance": instance,
                        "state": status.state,
                        "pid": status.pid,
                        "build": status.build,
                        "restarts": status.restarts,
                        "since_ms": status.since_ms,
                        "last_error": status.last_error,
                        "memory_bytes": used.map(|used| used.memory_bytes),
                        "cpu_ms": used.map(|used| used.cpu_ms),
                    })
                }
            },
        };
        if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
            shown.extend(more);
        }
        shown
    }
}

fn share(session: &SessionView) -> u16 {
    match session.share.ready {
        true => session.share.weight,
        false => 0,
    }
}
