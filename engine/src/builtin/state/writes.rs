//! Writes, one key at a time: what waits for a key is decided together and committed at once.
//!
//! The first writer of a key starts a task, the key's lane; writers that come meanwhile queue in
//! it. So updates of one key are atomic and in order, a hot key costs one trip to the disk for
//! all that wait, and a caller that gives up leaves no half-done write. Different keys only meet
//! in the store's group commit.

use std::{collections::VecDeque, sync::Arc};

use agentos_sdk::{Bus, Code, Error};
use dashmap::{DashMap, Entry};
use tokio::sync::oneshot;

use super::{
    Clock,
    api::EventType,
    change::Request,
    config::Config,
    error,
    events::{Events, Happening},
    plan::{Done, Plan},
    row::{Address, Row, VALUES},
};
use crate::storage::{self, Storage};

/// Requests decided together: bounds what one commit of a hot key may cost.
const GROUP_MAX: usize = 256;

/// How often a group is decided anew because somebody else wrote the key: only another engine on
/// a shared store can.
const ATTEMPTS_MAX: u32 = 16;

/// Decides and commits writes.
pub(super) struct Writes {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Config,
    pub(super) events: Arc<Events>,
    pub(super) clock: Clock,
    lanes: DashMap<Address, VecDeque<Job>>,
}

/// A write that waits in its key's lane.
struct Job {
    request: Request,
    /// Where events go, in the trace of the write.
    bus: Option<Bus>,
    answer: oneshot::Sender<Result<Done, Error>>,
}

impl Writes {
    pub(super) fn new(
        store: Arc<dyn Storage>,
        config: Config,
        events: Arc<Events>,
        clock: Clock,
    ) -> Self {
        Writes {
            store,
            config,
            events,
            clock,
            lanes: DashMap::new(),
        }
    }

    /// Runs `request` and waits until its outcome is on disk. Events go to `bus`, if given.
    pub(super) async fn submit(
        self: &Arc<Self>,
        address: Address,
        request: Request,
        bus: Option<Bus>,
    ) -> Result<Done, Error> {
        let (answer, outcome) = oneshot::channel();
        self.enqueue(
            address,
            Job {
                request,
                bus,
                answer,
            },
        )?;
        let gone = || Error::engine(Code::Internal, "the write was given up");
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    fn enqueue(self: &Arc<Self>, address: Address, job: Job) -> Result<(), Error> {
        match self.lanes.entry(address.clone()) {
            Entry::Occupied(lane) if lane.get().len() >= self.config.writes_per_key_max => {
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
            writes: Arc::clone(self),
            address,
            open: true,
        };
        tokio::spawn(lane.run());
        Ok(())
    }
}

/// The task that writes one key, as long as writes wait for it.
struct Lane {
    writes: Arc<Writes>,
    address: Address,
    /// True while the lane is in the map and this task is the one that serves it.
    open: bool,
}

impl Drop for Lane {
    /// Torn down half way: nobody may go on waiting in a lane that nobody serves.
    fn drop(&mut self) {
        if self.open {
            self.writes.lanes.remove(&self.address);
        }
    }
}

impl Lane {
    async fn run(mut self) {
        while self.open {
            let jobs = self.take();
            if jobs.is_empty() {
                let lanes = &self.writes.lanes;
                self.open = lanes
                    .remove_if(&self.address, |_, jobs| jobs.is_empty())
                    .is_none();
            } else {
                self.process(jobs).await;
            }
        }
    }

    /// The jobs to decide together. One that names a version must see the outcome of those before
    /// it, so it begins a group.
    fn take(&self) -> Vec<Job> {
        let Some(mut lane) = self.writes.lanes.get_mut(&self.address) else {
            return Vec::new();
        };
        let later = lane.iter().skip(1).take(GROUP_MAX - 1);
        let plain = later
            .take_while(|job| job.request.expected_version.is_none())
            .count();
        let jobs = lane.len().min(1 + plain);
        lane.drain(..jobs).collect()
    }

    async fn process(&self, jobs: Vec<Job>) {
        match self.commit(&jobs).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    self.finish(job, outcome);
                }
            }
            Err(error) => {
                let error = error::from_storage(error);
                for job in jobs {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Decides `jobs` over the stored row and commits what came out.
    async fn commit(&self, jobs: &[Job]) -> Result<Vec<Result<Done, Error>>, storage::Error> {
        let mut attempts = 0;
        loop {
            let record = self.writes.store.get(VALUES, self.address.bytes()).await?;
            let stored = record.as_ref().map(Row::decode).transpose()?;
            let (now_ms, bytes_max) = ((self.writes.clock)(), self.writes.config.value_bytes_max);
            let mut plan = Plan::new(&self.address, stored);
            for job in jobs {
                plan.add(&job.request, now_ms, bytes_max);
            }
            if plan.batch.is_empty() {
                return Ok(plan.outcomes(None));
            }
            attempts += 1;
            match self
                .writes
                .store
                .commit(std::mem::take(&mut plan.batch))
                .await
            {
                Ok(committed) => return Ok(plan.outcomes(Some(committed))),
                Err(storage::Error::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers, then tells the triggers: events come after the answer, in order per key.
    fn finish(&self, job: Job, outcome: Result<Done, Error>) {
        let happening = outcome
            .as_ref()
            .ok()
            .and_then(|done| happening(&self.address, done));
        // Whoever stopped waiting does not want the answer; the write stands all the same.
        let _ = job.answer.send(outcome);
        if let (Some(happening), Some(bus)) = (happening, &job.bus) {
            self.writes.events.publish(bus, &happening);
        }
    }
}

fn happening(address: &Address, done: &Done) -> Option<Happening> {
    let event_type = match (&done.old, &done.new) {
        (None, None) => return None,
        (None, Some(_)) => EventType::Created,
        (Some(_), Some(_)) => EventType::Updated,
        (Some(_), None) => EventType::Deleted,
    };
    let (old, new) = (done.old.clone(), done.new.clone());
    Some(Happening {
        address: address.clone(),
        event_type,
        old,
        new,
    })
}
