//! When a new instance is ready for calls: it runs, it has registered, and it says that it is well.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_core::SessionView;
use agentos_protocol::Payload;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::{Fleet, Seat, What, Worker, step::ms, version::Source};
use crate::supervisor::{Health, InstanceId, State, Status};

/// Without a further registration for so long, a worker has registered what it will.
const QUIET: Duration = Duration::from_millis(500);

/// Between two questions whether it is well.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Ids of functions.
pub(super) type Ids = BTreeSet<Arc<str>>;

/// Why a new build does not serve.
#[derive(Debug)]
pub(super) struct Fault {
    /// `start_failed`, `never_registered`, `unhealthy`, `errors`.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// The last that it printed.
    pub(super) output: Vec<String>,
}

impl Fleet {
    /// Starts `count` instances that get no calls, and waits until all are ready.
    pub(super) async fn bring_up(
        &self,
        worker: &Worker,
        source: &Source,
        count: usize,
        expects: &Ids,
        patience: Duration,
    ) -> Result<Vec<Seat>, (Vec<Seat>, Fault)> {
        let mut seats = Vec::new();
        for _ in 0..count {
            match self.bring(worker, source).await {
                Ok(seat) => seats.push(seat),
                Err(message) => {
                    let fault = Fault {
                        reason: "start_failed",
                        message,
                        output: Vec::new(),
                    };
                    return Err((seats, fault));
                }
            }
        }
        let waits = seats
            .iter()
            .map(|seat| self.until_ready(worker, source, *seat, expects, patience));
        match futures_util::future::try_join_all(waits).await {
            Ok(_) => Ok(seats),
            Err(fault) => Err((seats, fault)),
        }
    }

    async fn bring(&self, worker: &Worker, source: &Source) -> Result<Seat, String> {
        match source {
            Source::Process(manifest) => self.launch(manifest).map_err(|error| error.to_string()),
            Source::InProcess => {
                let house = self.0.house.get();
                let house = house.ok_or("the engine is still starting; try again")?;
                let session = house.bring(&worker.name).await;
                let session = session.map_err(|error| format!("{error:#}"))?;
                self.0.traffic.belongs(session, &worker.name);
                Ok(Seat::Local(session))
            }
        }
    }

