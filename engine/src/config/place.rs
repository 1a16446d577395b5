//! One place in a settings file: what stands there, read as a type, and faults that name it.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

use super::{Document, Error, document::Key, node::Value};

/// A place, which need not be there.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    document: &'a Document,
    keys: Vec<Key>,
}

impl<'a> Place<'a> {
    pub(super) fn root(document: &'a Document) -> Self {
        Place {
            document,
            keys: Vec::new(),
        }
    }

    /// What stands here under `key`.
    pub(super) fn at(&self, key: &str) -> Self {
        self.step(Key::Name(key.to_owned()))
    }

    /// The item `index` of the list that stands here.
    pub(super) fn item(&self, index: usize) -> Self {
        self.step(Key::Index(index))
    }

    fn step(&self, key: Key) -> Self {
        let keys = self.keys.iter().cloned().chain([key]).collect();
        Place { keys, ..*self }
    }

    /// Something stands here, if only the key.
    pub(super) fn is_there(&self) -> bool {
        self.document.node(&self.keys).is_some()
    }

    /// Something stands here that says something.
    pub(super) fn says_something(&self) -> bool {
        let node = self.document.node(&self.keys);
        node.is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// The line of what stands here, or of the nearest thing around it that does.
    pub(super) fn line(&self) -> u32 {
        let around = (0..=self.keys.len()).rev();
        let mut nodes = around.filter_map(|depth| self.document.node(&self.keys[..depth]));
        nodes.next().map_or(1, |node| node.line)
    }

    pub(super) fn has_keys(&self) -> bool {
        let node = self.document.node(&self.keys);
        node.is_some_and(|node| matches!(node.value, Value::Map(_)))
    }

    pub(super) fn is_root(&self) -> bool {
        self.keys.is_empty()
    }

    /// What stands here as `T`; what is absent reads like an empty section.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.document.read_keys(&self.keys)
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        self.document.fault(&self.keys, message.into())
    }

    /// Refuses a `value`, which stands here under `key`, that is out of range.
    pub(super) fn within(
        &self,
        key: &str,
        value: u64,
        range: RangeInclusive<u64>,
    ) -> Result<(), Error> {
        if range.contains(&value) {
            return Ok(());
        }
        let message = format!(
            "{value} is out of range; expected {} to {}",
            range.start(),
            range.end()
        );
        Err(self.at(key).error(message))
    }

    /// Refuses a share that is none.
    pub(super) fn share(&self, key: &str, value: f64) -> Result<(), Error> {
        match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(self
                .at(key)
                .error(format!("{value} is out of range; expected 0 to 1"))),
        }
    }
}
