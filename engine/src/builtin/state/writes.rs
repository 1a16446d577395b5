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
    change::{Change, Decision, Next, Request},
    config::Config,
    doc::Doc,
    error,
    events::{Events, Happening},
    ops::OpError,
    row::{self, Address, Row, TERMS, VALUES},
};
use crate::storage::{self, Batch, Committed, Storage, Version};

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

/// What became of a write.
pub(super) struct Done {
    pub(super) old: Option<Doc>,
    pub(super) new: Option<Doc>,
    /// Of the value that is there now; 0 when there is none.
    pub(super) version: Version,
    pub(super) errors: Vec<OpError>,
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
            let mut plan = Plan::new(&self.address, stored);
            for job in jobs {
                plan.add(&job.request, &self.writes);
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

/// A group of requests on their way to one batch.
struct Plan<'a> {
    address: &'a Address,
    /// The row as the next request finds it. Its version is known for the stored one only.
    row: Option<Row>,
    batch: Batch,
    steps: Vec<Result<Planned, Error>>,
}

struct Planned {
    decision: Decision,
    /// Where in the batch the value was written.
    place: Option<usize>,
    /// Of the row before, for requests that change nothing.
    version: Version,
}

impl<'a> Plan<'a> {
    fn new(address: &'a Address, stored: Option<Row>) -> Self {
        let mut batch = Batch::new();
        batch.expect(
            VALUES,
            address.bytes().clone(),
            stored.as_ref().map_or(0, |row| row.version),
        );
        Plan {
            address,
            row: stored,
            batch,
            steps: Vec::new(),
        }
    }

    fn add(&mut self, request: &Request, writes: &Writes) {
        let now_ms = (writes.clock)();
        let decided = request.decide(self.row.as_ref(), now_ms, writes.config.value_bytes_max);
        if let Change::Expire { due_ms } = request.change {
            self.batch
                .delete(TERMS, row::term_key(due_ms, self.address));
        }
        let planned = decided.map(|decision| {
            let version = self.row.as_ref().map_or(0, |row| row.version);
            let place = self.write(&decision.next);
            Planned {
                decision,
                place,
                version,
            }
        });
        self.steps.push(planned);
    }

    fn write(&mut self, next: &Next) -> Option<usize> {
        let address = self.address;
        match next {
            Next::Nothing => None,
            Next::Delete => {
                self.end_term();
                self.row = None;
                self.batch.delete(VALUES, address.bytes().clone());
                None
            }
            Next::Put { doc, due_ms } => {
                self.end_term();
                if let Some(due) = *due_ms {
                    self.batch.put(TERMS, row::term_key(due, address), "");
                }
                self.row = Some(Row {
                    version: 0,
                    doc: doc.clone(),
                    due_ms: *due_ms,
                });
                Some(
                    self.batch
                        .put(VALUES, address.bytes().clone(), row::encode(doc, *due_ms)),
                )
            }
        }
    }

    fn end_term(&mut self) {
        if let Some(due) = self.row.as_ref().and_then(|row| row.due_ms) {
            self.batch.delete(TERMS, row::term_key(due, self.address));
        }
    }

    fn outcomes(self, committed: Option<Committed>) -> Vec<Result<Done, Error>> {
        let version = |planned: &Planned| match (committed, planned.place) {
            (Some(committed), Some(place)) => committed.version(place),
            _ => planned.version,
        };
        let done = |planned: Planned| {
            let version = version(&planned);
            let Decision { old, next, errors } = planned.decision;
            match next {
                Next::Put { doc, .. } => Done {
                    old,
                    new: Some(doc),
                    version,
                    errors,
                },
                Next::Delete => Done {
                    old,
                    new: None,
                    version: 0,
                    errors,
                },
                Next::Nothing => Done {
                    old: None,
                    new: None,
                    version,
                    errors,
                },
            }
        };
        self.steps.into_iter().map(|step| step.map(done)).collect()
    }
}