    async fn until_ready(
        &self,
        worker: &Worker,
        source: &Source,
        seat: Seat,
        expects: &Ids,
        patience: Duration,
    ) -> Result<(), Fault> {
        let Seat::Process(instance) = seat else {
            // It is on the bus, or it would not be here.
            return Ok(());
        };
        let sessions = self.until_registered(instance, expects, patience).await?;
        let offered = functions(&sessions);
        let status = self.status(instance);
        self.tell(
            worker,
            What::InstanceReady {
                instance: Some(instance),
                build: status.and_then(|status| status.build),
                functions: offered.len(),
            },
        );
        let missing: Vec<String> = expects
            .difference(&offered)
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            self.tell(worker, What::FunctionsMissing { functions: missing });
        }
        let Source::Process(manifest) = source else {
            return Ok(());
        };
        match &manifest.health {
            Some(health) => self.until_well(worker, instance, &sessions, health).await,
            None => Ok(()),
        }
    }

    /// Waits until the instance has registered everything in `expects`, or something and then nothing
    /// more for a while.
    async fn until_registered(
        &self,
        instance: InstanceId,
        expects: &Ids,
        patience: Duration,
    ) -> Result<Vec<SessionView>, Fault> {
        let mut events = self.0.traffic.events();
        let gone = || self.fault(instance, "start_failed", "it was stopped".to_owned());
        let mut status = self.0.supervisor.follow(instance).ok_or_else(gone)?;
        let mut runs_since = None;
        let (mut seen, mut seen_at) = (0, Instant::now());
        loop {
            let now = status.borrow_and_update().clone();
            self.still_starts(&now)?;
            match now.state {
                State::Running => {
                    runs_since.get_or_insert_with(Instant::now);
                }
                _ => runs_since = None,
            }
            let sessions = self.sessions_of(Seat::Process(instance));
            let offered = functions(&sessions);
            if offered.len() != seen {
                (seen, seen_at) = (offered.len(), Instant::now());
            }
            let is_silent = offered.is_empty();
            if !is_silent && expects.is_subset(&offered) {
                return Ok(sessions);
            }
            let due = match runs_since {
                _ if !is_silent => Some(seen_at + QUIET),
                Some(since) => Some(since + patience),
                // What prepares it may take its time.
                None => None,
            };
            let waited = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = status.changed() => changed.map_err(|_| gone())?,
                event = events.recv() => if let Err(RecvError::Closed) = event {
                    return Err(gone());
                },
                () = waited => {
                    if !is_silent {
                        return Ok(sessions);
                    }
                    let message = format!(
                        "it runs and has registered no function within {} s; does it connect to AGENTOS_URL, and say its pid?",
                        patience.as_secs()
                    );
                    return Err(self.fault(instance, "never_registered", message));
                }
            }
        }
    }

    /// An instance that has ended once is one that does not start, whatever becomes of it later.
    fn still_starts(&self, status: &Status) -> Result<(), Fault> {
        let ended = matches!(
            status.state,
            State::Backoff | State::Failed | State::Skipped | State::Stopped
        );
        if !ended && status.restarts == 0 {
            return Ok(());
        }
        let error = status.last_error.as_deref().unwrap_or("it ended");
        let message = match status.state {
            State::Failed | State::Skipped => error.to_owned(),
            _ => format!("it crashed at start: {error}"),
        };
        Err(self.fault(status.instance, "start_failed", message))
    }

    pub(super) fn fault(
        &self,
        instance: InstanceId,
        reason: &'static str,
        message: String,
    ) -> Fault {
        Fault {
            reason,
            message,
            output: self.0.supervisor.tail(instance),
        }
    }

    pub(super) fn status(&self, instance: InstanceId) -> Option<Status> {
        let status = self.0.supervisor.follow(instance)?;
        let now = status.borrow().clone();
        Some(now)
    }

    /// Asks the health function until it says yes.
    async fn until_well(
        &self,
        worker: &Worker,
        instance: InstanceId,
        sessions: &[SessionView],
        health: &Health,
    ) -> Result<(), Fault> {
        let began = Instant::now();
        for session in sessions {
            let offers = session.functions.iter();
            if !offers.clone().any(|id| **id == *health.function) && sessions.len() > 1 {
                continue;
            }
            while let Err(why) = self.is_well(session, health).await {
                if began.elapsed() >= health.within {
                    let message = format!(
                        "its health function `{}` does not pass: {why}",
                        health.function
                    );
                    return Err(self.fault(instance, "unhealthy", message));
                }
                if let Some(status) = self.status(instance) {
                    self.still_starts(&status)?;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
        let function = health.function.clone();
        let took_ms = ms(began.elapsed());
        self.tell(worker, What::HealthPassed { function, took_ms });
        Ok(())
    }

    pub(super) async fn is_well(
        &self,
        session: &SessionView,
        health: &Health,
    ) -> Result<(), String> {
        let asked = self
            .0
            .traffic
            .ask(session.session, &health.function, health.timeout)
            .await;
        match asked {
            Ok(answer) if says_well(&answer) => Ok(()),
            Ok(answer) => Err(format!(
                "it answered {}",
                String::from_utf8_lossy(answer.text())
            )),
            Err(error) => Err(format!("{}: {}", error.code, error.message)),
        }
    }
}

/// Every answer says yes but `false` and one whose `healthy` or `ok` is false.
fn says_well(answer: &Payload) -> bool {
    let answer: Value = serde_json::from_slice(answer.text()).unwrap_or_default();
    let denies = |value: Option<&Value>| value == Some(&Value::Bool(false));
    !(denies(Some(&answer)) || denies(answer.get("healthy")) || denies(answer.get("ok")))
}

pub(super) fn functions(sessions: &[SessionView]) -> Ids {
    let all = sessions.iter().flat_map(|session| &session.functions);
    all.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_no_is_a_no() {
        let check = |text: &'static str, expect| {
            assert_eq!(says_well(&Payload::json(text)), expect, "{text}");
        };
        check("null", true);
        check("true", true);
        check(r#"{"healthy":true}"#, true);
        check(r#""up""#, true);
        check("false", false);
        check(r#"{"healthy":false}"#, false);
        check(r#"{"ok":false,"why":"no disk"}"#, false);
    }
}
