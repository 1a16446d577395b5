//! Messages out of the bytes that a socket gives.
//!
//! A session that has nothing to say holds no buffer: all sessions of a thread read into the same
//! one, and keep only the piece of a frame that has come too short. A large message is collected
//! in memory of its own, which its payload then shares.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use agentos_protocol::codec::BODY_BYTES_MIN;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::framing::{Header, Opcode, Role, mask};

/// Bytes that are read in one go. As much as a socket buffer of Linux holds by default.
const READ_BYTES: usize = 128 << 10;

/// What a large message is given at once, whatever it announces: the rest as it comes.
const ANNOUNCED_BYTES_MAX: usize = 1 << 20;

const NOT_UTF8: Fault = Fault::Protocol(1007, "a text message is not UTF-8");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8, checked.
    Text,
    Binary,
}

/// A message as it came in.
#[derive(Debug)]
pub struct Incoming<'a> {
    pub kind: Kind,
    body: Body<'a>,
}

/// In the buffer that everything is read into, or in memory of its own.
#[derive(Debug)]
enum Body<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    OwnText(Utf8Bytes),
    OwnBinary(Bytes),
}

impl Incoming<'_> {
    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Text(text) => text.as_bytes(),
            Body::Binary(bytes) => bytes,
            Body::OwnText(text) => text.as_bytes(),
            Body::OwnBinary(bytes) => bytes,
        }
    }

    /// What the bytes are a part of, when that can be shared.
    pub fn owner(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Text(_) | Body::Binary(_) => None,
            Body::OwnText(text) => Some(text.as_ref()),
            Body::OwnBinary(bytes) => Some(bytes),
        }
    }

    /// The text, of a text message.
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            Body::OwnText(text) => Some(text.as_str()),
            Body::Binary(_) | Body::OwnBinary(_) => None,
        }
    }

    /// The bytes, shared if possible, else copied.
    pub fn to_bytes(&self) -> Bytes {
        match self.owner() {
            Some(bytes) => bytes.clone(),
            None => Bytes::copy_from_slice(self.bytes()),
        }
    }
}

impl<'a> Body<'a> {
    fn borrowed(kind: Kind, bytes: &'a [u8]) -> Result<Self, Fault> {
        match kind {
            Kind::Text => std::str::from_utf8(bytes)
                .map(Body::Text)
                .map_err(|_| NOT_UTF8),
            Kind::Binary => Ok(Body::Binary(bytes)),
        }
    }

    fn own(kind: Kind, bytes: Bytes) -> Result<Self, Fault> {
        match kind {
            Kind::Text => Utf8Bytes::try_from(bytes)
                .map(Body::OwnText)
                .map_err(|_| NOT_UTF8),
            Kind::Binary => Ok(Body::OwnBinary(bytes)),
        }
    }
}

/// What a frame meant.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    Message(Incoming<'a>),
    Ping(&'a [u8]),
    Pong,
    /// The code, if one was given.
    Close(Option<u16>),
}

/// Why reading cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Io(String),
    /// The other side closed the connection without a word.
    Eof,
    /// A message larger than allowed: so many bytes at least.
    TooLarge(u64),
    /// Against the protocol; the close code that says so, and what it was.
    Protocol(u16, &'static str),
}

/// What one [`Reader::poll_read`] came to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Something was read; there may be more.
    More,
    /// `heard` wanted to stop.
    Stop,
}

/// See the module.
pub(crate) struct Reader {
    role: Role,
    /// Of a message. May be raised when it is known who speaks.
    bytes_max: Arc<AtomicUsize>,
    /// The beginning of a frame.
    rest: Vec<u8>,
    message: Option<Collected>,
}

