//! How messages lie in the store.
//!
//! A message is two records: a small head, which changes with every attempt and is what a start
//! reads, and its body, which is written once and read at delivery. A dead letter has a head of
//! another kind, with the last error.

use std::sync::Arc;

use agentos_sdk::{Encoding, Payload, Trace};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::name::Number;
use crate::storage::{self, Space};

/// Heads of messages that are to be delivered.
pub(super) const HEADS: Space = Space::new("queue-heads");

/// Heads of dead letters, numbered in the order in which they died.
pub(super) const DEAD: Space = Space::new("queue-dead");

/// Messages that wait on disk for a moment, by that moment.
pub(super) const DUE: Space = Space::new("queue-due");

/// Bodies, by the number the message was born with.
pub(super) const BODIES: Space = Space::new("queue-bodies");

/// Functions that have subscribed to topics: the prefix of the queue's keys.
pub(super) const SUBSCRIBERS: Space = Space::new("queue-subscribers");

/// Keys under which messages were enqueued once, as [`Kept`].
pub(super) const KEYS: Space = Space::new("queue-keys");

/// The same keys by when they are forgotten.
pub(super) const KEY_TERMS: Space = Space::new("queue-key-terms");

/// Queues and topics that deliver nothing for now.
pub(super) const PAUSED: Space = Space::new("queue-paused");

/// First byte of every record: tells later builds how to read the rest.
const FORMAT: u8 = 1;

/// Of heads. Those of format 1 end with the due time.
const HEAD_FORMAT: u8 = 2;

/// Longest error text kept with a dead letter.
const ERROR_BYTES_MAX: usize = 4096;

/// What is known of a message without its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// The receipt's UUID.
    pub(super) id: u128,
    /// Where the body lies.
    pub(super) body: Number,
    pub(super) payload_bytes: u64,
    /// Messages of one group are delivered one by one, if the queue keeps order. A digest.
    pub(super) group: u128,
    /// Attempts that have failed.
    pub(super) attempts: u32,
    /// Not before, in milliseconds since 1970; 0 is at once.
    pub(super) due_ms: u64,
    /// When it came, in milliseconds since 1970; 0 on disk when an older build wrote it.
    pub(super) born_ms: u64,
    /// Higher ones go first.
    pub(super) priority: u8,
    /// Attempts that ended because the worker was lost, and were not counted.
    pub(super) losses: u8,
}

impl Head {
    const BYTES_1: usize = 1 + 16 + 8 + 8 + 16 + 4 + 8;
    const BYTES: usize = Self::BYTES_1 + 8 + 1 + 1;

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        self.write(&mut bytes);
        bytes.freeze()
    }

    fn write(&self, to: &mut BytesMut) {
        to.put_u8(HEAD_FORMAT);
        to.put_u128(self.id);
        to.put_u64(self.body);
        to.put_u64(self.payload_bytes);
        to.put_u128(self.group);
        to.put_u32(self.attempts);
        to.put_u64(self.due_ms);
        to.put_u64(self.born_ms);
        to.put_u8(self.priority);
        to.put_u8(self.losses);
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, storage::Error> {
        Self::read(&mut bytes)
    }

    fn read(from: &mut &[u8]) -> Result<Self, storage::Error> {
        let is_whole = match from.first() {
            Some(&FORMAT) => from.len() >= Self::BYTES_1,
            Some(&HEAD_FORMAT) => from.len() >= Self::BYTES,
            _ => false,
        };
        if !is_whole {
            return Err(damaged("the head of a message has an unknown shape"));
        }
        let format = from.get_u8();
        let head = Head {
            id: from.get_u128(),
            body: from.get_u64(),
            payload_bytes: from.get_u64(),
            group: from.get_u128(),
            attempts: from.get_u32(),
            due_ms: from.get_u64(),
            ..Head::default()
        };
        if format == FORMAT {
            return Ok(head);
        }
        Ok(Head {
            born_ms: from.get_u64(),
            priority: from.get_u8(),
            losses: from.get_u8(),
            ..head
        })
    }
}

