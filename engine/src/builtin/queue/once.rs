//! Deduplication: within its window a key stands for one message.
//!
//! What is known of a key is written in the same batch as its message, on the condition that nobody
//! has written the key meanwhile; so the store decides between two who come together, and a crash
//! leaves both or neither. A second record, ordered by time, tells which keys can be forgotten.

use std::time::Duration;

use agentos_sdk::Error;
use bytes::Bytes;

use super::{
    enqueue, error,
    line::Storing,
    record::{KEY_TERMS, KEYS, Kept, damaged},
    shared::Shared,
};
use crate::storage::{self, Batch, Scan};

/// Nobody is in a hurry, and the wall clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A key, and how long it will be remembered.
pub(super) struct Once {
    key: Bytes,
    window_ms: u64,
}

impl Once {
    /// The key whose digest this is, in the queue or topic whose records begin with `prefix`.
    pub(super) fn new(prefix: &[u8], digest: u128, window_ms: u64) -> Self {
        Once {
            key: [prefix, &digest.to_be_bytes()].concat().into(),
            window_ms,
        }
    }
}

/// Writes `messages`, all or none, under the name `id`, unless the key was taken within its window:
/// then they were never there, and the name under which it was taken is returned.
pub(super) async fn store(
    shared: &Shared,
    messages: Vec<Storing>,
    id: u128,
    once: &Once,
) -> Result<Option<u128>, Error> {
    loop {
        let found = shared.store.get(KEYS, &once.key).await;
        let found = found.map_err(error::from_storage)?;
        let now_ms = shared.now_ms();
        let mut batch = enqueue::batch(&messages);
        if let Some(record) = &found {
            let kept = Kept::decode(&record.value).map_err(error::from_storage)?;
            if kept.until_ms > now_ms {
                return Ok(Some(kept.id));
            }
            batch.delete(KEY_TERMS, term_key(kept.until_ms, &once.key));
        }
        batch.expect(
            KEYS,
            once.key.clone(),
            found.map_or(0, |record| record.version),
        );
        let kept = Kept {
            id,
            until_ms: now_ms.saturating_add(once.window_ms),
        };
        batch.put(KEYS, once.key.clone(), kept.encode());
        batch.put(KEY_TERMS, term_key(kept.until_ms, &once.key), Bytes::new());
        for message in &messages {
            message.write(&mut batch);
        }
        match shared.store.commit(batch).await {
            Ok(_) => {
                messages.into_iter().for_each(Storing::done);
                shared.key_kept.notify_one();
                return Ok(None);
            }
            // Somebody else was first, or the key was just forgotten: look again.
            Err(storage::Error::Conflict { .. }) => {}
            Err(error) => return Err(error::from_storage(error)),
        }
    }
}

/// Forgets keys whose time has passed, until the queues are stopped.
pub(super) async fn run(shared: &Shared) {
    let work = async {
        loop {
            match forget_old(shared).await {
                Ok(Some(wait)) => tokio::time::sleep(wait.min(SLEEP_MAX)).await,
                Ok(None) => shared.key_kept.notified().await,
                Err(error) => {
                    tracing::error!(%error, "old keys of messages cannot be forgotten; tried again later");
                    tokio::time::sleep(SLEEP_MAX).await;
                }
            }
        }
    };
    shared.stopped.run_until_cancelled(work).await;
}

/// Returns how long the next key is still remembered; `None` when there is no key.
async fn forget_old(shared: &Shared) -> Result<Option<Duration>, storage::Error> {
    loop {
        let page = shared.store.scan(Scan::all(KEY_TERMS)).await?;
        let now_ms = shared.now_ms();
        let mut batch = Batch::new();
        let mut next_ms = None;
        for entry in page.entries {
            let (until_ms, key) = parse_term(&entry.key)?;
            if until_ms > now_ms {
                next_ms = Some(until_ms - now_ms);
                break;
            }
            // Taken anew meanwhile, the key has another term, and this one is gone.
            batch.expect(KEY_TERMS, entry.key.clone(), entry.record.version);
            batch.delete(KEY_TERMS, entry.key);
            batch.delete(KEYS, key);
        }
        match shared.store.commit(batch).await {
            Err(storage::Error::Conflict { .. }) => continue,
            outcome => outcome?,
        };
        if next_ms.is_some() || !page.more {
            return Ok(next_ms.map(Duration::from_millis));
        }
    }
}

fn term_key(until_ms: u64, key: &Bytes) -> Bytes {
    [&until_ms.to_be_bytes(), &key[..]].concat().into()
}

fn parse_term(term: &Bytes) -> Result<(u64, Bytes), storage::Error> {
    let (until_ms, key) = term
        .split_first_chunk()
        .ok_or_else(|| damaged("the term of a key is too short"))?;
    Ok((u64::from_be_bytes(*until_ms), term.slice_ref(key)))
}
