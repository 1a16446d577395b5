//! Writes of one item on their way to one batch: plain data, no store.

use agentos_sdk::Error;

use super::{
    change::{Change, Done},
    row::{self, Address, ITEMS},
};
use crate::{
    builtin::document::Doc,
    storage::{Batch, Committed, Version},
};

pub(super) struct Plan<'a> {
    address: &'a Address,
    /// The item as the next write finds it.
    item: Option<Doc>,
    pub(super) batch: Batch,
    steps: Vec<Result<Planned, Error>>,
}

struct Planned {
    /// Without its version.
    done: Done,
    /// Where in the batch it was written.
    place: Option<usize>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(address: &'a Address, stored: Option<(Version, Doc)>) -> Self {
        let (version, item) = stored.unzip();
        let mut batch = Batch::new();
        batch.expect(ITEMS, address.bytes().clone(), version.unwrap_or_default());
        Plan {
            address,
            item,
            batch,
            steps: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, change: &Change, bytes_max: usize) {
        let applied = change.apply(self.item.as_ref(), bytes_max);
        let planned = applied.map(|(new, errors)| {
            let key = self.address.bytes().clone();
            let place = match &new {
                Some(doc) => Some(self.batch.put(ITEMS, key, row::encode(doc))),
                None if self.item.is_some() => Some(self.batch.delete(ITEMS, key)),
                None => None,
            };
            let old = std::mem::replace(&mut self.item, new.clone());
            let done = Done {
                old,
                new,
                errors,
                version: None,
            };
            Planned { done, place }
        });
        self.steps.push(planned);
    }

    pub(super) fn outcomes(self, committed: Option<Committed>) -> Vec<Result<Done, Error>> {
        let done = |planned: Planned| {
            let version = committed.zip(planned.place);
            let version = version.map(|(committed, place)| committed.version(place));
            Done {
                version,
                ..planned.done
            }
        };
        self.steps.into_iter().map(|step| step.map(done)).collect()
    }
}
