//! What is asked of every queue that is measured; and the queue of the engine.

use anyhow::Result;

use crate::{
    dialect::{self, Dialect, End, Place, v2::V2},
    link::Link,
};
use agentos_protocol::{Call, CallRef, Delivery, Frame, Payload, codec::v2::encode};
use bytes::Bytes;

/// What came.
pub(crate) enum Heard<'a> {
    /// A message of ours is on disk.
    Receipt { good: bool },
    /// A message to be consumed, and what an acknowledgement names it with.
    Message(&'a [u8]),
}

/// Writes what is heard, and what must be said in return.
pub(crate) type Hear<'h> = &'h mut dyn FnMut(Heard<'_>, &mut Vec<u8>);

pub(crate) trait Broker: Clone + 'static {
    /// Makes the queue. The connection consumes from it, if that is wanted; else nobody does.
    async fn open(&self, address: &str, consume: bool) -> Result<Link>;
    /// What speaks for the producer of this number.
    fn producer(&self, index: usize) -> Self;
    async fn connect(&self, address: &str, index: usize) -> Result<Link>;
    /// The bytes that put a message on the queue.
    fn message(&self, payload: &[u8]) -> Result<Vec<u8>>;
    /// Reads one frame at the beginning of `input`, if it is there as a whole; its length.
    fn read(&self, input: &[u8], out: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>>;
    fn acknowledge(&self, message: &[u8], out: &mut Vec<u8>);
    /// After `taken` messages were acknowledged.
    fn ask_for_more(&self, _out: &mut Vec<u8>, _taken: u64) {}
}

/// The function whose calls are enqueued.
pub(crate) const SINK: &str = "bench::sink";

/// A client and its place.
pub(crate) fn end(role: &'static str, index: usize) -> End {
    End::new(role, index)
}

pub(crate) fn place(address: &str) -> Place {
    Place {
        address: address.to_owned(),
        bare: false,
    }
}

/// As all dialects are read.
pub(crate) fn read_dialect<D: Dialect>(
    dialect: &D,
    input: &[u8],
    out: &mut Vec<u8>,
    hear: Hear<'_>,
) -> Result<Option<usize>> {
    let Some((length, heard)) = dialect.parse(input)? else {
        return Ok(None);
    };
    match heard {
        dialect::Heard::Reply { good, .. } => hear(Heard::Receipt { good }, out),
        dialect::Heard::Call { reply_to, .. } => hear(Heard::Message(reply_to), out),
        dialect::Heard::Ping(ping) => dialect.pong(ping, out),
        dialect::Heard::Other(_) => {}
    }
    Ok(Some(length))
}

/// Asks for one thing and waits for the answer.
pub(crate) async fn ask<D: Dialect>(
    dialect: &D,
    link: &mut Link,
    function: &str,
    input: &[u8],
) -> Result<()> {
    let question = dialect.call(function, input, false)?;
    dialect.write_call(&question, 1, &mut link.outgoing.bytes);
    dialect
        .wait_for(link, |heard| {
            matches!(heard, dialect::Heard::Reply { good: true, .. })
        })
        .await
}

impl Broker for V2 {
    async fn open(&self, address: &str, consume: bool) -> Result<Link> {
        let mut end = end("consumer", 0);
        if consume {
            end.offers.push(SINK.to_owned());
        }
        let mut link = Dialect::open(self, &place(address), &end).await?;
        if !consume {
            ask(self, &mut link, "queue::pause", br#"{"queue":"default"}"#).await?;
        }
        Ok(link)
    }

    fn producer(&self, _index: usize) -> Self {
        V2::default()
    }

    async fn connect(&self, address: &str, index: usize) -> Result<Link> {
        Dialect::open(self, &place(address), &end("producer", index)).await
    }

    fn message(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let payload = Payload::json(Bytes::copy_from_slice(payload));
        let mut call = Call::new(Some(CallRef::Number(1)), SINK, payload);
        call.delivery = Delivery::Enqueue("default".into());
        let body = encode(&Frame::Call(Box::new(call)))?;
        let mut bytes = Vec::new();
        crate::websocket::message(crate::websocket::BINARY, &body, &mut bytes);
        Ok(bytes)
    }

    fn read(&self, input: &[u8], out: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>> {
        read_dialect(self, input, out, hear)
    }

    fn acknowledge(&self, message: &[u8], out: &mut Vec<u8>) {
        self.answer(message, None, out);
    }
}
