//! Writes: what waits for an item is done in order, and what is to be stored together.
//!
//! Each item has a lane (`lanes`), also one that a provider keeps. So updates are atomic, events
//! come in the order of the writes, and a hot item costs one trip to the disk for all that wait.
//! A provider must not write the very item that it is being asked to write: it would wait for
//! itself, until the call's deadline.

use std::sync::Arc;

use agentos_sdk::{Bus, Code, Error};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{
    api::{self, Answer, Deleted, Written},
    change::{Change, Done},
    config::Config,
    error,
    events::{Events, Happening},
    plan::Plan,
    providers::{Provider, Providers},
    row::{self, Address, ITEMS, Place},
};
use crate::{
    builtin::{
        document::Doc,
        lanes::{self, Lanes, Work},
        live::Live,
    },
    storage::{self, Storage},
};

/// How often a group is decided anew because somebody else wrote the item: only another engine on
/// a shared store can.
const ATTEMPTS_MAX: u32 = 16;

/// Decides and commits writes.
pub(super) struct Writes {
    store: Arc<dyn Storage>,
    config: Live<Config>,
    providers: Providers,
    events: Arc<Events>,
    lanes: Lanes<Address, Job>,
}

/// A write that waits in its item's lane.
pub(super) struct Job {
    change: Change,
    keeper: Keeper,
    bus: Bus,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// Who keeps an item.
enum Keeper {
    Store,
    /// One function does the whole write.
    Provider(Provider),
    /// There is none for updates, so we read, change, and write.
    Providers {
        get: Provider,
        set: Provider,
    },
}

/// What became of a write, and the provider's own words for it.
pub(super) struct Outcome {
    pub(super) done: Done,
    provided: Option<Doc>,
}

impl Outcome {
    pub(super) fn written(self) -> Answer<Written> {
        let Done {
            old, new, errors, ..
        } = self.done;
        let own = Written {
            old_value: old,
            new_value: new,
            errors,
        };
        self.provided.map_or(Answer::Own(own), Answer::Provided)
    }

    pub(super) fn deleted(self) -> Answer<Deleted> {
        let own = Deleted {
            old_value: self.done.old,
        };
        self.provided.map_or(Answer::Own(own), Answer::Provided)
    }
}

impl Writes {
    pub(super) fn new(
        store: Arc<dyn Storage>,
        config: Live<Config>,
        providers: Providers,
        events: Arc<Events>,
    ) -> Self {
        Writes {
            lanes: Lanes::new(config.get().writes_per_item_max),
            store,
            config,
            providers,
            events,
        }
    }

    pub(super) fn resize(&self, writes_per_item_max: usize) {
        self.lanes.resize(writes_per_item_max);
    }

    /// Makes `change` and waits until its outcome is on disk, or its provider has answered.
    pub(super) async fn submit(
        self: &Arc<Self>,
        address: Address,
        change: Change,
        bus: Bus,
    ) -> Result<Outcome, Error> {
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            keeper: self.keeper(address.stream(), &change),
            change,
            bus,
            answer,
        };
        lanes::enqueue(self, address, job)?;
        let gone = || Error::engine(Code::Internal, "the write was given up");
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Items of a group whose writes are under way: perhaps they can be read already, and are told
    /// later.
    pub(super) fn under_way(&self, group: Place<'_>) -> Vec<String> {
        self.lanes.busy(|address| {
            let place = address.place();
            let is_in = (place.stream, place.group) == (group.stream, group.group);
            is_in.then(|| address.item().to_owned())
        })
    }

    fn keeper(&self, stream: &str, change: &Change) -> Keeper {
        let of = |function| self.providers.of(function, stream);
        let function = match change {
            Change::Set(_) => api::SET,
            Change::Delete => api::DELETE,
            Change::Update(_) => api::UPDATE,
        };
        if let Some(provider) = of(function) {
            return Keeper::Provider(provider);
        }
        match (change, of(api::GET), of(api::SET)) {
            (Change::Update(_), Some(get), Some(set)) => Keeper::Providers { get, set },
            _ => Keeper::Store,
        }
    }
}

impl Work for Writes {
    type Key = Address;
    type Job = Job;

    fn lanes(&self) -> &Lanes<Address, Job> {
        &self.lanes
    }

    fn together(first: &Job, next: &Job) -> bool {
        matches!(
            (&first.keeper, &next.keeper),
            (Keeper::Store, Keeper::Store)
        )
    }

