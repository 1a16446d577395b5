//! What JavaScript wants done, as one text per batch.
//!
//! An order is a line of words, of which the first says what it is, and as many lines as it needs;
//! `ts/orders.ts` writes them. A line break ends a line because nothing that `JSON.stringify` has
//! written has one. An empty line in place of a payload stands for the bytes beside the text.

use std::sync::Arc;

use agentos_sdk::{
    Code, Error, Payload, Trace,
    mailbox::{Mailbox, Outgoing},
    protocol::Delivery,
};
use bytes::Bytes;
use serde::Deserialize;

/// What a call rarely has, as JSON.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Extras {
    /// The function's id, when it has a line break.
    function: Option<Arc<str>>,
    traceparent: Option<Arc<str>>,
    baggage: Option<Arc<str>>,
    /// JSON text.
    metadata: Option<Arc<str>>,
}

/// A batch of orders, read to its end.
pub(crate) struct Orders {
    /// Payloads are slices of it.
    text: Bytes,
    at: usize,
    binary: Option<Bytes>,
}

impl Orders {
    pub(crate) fn new(text: String, binary: Option<Bytes>) -> Self {
        Orders {
            text: text.into(),
            at: 0,
            binary,
        }
    }

    /// Does what they say, in their order.
    ///
    /// # Errors
    /// When a call that nobody waits for cannot be made: such a call is the last of its batch.
    pub(crate) fn carry_out(mut self, mailbox: &Mailbox) -> Result<(), Error> {
        let _together = mailbox.hold();
        while self.at < self.text.len() {
            let line = self.line()?;
            let mut words = text(&line)?.split(' ');
            let (order, id) = (words.next(), number(words.next())?);
            match order {
                Some("c") => {
                    let delivery = words.next().unwrap_or_default();
                    let timeout_ms = number(words.next())?;
                    let outgoing = self.outgoing(delivery, timeout_ms)?;
                    match outgoing.delivery {
                        Delivery::Void => mailbox.send(outgoing)?,
                        _ => mailbox.call(id, outgoing),
                    }
                }
                Some("r") => mailbox.reply(id, Ok(self.payload()?)),
                Some("f") => mailbox.reply(id, Err(failure(&self.line()?))),
                Some("x") => mailbox.cancel(id),
                Some("g") => {
                    mailbox.read(id, u32::try_from(number(words.next())?).unwrap_or(u32::MAX))
                }
                _ => return Err(garbled()),
            }
        }
        Ok(())
    }

    fn outgoing(&mut self, delivery: &str, timeout_ms: u64) -> Result<Outgoing, Error> {
        let function = self.line()?;
        let extras = self.line()?;
        let extras: Extras = if extras.is_empty() {
            Extras::default()
        } else {
            parse(&extras)?
        };
        let function = match extras.function {
            Some(function) => function,
            None => text(&function)?.into(),
        };
        Ok(Outgoing {
            function,
            payload: self.payload()?,
            timeout_ms: u32::try_from(timeout_ms).ok().filter(|ms| *ms > 0),
            delivery: match delivery {
                "r" => Delivery::Reply,
                "s" => Delivery::Stream,
                "v" => Delivery::Void,
                _ => return Err(garbled()),
            },
            trace: Trace {
                parent: extras.traceparent,
                baggage: extras.baggage,
            },
            metadata: extras.metadata,
        })
    }

    fn payload(&mut self) -> Result<Payload, Error> {
        let line = self.line()?;
        if line.is_empty() {
            return self.binary.take().map(Payload::binary).ok_or_else(garbled);
        }
        Ok(Payload::json(line))
    }

    fn line(&mut self) -> Result<Bytes, Error> {
        let rest = &self.text[self.at..];
        let length = memchr::memchr(b'\n', rest).ok_or_else(garbled)?;
        let line = self.text.slice(self.at..self.at + length);
        self.at += length + 1;
        Ok(line)
    }
}

fn number(word: Option<&str>) -> Result<u64, Error> {
    word.and_then(|word| word.parse().ok()).ok_or_else(garbled)
}

fn text(line: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(line).map_err(|_| garbled())
}

/// The error that a handler has thrown, whatever it made of the error's shape.
fn failure(line: &[u8]) -> Error {
    parse(line).unwrap_or_else(|why: Error| {
        let said = String::from_utf8_lossy(line);
        Error::worker(Code::Failed, format!("{said} ({})", why.message))
    })
}

fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(line)
        .map_err(|error| Error::caller(Code::InvalidInput, error.to_string()))
}

/// Both sides of the border are of one build: this does not happen.
fn garbled() -> Error {
    Error::worker(Code::Internal, "an order that the addon does not know")
}
