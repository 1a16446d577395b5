//! Work in lanes, one per key: what waits for a key is done in order, together where that is
//! possible, and different keys do not meet.
//!
//! The first job of a key starts a task, the key's lane; jobs that come meanwhile queue in it. A
//! caller that gives up leaves no half-done job, because the lane goes on without it. What a job
//! is, only its owner knows.

use std::{
    collections::VecDeque,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentos_sdk::{Code, Error};
use dashmap::{DashMap, Entry};

/// Jobs done together: bounds what one turn of a hot key may cost.
const TOGETHER_MAX: usize = 256;

/// Whoever does the jobs.
pub(super) trait Work: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    type Job: Send + 'static;

    fn lanes(&self) -> &Lanes<Self::Key, Self::Job>;

    /// May `next` be done in one turn with `first` and what came between?
    fn together(first: &Self::Job, next: &Self::Job) -> bool;

    /// Does `jobs`, which are never none.
    fn work(&self, key: &Self::Key, jobs: Vec<Self::Job>) -> impl Future<Output = ()> + Send;
}

/// The jobs that wait, by key.
pub(super) struct Lanes<K, J> {
    waiting: DashMap<K, VecDeque<J>>,
    per_key_max: AtomicUsize,
}

impl<K: Eq + Hash, J> Lanes<K, J> {
    /// Lanes in which `per_key_max` jobs may wait.
    pub(super) fn new(per_key_max: usize) -> Self {
        Lanes {
            waiting: DashMap::new(),
            per_key_max: AtomicUsize::new(per_key_max),
        }
    }

    /// From now on `per_key_max` jobs may wait. Those that wait already stay.
    pub(super) fn resize(&self, per_key_max: usize) {
        self.per_key_max.store(per_key_max, Ordering::Relaxed);
    }

    /// Keys for which there are jobs that wait, or that are not all done.
    pub(super) fn busy<T>(&self, mut pick: impl FnMut(&K) -> Option<T>) -> Vec<T> {
        let lanes = self.waiting.iter();
        lanes.filter_map(|lane| pick(lane.key())).collect()
    }
}

/// Puts `job` at the end of its key's lane.
///
/// # Errors
/// `overloaded` when the lane is full.
pub(super) fn enqueue<W: Work>(worker: &Arc<W>, key: W::Key, job: W::Job) -> Result<(), Error> {
    let lanes = worker.lanes();
    match lanes.waiting.entry(key.clone()) {
        Entry::Occupied(lane) if lane.get().len() >= lanes.per_key_max.load(Ordering::Relaxed) => {
            return Err(Error::engine(
                Code::Overloaded,
                "too many writes wait for this key",
            ));
        }
        Entry::Occupied(mut lane) => {
            lane.get_mut().push_back(job);
            return Ok(());
        }
        Entry::Vacant(vacant) => drop(vacant.insert(VecDeque::from([job]))),
    }
    let lane = Lane {
        worker: Arc::clone(worker),
        key,
        open: true,
    };
    tokio::spawn(lane.run());
    Ok(())
}

/// The task that serves one key, as long as jobs wait for it.
struct Lane<W: Work> {
    worker: Arc<W>,
    key: W::Key,
    /// True while the lane is in the map and this task is the one that serves it.
    open: bool,
}

impl<W: Work> Drop for Lane<W> {
    /// Torn down half way: nobody may go on waiting in a lane that nobody serves.
    fn drop(&mut self) {
        if self.open {
            self.worker.lanes().waiting.remove(&self.key);
        }
    }
}

impl<W: Work> Lane<W> {
    async fn run(mut self) {
        while self.open {
            let jobs = self.take();
            if jobs.is_empty() {
                let lanes = &self.worker.lanes().waiting;
                self.open = lanes
                    .remove_if(&self.key, |_, jobs| jobs.is_empty())
                    .is_none();
            } else {
                self.worker.work(&self.key, jobs).await;
            }
        }
    }

    fn take(&self) -> Vec<W::Job> {
        let Some(mut lane) = self.worker.lanes().waiting.get_mut(&self.key) else {
            return Vec::new();
        };
        let Some(first) = lane.front() else {
            return Vec::new();
        };
        let later = lane.iter().skip(1).take(TOGETHER_MAX - 1);
        let more = later.take_while(|next| W::together(first, next)).count();
        lane.drain(..=more).collect()
    }
}
