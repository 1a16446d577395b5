//! The functions `state::*`: values by scope and key, durable before they are acknowledged.
//!
//! This file is the rim: decode, call the thinking, encode. Deciding is in `change` and `ops`,
//! order and commits in `writes`, looking up in `reads`, triggers in `events`.

use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_sdk::{
    Bus, Code, Context, Error, Registrar, Stop, TriggerTypeSpec, Worker, async_trait,
};
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    builtin::{
        document::{Doc, ops},
        live::Live,
    },
    storage::Storage,
};

pub mod api;
mod change;
mod config;
mod error;
mod events;
mod expiry;
mod history;
mod plan;
mod reads;
mod row;
#[cfg(test)]
mod tests;
mod transaction;
mod writes;

pub use config::Config;

use change::{Change, Request};
use events::Events;
use plan::Done;
use reads::Reads;
use row::Address;
use transaction::Transaction;
use writes::Writes;

/// Milliseconds since 1970. Only terms (`ttl_ms`) look at it.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The built-in worker `state`.
pub struct State {
    reads: Reads,
    writes: Arc<Writes>,
    events: Arc<Events>,
}

impl State {
    /// State kept in `store`.
    pub fn open(store: Arc<dyn Storage>, config: Config) -> Arc<State> {
        Self::with_clock(store, config, Arc::new(wall_clock_ms))
    }

    fn with_clock(store: Arc<dyn Storage>, config: Config, clock: Clock) -> Arc<State> {
        let config = Live::new(config);
        let events = Arc::new(Events::new(config.clone()));
        let reads = Reads {
            store: Arc::clone(&store),
            config: config.clone(),
            clock: Arc::clone(&clock),
        };
        let writes = Arc::new(Writes::new(store, config, Arc::clone(&events), clock));
        Arc::new(State {
            reads,
            writes,
            events,
        })
    }

    /// Goes by `config` from now on. Triggers that are bound keep their room for events.
    pub fn reconfigure(&self, config: Config) {
        self.writes.resize(config.writes_per_key_max);
        self.writes.config.set(config);
    }

    async fn set(self: Arc<Self>, bus: Bus, input: api::Set) -> Result<api::Written, Error> {
        let (change, ttl_ms) = (Change::Set(input.value), check_ttl(input.ttl_ms)?);
        let request = Request {
            change,
            expected_version: input.expected_version,
            ttl_ms,
        };
        let tell = input.versioned || input.expected_version.is_some();
        let done = self.write(&input.scope, &input.key, request, bus).await?;
        Ok(written(done, tell))
    }

    async fn get(self: Arc<Self>, _: Bus, input: api::Get) -> Result<Option<Doc>, Error> {
        self.reads.get(&input).await
    }

    async fn delete(self: Arc<Self>, bus: Bus, input: api::Delete) -> Result<Option<Doc>, Error> {
        let expected_version = input.expected_version;
        let request = Request {
            change: Change::Delete,
            expected_version,
            ttl_ms: None,
        };
        Ok(self
            .write(&input.scope, &input.key, request, bus)
            .await?
            .old)
    }

    async fn update(self: Arc<Self>, bus: Bus, input: api::Update) -> Result<api::Written, Error> {
        let (change, ttl_ms) = (
            Change::Update(ops::check(input.ops)?),
            check_ttl(input.ttl_ms)?,
        );
        let request = Request {
            change,
            expected_version: input.expected_version,
            ttl_ms,
        };
        let tell = input.versioned || input.expected_version.is_some();
        let done = self.write(&input.scope, &input.key, request, bus).await?;
        Ok(written(done, tell))
    }

    async fn transaction(
        self: Arc<Self>,
        bus: Bus,
        input: api::Transaction,
    ) -> Result<api::Transacted, Error> {
        let transaction = Transaction::check(&self.writes, input)?;
        let writes = Arc::clone(&self.writes);
        // To its end, also when the caller gives up: the keys belong to it meanwhile.
        let work = tokio::spawn(async move { transaction.run(&writes, &bus).await });
        let gone = |_| {
            Err(Error::engine(
                Code::Internal,
                "the transaction was given up",
            ))
        };
        let done = work.await.unwrap_or_else(gone)?;
        let results = done.into_iter().map(|done| written(done, true));
        Ok(api::Transacted {
            results: results.collect(),
        })
    }

