//! What is durable about a job: how far it has come, and who runs it now.
//!
//! One record per job. It is a lock with a term, so that of several engines on one store one runs
//! the job, and the word on the last run, so that a restart forgets nothing.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{api::LastRun, config::Config, missed::STEP_MAX};
use crate::storage::{Batch, Error, Scan, Space, Storage, Version};

const JOBS: Space = Space::new("cron-jobs");

/// How long the record of a job is kept that nobody binds any more. One that has to make up for
/// missed runs may come back after a year; another only knows what ran last.
const KEPT_DAYS: i64 = 400;
const KEPT_DAYS_SKIPPING: i64 = 2;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Every moment up to this one is settled.
    pub(super) done: DateTime<Utc>,
    /// Who ran last, or runs.
    #[serde(default)]
    owner: String,
    /// Nobody else may run the job until then.
    #[serde(default)]
    locked_until: DateTime<Utc>,
    #[serde(default)]
    pub(super) last: Option<LastRun>,
    kept_until: DateTime<Utc>,
}

/// The answer to [`Ledger::claim`].
pub(super) enum Claim {
    Granted(Held),
    /// Another engine has settled the moment.
    Settled,
    /// Another engine runs the job, until then at the latest unless it renews its lock.
    Busy(DateTime<Utc>),
}

/// The right to run a job for one moment.
pub(super) struct Held {
    key: String,
    record: Record,
    version: Version,
}

/// The records of all jobs.
pub(super) struct Ledger {
    store: Arc<dyn Storage>,
    index: String,
    lock_ttl: TimeDelta,
}

impl Ledger {
    /// A lock shorter than a second would not outlive a busy moment, one of more than a day would
    /// outlive its use.
    pub(super) fn new(store: Arc<dyn Storage>, config: &Config) -> Self {
        let lock_ttl_ms = config.lock_ttl_ms.clamp(1_000, 86_400_000).cast_signed();
        Ledger {
            store,
            index: config.lock_index.clone(),
            lock_ttl: TimeDelta::milliseconds(lock_ttl_ms),
        }
    }

    /// How often a lock must be renewed.
    pub(super) fn renewal(&self) -> std::time::Duration {
        (self.lock_ttl / 3).to_std().unwrap_or_default()
    }

    /// The job's record, if there is one.
    pub(super) async fn look(&self, key: &str) -> Result<Option<Record>, Error> {
        Ok(self.read(key).await?.map(|(record, _)| record))
    }

    /// The moment up to which the job is settled. A job that is new is settled up to `now`, which
    /// is remembered: it may miss its very first run.
    pub(super) async fn done(&self, key: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        if let Some((record, _)) = self.read(key).await? {
            return Ok(record.done);
        }
        let record = Record::new(now, keep(now, KEPT_DAYS));
        match self.write(key, 0, &record).await {
            // Another engine was faster by a moment; the difference does not matter.
            Ok(_) | Err(Error::Conflict { .. }) => Ok(now),
            Err(error) => Err(error),
        }
    }

    /// Asks for the right to run the job for the moment `due`.
    pub(super) async fn claim(
        &self,
        key: &str,
        owner: &str,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
        makes_up: bool,
    ) -> Result<Claim, Error> {
        let kept_until = keep(
            now,
            if makes_up {
                KEPT_DAYS
            } else {
                KEPT_DAYS_SKIPPING
            },
        );
        let (mut record, version) = match self.read(key).await? {
            Some(found) => found,
            None => (Record::new(due - TimeDelta::seconds(1), kept_until), 0),
        };
        if let Some(refused) = record.refuses(owner, due, now) {
            return Ok(refused);
        }
        owner.clone_into(&mut record.owner);
        record.locked_until = now + self.lock_ttl;
        record.kept_until = kept_until;
        match self.write(key, version, &record).await {
            Ok(version) => Ok(Claim::Granted(Held {
                key: key.to_owned(),
                record,
                version,
            })),
            // Whoever was faster has just begun.
            Err(Error::Conflict { .. }) => Ok(Claim::Busy(now + self.lock_ttl)),
            Err(error) => Err(error),
        }
    }

