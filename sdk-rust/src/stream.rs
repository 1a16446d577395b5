//! Streamed results: [`Sink`] on the function's side, [`CallStream`] on the caller's.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use agentos_protocol::{CallRef, Code, Encoding, ErrorBody, Frame, Payload};
use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use crate::{Peer, handler::Chunker, json, peer::Waiter};

/// Chunks a function may send before the caller has granted more. Both ends know it.
///
/// Enough to keep a pipe with a few milliseconds of round trip busy, small enough that an absent
/// reader costs little.
pub const STREAM_WINDOW_CHUNKS: u32 = agentos_protocol::codec::STREAM_WINDOW_CHUNKS;

/// Bytes of chunks kept for a caller that wants one reply; the size of the largest message.
const COLLECT_BYTES_MAX: usize = 64 << 20;

/// Bytes of chunks kept for a caller that does not read, whatever its credit; one chunk always
/// fits.
const UNREAD_BYTES_MAX: usize = 64 << 20;

/// Where a streaming function puts its chunks.
///
/// When the caller wants a stream, `send` waits for the caller's credit: a slow reader slows the
/// function down. When the caller wants one reply, chunks are collected, and become its result
/// as an array unless the function returns something else than `null`.
pub struct Sink(Way);

enum Way {
    Stream(Chunker),
    Collect {
        chunks: Vec<Payload>,
        bytes: usize,
    },
    /// A void call: nobody listens.
    Nowhere,
}

impl Sink {
    pub(crate) fn streaming(chunker: Chunker) -> Self {
        Sink(Way::Stream(chunker))
    }

    pub(crate) fn collecting() -> Self {
        Sink(Way::Collect {
            chunks: Vec::new(),
            bytes: 0,
        })
    }

    pub(crate) fn nowhere() -> Self {
        Sink(Way::Nowhere)
    }

    /// Sends one chunk as JSON.
    ///
    /// # Errors
    /// `cancelled` when the caller is gone; `payload_too_large` when too much is collected.
    pub async fn send(
        &mut self,
        chunk: &(impl Serialize + Sync + ?Sized),
    ) -> Result<(), ErrorBody> {
        let payload = json::encode(chunk).map_err(|why| {
            ErrorBody::worker(Code::Failed, format!("the chunk has no JSON form: {why}"))
        })?;
        self.send_payload(payload).await
    }

    /// Sends one chunk as it is.
    ///
    /// # Errors
    /// As [`Sink::send`].
    pub async fn send_payload(&mut self, payload: Payload) -> Result<(), ErrorBody> {
        match &mut self.0 {
            Way::Stream(chunker) => chunker.send(payload).await,
            Way::Collect { chunks, bytes } => {
                *bytes += payload.len();
                if *bytes > COLLECT_BYTES_MAX {
                    return Err(ErrorBody::worker(
                        Code::PayloadTooLarge,
                        "the collected stream is larger than 64 MiB; call it as a stream",
                    ));
                }
                chunks.push(payload);
                Ok(())
            }
            Way::Nowhere => Ok(()),
        }
    }

    /// The reply, given what the function returned.
    pub(crate) fn finish(self, result: Payload) -> Payload {
        match self.0 {
            Way::Collect { chunks, .. } if result.is_null() && !chunks.is_empty() => {
                collect(&chunks)
            }
            _ => result,
        }
    }
}

/// Chunks as one payload: a JSON array, or the bytes in a row when all are binary.
pub(crate) fn collect(chunks: &[Payload]) -> Payload {
    if chunks
        .iter()
        .all(|chunk| chunk.encoding == Encoding::Binary)
    {
        return Payload::binary(
            chunks
                .iter()
                .flat_map(|chunk| chunk.bytes.iter().copied())
                .collect::<Vec<u8>>(),
        );
    }
    let mut array = vec![b'['];
    for (index, chunk) in chunks
        .iter()
        .filter(|chunk| chunk.encoding == Encoding::Json)
        .enumerate()
    {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(chunk.text());
    }
    array.push(b']');
    Payload::json(array)
}