/// A message that is not all there.
struct Collected {
    kind: Kind,
    /// Zeroed where nothing has come yet: each byte once, not before each read.
    bytes: BytesMut,
    /// Bytes that have come.
    come: usize,
    /// Of the frame that is coming in; 0 between two fragments.
    missing: usize,
    mask: [u8; 4],
    frame_at: usize,
    is_last: bool,
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Reader {
    /// Takes messages of at most `bytes_max`. `first`: what came with the handshake.
    pub(crate) fn new(role: Role, bytes_max: Arc<AtomicUsize>, first: Vec<u8>) -> Self {
        Reader {
            role,
            bytes_max,
            rest: first,
            message: None,
        }
    }

    /// Reads once and tells `heard` of everything that is complete, until it returns false.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        context: &mut Context<'_>,
        heard: &mut impl FnMut(Heard<'_>) -> bool,
    ) -> Poll<Result<Turn, Fault>> {
        if self
            .message
            .as_ref()
            .is_some_and(|message| message.missing >= BODY_BYTES_MIN)
        {
            return self.poll_collect(socket, context, heard);
        }
        // Taken out, so that whoever is called back may read as well.
        let mut buffer = BUFFER.take();
        buffer.resize(READ_BYTES.max(self.rest.len() + READ_BYTES / 2), 0);
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        let mut read = ReadBuf::new(&mut buffer[kept..]);
        let outcome = match Pin::new(socket).poll_read(context, &mut read) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(io_fault(&error))),
            Poll::Ready(Ok(())) if read.filled().is_empty() => Poll::Ready(Err(Fault::Eof)),
            Poll::Ready(Ok(())) => {
                let end = kept + read.filled().len();
                self.rest.clear();
                Poll::Ready(self.take(&mut buffer[..end], heard))
            }
        };
        BUFFER.set(buffer);
        outcome
    }

    /// Tells of what came with the handshake.
    pub(crate) fn take_first(
        &mut self,
        heard: &mut impl FnMut(Heard<'_>) -> bool,
    ) -> Result<Turn, Fault> {
        let mut first = std::mem::take(&mut self.rest);
        self.take(&mut first, heard)
    }

    /// Bytes of memory that are held for what has not come whole.
    pub(crate) fn give_back(&mut self) {
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }

    fn take(
        &mut self,
        mut bytes: &mut [u8],
        heard: &mut impl FnMut(Heard<'_>) -> bool,
    ) -> Result<Turn, Fault> {
        loop {
            if let Some(message) = &mut self.message
                && message.missing > 0
            {
                let (mine, rest) = bytes.split_at_mut(message.missing.min(bytes.len()));
                message.add(mine);
                bytes = rest;
                if !self.finish_frame(heard)? {
                    return Ok(Turn::Stop);
                }
            }
            let header =
                Header::parse(bytes, self.role).map_err(|why| Fault::Protocol(1002, why))?;
            let Some(header) = header else { break };
            self.admit(&header)?;
            let (head, body) = bytes.split_at_mut(header.bytes);
            // It fits: `admit` has compared it with a `usize`.
            let len = header.len as usize;
            if body.len() >= len {
                let (body, rest) = body.split_at_mut(len);
                if let Some(key) = header.mask {
                    mask(body, key, 0);
                }
                if !self.frame(&header, body, heard)? {
                    self.rest.extend_from_slice(rest);
                    return Ok(Turn::Stop);
                }
                bytes = rest;
            } else if header.opcode.is_control()
                || (len < BODY_BYTES_MIN && self.message.is_none() && header.is_last)
            {
                // Soon here; read again from its beginning.
                self.rest.extend_from_slice(head);
                self.rest.extend_from_slice(body);
                return Ok(Turn::More);
            } else {
                self.collect(&header);
                bytes = body;
            }
        }
        self.rest.extend_from_slice(bytes);
        Ok(Turn::More)
    }

    /// Whether a frame may come here, and in this size.
    fn admit(&self, header: &Header) -> Result<(), Fault> {
        match (header.opcode, &self.message) {
            (Opcode::Continue, None) => {
                return Err(Fault::Protocol(1002, "a fragment continues nothing"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Fault::Protocol(1002, "a message begins inside another"));
            }
            _ => {}
        }
        let before = self.message.as_ref().map_or(0, |message| message.come);
        let total = header.len.saturating_add(before as u64);
        if !header.opcode.is_control() && total > self.bytes_max.load(Ordering::Relaxed) as u64 {
            return Err(Fault::TooLarge(total));
        }
        Ok(())
    }

    /// A frame that is all there, unmasked. False: no more.
    fn frame(
        &mut self,
        header: &Header,
        body: &[u8],
        heard: &mut impl FnMut(Heard<'_>) -> bool,
    ) -> Result<bool, Fault> {
        let kind = match header.opcode {
            Opcode::Ping => return Ok(heard(Heard::Ping(body))),
            Opcode::Pong => return Ok(heard(Heard::Pong)),
            Opcode::Close => return close_code(body).map(|code| heard(Heard::Close(code))),
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            Opcode::Continue => {
                let message = self.message.as_mut().expect("admitted");
                message.put(body);
                message.is_last = header.is_last;
                return self.finish_frame(heard);
            }
        };
        if !header.is_last {
            self.message = Some(Collected {
                kind,
                bytes: BytesMut::from(body),
                come: body.len(),
                missing: 0,
                mask: [0; 4],
                frame_at: 0,
                is_last: false,
            });
            return Ok(true);
        }
        let body = Body::borrowed(kind, body)?;
        Ok(heard(Heard::Message(Incoming { kind, body })))
    }

    /// Begins to collect a frame.
    fn collect(&mut self, header: &Header) {
        let len = header.len as usize;
        let message = self.message.get_or_insert_with(|| Collected {
            kind: if header.opcode == Opcode::Text {
                Kind::Text
            } else {
                Kind::Binary
            },
            bytes: BytesMut::zeroed(len.min(ANNOUNCED_BYTES_MAX)),
            come: 0,
            missing: 0,
            mask: [0; 4],
            frame_at: 0,
            is_last: false,
        });
        message.missing = len;
        message.mask = header.mask.unwrap_or_default();
        message.frame_at = message.come;
        message.is_last = header.is_last;
    }

    /// Hands the message on if its last frame is complete. False: no more.
    fn finish_frame(&mut self, heard: &mut impl FnMut(Heard<'_>) -> bool) -> Result<bool, Fault> {
        if !self
            .message
            .as_ref()
            .is_some_and(|message| message.missing == 0 && message.is_last)
        {
            return Ok(true);
        }
        let Collected { kind, bytes, .. } = self.message.take().expect("there is one");
        let body = Body::own(kind, bytes.freeze())?;
        Ok(heard(Heard::Message(Incoming { kind, body })))
    }

    /// Reads straight into the memory of a large message.
    fn poll_collect<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        context: &mut Context<'_>,
        heard: &mut impl FnMut(Heard<'_>) -> bool,
    ) -> Poll<Result<Turn, Fault>> {
        let message = self.message.as_mut().expect("one is collected");
        let start = message.come;
        let room = message.missing.min(ANNOUNCED_BYTES_MAX);
        let mut into = ReadBuf::new(message.room(room));
        match Pin::new(socket).poll_read(context, &mut into) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(io_fault(&error))),
            Poll::Ready(Ok(())) => {}
        }
        let count = into.filled().len();
        if count == 0 {
            return Poll::Ready(Err(Fault::Eof));
        }
        mask(
            &mut message.bytes[start..start + count],
            message.mask,
            start - message.frame_at,
        );
        message.come += count;
        message.missing -= count;
        Poll::Ready(
            self.finish_frame(heard)
                .map(|go_on| if go_on { Turn::More } else { Turn::Stop }),
        )
    }
}

impl Collected {
    /// Adds what has come of the frame.
    fn add(&mut self, bytes: &mut [u8]) {
        mask(bytes, self.mask, self.come - self.frame_at);
        self.put(bytes);
        self.missing -= bytes.len();
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.come += bytes.len();
    }

    /// The next `len` bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.come + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.come..end]
    }
}

fn close_code(body: &[u8]) -> Result<Option<u16>, Fault> {
    match body {
        [] => Ok(None),
        [_] => Err(Fault::Protocol(1002, "a close code has two bytes")),
        [high, low, ..] => Ok(Some(u16::from_be_bytes([*high, *low]))),
    }
}

fn io_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Eof,
        _ => Fault::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
