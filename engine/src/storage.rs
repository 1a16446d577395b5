//! Where built-in workers keep what must survive: ordered bytes in named spaces.
//!
//! One small trait, many adapters. Storage knows versions and durability; what a value means is
//! its owner's business.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

mod adapter;
pub mod backup;
mod batch;
mod committer;
#[cfg(test)]
mod conformance;
mod error;
mod fjall;
mod group;
mod local;
pub mod memory;
mod scan;
mod sled;
mod snapshot;
mod sqlite;

pub use adapter::{Adapter, Config, restore};
pub use batch::{Batch, Committed, Durability};
pub use error::Error;
pub use scan::{Entry, Page, Scan};
pub use snapshot::{Copied, Snapshot};

/// Number of a write, unique in its store and rising; 0 stands for "no record".
pub type Version = u64;

/// Longest key; what the strictest adapter takes.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// A named set of records with its own order of keys. Rooms declare theirs as constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Space(&'static str);

impl Space {
    /// `name`: lowercase letters and dashes, unique in the engine, never changed afterwards.
    pub const fn new(name: &'static str) -> Self {
        Space(name)
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A stored value and the write that put it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub version: Version,
    pub value: Bytes,
}

/// How a store is, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Health {
    pub adapter: &'static str,
    /// Why it writes nothing now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<Arc<str>>,
}

/// A durable ordered map from (space, key) to bytes, shared by everybody in the engine.
///
/// What every adapter keeps, and `conformance` checks:
///
/// - *Acknowledged means on disk.* When [`Storage::commit`] returns `Ok`, the batch survives
///   `kill -9` and a power cut; one that is [`Durability::Relaxed`] survives the first only. An error means that nothing of the batch is visible, with two
///   exceptions: after [`Error::Unavailable`] the outcome is unknown, and a batch refused with
///   [`Error::ReadOnly`] may turn up when the store is opened again. Versions tell.
/// - *All or nothing.* A batch becomes visible at once and as a whole, over all its spaces.
/// - *Decided in one place.* Expectations are checked against the newest records, including those
///   of batches that were admitted before and are still on their way to the disk.
/// - *One version per operation*, rising over the whole store and never given twice, so a record
///   that was deleted and made anew cannot be mistaken for the old one.
/// - *Readers see committed records only*, and everything that was acknowledged before they began.
/// - *Keys are ordered as bytes*, 1 to [`KEY_BYTES_MAX`] of them.
/// - *A store that failed to write says so.* It refuses further writes with [`Error::ReadOnly`]
///   rather than try again, because nobody knows what the failed attempt left behind. Where only
///   room was missing, it opens its files anew once there is some, and goes on from what they say.
///
/// Every method may wait and may fail: a store on another machine fits. Writers that come
/// together share one trip to the disk; a single writer never waits for company.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The record under `key`, if there is one.
    ///
    /// # Errors
    /// `Damaged` when the record fails its checksum, `Unavailable` when the store cannot be reached.
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Record>, Error>;

    /// One page of records in key order. Pages of one walk are not a snapshot: each sees its own
    /// moment.
    ///
    /// # Errors
    /// As [`Storage::get`].
    async fn scan(&self, scan: Scan) -> Result<Page, Error>;

    /// Writes `batch` if all its expectations hold.
    ///
    /// # Errors
    /// `Conflict` when one does not hold; `ReadOnly`, `Unavailable` when the store cannot write.
    async fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// A walk over everything there is at this moment.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be reached, or cannot be copied.
    async fn snapshot(&self) -> Result<Snapshot, Error> {
        Err(Error::Unavailable("this store cannot be copied".into()))
    }

    /// How the store is now. Cheap: it is asked with every status.
    fn health(&self) -> Health;
}