    async fn work(&self, address: &Address, jobs: Vec<Job>) {
        if matches!(
            jobs[..],
            [
                Job {
                    keeper: Keeper::Store,
                    ..
                },
                ..
            ]
        ) {
            return self.store(address, jobs).await;
        }
        for job in jobs {
            let outcome = self.provide(address, &job).await;
            self.finish(address, job, outcome);
        }
    }
}

impl Writes {
    async fn store(&self, address: &Address, jobs: Vec<Job>) {
        match self.commit(address, &jobs).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    let provided = None;
                    let outcome = outcome.map(|done| Outcome { done, provided });
                    self.finish(address, job, outcome);
                }
            }
            Err(error) => {
                let error = error::from_storage(error);
                for job in jobs {
                    self.finish(address, job, Err(error.clone()));
                }
            }
        }
    }

    /// Decides `jobs` over the stored item and commits what came out.
    async fn commit(
        &self,
        address: &Address,
        jobs: &[Job],
    ) -> Result<Vec<Result<Done, Error>>, storage::Error> {
        let mut attempts = 0;
        loop {
            let record = self.store.get(ITEMS, address.bytes()).await?;
            let stored = record.as_ref().map(|record| {
                let doc = row::decode(record)?;
                Ok::<_, storage::Error>((record.version, doc))
            });
            let mut plan = Plan::new(address, stored.transpose()?);
            for job in jobs {
                plan.add(&job.change, self.config.get().value_bytes_max);
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

    async fn provide(&self, address: &Address, job: &Job) -> Result<Outcome, Error> {
        let bus = &job.bus;
        match (&job.change, &job.keeper) {
            (_, Keeper::Store) => Err(Error::engine(Code::Internal, "nobody provides the stream")),
            (Change::Set(data), Keeper::Provider(set) | Keeper::Providers { set, .. }) => {
                provided_set(set, bus, address, data).await
            }
            (
                Change::Delete,
                Keeper::Provider(provider) | Keeper::Providers { set: provider, .. },
            ) => {
                let answer = provider.demand(bus, &item(address)).await?;
                let Deleted { old_value } = read(provider, &answer)?;
                Ok(provided(old_value, None, answer))
            }
            (Change::Update(steps), Keeper::Provider(provider)) => {
                let input = api::Update {
                    stream_name: address.stream().to_owned(),
                    group_id: address.group().to_owned(),
                    item_id: address.item().to_owned(),
                    ops: steps.written.clone(),
                };
                let answer = provider.demand(bus, &input).await?;
                let Written {
                    old_value,
                    new_value,
                    ..
                } = read(provider, &answer)?;
                Ok(provided(old_value, new_value, answer))
            }
            (Change::Update(steps), Keeper::Providers { get, set }) => {
                let old = get.ask(bus, &item(address)).await?;
                let (new, errors) = steps.apply(old.as_ref())?;
                provided_set(set, bus, address, &new).await?;
                let done = Done {
                    old,
                    new: Some(new),
                    errors,
                    version: None,
                };
                Ok(Outcome {
                    done,
                    provided: None,
                })
            }
        }
    }

    /// Answers, then tells subscribers and triggers: events come after the answer, in order per
    /// item.
    fn finish(&self, address: &Address, job: Job, outcome: Result<Outcome, Error>) {
        let done = outcome.as_ref().ok().map(|outcome| outcome.done.clone());
        // Whoever stopped waiting does not want the answer; the write stands all the same.
        let _ = job.answer.send(outcome);
        let Some(done) = done else { return };
        if let Some(body) = done.told() {
            let happening = Happening {
                place: address.place(),
                body,
                version: done.version,
            };
            self.events.publish(&job.bus, &happening);
        }
    }
}

async fn provided_set(
    set: &Provider,
    bus: &Bus,
    address: &Address,
    data: &Doc,
) -> Result<Outcome, Error> {
    let input = api::Set {
        stream_name: address.stream().to_owned(),
        group_id: address.group().to_owned(),
        item_id: address.item().to_owned(),
        data: data.clone(),
    };
    let answer = set.demand(bus, &input).await?;
    let Written {
        old_value,
        new_value,
        ..
    } = read(set, &answer)?;
    let new = new_value.unwrap_or_else(|| data.clone());
    Ok(provided(old_value, Some(new), answer))
}

fn item(address: &Address) -> api::Item {
    api::Item {
        stream_name: address.stream().to_owned(),
        group_id: address.group().to_owned(),
        item_id: address.item().to_owned(),
    }
}

fn read<T: DeserializeOwned>(provider: &Provider, answer: &Doc) -> Result<T, Error> {
    serde_json::from_str(answer.text()).map_err(|why| error::odd_from(provider.id(), &why))
}

fn provided(old: Option<Doc>, new: Option<Doc>, answer: Doc) -> Outcome {
    let done = Done {
        old,
        new,
        errors: Vec::new(),
        version: None,
    };
    Outcome {
        done,
        provided: Some(answer),
    }
}
