//! Decides a group of batches that will reach the disk together. Pure: the disk is a question.

use std::collections::{HashMap, hash_map::Entry};

use bytes::Bytes;

use super::{Batch, Committed, Durability, Error, Record, Space, Version};

/// Batches admitted so far, as one set of writes.
pub(super) struct Group {
    first: Version,
    next: Version,
    /// The strongest that any batch asks for.
    durability: Durability,
    writes: HashMap<(Space, Bytes), Option<Record>>,
}

/// What becomes of one key; `None` deletes it.
pub(super) struct Write {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) record: Option<Record>,
}

impl Group {
    /// A group whose operations are numbered from `next`.
    pub(super) fn new(next: Version) -> Self {
        Group {
            first: next,
            next,
            durability: Durability::Relaxed,
            writes: HashMap::new(),
        }
    }

    /// Takes `batch` in if its expectations hold over `stored` and what was admitted before.
    pub(super) fn admit(
        &mut self,
        batch: Batch,
        stored: impl Fn(Space, &[u8]) -> Result<Version, Error>,
    ) -> Result<Committed, Error> {
        batch.check_keys()?;
        for expect in &batch.expects {
            let (space, expected) = (expect.space, expect.version);
            let actual = match self.writes.get(&(space, expect.key.clone())) {
                Some(pending) => pending.as_ref().map_or(0, |record| record.version),
                None => stored(space, &expect.key)?,
            };
            if actual != expected {
                return Err(Error::Conflict { expected, actual });
            }
        }
        let first = self.next;
        self.durability = self.durability.max(batch.durability);
        for op in batch.ops {
            let version = self.next;
            self.next += 1;
            let record = op.value.map(|value| Record { version, value });
            match self.writes.entry((op.space, op.key)) {
                Entry::Occupied(mut earlier) => *earlier.get_mut() = record,
                Entry::Vacant(vacant) => {
                    vacant.insert(record);
                }
            }
        }
        Ok(Committed { first })
    }

    /// The number that the next group begins with.
    pub(super) fn next(&self) -> Version {
        self.next
    }

    pub(super) fn durability(&self) -> Durability {
        self.durability
    }

    /// True when no admitted batch wrote anything.
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// One write per key, in no order.
    pub(super) fn into_writes(self) -> impl Iterator<Item = Write> {
        let writes = self.writes.into_iter();
        writes.map(|((space, key), record)| Write { space, key, record })
    }
}
