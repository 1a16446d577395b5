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
    history::Keeping,
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
pub(super) const ATTEMPTS_MAX: u32 = 16;

/// Decides and commits writes.
pub(super) struct Writes {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Live<Config>,
    pub(super) events: Arc<Events>,
    pub(super) clock: Clock,
    lanes: Lanes<Address, Job>,
}

/// What waits in a key's lane.
pub(super) enum Job {
    Write(Write),
    /// A transaction takes the key: nobody writes it until the other end is dropped.
    Hold(oneshot::Sender<Held>),
}

pub(super) struct Write {
    request: Request,
    /// Where events go, in the trace of the write.
    bus: Option<Bus>,
    answer: oneshot::Sender<Result<Done, Error>>,
    /// The value that it ends must have a version already.
    alone: bool,
}

/// The lane of a key that belongs to one transaction as long as this is kept.
pub(super) type Held = oneshot::Sender<()>;

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
        let alone = self.config.get().history(address.scope()).is_some();
        let job = Job::Write(Write {
            request,
            bus,
            answer,
            alone,
        });
        lanes::enqueue(self, address, job)?;
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Waits until those before have written `address`, and keeps everybody else from it.
    pub(super) async fn hold(self: &Arc<Self>, address: Address) -> Result<Held, Error> {
        let (answer, held) = oneshot::channel();
        lanes::enqueue(self, address, Job::Hold(answer))?;
        held.await.map_err(|_| gone())
    }
}

impl Work for Writes {
    type Key = Address;
    type Job = Job;

    fn lanes(&self) -> &Lanes<Address, Job> {
        &self.lanes
    }

    /// One that names a version must see the outcome of those before it.
    fn together(first: &Job, next: &Job) -> bool {
        match (first, next) {
            (Job::Write(_), Job::Write(next)) => {
                !next.alone && next.request.expected_version.is_none()
            }
            _ => false,
        }
    }

    async fn work(&self, address: &Address, jobs: Vec<Job>) {
        let mut writes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Write(write) => writes.push(write),
                Job::Hold(answer) => yield_to(answer).await,
            }
        }
        if !writes.is_empty() {
            self.write(address, writes).await;
        }
    }
}

/// Returns when who has asked is done with the key.
async fn yield_to(asked: oneshot::Sender<Held>) {
    let (held, released) = oneshot::channel();
    if asked.send(held).is_ok() {
        let _ = released.await;
    }
}

fn gone() -> Error {
    Error::engine(Code::Internal, "the write was given up")
}

impl Writes {
    async fn write(&self, address: &Address, jobs: Vec<Write>) {
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

    /// Decides `jobs` over the stored row and commits what came out.
    async fn commit(
        &self,
        address: &Address,
        jobs: &[Write],
    ) -> Result<Vec<Result<Done, Error>>, storage::Error> {
        let mut attempts = 0;
        loop {
            let stored = self.stored(address).await?;
            let config = self.config.get();
            let (now_ms, bytes_max) = ((self.clock)(), config.value_bytes_max);
            let history = self.history(address).await?;
            let mut plan = Plan::new(address, stored, history);
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

    pub(super) async fn stored(&self, address: &Address) -> Result<Option<Row>, storage::Error> {
        let record = self.store.get(VALUES, address.bytes()).await?;
        record.as_ref().map(Row::decode).transpose()
    }

    /// The history of `address`, where one is kept.
    pub(super) async fn history(
        &self,
        address: &Address,
    ) -> Result<Option<Keeping>, storage::Error> {
        let rule = self.config.get().history(address.scope()).cloned();
        match rule {
            Some(rule) => Keeping::load(&self.store, address, rule).await.map(Some),
            None => Ok(None),
        }
    }

    /// Answers, then tells the triggers: events come after the answer, in order per key.
    fn finish(&self, address: &Address, job: Write, outcome: Result<Done, Error>) {
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

pub(super) fn happening(address: &Address, done: &Done) -> Option<Happening> {
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
