//! What is being given to a socket, by the session's own task or by another that has just written
//! to its outbox.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use agentos_protocol::codec::Draft;
use smallvec::SmallVec;
use tokio::{io::AsyncWrite, net::TcpStream};

use crate::{Outbox, Role};

/// Pieces handed over in one write. Linux takes up to 1,024 (`IOV_MAX`); more than a few only
/// occur with many large payloads at once.
const SLICES_MAX: usize = 32;

/// Writes that a task does for another session before it leaves the rest to that session's own: others
/// may go on filling its outbox meanwhile.
const FLUSHES_MAX: usize = 4;

/// Memory that the buffer keeps between two bursts.
const KEPT_BYTES: usize = 64 << 10;

/// A socket that others than its session's task may write to.
pub(crate) type Direct = Arc<TcpStream>;

/// See the module.
#[derive(Default)]
pub(crate) struct Sending {
    draft: Draft,
    /// Bytes of it that the socket has taken.
    sent: usize,
    direct: Option<Direct>,
    /// The socket has not taken all it was given: its task waits until it takes more.
    is_blocked: bool,
}

impl Sending {
    /// `said`: what goes out before anything else.
    pub(crate) fn new(direct: Option<Direct>, said: Draft) -> Self {
        Sending {
            direct,
            draft: said,
            ..Sending::default()
        }
    }

    pub(crate) fn draft(&mut self) -> &mut Draft {
        &mut self.draft
    }

    /// Nothing is left to be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.sent == self.draft.len()
    }

    /// Gives what is left to `socket`, until there is none or it takes no more.
    pub(crate) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_done() {
            self.is_blocked = true;
            let slices = self.slices();
            let count = match &slices[..] {
                [only] => ready!(Pin::new(&mut *socket).poll_write(context, only))?,
                many => ready!(Pin::new(&mut *socket).poll_write_vectored(context, many))?,
            };
            drop(slices);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.rest();
        Poll::Ready(Ok(()))
    }

    /// Sends what waits in `outbox` without waiting. False: the session's task has to.
    pub(crate) fn flush(&mut self, outbox: &Outbox) -> bool {
        let Some(direct) = self.direct.clone().filter(|_| !self.is_blocked) else {
            return false;
        };
        for _ in 0..FLUSHES_MAX {
            if self.is_done() {
                self.rest();
                if outbox.take_messages(&mut self.draft) {
                    outbox.take_parts(Role::Server, &mut self.draft);
                }
                if self.draft.is_empty() {
                    return true;
                }
            }
            let sent = {
                let slices = self.slices();
                match &slices[..] {
                    [only] => direct.try_write(only),
                    many => direct.try_write_vectored(many),
                }
            };
            match sent {
                Ok(count) if count > 0 => self.sent += count,
                // Whatever it is, the session's task meets it again.
                Ok(_) | Err(_) => return false,
            }
        }
        false
    }

    fn rest(&mut self) {
        self.draft.clear(KEPT_BYTES);
        self.sent = 0;
        self.is_blocked = false;
    }

    /// Gives memory back that a burst has left.
    pub(crate) fn shrink(&mut self) {
        if self.is_done() {
            self.draft.clear(0);
            self.sent = 0;
        }
    }

    /// What is left, in pieces.
    fn slices(&self) -> SmallVec<[IoSlice<'_>; 4]> {
        let mut slices = SmallVec::new();
        let mut skip = self.sent;
        let mut text_at = 0;
        let text = self.draft.text();
        for (at, body) in self.draft.bodies() {
            push(&mut slices, &text[text_at..*at], &mut skip);
            push(&mut slices, body, &mut skip);
            text_at = *at;
            if slices.len() >= SLICES_MAX {
                return slices;
            }
        }
        push(&mut slices, &text[text_at..], &mut skip);
        slices
    }
}

/// Adds a piece, or what is left of it after `skip` bytes.
fn push<'a>(slices: &mut SmallVec<[IoSlice<'a>; 4]>, piece: &'a [u8], skip: &mut usize) {
    let passed = piece.len().min(*skip);
    *skip -= passed;
    if passed < piece.len() {
        slices.push(IoSlice::new(&piece[passed..]));
    }
}
