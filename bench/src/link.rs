//! One connection of a measured client: everything that was read is handled, then everything that
//! waits is written at once. Knows no protocol.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    net::TcpStream,
};

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

/// What waits to be written.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    /// Where each frame ends, when each gets a write of its own.
    ends: Option<VecDeque<usize>>,
}

impl Outgoing {
    /// To be called after each frame.
    pub(crate) fn end_of_frame(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push_back(self.bytes.len());
        }
    }

    fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let end = match &mut self.ends {
                Some(ends) => {
                    while ends.front().is_some_and(|end| *end <= self.sent) {
                        ends.pop_front();
                    }
                    ends.front().copied().unwrap_or(self.bytes.len())
                }
                None => self.bytes.len(),
            };
            let piece = &self.bytes[self.sent..end];
            self.sent += ready!(Pin::new(&mut *stream).poll_write(context, piece))?;
        }
        self.bytes.clear();
        self.sent = 0;
        if let Some(ends) = &mut self.ends {
            ends.clear();
        }
        Poll::Ready(Ok(()))
    }
}

pub(crate) struct Link {
    stream: TcpStream,
    pub(crate) input: BytesMut,
    pub(crate) outgoing: Outgoing,
}

impl Link {
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Link {
            stream,
            input: BytesMut::with_capacity(READ_BYTES),
            outgoing: Outgoing::default(),
        })
    }

    /// From now on each frame gets a write of its own.
    pub(crate) fn write_each_frame(&mut self) {
        self.outgoing.ends = Some(VecDeque::new());
    }

    /// Writes what waits and returns as soon as something was read, even if the peer has not yet
    /// taken all: a peer that waits for us to read must not wait for ever.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer has closed.
    pub(crate) async fn step(&mut self) -> io::Result<()> {
        let Link {
            stream,
            input,
            outgoing,
        } = self;
        input.reserve(READ_BYTES);
        poll_fn(|context| {
            if let Poll::Ready(Err(error)) = outgoing.poll_write(stream, context) {
                return Poll::Ready(Err(error));
            }
            let read = ready!(pin!(stream.read_buf(input)).poll(context))?;
            Poll::Ready(if read == 0 {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(())
            })
        })
        .await
    }
}
