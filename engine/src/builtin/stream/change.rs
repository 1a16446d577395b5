//! What a write does to an item, and what is told of it: plain functions, no store and no clock.

use agentos_sdk::Error;

use super::{error, frame::Body};
use crate::{
    builtin::document::{self, Doc, Op, OpError, ops},
    storage::Version,
};

/// A write of one item.
pub(super) enum Change {
    Set(Doc),
    Delete,
    Update(Steps),
}

/// Steps of an update: as they came, for providers, and as they were understood.
pub(super) struct Steps {
    pub(super) written: Vec<Op>,
    checked: Vec<ops::Step>,
}

impl Steps {
    /// # Errors
    /// `invalid_input` naming the step that cannot be understood.
    pub(super) fn check(written: Vec<Op>) -> Result<Self, Error> {
        let checked = ops::check(written.clone())?;
        Ok(Steps { written, checked })
    }

    /// # Errors
    /// When a document nests too deeply to be changed.
    pub(super) fn apply(&self, old: Option<&Doc>) -> Result<(Doc, Vec<OpError>), Error> {
        document::update(old, &self.checked)
    }
}

/// What became of a write.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) old: Option<Doc>,
    pub(super) new: Option<Doc>,
    pub(super) errors: Vec<OpError>,
    /// Of the write; `None` when nothing was written, or by a provider.
    pub(super) version: Option<Version>,
}

impl Done {
    /// What subscribers hear; nothing when there was nothing, and is nothing.
    pub(super) fn told(&self) -> Option<Body<'_>> {
        match (&self.old, &self.new) {
            (None, None) => None,
            (None, Some(data)) => Some(Body::Create { data }),
            (Some(_), Some(data)) => Some(Body::Update { data }),
            (Some(data), None) => Some(Body::Delete { data }),
        }
    }
}

impl Change {
    /// The item after, and the steps that were skipped.
    ///
    /// # Errors
    /// `payload_too_large` when the item would be.
    pub(super) fn apply(
        &self,
        old: Option<&Doc>,
        bytes_max: usize,
    ) -> Result<(Option<Doc>, Vec<OpError>), Error> {
        let (new, errors) = match self {
            Change::Set(doc) => (Some(doc.clone()), Vec::new()),
            Change::Delete => (None, Vec::new()),
            Change::Update(steps) => {
                let (doc, errors) = steps.apply(old)?;
                (Some(doc), errors)
            }
        };
        match new.as_ref().map(|doc| doc.text().len()) {
            Some(bytes) if bytes > bytes_max => Err(error::value_too_large(bytes, bytes_max)),
            _ => Ok((new, errors)),
        }
    }
}
