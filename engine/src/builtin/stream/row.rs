//! How items lie in the store.
//!
//! An item's key is its stream, a zero byte, its group, a zero byte, its id; so a group is one
//! range, a stream is one, and groups come sorted.

use agentos_sdk::{Code, Error};
use bytes::Bytes;

use super::config::Config;
use crate::{
    builtin::document::Doc,
    storage::{self, Record, Space},
};

/// Items.
pub(super) const ITEMS: Space = Space::new("stream");

/// Ends a name; names cannot contain it.
const END: u8 = 0;

/// A group, or one item in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) stream: &'a str,
    pub(super) group: &'a str,
    pub(super) item: Option<&'a str>,
}

impl Place<'_> {
    /// # Errors
    /// `invalid_input` when a name is too long, or has a zero character.
    pub(super) fn check(&self, config: &Config) -> Result<(), Error> {
        check_name("stream_name", self.stream, config.name_bytes_max)?;
        check_name("group_id", self.group, config.name_bytes_max)?;
        let item = self.item.unwrap_or_default();
        check_length("item_id", item, config.item_id_bytes_max)
    }
}

/// The name of one item.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Address {
    bytes: Bytes,
    stream_bytes: usize,
    group_bytes: usize,
}

impl Address {
    /// # Errors
    /// As [`Place::check`].
    pub(super) fn new(
        stream: &str,
        group: &str,
        item: &str,
        config: &Config,
    ) -> Result<Self, Error> {
        let place = Place {
            stream,
            group,
            item: Some(item),
        };
        place.check(config)?;
        let parts: [&[u8]; 5] = [
            stream.as_bytes(),
            &[END],
            group.as_bytes(),
            &[END],
            item.as_bytes(),
        ];
        Ok(Address {
            bytes: parts.concat().into(),
            stream_bytes: stream.len(),
            group_bytes: group.len(),
        })
    }

    /// Reads a key of [`ITEMS`].
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, storage::Error> {
        let mut ends = (0..bytes.len()).filter(|at| bytes[*at] == END);
        match (ends.next(), ends.next(), str::from_utf8(bytes)) {
            (Some(stream), Some(group), Ok(_)) => Ok(Address {
                bytes: bytes.clone(),
                stream_bytes: stream,
                group_bytes: group - stream - 1,
            }),
            _ => Err(damaged("a key of the streams names no item")),
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn stream(&self) -> &str {
        self.text(0, self.stream_bytes)
    }

    pub(super) fn group(&self) -> &str {
        let start = self.stream_bytes + 1;
        self.text(start, start + self.group_bytes)
    }

    pub(super) fn item(&self) -> &str {
        self.text(self.stream_bytes + self.group_bytes + 2, self.bytes.len())
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            stream: self.stream(),
            group: self.group(),
            item: Some(self.item()),
        }
    }

    fn text(&self, from: usize, to: usize) -> &str {
        str::from_utf8(&self.bytes[from..to]).expect("made of text, or checked by parse")
    }

    /// The first place behind everything in this group.
    pub(super) fn behind_group(&self) -> Vec<u8> {
        let group = self.stream_bytes + 1 + self.group_bytes;
        [&self.bytes[..group], &[END + 1]].concat()
    }
}

/// What all keys of a stream begin with.
pub(super) fn stream_prefix(stream: &str) -> Vec<u8> {
    [stream.as_bytes(), &[END]].concat()
}

fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<(), Error> {
    check_length(what, name, bytes_max)?;
    if name.as_bytes().contains(&END) {
        let message = format!("{what} contains a zero character");
        return Err(Error::caller(Code::InvalidInput, message));
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

/// An item is stored as its JSON text.
pub(super) fn encode(doc: &Doc) -> Bytes {
    Bytes::copy_from_slice(doc.text().as_bytes())
}

pub(super) fn decode(record: &Record) -> Result<Doc, storage::Error> {
    Doc::parse(&record.value).map_err(|_| damaged("an item of a stream is no JSON"))
}

fn damaged(what: &str) -> storage::Error {
    storage::Error::Damaged { what: what.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn addresses_are_read_as_they_were_made(stream in "[^\0]{0,9}", group in "[^\0]{0,9}", item in ".{0,9}") {
            let address = Address::new(&stream, &group, &item, &Config::default()).unwrap();
            let read = Address::parse(address.bytes()).unwrap();
            prop_assert_eq!(&read, &address);
            prop_assert_eq!((read.stream(), read.group(), read.item()), (&stream[..], &group[..], &item[..]));
        }

        #[test]
        fn a_group_ends_before_the_next(groups in prop::collection::vec("[^\0]{0,4}", 2), item in ".{0,4}") {
            let [first, second] = &groups[..] else { unreachable!() };
            prop_assume!(first < second);
            let [first, second] = [first, second].map(|group| Address::new("s", group, &item, &Config::default()).unwrap());
            let behind = first.behind_group();
            prop_assert!(first.bytes()[..] < behind[..] && behind[..] <= second.bytes()[..]);
        }
    }

    #[test]
    fn names_have_limits() {
        let config = Config {
            name_bytes_max: 3,
            item_id_bytes_max: 4,
            ..Config::default()
        };
        for (stream, group, item, fits) in [
            ("abc", "abc", "abcd", true),
            ("", "", "", true),
            ("abc", "abc", "a\0b", true),
            ("abcd", "", "", false),
            ("", "abcd", "", false),
            ("", "", "abcde", false),
            ("a\0", "", "", false),
            ("", "\0", "", false),
        ] {
            let made = Address::new(stream, group, item, &config);
            assert_eq!(made.is_ok(), fits, "{stream:?} {group:?} {item:?}");
        }
    }
}