/// The head of a dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DeadLetter {
    pub(super) head: Head,
    /// Seconds since 1970.
    pub(super) failed_at: u64,
    /// The last error.
    pub(super) error: String,
}

impl DeadLetter {
    pub(super) fn new(head: Head, failed_at: u64, mut error: String) -> Self {
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        DeadLetter {
            head,
            failed_at,
            error,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Head::BYTES + 8 + self.error.len());
        self.head.write(&mut bytes);
        bytes.put_u64(self.failed_at);
        bytes.put_slice(self.error.as_bytes());
        bytes.freeze()
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, storage::Error> {
        let head = Head::read(&mut bytes)?;
        if bytes.len() < 8 {
            return Err(damaged("the head of a dead letter is cut short"));
        }
        let failed_at = bytes.get_u64();
        Ok(DeadLetter {
            head,
            failed_at,
            error: String::from_utf8_lossy(bytes).into_owned(),
        })
    }
}

/// What is known of a key under which a message was enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// The message's.
    pub(super) id: u128,
    /// Until then the same key is the same message, in milliseconds since 1970.
    pub(super) until_ms: u64,
}

impl Kept {
    const BYTES: usize = 1 + 16 + 8;

    pub(super) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        bytes.put_u8(FORMAT);
        bytes.put_u128(self.id);
        bytes.put_u64(self.until_ms);
        bytes.freeze()
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, storage::Error> {
        if bytes.len() < Self::BYTES || bytes.get_u8() != FORMAT {
            return Err(damaged("the key of a message has an unknown shape"));
        }
        Ok(Kept {
            id: bytes.get_u128(),
            until_ms: bytes.get_u64(),
        })
    }
}

/// What is delivered, and how.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Body {
    pub(super) envelope: Envelope,
    pub(super) payload: Payload,
}

/// Everything of a call but its payload. Copies of a topic name no function: their queue does.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traceparent: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) baggage: Option<Arc<str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) binary: bool,
}

impl Envelope {
    pub(super) fn trace(&self) -> Trace {
        Trace {
            parent: self.traceparent.clone(),
            baggage: self.baggage.clone(),
        }
    }

    pub(super) fn in_trace(mut self, trace: &Trace) -> Self {
        self.traceparent.clone_from(&trace.parent);
        self.baggage.clone_from(&trace.baggage);
        self
    }
}

