//! What values were before, in scopes whose history is kept.
//!
//! A value that is replaced, deleted or forgotten goes into the history in the same batch, under the
//! version it had. How many there are of a key is read from an index of small records, whatever the
//! size of the values; a third space is ordered by when they are to be forgotten.

use std::sync::Arc;

use agentos_sdk::{Code, Error};
use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Clock, api,
    config::{Config, History},
    error,
    row::{Address, Row, damaged},
};
use crate::{
    builtin::{document::Doc, live::Live},
    storage::{self, Batch, Scan, Space, Storage, Version},
};

/// By key and version: when the value ended, and when that is forgotten.
const INDEX: Space = Space::new("state-history");

/// By key and version: the value.
const VALUES: Space = Space::new("state-history-values");

/// By when they are forgotten: keys of the other two.
const TERMS: Space = Space::new("state-history-terms");

/// First byte of a record in [`INDEX`].
const FORMAT: u8 = 1;

/// Entries per page, unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// One former value, without it.
#[derive(Clone, Copy)]
struct Past {
    version: Version,
    ended_ms: u64,
    due_ms: u64,
}

/// The history of one key while it is written.
pub(super) struct Keeping {
    rule: History,
    /// Those that make room for the next one.
    surplus: Vec<Past>,
}

impl Keeping {
    /// Looks how much there is of `address`, which nobody else writes meanwhile.
    pub(super) async fn load(
        store: &Arc<dyn Storage>,
        address: &Address,
        rule: History,
    ) -> Result<Keeping, storage::Error> {
        let mut surplus = all(store, address).await?;
        let stays = rule.entries_max.max(1) - 1;
        surplus.truncate(surplus.len().saturating_sub(stays));
        Ok(Keeping { rule, surplus })
    }

    /// Adds to `batch` that `row` is the value no more.
    pub(super) fn end(&mut self, address: &Address, row: &Row, now_ms: u64, batch: &mut Batch) {
        for past in self.surplus.drain(..) {
            past.forget(address, batch);
        }
        let past = Past {
            version: row.version,
            ended_ms: now_ms,
            due_ms: now_ms.saturating_add(self.rule.age_ms_max),
        };
        let key = past.key(address);
        batch.put(INDEX, key.clone(), past.encode());
        batch.put(TERMS, term_key(past.due_ms, &key), Bytes::new());
        let text = row.doc.text().as_bytes();
        batch.put(VALUES, key, Bytes::copy_from_slice(text));
    }
}

impl Past {
    fn key(&self, address: &Address) -> Bytes {
        [&prefix(address)[..], &self.version.to_be_bytes()]
            .concat()
            .into()
    }

    fn forget(&self, address: &Address, batch: &mut Batch) {
        let key = self.key(address);
        batch.delete(TERMS, term_key(self.due_ms, &key));
        delete(&key, batch);
    }

    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(17);
        bytes.put_u8(FORMAT);
        bytes.put_u64(self.ended_ms);
        bytes.put_u64(self.due_ms);
        bytes.freeze()
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<Past, storage::Error> {
        let number = |bytes: Option<&[u8; 8]>| bytes.map(|bytes| u64::from_be_bytes(*bytes));
        let read = || {
            let rest = bytes.strip_prefix(&[FORMAT])?;
            Some(Past {
                version: number(key.last_chunk())?,
                ended_ms: number(rest.first_chunk())?,
                due_ms: number(rest.get(8..)?.first_chunk())?,
            })
        };
        read().ok_or_else(|| damaged("an entry of a history has an unknown shape"))
    }
}

/// Everything of `address`, oldest first.
async fn all(store: &Arc<dyn Storage>, address: &Address) -> Result<Vec<Past>, storage::Error> {
    let mut found = Vec::new();
    let mut scan = Scan::prefix(INDEX, &prefix(address));
    loop {
        let page = store.scan(scan.clone()).await?;
        for entry in &page.entries {
            found.push(Past::decode(&entry.key, &entry.record.value)?);
        }
        match page.entries.last() {
            Some(last) if page.more => scan = scan.after(&last.key),
            _ => return Ok(found),
        }
    }
}

/// One page of what the value was, newest first.
pub(super) async fn page(
    store: &Arc<dyn Storage>,
    config: &Live<Config>,
    clock: &Clock,
    input: &api::ListHistory,
) -> Result<api::History, Error> {
    let config = config.get();
    let limit = input.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("limit is {limit}; 1 to {PAGE_MAX} are possible");
        return Err(Error::caller(Code::InvalidInput, message));
    }
    if config.history(&input.scope).is_none() {
        let message = format!(
            "no history is kept of scope '{}'; `state.history` in the settings names those of which it is",
            input.scope
        );
        return Err(Error::caller(Code::NotFound, message).reason("HISTORY_NOT_KEPT"));
    }
    let address = Address::new(&input.scope, &input.key, &config)?;
    let (now_ms, before) = (clock(), input.before.unwrap_or(Version::MAX));
    let found = all(store, &address).await.map_err(error::from_storage)?;
    let fitting = found.into_iter().rev();
    let mut fitting = fitting.filter(|past| past.version < before && now_ms < past.due_ms);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let mut cursor = None;
    while let Some(past) = fitting.next() {
        let value = read(store, &address, past).await;
        // One that was forgotten meanwhile is not there any more.
        if let Some(value) = value.map_err(error::from_storage)? {
            bytes += value.text().len();
            entries.push(api::Former {
                version: past.version,
                value,
                ended_ms: past.ended_ms,
            });
        }
        if entries.len() >= limit || bytes >= config.list_bytes_max / 2 {
            cursor = fitting.next().map(|_| past.version);
            break;
        }
    }
    Ok(api::History { entries, cursor })
}

async fn read(
    store: &Arc<dyn Storage>,
    address: &Address,
    past: Past,
) -> Result<Option<Doc>, storage::Error> {
    let record = store.get(VALUES, &past.key(address)).await?;
    let unreadable = |_| damaged("a former value is not the JSON it was");
    let value = record.map(|record| Doc::parse(&record.value).map_err(unreadable));
    value.transpose()
}

/// Forgets what is due now.
pub(super) async fn sweep(store: &Arc<dyn Storage>, now_ms: u64) -> Result<(), storage::Error> {
    let due = Scan::all(TERMS).before(&now_ms.saturating_add(1).to_be_bytes());
    loop {
        let page = store.scan(due.clone()).await?;
        let mut batch = Batch::new();
        for entry in page.entries {
            delete(&entry.key.slice(8.min(entry.key.len())..), &mut batch);
            batch.delete(TERMS, entry.key);
        }
        if !batch.is_empty() {
            store.commit(batch).await?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

fn delete(key: &Bytes, batch: &mut Batch) {
    batch.delete(INDEX, key.clone());
    batch.delete(VALUES, key.clone());
}

/// What the keys of `address` begin with; its length keeps it apart from longer ones.
fn prefix(address: &Address) -> Bytes {
    let bytes = address.bytes();
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[..], bytes].concat().into()
}

fn term_key(due_ms: u64, key: &Bytes) -> Bytes {
    [&due_ms.to_be_bytes()[..], key].concat().into()
}
