//! What a write does to a value: plain functions, no store and no clock.

use agentos_sdk::Error;

use super::{error, row::Row};
use crate::{
    builtin::document::{self, Doc, OpError, ops::Step},
    storage::Version,
};

/// A write of one key.
pub(super) struct Request {
    pub(super) change: Change,
    pub(super) expected_version: Option<Version>,
    pub(super) ttl_ms: Option<u64>,
}

pub(super) enum Change {
    Set(Doc),
    Delete,
    Update(Vec<Step>),
    /// Only the version matters.
    Check,
    /// Forget the value if it is the one that was due at this time.
    Expire {
        due_ms: u64,
    },
}

/// What to do, and what to say about it.
pub(super) struct Decision {
    /// The value before, as far as callers could see it.
    pub(super) old: Option<Doc>,
    pub(super) next: Next,
    pub(super) errors: Vec<OpError>,
}

pub(super) enum Next {
    Put { doc: Doc, due_ms: Option<u64> },
    Delete,
    Nothing,
}

impl Request {
    /// Decides over the stored row, whether its term has passed or not.
    ///
    /// # Errors
    /// `conflict` when the version is another, `payload_too_large` when the value is.
    pub(super) fn decide(
        &self,
        stored: Option<&Row>,
        now_ms: u64,
        bytes_max: usize,
    ) -> Result<Decision, Error> {
        let alive = stored.filter(|row| row.is_alive(now_ms));
        self.check_version(alive)?;
        let old = alive.map(|row| row.doc.clone());
        let due_ms = self.ttl_ms.map(|ttl| now_ms.saturating_add(ttl));
        let (next, errors) = match &self.change {
            Change::Set(doc) => (
                Next::Put {
                    doc: doc.clone(),
                    due_ms,
                },
                Vec::new(),
            ),
            Change::Update(steps) => {
                let (doc, errors) = document::update(old.as_ref(), steps)?;
                let due_ms = due_ms.or_else(|| alive.and_then(|row| row.due_ms));
                (Next::Put { doc, due_ms }, errors)
            }
            Change::Delete if alive.is_some() => (Next::Delete, Vec::new()),
            Change::Expire { due_ms } => return Ok(expire(stored, *due_ms)),
            Change::Delete | Change::Check => (Next::Nothing, Vec::new()),
        };
        check_size(&next, bytes_max)?;
        Ok(Decision { old, next, errors })
    }

    fn check_version(&self, alive: Option<&Row>) -> Result<(), Error> {
        let actual = alive.map_or(0, |row| row.version);
        match self.expected_version {
            Some(expected) if expected != actual => Err(error::conflict(expected, actual)),
            _ => Ok(()),
        }
    }
}

fn expire(stored: Option<&Row>, due_ms: u64) -> Decision {
    let due = stored.filter(|row| row.due_ms == Some(due_ms));
    let next = if due.is_some() {
        Next::Delete
    } else {
        Next::Nothing
    };
    Decision {
        old: due.map(|row| row.doc.clone()),
        next,
        errors: Vec::new(),
    }
}

fn check_size(next: &Next, bytes_max: usize) -> Result<(), Error> {
    match next {
        Next::Put { doc, .. } if doc.text().len() > bytes_max => {
            Err(error::value_too_large(doc.text().len(), bytes_max))
        }
        _ => Ok(()),
    }
}
