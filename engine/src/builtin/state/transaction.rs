//! Transactions: writes of many keys, in any scopes, all or none.
//!
//! A transaction takes the lanes of all its keys, in the order of the keys, so that two of them never
//! wait for each other; what is decided then is one batch. So triggers hear of every key in order,
//! and a busy key holds nobody up for ever.

use std::{collections::BTreeSet, sync::Arc};

use agentos_sdk::{Bus, Code, Error};
use serde_json::json;

use super::{
    api::{self, Operation, OperationKind as Kind},
    change::{Change, Request},
    check_ttl, error,
    plan::{Done, Plan},
    row::Address,
    writes::{ATTEMPTS_MAX, Held, Writes, happening},
};
use crate::{
    builtin::document::ops,
    storage::{self, Batch},
};

/// Keys of one transaction: it holds all of them while it reads and writes.
const OPERATIONS_MAX: usize = 256;

/// A transaction that could be written down: one request per key.
pub(super) struct Transaction(Vec<(Address, Request)>);

/// Why nothing was written.
enum Refusal {
    Caller(Error),
    Storage(storage::Error),
}

impl From<storage::Error> for Refusal {
    fn from(error: storage::Error) -> Self {
        Refusal::Storage(error)
    }
}

impl Transaction {
    /// # Errors
    /// `invalid_input` that names the operation that cannot be.
    pub(super) fn check(writes: &Writes, input: api::Transaction) -> Result<Self, Error> {
        let asked = input.operations.len();
        if !(1..=OPERATIONS_MAX).contains(&asked) {
            let message =
                format!("a transaction has 1 to {OPERATIONS_MAX} operations; {asked} were given");
            return Err(Error::caller(Code::InvalidInput, message));
        }
        let config = writes.config.get();
        let mut seen = BTreeSet::new();
        let mut all = Vec::with_capacity(asked);
        for (place, operation) in input.operations.into_iter().enumerate() {
            let one = || {
                let (scope, key, request) = request(operation)?;
                let address = Address::new(&scope, &key, &config)?;
                if !seen.insert(address.bytes().clone()) {
                    let message = "the key is written by an earlier operation already";
                    return Err(Error::caller(Code::InvalidInput, message));
                }
                Ok((address, request))
            };
            all.push(one().map_err(|error| at(place, error))?);
        }
        Ok(Transaction(all))
    }

    /// Writes everything or nothing, and tells the triggers.
    ///
    /// # Errors
    /// As the writes alone, `conflict` first among them, with the place of the one that fails.
    pub(super) async fn run(self, writes: &Arc<Writes>, bus: &Bus) -> Result<Vec<Done>, Error> {
        let _held = self.hold(writes).await?;
        let mut attempts = 0;
        let outcome = loop {
            attempts += 1;
            match self.commit(writes).await {
                // Only another engine on a shared store can have been faster.
                Err(Refusal::Storage(storage::Error::Conflict { .. }))
                    if attempts < ATTEMPTS_MAX => {}
                outcome => break outcome,
            }
        };
        let done = outcome.map_err(|refusal| match refusal {
            Refusal::Caller(error) => error,
            Refusal::Storage(error) => error::from_storage(error),
        })?;
        for ((address, _), done) in self.0.iter().zip(&done) {
            if let Some(happening) = happening(address, done) {
                writes.events.publish(bus, &happening);
            }
        }
        Ok(done)
    }

    async fn hold(&self, writes: &Arc<Writes>) -> Result<Vec<Held>, Error> {
        let mut addresses: Vec<&Address> = self.0.iter().map(|(address, _)| address).collect();
        addresses.sort_by(|one, other| one.bytes().cmp(other.bytes()));
        let mut held = Vec::with_capacity(addresses.len());
        for address in addresses {
            held.push(writes.hold(address.clone()).await?);
        }
        Ok(held)
    }

    /// Decides every request over what is stored, and commits what came out.
    async fn commit(&self, writes: &Writes) -> Result<Vec<Done>, Refusal> {
        let config = writes.config.get();
        let (now_ms, bytes_max) = ((writes.clock)(), config.value_bytes_max);
        let durability = |(address, _): &(Address, Request)| config.durability(address.scope());
        let mut batch = Batch::new();
        batch.durability(self.0.iter().map(durability).max().unwrap_or_default());
        let mut plans = Vec::with_capacity(self.0.len());
        for (place, (address, request)) in self.0.iter().enumerate() {
            let stored = writes.stored(address).await?;
            let mut plan = Plan::new(address, stored, writes.history(address).await?);
            plan.add(request, now_ms, bytes_max);
            if let Some(error) = plan.refusal() {
                return Err(Refusal::Caller(at(place, error)));
            }
            let first = batch.append(std::mem::take(&mut plan.batch));
            plans.push((plan, first));
        }
        let committed = match batch.is_empty() {
            true => None,
            false => Some(writes.store.commit(batch).await?),
        };
        let outcomes = plans.into_iter().flat_map(|(plan, first)| {
            plan.outcomes(committed.map(|committed| committed.behind(first)))
        });
        let outcomes: Result<Vec<Done>, Error> = outcomes.collect();
        outcomes.map_err(Refusal::Caller)
    }
}

fn request(operation: Operation) -> Result<(String, String, Request), Error> {
    let missing = |what: &str| {
        let message = format!("`{what}` is missing");
        Error::caller(Code::InvalidInput, message)
    };
    let change = match operation.op {
        Kind::Set => Change::Set(operation.value.ok_or_else(|| missing("value"))?),
        Kind::Update => {
            let steps = operation.ops.ok_or_else(|| missing("ops"))?;
            Change::Update(ops::check(steps)?)
        }
        Kind::Delete => Change::Delete,
        Kind::Check if operation.expected_version.is_none() => {
            return Err(missing("expected_version"));
        }
        Kind::Check => Change::Check,
    };
    let request = Request {
        change,
        expected_version: operation.expected_version,
        ttl_ms: check_ttl(operation.ttl_ms)?,
    };
    Ok((operation.scope, operation.key, request))
}

/// `error`, with the place of the operation that it is about.
fn at(place: usize, mut error: Error) -> Error {
    error.message = format!("operation {place}: {}; nothing was written", error.message);
    let mut details = match error.details.take() {
        Some(details) if details.is_object() => details,
        _ => json!({}),
    };
    details["operation"] = json!(place);
    error.details(details)
}
