//! What a queue is called, and where its records lie.
//!
//! A key is the queue's name, in parts that end with a zero byte, then eight bytes of number; so
//! the messages of a queue are one range, in order.

use std::{fmt, sync::Arc};

use agentos_sdk::{Code, Error};
use bytes::Bytes;

use super::record::damaged;
use crate::storage;

/// Place of a message: rising over all queues, in order of arrival within one.
pub(super) type Number = u64;

/// Longest name of a queue or topic, in UTF-8.
pub(super) const NAME_BYTES_MAX: usize = 512;

/// Ends a part of a name; parts cannot contain it.
const END: char = '\0';

/// The name of one queue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Name {
    /// A function queue: its messages say which function they are for.
    Function(Arc<str>),
    /// The copies of a topic that one function gets. Without a namespace: the default one.
    Subscriber {
        topic: Arc<str>,
        function: Arc<str>,
        namespace: Option<Arc<str>>,
    },
    /// What was published to a topic before anybody subscribed.
    Waiting(Arc<str>),
}

impl Name {
    /// What the keys of the queue's records begin with.
    pub(super) fn prefix(&self) -> Bytes {
        let text = match self {
            Name::Function(name) => format!("f{name}{END}"),
            Name::Waiting(topic) => format!("w{topic}{END}"),
            Name::Subscriber {
                topic,
                function,
                namespace,
            } => {
                let namespace = namespace.as_deref().unwrap_or_default();
                format!("s{topic}{END}{namespace}{END}{function}{END}")
            }
        };
        text.into()
    }

    /// Reads what [`Name::prefix`] wrote.
    pub(super) fn parse(prefix: &[u8]) -> Result<Self, storage::Error> {
        let unreadable = || damaged("a key names no queue");
        let text = str::from_utf8(prefix).map_err(|_| unreadable())?;
        let text = text.strip_suffix(END).ok_or_else(unreadable)?;
        let kind = text.chars().next().ok_or_else(unreadable)?;
        let parts: Vec<&str> = text[kind.len_utf8()..].split(END).collect();
        match (kind, &parts[..]) {
            ('f', [name]) => Ok(Name::Function((*name).into())),
            ('w', [topic]) => Ok(Name::Waiting((*topic).into())),
            ('s', [topic, namespace, function]) => Ok(Name::Subscriber {
                topic: (*topic).into(),
                function: (*function).into(),
                namespace: (!namespace.is_empty()).then(|| (*namespace).into()),
            }),
            _ => Err(unreadable()),
        }
    }

    pub(super) fn topic(&self) -> Option<&Arc<str>> {
        match self {
            Name::Function(_) => None,
            Name::Subscriber { topic, .. } | Name::Waiting(topic) => Some(topic),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Function(name) | Name::Waiting(name) => f.write_str(name),
            Name::Subscriber {
                topic, function, ..
            } => write!(f, "{topic}::{function}"),
        }
    }
}

/// The key of a record in the queue whose keys begin with `prefix`.
pub(super) fn key(prefix: &[u8], number: Number) -> Bytes {
    [prefix, &number.to_be_bytes()].concat().into()
}

/// Reads a key: which queue's, and which number.
pub(super) fn parse_key(key: &[u8]) -> Result<(&[u8], Number), storage::Error> {
    let (prefix, number) = key
        .split_last_chunk()
        .ok_or_else(|| damaged("a key of a queue is too short"))?;
    Ok((prefix, Number::from_be_bytes(*number)))
}

/// Is `text` usable as the name of a topic?
///
/// # Errors
/// `invalid_input` that says why not.
pub(super) fn check(what: &str, text: &str) -> Result<(), Error> {
    if text.len() > NAME_BYTES_MAX || text.contains(END) {
        let message = format!("{what} has at most {NAME_BYTES_MAX} bytes and no zero character");
        return Err(Error::caller(Code::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        let names = [
            Name::Function("default".into()),
            Name::Waiting("a::b".into()),
            Name::Subscriber {
                topic: "a::b".into(),
                function: "c".into(),
                namespace: None,
            },
            Name::Subscriber {
                topic: "a".into(),
                function: "b::c".into(),
                namespace: Some("shop".into()),
            },
        ];
        let mut prefixes: Vec<Bytes> = names.iter().map(Name::prefix).collect();
        for (name, prefix) in names.iter().zip(&prefixes) {
            assert_eq!(Name::parse(prefix).as_ref(), Ok(name));
            let key = key(prefix, 7);
            assert_eq!(parse_key(&key), Ok((&prefix[..], 7)));
        }
        prefixes.sort();
        prefixes.dedup();
        assert_eq!(prefixes.len(), names.len());
    }

    #[test]
    fn foreign_keys_are_damage() {
        for key in ["", "x", "f", "fa", "sa\0b\0", "za\0"] {
            assert!(Name::parse(key.as_bytes()).is_err(), "{key:?}");
        }
        assert!(parse_key(b"short").is_err());
    }
}
