//! The trigger type `cron` and the functions `cron::*`: calls functions at their times.
//!
//! This file is the rim: it reads configs, keeps the one timer, and answers. When a job is due is
//! in `schedule`, what it does then in `missed`, its turns in `turns`, what is durable in `ledger`.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agentos_sdk::{
    Bus, Code, Context, Error, Registrar, Stop, TriggerProvider, TriggerSpec, TriggerTypeSpec,
    Worker, async_trait,
};
use chrono::{DateTime, TimeDelta, Utc};
use schemars::schema_for;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{builtin::firing::Target, storage::Storage};

pub mod api;
mod config;
mod expression;
mod jobs;
mod ledger;
mod missed;
mod schedule;
#[cfg(test)]
mod tests;
mod turns;
mod zone;

pub use config::Config;

use api::TriggerConfig;
use jobs::{Job, Jobs};
use ledger::Ledger;
use missed::Terms;
use schedule::Schedule;
use turns::Turns;

/// What the clock on the wall shows.
type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Longest sleep of the timer: no later is it noticed that the clock was set.
const NAP_MAX: Duration = Duration::from_secs(60);
/// A clock that is put back by less is only being adjusted.
const STEP_NOTICED: TimeDelta = TimeDelta::seconds(1);
/// Longest jitter: a day.
const JITTER_SECONDS_MAX: i64 = 86_400;
/// Longest durable name of a job, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The built-in worker `cron`.
pub struct Cron {
    jobs: Arc<Jobs>,
    turns: Arc<Turns>,
    config: Config,
}

impl Cron {
    /// Cron that remembers in `store` what has run.
    pub fn open(store: Arc<dyn Storage>, config: Config) -> Arc<Cron> {
        Self::with_clock(store, config, Arc::new(Utc::now))
    }

    fn with_clock(store: Arc<dyn Storage>, config: Config, clock: Clock) -> Arc<Cron> {
        let ledger = Ledger::new(store, &config);
        Arc::new(Cron {
            jobs: Arc::default(),
            turns: Arc::new(Turns::new(ledger, clock, &config)),
            config,
        })
    }

    fn now(&self) -> DateTime<Utc> {
        (self.turns.clock)()
    }

    fn job(&self, trigger: &TriggerSpec) -> Result<Job, Error> {
        let config = read(&trigger.config)?;
        let schedule = schedule(&config).map_err(|(key, why)| refused(key, &why))?;
        let key = match &config.name {
            None => format!("trigger {}", trigger.id),
            Some(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) => {
                format!("name {} {name}", trigger.function)
            }
            Some(_) => {
                let why = format!("it has 1 to {NAME_BYTES_MAX} bytes");
                return Err(refused("name", &why));
            }
        };
        let jitter = match &config.jitter {
            None => TimeDelta::zero(),
            Some(text) => jitter(text, &key).map_err(|why| refused("jitter", &why))?,
        };
        Ok(Job {
            schedule,
            overlap: config.overlap,
            jitter,
            terms: Terms {
                missed: config.missed,
                late_max: TimeDelta::milliseconds(
                    i64::try_from(self.config.late_ms_max).unwrap_or(i64::MAX / 2),
                ),
                runs_max: self.config.missed_runs_max,
            },
            // Runs wait for their turn here, so nothing waits in the target.
            target: Target::new(trigger, config.condition_function_id, 0),
            key,
            owner: Uuid::new_v4().to_string(),
            done: parking_lot::Mutex::new(self.now() - jitter),
            apart: AtomicUsize::new(0),
        })
    }

    async fn list(&self) -> Result<api::Jobs, Error> {
        let mut jobs = Vec::new();
        for (job, running) in self.jobs.list() {
            jobs.push(self.describe(&job, running).await?);
        }
        Ok(api::Jobs { jobs })
    }

    async fn describe(&self, job: &Job, running: bool) -> Result<api::Job, Error> {
        let record = self.turns.ledger.look(&job.key).await.map_err(|error| {
            Error::engine(
                Code::Unavailable,
                format!("the jobs cannot be read: {error}"),
            )
        })?;
        let (expression, interval, zone) = match &job.schedule {
            Schedule::Expression { text, zone, .. } => (Some(text.clone()), None, zone.name()),
            Schedule::Every { text, .. } => (None, Some(text.clone()), "UTC"),
        };
        Ok(api::Job {
            job_id: job.id().to_string(),
            function_id: job.target.function().to_string(),
            expression,
            interval,
            timezone: zone.to_owned(),
            missed: job.terms.missed,
            overlap: job.overlap,
            jitter_ms: u64::try_from(job.jitter.num_milliseconds()).unwrap_or_default(),
            next_run: job.next(self.now()).map(api::rfc3339),
            last_run: record.and_then(|record| record.last),
            running,
        })
    }

    /// Runs a job now, besides its times.
    async fn run_now(&self, bus: &Bus, input: &api::RunInput) -> Result<api::LastRun, Error> {
        let mut turn = self.jobs.take(&input.job_id)?;
        // Something may have come due meanwhile.
        turn.again = Some(self.now());
        let (last, outcome) = self.turns.run(&turn.job, bus, self.now()).await;
        outcome.map(|()| last)
    }
}