    async fn list(self: Arc<Self>, _: Bus, input: api::List) -> Result<Vec<Doc>, Error> {
        self.reads.list(&input).await
    }

    async fn list_groups(
        self: Arc<Self>,
        _: Bus,
        _: Option<api::ListGroups>,
    ) -> Result<api::Groups, Error> {
        self.reads.groups().await
    }

    async fn entries(
        self: Arc<Self>,
        _: Bus,
        input: api::ListEntries,
    ) -> Result<api::Entries, Error> {
        self.reads.entries(&input).await
    }

    async fn history(
        self: Arc<Self>,
        _: Bus,
        input: api::ListHistory,
    ) -> Result<api::History, Error> {
        let Reads {
            store,
            config,
            clock,
        } = &self.reads;
        history::page(store, config, clock, &input).await
    }

    async fn write(
        &self,
        scope: &str,
        key: &str,
        request: Request,
        bus: Bus,
    ) -> Result<Done, Error> {
        let address = Address::new(scope, key, &self.writes.config.get())?;
        self.writes.submit(address, request, Some(bus)).await
    }
}

#[async_trait]
impl Worker for State {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        self.offer(to, api::SET, "SET_ERROR", Self::set)
            .describe("Stores a value under a scope and a key; durable when it answers");
        self.offer(to, api::GET, "GET_ERROR", Self::get)
            .describe("The value under a scope and a key, or null")
            .idempotent();
        self.offer(to, api::DELETE, "DELETE_ERROR", Self::delete)
            .describe("Removes a value and returns it");
        self.offer(to, api::UPDATE, "UPDATE_ERROR", Self::update)
            .describe("Changes a value in steps, atomically");
        self.offer(to, api::TRANSACTION, "TRANSACTION_ERROR", Self::transaction)
            .describe("Sets, changes, deletes and checks values of many keys, all or none");
        self.offer(to, api::LIST, "LIST_ERROR", Self::list)
            .describe("All values of a scope")
            .idempotent();
        self.offer(to, api::LIST_GROUPS, "LIST_GROUPS_ERROR", Self::list_groups)
            .describe("All scopes that hold something")
            .idempotent();
        self.offer(to, api::ENTRIES, "LIST_ERROR", Self::entries)
            .describe("Keys, values and versions of a scope, page by page")
            .idempotent();
        self.offer(to, api::HISTORY, "HISTORY_ERROR", Self::history)
            .describe("What a value was before, newest first, where `state.history` keeps it")
            .idempotent();
        to.trigger_type(trigger_type(), Arc::clone(&self.events) as _);
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        expiry::run(Arc::clone(&self.writes), bus, stop).await;
        Ok(())
    }
}

impl State {
    fn offer<'a, I, O, F, Fut>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        reason: &'static str,
        run: F,
    ) -> agentos_sdk::FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<Self>, Bus, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let state = Arc::clone(self);
        to.function(id, move |context: Context, input: I| {
            let work = run(Arc::clone(&state), context.bus().clone(), input);
            async move { work.await.map_err(|error| error::named(error, reason)) }
        })
    }
}

fn trigger_type() -> TriggerTypeSpec {
    TriggerTypeSpec {
        id: api::TRIGGER_TYPE.into(),
        description: "Calls a function when a value of the state is created, updated or deleted"
            .to_owned(),
        config_schema: Some(schema_for!(api::TriggerConfig).to_value()),
        payload_schema: Some(schema_for!(api::Event<'static>).to_value()),
    }
}

/// Clients of iii compare the answer as a whole, so the version is in it only where it is wanted.
fn written(done: Done, tell_version: bool) -> api::Written {
    api::Written {
        old_value: done.old,
        new_value: done.new,
        version: tell_version.then_some(done.version),
        errors: done.errors,
    }
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<Option<u64>, Error> {
    match ttl_ms {
        Some(0) => Err(Error::caller(
            Code::InvalidInput,
            "ttl_ms is 0; at least 1 is possible",
        )),
        ttl_ms => Ok(ttl_ms),
    }
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
