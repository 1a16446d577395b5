//! The low-level rim of a handler: one [`Invocation`] in, exactly one outcome out.

use std::{
    cell::Cell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Waker},
    time::{Duration, Instant},
};

use agentos_protocol::{Call, CallRef, Code, Delivery, ErrorBody, Frame, Payload};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Bus, Peer, stream::STREAM_WINDOW_CHUNKS};

/// Deadline of a call that names none (`design.md` §5).
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Runs a function. Typed handlers are made from closures by [`crate::Registrar`].
pub trait Handler: Send + Sync + 'static {
    /// Takes the call and returns at once; the work goes on elsewhere.
    fn start(&self, invocation: Invocation);
}

/// One call to be answered. Dropped unanswered, it answers `failed` by itself.
pub struct Invocation {
    peer: Peer,
    call: Call,
    running: Arc<Running>,
    deadline: Instant,
    answered: bool,
    /// Its first step may be taken by whoever brings the call.
    here: bool,
}

impl Invocation {
    pub(crate) fn new(peer: Peer, call: Call, here: bool) -> Self {
        let running = Arc::new(Running::default());
        if let Some(reference) = &call.call {
            peer.track(reference, Arc::clone(&running));
        }
        let timeout = call
            .timeout_ms
            .map_or(TIMEOUT_DEFAULT, |ms| Duration::from_millis(ms.into()));
        Invocation {
            peer,
            call,
            running,
            deadline: Instant::now() + timeout,
            answered: false,
            here,
        }
    }

    pub fn function(&self) -> &Arc<str> {
        &self.call.function
    }

    pub fn payload(&self) -> &Payload {
        &self.call.payload
    }

    /// The call as it came.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True when the caller takes chunks.
    pub fn wants_stream(&self) -> bool {
        self.call.delivery == Delivery::Stream
    }

    /// A bus handle whose calls inherit this call's deadline and trace.
    pub fn bus(&self) -> Bus {
        Bus::nested(self.peer.clone(), self.deadline, self.call.trace.clone())
    }

    /// Fires when the caller gave up, or the session is gone.
    pub fn cancelled(&self) -> CancellationToken {
        self.running.cancelled.clone()
    }

    #[cfg(feature = "remote")]
    pub(crate) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    /// Sends a chunk for which credit was taken.
    pub(crate) fn chunker(&self) -> Option<Chunker> {
        let call = self.call.call.clone()?;
        Some(Chunker {
            peer: self.peer.clone(),
            call,
            running: Arc::clone(&self.running),
        })
    }

    /// Answers the call.
    pub fn reply(mut self, outcome: Result<Payload, ErrorBody>) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Result<Payload, ErrorBody>) {
        self.answered = true;
        let Some(call) = self.call.call.take() else {
            return;
        };
        self.peer.untrack(&call);
        let function = Arc::clone(&self.call.function);
        if self.call.delivery == Delivery::Void && outcome.is_ok() {
            let told = self
                .peer
                .link()
                .and_then(|link| link.done(call, Arc::clone(&function)));
            if let Err(error) = told {
                tracing::warn!(%function, %error, "the end of a void call could not be told");
            }
            return;
        }
        if let Err(error) = self.peer.send(Frame::Reply {
            call: call.clone(),
            function: Arc::clone(&function),
            outcome,
        }) {
            tracing::warn!(%function, %error, "a result could not be sent");
            // A full outbox or an oversized result: the caller must still hear something.
            let _ = self.peer.send(Frame::Reply {
                call,
                function,
                outcome: Err(error),
            });
        }
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        if !self.answered {
            let outcome = if self.running.cancelled.is_cancelled() {
                ErrorBody::worker(Code::Cancelled, "the call was cancelled")
            } else {
                ErrorBody::worker(Code::Failed, "the handler ended without an answer")
            };
            self.answer(Err(outcome));
        }
    }
}

/// Sends the chunks of one streamed result.
#[derive(Clone)]
pub(crate) struct Chunker {
    peer: Peer,
    call: CallRef,
    running: Arc<Running>,
}