/// A streamed result on the caller's side: chunks, then one outcome. Dropping it cancels the call.
///
/// Reading grants the function credit; not reading makes it wait.
pub struct CallStream {
    peer: Peer,
    number: u64,
    chunks: Chunks,
    outcome: oneshot::Receiver<Result<Payload, ErrorBody>>,
    /// Read since credit was last granted.
    read: u32,
}

/// Chunks that were not read yet, and their bytes.
pub(crate) struct Chunks {
    waiting: mpsc::Receiver<Payload>,
    bytes: Arc<AtomicUsize>,
}

impl CallStream {
    pub(crate) fn waiter() -> (
        StreamWaiter,
        Chunks,
        oneshot::Receiver<Result<Payload, ErrorBody>>,
    ) {
        let (chunks, waiting) = mpsc::channel(STREAM_WINDOW_CHUNKS as usize);
        let bytes = Arc::<AtomicUsize>::default();
        let (tell, outcome) = oneshot::channel();
        (
            StreamWaiter {
                chunks,
                bytes: Arc::clone(&bytes),
                outcome: tell,
            },
            Chunks { waiting, bytes },
            outcome,
        )
    }

    pub(crate) fn new(
        peer: Peer,
        number: u64,
        chunks: Chunks,
        outcome: oneshot::Receiver<Result<Payload, ErrorBody>>,
    ) -> Self {
        CallStream {
            peer,
            number,
            chunks,
            outcome,
            read: 0,
        }
    }

    /// The next chunk; `None` when there are no more. Then ask [`CallStream::finish`].
    pub async fn next(&mut self) -> Option<Payload> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await
    }

    /// The next chunk as `T`.
    ///
    /// # Errors
    /// When a chunk is not of the shape of `T`.
    pub async fn next_as<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ErrorBody> {
        match self.next().await {
            None => Ok(None),
            Some(payload) => payload.decode().map(Some).map_err(|error| {
                ErrorBody::worker(
                    Code::InvalidInput,
                    format!("a chunk has another shape than expected: {error}"),
                )
            }),
        }
    }

    /// The call's outcome; chunks not read yet are dropped.
    ///
    /// # Errors
    /// The function's error, or the engine's.
    pub async fn finish(mut self) -> Result<Payload, ErrorBody> {
        while self.next().await.is_some() {}
        (&mut self.outcome)
            .await
            .unwrap_or_else(|_| Err(ErrorBody::engine(Code::Unavailable, "the session closed")))
    }

    fn poll_chunk(&mut self, context: &mut TaskContext<'_>) -> Poll<Option<Payload>> {
        let polled = self.chunks.waiting.poll_recv(context);
        if let Poll::Ready(Some(chunk)) = &polled {
            self.chunks.bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
            self.read += 1;
            if self.read >= STREAM_WINDOW_CHUNKS / 2 {
                let chunks = std::mem::take(&mut self.read);
                // A session that is gone has failed the call already.
                let _ = self.peer.send(Frame::Credit {
                    call: CallRef::Number(self.number),
                    chunks,
                });
            }
        }
        polled
    }
}

impl Stream for CallStream {
    type Item = Payload;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<Payload>> {
        self.poll_chunk(context)
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        self.peer.abandon(self.number);
    }
}

/// The engine's side of a [`CallStream`].
pub(crate) struct StreamWaiter {
    chunks: mpsc::Sender<Payload>,
    bytes: Arc<AtomicUsize>,
    outcome: oneshot::Sender<Result<Payload, ErrorBody>>,
}

impl Waiter for StreamWaiter {
    fn chunk(&mut self, payload: Payload) -> bool {
        let before = self.bytes.fetch_add(payload.len(), Ordering::Relaxed);
        if before > 0 && before + payload.len() > UNREAD_BYTES_MAX {
            return false;
        }
        !matches!(
            self.chunks.try_send(payload),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    fn done(self: Box<Self>, outcome: Result<Payload, ErrorBody>) {
        let _ = self.outcome.send(outcome);
    }
}