impl TriggerProvider for Cron {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let job = self.job(&trigger)?;
        self.jobs.bind(Arc::new(job));
        Ok(())
    }

    fn unbind(&self, id: &str) {
        self.jobs.unbind(id);
    }
}

#[async_trait]
impl Worker for Cron {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        let cron = Arc::clone(&self);
        to.function(api::LIST, move |_: Context, _: Option<api::ListInput>| {
            let cron = Arc::clone(&cron);
            async move { cron.list().await }
        })
        .describe("Lists cron jobs with their next and last run")
        .idempotent();
        let cron = Arc::clone(&self);
        to.function(api::RUN, move |context: Context, input: api::RunInput| {
            let cron = Arc::clone(&cron);
            async move { cron.run_now(context.bus(), &input).await }
        })
        .describe("Runs a cron job now and waits for its end");
        to.trigger_type(trigger_type(), self);
    }

    /// The one timer.
    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        if let Err(error) = self.turns.ledger.prune(self.now()).await {
            tracing::warn!(%error, "old records of cron jobs could not be removed");
        }
        let mut running = JoinSet::new();
        let (mut told, mut at) = (self.now(), Instant::now());
        loop {
            let now = self.now();
            let passed = TimeDelta::from_std(at.elapsed()).unwrap_or_default();
            if now < told + passed - STEP_NOTICED {
                tracing::info!("the clock was put back; cron jobs go by the new time");
                self.jobs.look_again(now);
            }
            (told, at) = (now, Instant::now());
            for turn in self.jobs.take_due(now) {
                let (turns, bus) = (Arc::clone(&self.turns), bus.clone());
                running.spawn(async move { turns.take(turn, bus).await });
            }
            tokio::select! {
                () = self.nap() => {}
                () = self.jobs.changed.notified() => {}
                // Only to forget it: a turn says by itself that it has ended.
                Some(_) = running.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        running.shutdown().await;
        Ok(())
    }
}

impl Cron {
    /// Sleeps until a job is due; for ever when there is none.
    async fn nap(&self) {
        match self.jobs.earliest() {
            Some(due) => {
                let left = (due - self.now()).to_std().unwrap_or_default();
                let left = left.clamp(Duration::from_millis(1), NAP_MAX);
                tokio::time::sleep(left).await;
            }
            None => std::future::pending().await,
        }
    }
}

fn read(config: &Value) -> Result<TriggerConfig, Error> {
    if config.is_null() {
        return Ok(TriggerConfig::default());
    }
    serde_path_to_error::deserialize(config).map_err(|error| {
        let key = error.path().to_string();
        refused(&key, &error.inner().to_string())
    })
}

fn schedule(config: &TriggerConfig) -> Result<Schedule, (&'static str, String)> {
    let texts = [&config.expression, &config.schedule, &config.interval];
    match texts.map(Option::as_deref) {
        [Some(text), None, None] => Schedule::expression(text, config.timezone.as_deref()),
        [None, Some(text), None] => Schedule::expression(text, config.timezone.as_deref())
            .map_err(|(key, why)| (if key == "expression" { "schedule" } else { key }, why)),
        [None, None, Some(text)] if config.timezone.is_none() => Schedule::every(text),
        [None, None, Some(_)] => Err(("timezone", "an `interval` knows no time zone".to_owned())),
        [None, None, None] => Err((
            "expression",
            "it is missing; `0 */5 * * * *` is every five minutes".to_owned(),
        )),
        _ => Err((
            "expression",
            "only one of `expression`, `schedule` and `interval` is possible".to_owned(),
        )),
    }
}

/// The part of `text` by which the job of this key is late.
fn jitter(text: &str, key: &str) -> Result<TimeDelta, String> {
    let most = schedule::seconds(text).filter(|most| *most <= JITTER_SECONDS_MAX);
    let most = most.ok_or_else(|| format!("`{text}` is no time from 1s to 1d; `30s` is one"))?;
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (first, _) = digest
        .split_first_chunk()
        .expect("a digest is longer than eight bytes");
    let most_ms = most.unsigned_abs() * 1000;
    let ms = u64::from_be_bytes(*first) % (most_ms + 1);
    Ok(TimeDelta::milliseconds(ms.cast_signed()))
}

fn refused(key: &str, why: &str) -> Error {
    let message = format!("config of a cron trigger: `{key}`: {why}");
    Error::caller(Code::InvalidInput, message).details(json!({ "field": key }))
}

fn trigger_type() -> TriggerTypeSpec {
    TriggerTypeSpec {
        id: api::TRIGGER_TYPE.into(),
        description: "Calls a function at times given by a cron expression or an interval"
            .to_owned(),
        config_schema: Some(schema_for!(TriggerConfig).to_value()),
        payload_schema: Some(schema_for!(api::Event<'static>).to_value()),
    }
}
