//! The jobs that are bound, and when each is to be looked at: one table, one timer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicUsize},
};

use agentos_sdk::{Code, Error};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{api::Overlap, missed::Terms, schedule::Schedule};
use crate::builtin::firing::Target;

/// One bound trigger.
pub(super) struct Job {
    pub(super) schedule: Schedule,
    pub(super) terms: Terms,
    pub(super) overlap: Overlap,
    /// Each run begins so much later than its time: the job goes by a clock that is late.
    pub(super) jitter: TimeDelta,
    pub(super) target: Arc<Target>,
    /// Under which its record is kept.
    pub(super) key: String,
    /// This binding, as opposed to those of other engines and of other times.
    pub(super) owner: String,
    /// Every moment up to this one is settled, as far as this binding knows.
    pub(super) done: Mutex<DateTime<Utc>>,
    /// Runs beside each other, with [`Overlap::Allow`].
    pub(super) apart: AtomicUsize,
}

impl Job {
    pub(super) fn id(&self) -> &Arc<str> {
        self.target.id()
    }

    /// What the job's own clock shows at `now`.
    pub(super) fn clock(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - self.jitter
    }

    /// The first run after `now`.
    pub(super) fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.schedule.next(self.clock(now));
        next.map(|due| due + self.jitter)
    }
}

/// See the module. A job has at most one turn at a time.
#[derive(Default)]
pub(super) struct Jobs {
    table: Mutex<Table>,
    /// Told when something may be due earlier than it was.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Table {
    jobs: HashMap<Arc<str>, Entry>,
    due: BTreeSet<(DateTime<Utc>, Arc<str>)>,
}

struct Entry {
    job: Arc<Job>,
    due: Option<DateTime<Utc>>,
    running: bool,
}

impl Jobs {
    /// Binds `job`, to be looked at at once. The same id again replaces.
    pub(super) fn bind(&self, job: Arc<Job>) {
        let mut table = self.table.lock();
        let now = *job.done.lock();
        if let Some(earlier) = table.take(job.id()) {
            *job.done.lock() = *earlier.job.done.lock();
            earlier.job.target.close();
        }
        let id = Arc::clone(job.id());
        table.due.insert((now, Arc::clone(&id)));
        let entry = Entry {
            job,
            due: Some(now),
            running: false,
        };
        table.jobs.insert(id, entry);
        self.changed.notify_one();
    }

    pub(super) fn unbind(&self, id: &str) {
        if let Some(gone) = self.table.lock().take(id) {
            gone.job.target.close();
        }
    }

    /// Begins the turns of all jobs that are due.
    pub(super) fn take_due(self: &Arc<Self>, now: DateTime<Utc>) -> Vec<Turn> {
        let mut table = self.table.lock();
        let mut turns = Vec::new();
        while let Some((_, id)) = table.due.first().filter(|(due, _)| *due <= now) {
            let id = Arc::clone(id);
            table.due.pop_first();
            turns.extend(table.begin(&id).map(|job| self.turn(job)));
        }
        turns
    }

    /// Begins a turn that somebody asked for.
    ///
    /// # Errors
    /// `not_found`, or `conflict` while the job has a turn.
    pub(super) fn take(self: &Arc<Self>, id: &str) -> Result<Turn, Error> {
        let mut table = self.table.lock();
        let Some(entry) = table.jobs.get(id) else {
            let message = format!("there is no cron job `{id}`; cron::list names them");
            return Err(Error::caller(Code::NotFound, message));
        };
        if entry.running {
            let message = format!("the cron job `{id}` is running already");
            return Err(Error::caller(Code::Conflict, message));
        }
        let job = table.begin(id).expect("it is in the table");
        Ok(self.turn(job))
    }

    /// Looks at every job at once: what was thought about its next time holds no more.
    pub(super) fn look_again(&self, now: DateTime<Utc>) {
        let mut table = self.table.lock();
        let Table { jobs, due } = &mut *table;
        due.clear();
        for (id, entry) in jobs.iter_mut().filter(|(_, entry)| entry.due.is_some()) {
            entry.due = Some(now);
            due.insert((now, Arc::clone(id)));
        }
    }

    fn turn(self: &Arc<Self>, job: Arc<Job>) -> Turn {
        Turn {
            jobs: Arc::clone(self),
            job,
            again: None,
        }
    }

    /// When the next job is due.
    pub(super) fn earliest(&self) -> Option<DateTime<Utc>> {
        self.table.lock().due.first().map(|(due, _)| *due)
    }

    /// All jobs, by id, and whether they run.
    pub(super) fn list(&self) -> Vec<(Arc<Job>, bool)> {
        let table = self.table.lock();
        let entries = table.jobs.values();
        let mut jobs: Vec<_> = entries
            .map(|entry| (Arc::clone(&entry.job), entry.running))
            .collect();
        jobs.sort_by(|(one, _), (other, _)| one.id().cmp(other.id()));
        jobs
    }
}

impl Table {
    fn take(&mut self, id: &str) -> Option<Entry> {
        let entry = self.jobs.remove(id)?;
        if let Some(due) = entry.due {
            self.due.remove(&(due, Arc::clone(entry.job.id())));
        }
        Some(entry)
    }

    fn begin(&mut self, id: &str) -> Option<Arc<Job>> {
        let entry = self.jobs.get_mut(id)?;
        entry.running = true;
        if let Some(due) = entry.due.take() {
            self.due.remove(&(due, Arc::clone(entry.job.id())));
        }
        Some(Arc::clone(&entry.job))
    }
}

/// A job's turn. When it is dropped the job waits for its next one.
pub(super) struct Turn {
    jobs: Arc<Jobs>,
    pub(super) job: Arc<Job>,
    /// When the job wants to be looked at again.
    pub(super) again: Option<DateTime<Utc>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut table = self.jobs.table.lock();
        let id = Arc::clone(self.job.id());
        let Some(entry) = table.jobs.get_mut(&id) else {
            return;
        };
        // Another binding of the id has turns of its own.
        if !Arc::ptr_eq(&entry.job, &self.job) {
            return;
        }
        entry.running = false;
        entry.due = self.again;
        if let Some(due) = self.again {
            table.due.insert((due, id));
        }
        self.jobs.changed.notify_one();
    }
}
