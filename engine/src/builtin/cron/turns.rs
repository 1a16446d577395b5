//! A job's turn: see what is due, run it, and say when to look again.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use agentos_sdk::{Bus, Error, Payload};
use chrono::{DateTime, Utc};
use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesUnordered,
};
use tokio::sync::Semaphore;

use super::{
    Clock,
    api::{Event, LastRun, Missed, Outcome, Overlap, TRIGGER_TYPE, rfc3339},
    config::Config,
    jobs::{Job, Turn},
    ledger::{Claim, Held, Ledger},
    missed::{Plan, holds, plan},
};
use crate::storage;

/// Runs of one job beside each other. A job that needs more runs longer than it should.
const APART_MAX: usize = 100;

/// Runs that their turn does not wait for.
type Apart<'a> = FuturesUnordered<BoxFuture<'a, ()>>;

/// What turns need.
pub(super) struct Turns {
    pub(super) ledger: Ledger,
    pub(super) clock: Clock,
    room: Semaphore,
    run_max: Duration,
}

/// How one moment went.
enum Settled {
    /// By us, or by another engine.
    Yes,
    /// Another engine is at it; look again then.
    Busy(DateTime<Utc>),
}

impl Turns {
    pub(super) fn new(ledger: Ledger, clock: Clock, config: &Config) -> Self {
        Turns {
            ledger,
            clock,
            room: Semaphore::new(config.runs_max.clamp(1, Semaphore::MAX_PERMITS)),
            run_max: Duration::from_millis(config.run_ms_max.max(1)),
        }
    }

    /// Runs whatever is due, one after the other.
    pub(super) async fn take(&self, mut turn: Turn, bus: Bus) {
        let job = Arc::clone(&turn.job);
        let mut apart = Apart::new();
        turn.again = match self.run_due(&job, &bus, &mut apart).await {
            Ok(again) => again,
            Err(error) => {
                tracing::error!(job = %job.id(), %error, "a cron job did not run: its record could not be kept");
                job.next((self.clock)())
            }
        };
        // The next turn may come.
        drop(turn);
        while apart.next().await.is_some() {}
    }

