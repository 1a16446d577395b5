//! The two channels of a request: its body to be read, its answer to be written.
//!
//! Their ids are in every payload, and most are never used: nothing but the ids is made before
//! somebody connects.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{body::Limits, reply::Failure};
use crate::channel::{
    Bounds, CHUNK_BYTES, Channels, Ends, Hosted, Item, Reader, Side, TakenEnd, Writer, filled, pipe,
};

/// What may wait between a client and a function, each way.
const BOUNDS: Bounds = Bounds {
    items: 64,
    bytes: 1 << 20,
};

/// Where the body of the request is.
pub(super) enum Source {
    Read(Bytes),
    /// On its way, not to be parsed. A client that waits to be asked for it (`Expect`) is not asked
    /// when nobody wants it.
    Coming {
        body: Incoming,
        expects: bool,
    },
}

pub(super) struct Exchange {
    limits: Limits,
    state: Mutex<State>,
    /// The writer of the answer has come.
    opened: Notify,
    failed: Notify,
}

struct State {
    source: Option<Source>,
    answer: Answer,
    failure: Option<Failure>,
}

enum Answer {
    Untaken,
    /// Taken; this is for whoever writes the response.
    Opened(Reader),
    Given,
}

/// An exchange while its request is being answered.
pub(super) struct Visit {
    pub(super) exchange: Arc<Exchange>,
    pub(super) hosted: Hosted,
}

impl Visit {
    pub(super) fn begin(channels: &Arc<Channels>, source: Source, limits: Limits) -> Self {
        let exchange = Arc::new(Exchange {
            limits,
            state: Mutex::new(State {
                source: Some(source),
                answer: Answer::Untaken,
                failure: None,
            }),
            opened: Notify::new(),
            failed: Notify::new(),
        });
        let hosted = channels.host(Arc::clone(&exchange) as _);
        Visit { exchange, hosted }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(Source::Coming {
            body,
            expects: false,
        }) = self.exchange.state.lock().source.take()
        {
            tokio::spawn(self.exchange.limits.discard(body));
        }
    }
}

impl Exchange {
    /// Waits until somebody takes the writing end; what it writes comes from the reader.
    pub(super) async fn opened(&self) -> Reader {
        loop {
            {
                let mut state = self.state.lock();
                if let Answer::Opened(_) = state.answer
                    && let Answer::Opened(reader) =
                        std::mem::replace(&mut state.answer, Answer::Given)
                {
                    return reader;
                }
            }
            self.opened.notified().await;
        }
    }

    /// Waits until the body turns out to be one that is not taken.
    pub(super) async fn failed(&self) -> Failure {
        loop {
            if let Some(failure) = self.state.lock().failure.take() {
                return failure;
            }
            self.failed.notified().await;
        }
    }

    fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
        self.failed.notify_one();
    }

    fn read(self: Arc<Self>) -> Option<Reader> {
        let source = self.state.lock().source.take()?;
        Some(match source {
            Source::Read(bytes) => filled(bytes),
            Source::Coming { body, .. } => {
                let (writer, reader) = pipe(BOUNDS);
                tokio::spawn(self.pass_on(body, writer));
                reader
            }
        })
    }

    fn write(&self) -> Option<Writer> {
        let (writer, reader) = pipe(BOUNDS);
        {
            let mut state = self.state.lock();
            if !matches!(state.answer, Answer::Untaken) {
                return None;
            }
            state.answer = Answer::Opened(reader);
        }
        self.opened.notify_one();
        Some(writer)
    }

    /// Moves the body into its pipe. Nothing is read while there is no room, and the client's
    /// pauses are not counted then.
    async fn pass_on(self: Arc<Self>, mut body: Incoming, writer: Writer) {
        let limits = self.limits;
        let mut left = limits.bytes_max;
        let gone = || poll_fn(|context| writer.poll_gone(context));
        loop {
            if poll_fn(|context| writer.poll_room(context)).await.is_err() {
                return limits.discard(body).await;
            }
            let piece = tokio::select! {
                piece = limits.next(&mut body) => piece,
                () = gone() => return limits.discard(body).await,
            };
            let mut piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => return writer.end(),
                Err(failure) => return self.fail(failure),
            };
            let Some(still) = left.checked_sub(piece.len()) else {
                return self.fail(limits.too_large());
            };
            left = still;
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(CHUNK_BYTES));
                if writer.push(Item::Binary(chunk)).is_err() {
                    return limits.discard(body).await;
                }
            }
        }
    }
}

impl Ends for Exchange {
    fn take(self: Arc<Self>, side: Side) -> Option<TakenEnd> {
        match side {
            Side::Read => self.read().map(TakenEnd::Reader),
            Side::Write => self.write().map(TakenEnd::Writer),
        }
    }
}
