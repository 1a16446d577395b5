//! A group of writes of one key on its way to one batch: plain data, no store.

use agentos_sdk::Error;

use super::{
    change::{Change, Decision, Next, Request},
    error,
    history::Keeping,
    row::{self, Address, Row, TERMS, VALUES},
};
use crate::{
    builtin::document::{Doc, OpError},
    storage::{Batch, Committed, Version},
};

/// What became of a write.
pub(super) struct Done {
    pub(super) old: Option<Doc>,
    pub(super) new: Option<Doc>,
    /// Of the value that is there now; 0 when there is none.
    pub(super) version: Version,
    pub(super) errors: Vec<OpError>,
}

/// A group of requests on their way to one batch.
pub(super) struct Plan<'a> {
    address: &'a Address,
    history: Option<Keeping>,
    /// The row as the next request finds it. Its version is known for the stored one only.
    row: Option<Row>,
    pub(super) batch: Batch,
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
    pub(super) fn new(address: &'a Address, stored: Option<Row>, history: Option<Keeping>) -> Self {
        let mut batch = Batch::new();
        batch.expect(
            VALUES,
            address.bytes().clone(),
            stored.as_ref().map_or(0, |row| row.version),
        );
        Plan {
            address,
            history,
            row: stored,
            batch,
            steps: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, request: &Request, now_ms: u64, bytes_max: usize) {
        let decided = request.decide(self.row.as_ref(), now_ms, bytes_max);
        if let Change::Expire { due_ms } = request.change {
            self.batch
                .delete(TERMS, row::term_key(due_ms, self.address));
        }
        let planned = decided.map(|decision| {
            let alive = self.row.as_ref().filter(|row| row.is_alive(now_ms));
            let version = alive.map_or(0, |row| row.version);
            let place = self.write(&decision.next, now_ms);
            Planned {
                decision,
                place,
                version,
            }
        });
        self.steps.push(planned);
    }

    /// Why a request cannot be done, or not all of it.
    pub(super) fn refusal(&self) -> Option<Error> {
        let refusal = |step: &Result<Planned, Error>| match step {
            Ok(planned) => planned.decision.errors.first().map(error::skipped),
            Err(error) => Some(error.clone()),
        };
        self.steps.iter().find_map(refusal)
    }

    fn write(&mut self, next: &Next, now_ms: u64) -> Option<usize> {
        let address = self.address;
        self.remember(next, now_ms);
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

    /// Puts the row into the history, if that is kept and the row ends.
    fn remember(&mut self, next: &Next, now_ms: u64) {
        if let (Some(history), Some(row)) = (&mut self.history, &self.row)
            && !matches!(next, Next::Nothing)
        {
            history.end(self.address, row, now_ms, &mut self.batch);
        }
    }

    fn end_term(&mut self) {
        if let Some(due) = self.row.as_ref().and_then(|row| row.due_ms) {
            self.batch.delete(TERMS, row::term_key(due, self.address));
        }
    }

    pub(super) fn outcomes(self, committed: Option<Committed>) -> Vec<Result<Done, Error>> {
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