    async fn run_due<'a>(
        &'a self,
        job: &'a Job,
        bus: &'a Bus,
        apart: &mut Apart<'a>,
    ) -> Result<Option<DateTime<Utc>>, storage::Error> {
        loop {
            let now = job.clock((self.clock)());
            let done = self.done(job, now).await?;
            let times = match plan(&job.schedule, job.terms, done, now) {
                Plan::Wait(next) => return Ok(next.map(|due| due + job.jitter)),
                Plan::Run { times, dropped } => {
                    if dropped {
                        tracing::warn!(job = %job.id(), runs = times.len(), "more runs were missed than are made up for");
                    }
                    times
                }
            };
            let mut times = VecDeque::from(times);
            while let Some(due) = times.pop_front() {
                let settled = match job.overlap {
                    Overlap::Allow => self.part(job, bus, due, apart).await?,
                    Overlap::Skip | Overlap::Queue => self.settle(job, bus, due).await?,
                };
                match settled {
                    Settled::Busy(until) if makes_up(job) => return Ok(Some(until)),
                    Settled::Busy(_) | Settled::Yes => self.remember(job, due),
                }
                if job.overlap == Overlap::Queue {
                    self.queue(job, due, &mut times);
                }
            }
        }
    }

    /// The moment up to which the job is settled, whatever the clock has gone through.
    async fn done(&self, job: &Job, now: DateTime<Utc>) -> Result<DateTime<Utc>, storage::Error> {
        if makes_up(job) {
            let done = self.ledger.done(&job.key, now).await?;
            if holds(&job.schedule, done, now) {
                return Ok(done);
            }
        }
        let mut done = job.done.lock();
        if !holds(&job.schedule, *done, now) {
            *done = now;
        }
        Ok(*done)
    }

    /// A job that skips what it missed also skips what came due while it ran.
    fn remember(&self, job: &Job, due: DateTime<Utc>) {
        *job.done.lock() = job.clock((self.clock)()).max(due);
    }

    /// Adds what has come due while the job ran for `due`.
    fn queue(&self, job: &Job, due: DateTime<Utc>, times: &mut VecDeque<DateTime<Utc>>) {
        let Some(room @ 1..) = job.terms.runs_max.max(1).checked_sub(times.len()) else {
            return;
        };
        let after = times.back().copied().unwrap_or(due);
        let came = job.schedule.last(after, job.clock((self.clock)()), room);
        if came.more {
            tracing::warn!(job = %job.id(), runs = room, "a cron job runs for so long that not all its times can wait");
        }
        times.extend(came.times);
    }

    /// Settles the moment `due`, and leaves the run itself to `apart`.
    async fn part<'a>(
        &'a self,
        job: &'a Job,
        bus: &'a Bus,
        due: DateTime<Utc>,
        apart: &mut Apart<'a>,
    ) -> Result<Settled, storage::Error> {
        if job.apart.load(Ordering::Relaxed) >= APART_MAX {
            tracing::warn!(job = %job.id(), runs = APART_MAX, "a cron job has so many runs under way that this one is skipped");
            return Ok(Settled::Yes);
        }
        let now = (self.clock)();
        let claim = self
            .ledger
            .claim(&job.key, &job.owner, due, now, makes_up(job));
        let held = match claim.await? {
            Claim::Granted(held) => held,
            Claim::Settled => return Ok(Settled::Yes),
            Claim::Busy(until) => return Ok(Settled::Busy(until)),
        };
        self.ledger.settle(held, due, None).await?;
        job.apart.fetch_add(1, Ordering::Relaxed);
        let run = async move {
            let _room = self.room.acquire().await;
            let (last, _) = self.run(job, bus, due).await;
            job.apart.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = self.ledger.note(&job.key, last).await {
                tracing::warn!(job = %job.id(), %error, "how a run of a cron job went could not be kept");
            }
        };
        apart.push(run.boxed());
        Ok(Settled::Yes)
    }

    async fn settle(
        &self,
        job: &Job,
        bus: &Bus,
        due: DateTime<Utc>,
    ) -> Result<Settled, storage::Error> {
        let _room = self.room.acquire().await;
        let now = (self.clock)();
        let claim = self
            .ledger
            .claim(&job.key, &job.owner, due, now, makes_up(job));
        let mut held = match claim.await? {
            Claim::Granted(held) => held,
            Claim::Settled => return Ok(Settled::Yes),
            Claim::Busy(until) => return Ok(Settled::Busy(until)),
        };
        let (last, _) = tokio::select! {
            ended = self.run(job, bus, due) => ended,
            never = self.renew(job, &mut held) => match never {},
        };
        match self.ledger.settle(held, due, Some(last)).await {
            Err(storage::Error::Conflict { .. }) => {
                tracing::warn!(job = %job.id(), "a cron job lost its lock while it ran");
            }
            settled => settled?,
        }
        Ok(Settled::Yes)
    }

    /// Keeps the lock for as long as it is polled.
    async fn renew(&self, job: &Job, held: &mut Held) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.ledger.renewal()).await;
            if let Err(error) = self.ledger.renew(held, (self.clock)()).await {
                tracing::warn!(job = %job.id(), %error, "the lock of a cron job could not be renewed");
            }
        }
    }

    /// Calls the function, if the condition wants it, and waits for its end.
    pub(super) async fn run(
        &self,
        job: &Job,
        bus: &Bus,
        due: DateTime<Utc>,
    ) -> (LastRun, Result<(), Error>) {
        let began = (self.clock)();
        let outcome = self.call(job, bus, due, began).await;
        let took = (self.clock)() - began;
        let last = LastRun {
            scheduled_time: rfc3339(due),
            actual_time: rfc3339(began),
            duration_ms: u64::try_from(took.num_milliseconds()).unwrap_or_default(),
            outcome: match outcome {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Failed,
            },
            error: outcome
                .as_ref()
                .err()
                .map(|error| brief(&error.to_string())),
        };
        if let Err(error) = &outcome {
            tracing::warn!(job = %job.id(), function = %job.target.function(), %error, "a run of a cron job failed");
        }
        (last, outcome.map(|_| ()))
    }

    async fn call(
        &self,
        job: &Job,
        bus: &Bus,
        due: DateTime<Utc>,
        began: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        let event = Event {
            trigger: TRIGGER_TYPE,
            job_id: job.id(),
            scheduled_time: rfc3339(due),
            actual_time: rfc3339(began),
        };
        let payload = Payload::encode(&event).expect("an event has text keys and no numbers");
        if !job.target.wants(bus, &payload).await? {
            return Ok(Outcome::Skipped);
        }
        job.target.call(bus, payload, self.run_max).await?;
        Ok(Outcome::Done)
    }
}

fn makes_up(job: &Job) -> bool {
    job.terms.missed != Missed::Skip
}

/// A record is small, whatever a function says.
fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 500;
    text.chars().take(CHARS_MAX).collect()
}
