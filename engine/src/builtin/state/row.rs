//! How values lie in the store: where, and in which shape.
//!
//! A value's key in the store is its scope, a zero byte, its key; so a scope is one range, scopes
//! come sorted, and a prefix of keys is a range too. Values with a term also have an entry in a
//! second space, ordered by when they are due.

use agentos_sdk::{Code, Error};
use bytes::{BufMut, Bytes, BytesMut};

use super::config::Config;
use crate::{
    builtin::document::Doc,
    storage::{self, Record, Space, Version},
};

/// Values.
pub(super) const VALUES: Space = Space::new("state");

/// When values are due: 8 bytes of milliseconds, big endian, then the value's key in [`VALUES`].
pub(super) const TERMS: Space = Space::new("state-terms");

/// Ends a scope; scopes cannot contain it.
const END: u8 = 0;

/// First byte of a stored value: JSON text follows at once, or behind 8 bytes of due time.
const PLAIN: u8 = 0;
const WITH_TERM: u8 = 1;

/// The name of one value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Address {
    bytes: Bytes,
    scope_bytes: usize,
}

impl Address {
    /// # Errors
    /// `invalid_input` when scope or key is too long, or the scope has a zero character.
    pub(super) fn new(scope: &str, key: &str, config: &Config) -> Result<Self, Error> {
        check_scope(scope, config)?;
        check_length("key", key, config.key_bytes_max)?;
        let mut bytes = Vec::with_capacity(scope.len() + 1 + key.len());
        bytes.extend_from_slice(scope.as_bytes());
        bytes.push(END);
        bytes.extend_from_slice(key.as_bytes());
        Ok(Address {
            bytes: bytes.into(),
            scope_bytes: scope.len(),
        })
    }

    /// Reads a key of [`VALUES`].
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, storage::Error> {
        let end = bytes.iter().position(|byte| *byte == END);
        match (end, str::from_utf8(bytes)) {
            (Some(scope_bytes), Ok(_)) => Ok(Address {
                bytes: bytes.clone(),
                scope_bytes,
            }),
            _ => Err(damaged("a key of the state is no scope and key")),
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn scope(&self) -> &str {
        self.text(0, self.scope_bytes)
    }

    pub(super) fn key(&self) -> &str {
        self.text(self.scope_bytes + 1, self.bytes.len())
    }

    fn text(&self, from: usize, to: usize) -> &str {
        str::from_utf8(&self.bytes[from..to]).expect("made of text, or checked by parse")
    }

    /// The first place behind everything in this scope.
    pub(super) fn behind_scope(&self) -> Vec<u8> {
        [self.scope().as_bytes(), &[END + 1]].concat()
    }
}

fn check_scope(scope: &str, config: &Config) -> Result<(), Error> {
    check_length("scope", scope, config.scope_bytes_max)?;
    if scope.as_bytes().contains(&END) {
        return Err(Error::caller(
            Code::InvalidInput,
            "scope contains a zero character",
        ));
    }
    Ok(())
}

fn check_length(what: &str, text: &str, bytes_max: usize) -> Result<(), Error> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let message = format!(
        "{what} has {} bytes; at most {bytes_max} are possible",
        text.len()
    );
    Err(Error::caller(Code::InvalidInput, message))
}

/// A value as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) version: Version,
    pub(super) doc: Doc,
    /// When the value is to be forgotten, in milliseconds since 1970.
    pub(super) due_ms: Option<u64>,
}

impl Row {
    pub(super) fn decode(record: &Record) -> Result<Self, storage::Error> {
        let (due_ms, text) = match record.value.split_first() {
            Some((&PLAIN, text)) => (None, text),
            Some((&WITH_TERM, rest)) => {
                let (due, text) = rest.split_first_chunk().ok_or_else(unreadable)?;
                (Some(u64::from_be_bytes(*due)), text)
            }
            _ => return Err(unreadable()),
        };
        let doc = Doc::parse(text).map_err(|_| unreadable())?;
        Ok(Row {
            version: record.version,
            doc,
            due_ms,
        })
    }

    /// False when the value's term has passed: then it only waits to be swept.
    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        self.due_ms.is_none_or(|due| now_ms < due)
    }
}

pub(super) fn encode(doc: &Doc, due_ms: Option<u64>) -> Bytes {
    let text = doc.text().as_bytes();
    let mut bytes = BytesMut::with_capacity(9 + text.len());
    match due_ms {
        None => bytes.put_u8(PLAIN),
        Some(due) => {
            bytes.put_u8(WITH_TERM);
            bytes.put_u64(due);
        }
    }
    bytes.put_slice(text);
    bytes.freeze()
}

/// The key in [`TERMS`] of a value that is due at `due_ms`.
pub(super) fn term_key(due_ms: u64, address: &Address) -> Bytes {
    [&due_ms.to_be_bytes()[..], address.bytes()].concat().into()
}

/// Reads a key of [`TERMS`].
pub(super) fn parse_term_key(bytes: &Bytes) -> Result<(u64, Address), storage::Error> {
    let (due, _) = bytes.split_first_chunk().ok_or_else(unreadable)?;
    Ok((
        u64::from_be_bytes(*due),
        Address::parse(&bytes.slice(due.len()..))?,
    ))
}

fn unreadable() -> storage::Error {
    damaged("a value of the state has an unknown shape")
}

pub(super) fn damaged(what: &str) -> storage::Error {
    storage::Error::Damaged { what: what.into() }
}
