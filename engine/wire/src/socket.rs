//! A WebSocket after its handshake: the stream, and what came too soon.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use agentos_protocol::codec::Draft;

use crate::{
    framing::{Opcode, Role, begin, finish},
    sending::Direct,
};

/// Longest head of an HTTP answer that is looked at. As tungstenite has it.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub struct Socket<S> {
    pub(crate) stream: S,
    pub(crate) role: Role,
    pub(crate) bytes_max: usize,
    pub(crate) first: Vec<u8>,
    pub(crate) direct: Option<Direct>,
    /// What is said before anything else.
    pub(crate) said: Draft,
}

impl Socket<SharedTcp> {
    /// The engine's end of a connection; takes messages of at most `bytes_max`.
    pub fn server(stream: TcpStream, bytes_max: usize) -> Self {
        let stream = Arc::new(stream);
        Socket {
            direct: Some(Arc::clone(&stream)),
            stream: SharedTcp(stream),
            role: Role::Server,
            bytes_max,
            first: Vec::new(),
            said: Draft::default(),
        }
    }
}

impl<S> Socket<S> {
    /// A client's end, after the handshake has gone through `stream`.
    pub fn client(stream: HeadFirst<S>, bytes_max: usize) -> Self {
        Socket {
            stream: stream.inner,
            role: Role::Client,
            bytes_max,
            first: stream.rest,
            direct: None,
            said: Draft::flat(),
        }
    }

    /// Says a text before anything that is in the outbox.
    pub fn say_first(&mut self, text: &str) {
        let start = begin(&mut self.said);
        self.said.put(text);
        finish(&mut self.said, start, Opcode::Text, self.role, usize::MAX);
    }
}

/// A TCP stream that others may write to as well.
pub struct SharedTcp(Arc<TcpStream>);

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            std::task::ready!(self.0.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let mut read = None;
            let tried = self.0.try_io(Interest::READABLE, || {
                let (_, count) = recv(&*self.0, &mut *room, RecvFlags::empty())?;
                read = Some(count);
                // The socket has given all it had. It will tell when it has more, and need not be
                // asked before.
                if (1..room.len()).contains(&count) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match (read, tried) {
                (Some(count), _) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl SharedTcp {
    fn poll_try(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the last share closes it; a half-close would only say so sooner.
        Poll::Ready(Ok(()))
    }
}

/// A stream that gives out the head of an HTTP answer and nothing behind it, when the answer is
/// that the protocol is switched: the library that does the handshake would read on and keep what
/// it got.
pub struct HeadFirst<S> {
    inner: S,
    /// Read and not given out.
    rest: Vec<u8>,
    /// What has been given out, until the head is over.
    head: Vec<u8>,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Head,
    Switched,
    /// Another answer, of which the body is wanted too.
    Other,
}

impl<S> HeadFirst<S> {
    pub fn new(inner: S) -> Self {
        HeadFirst {
            inner,
            rest: Vec::new(),
            head: Vec::new(),
            stage: Stage::Head,
        }
    }

    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many bytes of `rest` may be given out.
    fn look(&mut self) -> usize {
        if self.stage != Stage::Head {
            return if self.stage == Stage::Other {
                self.rest.len()
            } else {
                0
            };
        }
        let before = self.head.len();
        self.head.extend_from_slice(&self.rest);
        let from = before.saturating_sub(3);
        let end = self.head[from..]
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .map(|at| from + at + 4);
        let is_switch = self.head.get(9..12).is_some_and(|status| status == b"101");
        match end {
            Some(end) if is_switch => {
                self.stage = Stage::Switched;
                end - before
            }
            None if self.head.len() < HEAD_BYTES_MAX => self.rest.len(),
            _ => {
                self.stage = Stage::Other;
                self.rest.len()
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadFirst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.stage == Stage::Switched {
            return Poll::Pending;
        }
        let mut bytes = [0; 4096];
        // No more than can be given out at once, so that nothing but what follows the head is kept.
        let room = bytes.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut bytes[..room]);
        std::task::ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
        this.rest.extend_from_slice(read.filled());
        let out = this.look();
        buffer.put_slice(&this.rest[..out]);
        this.rest.drain(..out);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadFirst<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
