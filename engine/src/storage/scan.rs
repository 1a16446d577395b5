//! A walk over the keys of one space, page by page.

use bytes::Bytes;

use super::{Record, Space};

/// Records per page unless asked otherwise.
const LIMIT_DEFAULT: usize = 1000;

/// Bytes of keys and values per page: a page never costs more memory than a large message.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Which records to read: from `start` up to, not including, `end`.
#[derive(Clone, Debug)]
pub struct Scan {
    pub(super) space: Space,
    pub(super) start: Bytes,
    pub(super) end: Option<Bytes>,
    pub(super) limit: usize,
    pub(super) bytes_max: usize,
}

/// A record with its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub key: Bytes,
    pub record: Record,
}

/// Records in key order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// True when the page ended before the range did.
    pub more: bool,
}

impl Scan {
    /// Everything in `space`.
    pub fn all(space: Space) -> Self {
        let (start, end) = (Bytes::new(), None);
        Scan {
            space,
            start,
            end,
            limit: LIMIT_DEFAULT,
            bytes_max: PAGE_BYTES_MAX,
        }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(space: Space, prefix: &[u8]) -> Self {
        let start = Bytes::copy_from_slice(prefix);
        Scan {
            start,
            end: successor(prefix),
            ..Self::all(space)
        }
    }

    /// Only keys at or behind `key`.
    pub fn starting_at(mut self, key: &[u8]) -> Self {
        if key > &self.start[..] {
            self.start = Bytes::copy_from_slice(key);
        }
        self
    }

    /// Only keys behind `key`: the next page of a walk.
    pub fn after(self, key: &[u8]) -> Self {
        let next = [key, &[0]].concat();
        self.starting_at(&next)
    }

    /// Only keys before `key`.
    pub fn before(mut self, key: &[u8]) -> Self {
        if self.end.as_ref().is_none_or(|end| key < &end[..]) {
            self.end = Some(Bytes::copy_from_slice(key));
        }
        self
    }

    /// At most `records`, at least one.
    pub fn limit(mut self, records: usize) -> Self {
        self.limit = records.max(1);
        self
    }

    /// True when no key can be in the range.
    pub(super) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end <= &self.start)
    }

    /// An empty page of this walk, to be filled with what is in its range, in order.
    pub(super) fn filling(&self) -> Filling {
        Filling {
            page: Page::default(),
            room: self.limit,
            bytes_left: self.bytes_max,
        }
    }
}

/// A page that is being filled.
pub(super) struct Filling {
    pub(super) page: Page,
    room: usize,
    bytes_left: usize,
}

impl Filling {
    /// Asked when there is one more record: true when that one belongs to the next page.
    pub(super) fn is_full(&mut self) -> bool {
        self.page.more = self.room == 0 || self.bytes_left == 0;
        self.page.more
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let bytes = entry.key.len() + entry.record.value.len();
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.room -= 1;
        self.page.entries.push(entry);
    }
}

/// The first key behind all that begin with `prefix`; `None` when there is no such key.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}
