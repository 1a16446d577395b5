//! Writes: what waits for a key is decided together and committed at once.
//!
//! Each key has a lane (`lanes`). So updates of one key are atomic and in order, and a hot key
//! costs one trip to the disk for all that wait. Different keys only meet in the store's group
//! commit.

use std::sync::Arc;

use agentos_sdk::{Bus, Code, Error};
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
use crate::{
    builtin::{
        lanes::{self, Lanes, Work},
        live::Live,
    },
    storage::{self, Storage},
};

/// How often a group is decided anew because somebody else wrote the key: only another engine on
/// a shared store can.
const ATTEMPTS_MAX: u32 = 16;

/// Decides and commits writes.
pub(super) struct Writes {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Live<Config>,
    pub(super) events: Arc<Events>,
    pub(super) clock: Clock,
    lanes: Lanes<Address, Job>,
}

/// A write that waits in its key's lane.
pub(super) struct Job {
    request: Request,
    /// Where events go, in the trace of the write.
    bus: Option<Bus>,
    answer: oneshot::Sender<Result<Done, Error>>,
}

impl Writes {
    pub(super) fn new(
        store: Arc<dyn Storage>,
        config: Live<Config>,
        events: Arc<Events>,
        clock: Clock,
    ) -> Self {
        Writes {
            lanes: Lanes::new(config.get().writes_per_key_max),
            store,
            config,
            events,
            clock,
        }
    }

    pub(super) fn resize(&self, writes_per_key_max: usize) {
        self.lanes.resize(writes_per_key_max);
    }

    /// Runs `request` and waits until its outcome is on disk. Events go to `bus`, if given.
    pub(super) async fn submit(
        self: &Arc<Self>,
        address: Address,
        request: Request,
        bus: Option<Bus>,
    ) -> Result<Done, Error> {
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            request,
            bus,
            answer,
        };
        lanes::enqueue(self, address, job)?;
        let gone = || Error::engine(Code::Internal, "the write was given up");
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Work for Writes {
    type Key = Address;
    type Job = Job;

    fn lanes(&self) -> &Lanes<Address, Job> {
        &self.lanes
    }

    /// One that names a version must see the outcome of those before it.
    fn together(_: &Job, next: &Job) -> bool {
        next.request.expected_version.is_none()
    }

    async fn work(&self, address: &Address, jobs: Vec<Job>) {
        match self.commit(address, &jobs).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    self.finish(address, job, outcome);
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
}

impl Writes {
    /// Decides `jobs` over the stored row and commits what came out.
    async fn commit(
        &self,
        address: &Address,
        jobs: &[Job],
    ) -> Result<Vec<Result<Done, Error>>, storage::Error> {
        let mut attempts = 0;
        loop {
            let record = self.store.get(VALUES, address.bytes()).await?;
            let stored = record.as_ref().map(Row::decode).transpose()?;
            let config = self.config.get();
            let (now_ms, bytes_max) = ((self.clock)(), config.value_bytes_max);
            let mut plan = Plan::new(address, stored);
            plan.batch.durability(config.durability(address.scope()));
            for job in jobs {
                plan.add(&job.request, now_ms, bytes_max);
            }
            if plan.batch.is_empty() {
                return Ok(plan.outcomes(None));
            }
            attempts += 1;
            match self.store.commit(std::mem::take(&mut plan.batch)).await {
                Ok(committed) => return Ok(plan.outcomes(Some(committed))),
                Err(storage::Error::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers, then tells the triggers: events come after the answer, in order per key.
    fn finish(&self, address: &Address, job: Job, outcome: Result<Done, Error>) {
        let happening = outcome
            .as_ref()
            .ok()
            .and_then(|done| happening(address, done));
        // Whoever stopped waiting does not want the answer; the write stands all the same.
        let _ = job.answer.send(outcome);
        if let (Some(happening), Some(bus)) = (happening, &job.bus) {
            self.events.publish(bus, &happening);
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