impl Body {
    pub(super) fn new(envelope: Envelope, payload: Payload) -> Self {
        let binary = payload.encoding == Encoding::Binary;
        Body {
            envelope: Envelope { binary, ..envelope },
            payload,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let envelope =
            serde_json::to_vec(&self.envelope).expect("texts and a flag have a JSON form");
        let mut bytes = BytesMut::with_capacity(5 + envelope.len() + self.payload.len());
        bytes.put_u8(FORMAT);
        bytes.put_u32(u32::try_from(envelope.len()).expect("came in one message, so below 4 GiB"));
        bytes.put_slice(&envelope);
        bytes.put_slice(&self.payload.bytes);
        bytes.freeze()
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, storage::Error> {
        let unreadable = || damaged("the body of a message has an unknown shape");
        let mut rest = bytes.clone();
        if rest.len() < 5 || rest.get_u8() != FORMAT {
            return Err(unreadable());
        }
        let envelope_bytes = rest.get_u32() as usize;
        if rest.len() < envelope_bytes {
            return Err(unreadable());
        }
        let text = rest.split_to(envelope_bytes);
        let envelope: Envelope = serde_json::from_slice(&text).map_err(|_| unreadable())?;
        let payload = match envelope.binary {
            true => Payload::binary(rest),
            false => Payload::json(rest),
        };
        Ok(Body { envelope, payload })
    }
}

/// The key of a body.
pub(super) fn body_key(number: Number) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The key under which message `number` of a queue is found by its due time.
pub(super) fn due_key(prefix: &[u8], due_ms: u64, number: Number) -> Bytes {
    [prefix, &due_ms.to_be_bytes(), &number.to_be_bytes()]
        .concat()
        .into()
}

/// Reads what [`due_key`] wrote.
pub(super) fn parse_due_key(prefix: &[u8], key: &[u8]) -> Result<(u64, Number), storage::Error> {
    let rest = key.strip_prefix(prefix).unwrap_or_default();
    match (rest.first_chunk(), rest.last_chunk()) {
        (Some(due_ms), Some(number)) if rest.len() == 16 => {
            Ok((u64::from_be_bytes(*due_ms), Number::from_be_bytes(*number)))
        }
        _ => Err(damaged("the due time of a message has an unknown shape")),
    }
}

pub(super) fn damaged(what: &str) -> storage::Error {
    storage::Error::Damaged { what: what.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> impl Strategy<Value = Head> {
        let ids = (any::<u128>(), any::<u64>(), any::<u64>());
        let fate = (any::<u32>(), any::<u64>(), any::<u64>());
        let rank = (any::<u8>(), any::<u8>());
        (ids, any::<u128>(), fate, rank).prop_map(|(ids, group, fate, rank)| Head {
            id: ids.0,
            body: ids.1,
            payload_bytes: ids.2,
            group,
            attempts: fate.0,
            due_ms: fate.1,
            born_ms: fate.2,
            priority: rank.0,
            losses: rank.1,
        })
    }

    proptest! {
        #[test]
        fn heads_are_read_as_written(head in head(), failed_at: u64, error in ".{0,40}") {
            prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
            let letter = DeadLetter::new(head, failed_at, error);
            prop_assert_eq!(DeadLetter::decode(&letter.encode()), Ok(letter));
            let key = due_key(b"fa\0", head.due_ms, head.body);
            prop_assert_eq!(parse_due_key(b"fa\0", &key), Ok((head.due_ms, head.body)));
            let kept = Kept { id: head.id, until_ms: failed_at };
            prop_assert_eq!(Kept::decode(&kept.encode()), Ok(kept));
        }

        #[test]
        fn bodies_are_read_as_written(payload: Vec<u8>, binary: bool, text in proptest::option::of(".{1,20}")) {
            let text: Option<Arc<str>> = text.map(Into::into);
            let envelope = Envelope {
                function: text.clone(),
                metadata: text.clone(),
                baggage: text,
                ..Envelope::default()
            };
            let payload = if binary { Payload::binary(payload) } else { Payload::json(payload) };
            let body = Body::new(envelope, payload);
            prop_assert_eq!(Body::decode(&body.encode()), Ok(body));
        }

        #[test]
        fn anything_else_is_damage_and_no_panic(bytes: Vec<u8>) {
            let _ = parse_due_key(b"f", &bytes);
            let _ = (Kept::decode(&bytes), Head::decode(&bytes), DeadLetter::decode(&bytes), Body::decode(&bytes.into()));
        }
    }

    #[test]
    fn heads_of_the_first_format_are_read() {
        let mut bytes = Head {
            id: 7,
            due_ms: 9,
            ..Head::default()
        }
        .encode()
        .to_vec();
        bytes.truncate(Head::BYTES_1);
        bytes[0] = FORMAT;
        let head = Head::decode(&bytes).unwrap();
        assert_eq!((head.id, head.due_ms, head.born_ms), (7, 9, 0));
        bytes[0] = HEAD_FORMAT;
        assert!(Head::decode(&bytes).is_err());
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let letter = DeadLetter::new(Head::default(), 0, "ä".repeat(ERROR_BYTES_MAX));
        assert_eq!(letter.error.len(), ERROR_BYTES_MAX);
        let letter = DeadLetter::new(
            Head::default(),
            0,
            format!("x{}", "ä".repeat(ERROR_BYTES_MAX)),
        );
        assert_eq!(letter.error.len(), ERROR_BYTES_MAX - 1);
    }
}
