//! What can be done to a worker, one thing at a time. What was begun is brought to its end, even when
//! whoever asked has gone.

use std::{sync::Arc, time::Duration};

use agentos_protocol::{Code, ErrorBody};

use super::{FULL, Fleet, Mode, Plan, Seat, Source, To, What, Worker, ready::Ids, swap::Swapped};
use crate::supervisor::{InstanceId, REPLICAS_MAX, State};

/// How long a process may run before it has registered, unless somebody says otherwise.
pub(crate) const READY: Duration = Duration::from_secs(30);

/// How long calls and streams of a worker that leaves may go on, unless somebody says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_mins(5);

impl Fleet {
    pub(crate) async fn swap(&self, name: &str, plan: Plan) -> Result<Swapped, ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            fleet.swap_now(&worker, &plan).await
        })
        .await
    }

    /// Ends what runs of it and starts it again: beside the old one where it has functions, so that no
    /// call is lost; otherwise one after the other.
    pub(crate) async fn restart(&self, name: &str, drain: Duration) -> Result<(), ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            let seats = worker.seats();
            if seats.iter().any(|seat| fleet.serves(*seat)) {
                let plan = Plan {
                    drain,
                    ..Plan::plain("restart", To::Again)
                };
                return fleet.swap_now(&worker, &plan).await.map(drop);
            }
            for seat in &seats {
                if let Seat::Process(instance) = seat {
                    fleet.0.supervisor.restart_instance(*instance).await;
                }
            }
            match seats.is_empty() {
                true => fleet.start_now(&worker).await,
                false => Ok(()),
            }
        })
        .await
    }

    pub(crate) async fn start(&self, name: &str) -> Result<(), ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            if worker.seats().is_empty() {
                return fleet.start_now(&worker).await;
            }
            // One that has given up, or was ended, is asked again.
            for seat in worker.seats() {
                if let Seat::Process(instance) = seat
                    && fleet.is_down(instance)
                {
                    fleet.0.supervisor.restart_instance(instance).await;
                }
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn stop(&self, name: &str, drain: Duration) -> Result<(), ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            let seats = {
                let mut now = worker.now.lock();
                now.mode = Mode::Stopped;
                std::mem::take(&mut now.seats)
            };
            fleet.retire(&worker, seats, drain).await;
            fleet.tell(&worker, What::WorkerStopped);
            Ok(())
        })
        .await
    }

    /// Has `replicas` of it run from now on.
    pub(crate) async fn scale(
        &self,
        name: &str,
        replicas: usize,
        drain: Duration,
    ) -> Result<(), ErrorBody> {
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            let message = format!("expected 1 to {REPLICAS_MAX} replicas; `stop` ends all of them");
            return Err(ErrorBody::caller(Code::InvalidInput, message));
        }
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            let source = worker.source();
            if matches!(source, Source::InProcess) && replicas > 1 {
                let message =
                    "a worker in the engine's process is one; swap it for a process first";
                return Err(ErrorBody::caller(Code::Unsupported, message));
            }
            let seats = worker.seats();
            let more = replicas.saturating_sub(seats.len());
            if more > 0 {
                let new = fleet.bring_in(&worker, &source, more).await?;
                worker.now.lock().seats.extend(new);
            }
            let spare = {
                let mut now = worker.now.lock();
                now.replicas = replicas;
                let keep = replicas.min(now.seats.len());
                now.seats.split_off(keep)
            };
            fleet.retire(&worker, spare, drain).await;
            fleet.tell(&worker, What::WorkerScaled { replicas });
            Ok(())
        })
        .await
    }

    pub(crate) async fn pause(&self, name: &str) -> Result<(), ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            worker.now.lock().mode = Mode::Paused;
            fleet.share(&worker.seats(), 0);
            fleet.tell(&worker, What::WorkerPaused);
            Ok(())
        })
        .await
    }

    pub(crate) async fn resume(&self, name: &str) -> Result<(), ErrorBody> {
        self.in_turn(name, move |fleet: Fleet, worker: Arc<Worker>| async move {
            worker.now.lock().mode = Mode::Running;
            fleet.share(&worker.seats(), FULL);
            fleet.tell(&worker, What::WorkerResumed);
            Ok(())
        })
        .await
    }

    async fn start_now(&self, worker: &Worker) -> Result<(), ErrorBody> {
        let (source, replicas) = (worker.source(), worker.now.lock().replicas.max(1));
        let new = self.bring_in(worker, &source, replicas).await?;
        {
            let mut now = worker.now.lock();
            now.seats = new;
            now.mode = Mode::Running;
        }
        self.tell(worker, What::WorkerStarted);
        Ok(())
    }

    /// Starts more of what there is, and lets them have calls once they are ready.
    async fn bring_in(
        &self,
        worker: &Worker,
        source: &Source,
        count: usize,
    ) -> Result<Vec<Seat>, ErrorBody> {
        let brought = self
            .bring_up(worker, source, count, &Ids::new(), READY)
            .await;
        match brought {
            Ok(seats) => {
                if worker.now.lock().mode != Mode::Paused {
                    self.share(&seats, FULL);
                }
                Ok(seats)
            }
            Err((seats, fault)) => {
                self.end(seats).await;
                let details = serde_json::json!({ "worker": worker.name, "output": fault.output });
                Err(ErrorBody::engine(Code::Failed, fault.message)
                    .reason(fault.reason)
                    .details(details))
            }
        }
    }

    pub(super) fn serves(&self, seat: Seat) -> bool {
        let sessions = self.sessions_of(seat);
        sessions.iter().any(|session| !session.functions.is_empty())
    }

    fn is_down(&self, instance: InstanceId) -> bool {
        self.status(instance).is_some_and(|status| {
            matches!(
                status.state,
                State::Backoff | State::Failed | State::Skipped | State::Stopped
            )
        })
    }

    /// Runs `work` in the worker's turn, on a task of its own.
    async fn in_turn<T, F>(
        &self,
        name: &str,
        work: impl FnOnce(Fleet, Arc<Worker>) -> F + Send + 'static,
    ) -> Result<T, ErrorBody>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ErrorBody>> + Send + 'static,
    {
        let worker = self.worker(name)?;
        let busy = || {
            let message = format!(
                "something is being done to `{name}` already; watch it with `agentos events`"
            );
            ErrorBody::engine(Code::Conflict, message)
        };
        let turn = Arc::clone(&worker.turn)
            .try_lock_owned()
            .map_err(|_| busy())?;
        let (fleet, stop) = (self.clone(), self.0.stop.clone());
        let done = self.0.tasks.spawn(async move {
            let _turn = turn;
            tokio::select! {
                done = work(fleet, worker) => done,
                () = stop.cancelled() => {
                    Err(ErrorBody::engine(Code::Unavailable, "the engine is stopping"))
                }
            }
        });
        done.await
            .unwrap_or_else(|panic| Err(ErrorBody::engine(Code::Internal, panic.to_string())))
    }
}
