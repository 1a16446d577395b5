//! A batch: what one commit expects and writes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, KEY_BYTES_MAX, Space, Version};

/// Writes that become visible together, if all expectations hold. A later operation on a key wins
/// over an earlier one.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    pub(super) expects: Vec<Expect>,
    pub(super) ops: Vec<Op>,
    pub(super) durability: Durability,
}

/// What an acknowledged batch outlives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the engine, however it ends. A power cut may take what was acknowledged in the
    /// second before it, the newest first: there is no hole.
    Relaxed,
    /// A power cut, too.
    #[default]
    Durable,
}

/// A condition on the newest record of a key.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) version: Version,
}

/// One write; `None` deletes.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Commit only if the record's version is `version`; 0 means that there must be none.
    pub fn expect(&mut self, space: Space, key: impl Into<Bytes>, version: Version) {
        self.expects.push(Expect {
            space,
            key: key.into(),
            version,
        });
    }

    /// Writes a record. Returns the operation's place, for [`Committed::version`].
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) -> usize {
        self.push(Op {
            space,
            key: key.into(),
            value: Some(value.into()),
        })
    }

    /// Removes a record; nothing happens if there is none.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) -> usize {
        self.push(Op {
            space,
            key: key.into(),
            value: None,
        })
    }

    /// What the batch is to outlive; a power cut unless told otherwise.
    pub fn durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Adds everything of `other`. Returns the place of its first operation.
    pub fn append(&mut self, other: Batch) -> usize {
        let place = self.ops.len();
        self.expects.extend(other.expects);
        self.ops.extend(other.ops);
        place
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn push(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// What the batch adds to a group commit.
    pub(super) fn bytes(&self) -> usize {
        self.ops
            .iter()
            .map(|op| op.key.len() + op.value.as_ref().map_or(0, Bytes::len))
            .sum()
    }

    pub(super) fn check_keys(&self) -> Result<(), Error> {
        let expected = self.expects.iter().map(|expect| expect.key.len());
        let written = self.ops.iter().map(|op| op.key.len());
        match expected
            .chain(written)
            .find(|bytes| !(1..=KEY_BYTES_MAX).contains(bytes))
        {
            Some(bytes) => Err(Error::KeySize { bytes }),
            None => Ok(()),
        }
    }
}

/// A batch that is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    pub(super) first: Version,
}

impl Committed {
    /// The version that the operation at `place` got.
    pub fn version(self, place: usize) -> Version {
        self.first + place as Version
    }

    /// As the owner of the operations from `place` on sees it: see [`Batch::append`].
    #[must_use]
    pub fn behind(self, place: usize) -> Committed {
        Committed {
            first: self.version(place),
        }
    }
}