impl Chunker {
    /// Waits for credit, then sends.
    pub(crate) async fn send(&self, payload: Payload) -> Result<(), ErrorBody> {
        tokio::select! {
            () = self.running.credit.take() => self.peer.send(Frame::Chunk { call: self.call.clone(), payload }),
            () = self.running.cancelled.cancelled() => Err(ErrorBody::caller(Code::Cancelled, "the caller is gone")),
        }
    }

    /// Sends if there is credit; gives the payload back if there is none.
    #[cfg(feature = "remote")]
    pub(crate) fn try_send(&self, payload: Payload) -> Result<bool, ErrorBody> {
        if self.running.cancelled.is_cancelled() {
            return Err(ErrorBody::caller(Code::Cancelled, "the caller is gone"));
        }
        if !self.running.credit.try_take() {
            return Ok(false);
        }
        self.peer
            .send(Frame::Chunk {
                call: self.call.clone(),
                payload,
            })
            .map(|()| true)
    }
}

/// What may happen to a handler from outside while it runs.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) cancelled: CancellationToken,
    pub(crate) credit: Credit,
    /// Told of cancellation and of new credit; the bindings put an event in their mailbox.
    pub(crate) watch: Mutex<Option<Watch>>,
}

pub(crate) type Watch = Box<dyn Fn(Change) + Send + Sync>;

/// See [`Running::watch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Cancelled,
    Credit,
}

impl Running {
    pub(crate) fn cancel(&self) {
        if self.cancelled.is_cancelled() {
            return;
        }
        self.cancelled.cancel();
        self.tell(Change::Cancelled);
    }

    pub(crate) fn grant(&self, chunks: u32) {
        self.credit.add(chunks);
        self.tell(Change::Credit);
    }

    fn tell(&self, change: Change) {
        if let Some(watch) = &*self.watch.lock() {
            watch(change);
        }
    }
}

/// Chunks that may still be sent.
pub(crate) struct Credit {
    chunks: Mutex<u32>,
    more: Notify,
}

impl Default for Credit {
    fn default() -> Self {
        Credit {
            chunks: Mutex::new(STREAM_WINDOW_CHUNKS),
            more: Notify::new(),
        }
    }
}

impl Credit {
    fn add(&self, chunks: u32) {
        {
            let mut available = self.chunks.lock();
            *available = available.saturating_add(chunks);
        }
        self.more.notify_one();
    }

    pub(crate) fn try_take(&self) -> bool {
        let mut available = self.chunks.lock();
        let some = *available > 0;
        *available = available.saturating_sub(1);
        some
    }

    async fn take(&self) {
        while !self.try_take() {
            self.more.notified().await;
        }
    }
}

/// A handler that runs a future per call on the current tokio runtime, and drops it when the call
/// is cancelled.
pub(crate) struct Spawning<F>(pub(crate) F);

impl<F, Fut> Handler for Spawning<F>
where
    F: Fn(Invocation) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn start(&self, invocation: Invocation) {
        let cancelled = invocation.cancelled();
        let here = invocation.here;
        let work = (self.0)(invocation);
        let mut work = Box::pin(async move {
            tokio::select! {
                // A handler that is done wins over a cancellation at the same moment.
                biased;
                () = work => {}
                () = cancelled.cancelled() => {}
            }
        });
        // Most built-ins are done in one step; what is not is asked again by its own task, so that
        // nothing depends on whom the first step would have woken.
        if here && first_step(work.as_mut()) {
            return;
        }
        tokio::spawn(work);
    }
}

/// Handlers that take their first step inside each other, at most: the stack is not endless.
const DEPTH_MAX: u8 = 3;

thread_local! {
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

/// True when the first step was all there was to do.
fn first_step(work: Pin<&mut impl Future<Output = ()>>) -> bool {
    let depth = DEPTH.get();
    if depth >= DEPTH_MAX {
        return false;
    }
    DEPTH.set(depth + 1);
    // Also when the handler panics: that is its call's end, as in a task of its own.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        work.poll(&mut TaskContext::from_waker(Waker::noop()))
    }));
    DEPTH.set(depth);
    match outcome {
        Ok(poll) => poll.is_ready(),
        Err(_) => true,
    }
}

/// Whether a handler is taking its first step on this thread.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() > 0
}