    /// Keeps the lock for another term.
    ///
    /// # Errors
    /// `Conflict` when it was lost.
    pub(super) async fn renew(&self, held: &mut Held, now: DateTime<Utc>) -> Result<(), Error> {
        held.record.locked_until = now + self.lock_ttl;
        held.version = self.write(&held.key, held.version, &held.record).await?;
        Ok(())
    }

    /// How a run went whose moment is settled already.
    pub(super) async fn note(&self, key: &str, last: LastRun) -> Result<(), Error> {
        while let Some((mut record, version)) = self.read(key).await? {
            record.last = Some(last.clone());
            match self.write(key, version, &record).await {
                // Another run has begun or ended meanwhile.
                Err(Error::Conflict { .. }) => {}
                written => return written.map(|_| ()),
            }
        }
        Ok(())
    }

    /// The moment `due` is settled; the lock is free. Without `last`, its run goes on.
    ///
    /// # Errors
    /// `Conflict` when the lock had been lost.
    pub(super) async fn settle(
        &self,
        mut held: Held,
        due: DateTime<Utc>,
        last: Option<LastRun>,
    ) -> Result<(), Error> {
        let record = &mut held.record;
        // Earlier than what was done, if the clock was put back: it counts from there again.
        record.done = due;
        record.locked_until = DateTime::UNIX_EPOCH;
        if last.is_some() {
            record.last = last;
        }
        let Held {
            key,
            record,
            version,
        } = held;
        let (expected, actual) = match self.write(&key, version, &record).await {
            Err(Error::Conflict { expected, actual }) => (expected, actual),
            written => return written.map(|_| ()),
        };
        // A renewal that nobody waited for any more is ours too.
        match self.read(&key).await? {
            Some((found, version)) if found.owner == record.owner => {
                self.write(&key, version, &record).await.map(|_| ())
            }
            _ => Err(Error::Conflict { expected, actual }),
        }
    }

    /// Forgets jobs that nobody has bound for long.
    pub(super) async fn prune(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let mut scan = Scan::all(JOBS);
        loop {
            let page = self.store.scan(scan.clone()).await?;
            let mut batch = Batch::new();
            for entry in &page.entries {
                let record = serde_json::from_slice::<Record>(&entry.record.value);
                if record.is_ok_and(|record| record.kept_until < now) {
                    batch.delete(JOBS, entry.key.clone());
                }
            }
            if !batch.is_empty() {
                self.store.commit(batch).await?;
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(()),
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<(Record, Version)>, Error> {
        let Some(found) = self.store.get(JOBS, self.place(key).as_bytes()).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&found.value).map_err(|error| Error::Damaged {
            what: format!("the record of the job `{key}`: {error}").into(),
        })?;
        Ok(Some((record, found.version)))
    }

    async fn write(&self, key: &str, version: Version, record: &Record) -> Result<Version, Error> {
        let text = serde_json::to_vec(record).map_err(|error| Error::Damaged {
            what: error.to_string().into(),
        })?;
        let mut batch = Batch::new();
        batch.expect(JOBS, self.place(key), version);
        let place = batch.put(JOBS, self.place(key), text);
        Ok(self.store.commit(batch).await?.version(place))
    }
}

impl Ledger {
    fn place(&self, key: &str) -> String {
        format!("{} {key}", self.index)
    }
}

impl Record {
    fn new(done: DateTime<Utc>, kept_until: DateTime<Utc>) -> Self {
        Record {
            done,
            owner: String::new(),
            locked_until: DateTime::UNIX_EPOCH,
            last: None,
            kept_until,
        }
    }

    /// Why `owner` may not run the job for `due`.
    fn refuses(&self, owner: &str, due: DateTime<Utc>, now: DateTime<Utc>) -> Option<Claim> {
        let foreign = self.owner != owner;
        if foreign && self.locked_until > now {
            // No lock is longer than that; the clock was set back under it.
            let sane = self.locked_until - now < STEP_MAX;
            return sane.then_some(Claim::Busy(self.locked_until));
        }
        // A run of ours that is settled may come again: the clock was set back.
        let settled = due <= self.done && self.done - due <= STEP_MAX;
        (foreign && settled).then_some(Claim::Settled)
    }
}

fn keep(now: DateTime<Utc>, days: i64) -> DateTime<Utc> {
    now + TimeDelta::days(days)
}
