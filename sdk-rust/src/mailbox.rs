//! The client for other languages: everything that happens is an [`Event`] in a bounded queue.
//!
//! The language is woken once when the queue stops being empty, drains it in batches, and hands
//! back what it wants done, many things at a time. No code of the language runs on our threads.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentos_protocol::{
    Call, CallRef, Code, Delivery, ErrorBody, Frame, FunctionSpec, Payload, Rejected, Trace,
    TriggerSpec, Unregister, affinity,
};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

pub use agentos_wire::Held;

pub use crate::remote::State;
use crate::{
    Client, Handler, Invocation, Options, Peer, Registrar,
    handler::{Change, Chunker, Running, TIMEOUT_DEFAULT},
    peer::Waiter,
};

/// Calls that may wait for the language; more are answered `overloaded`.
const CALLS_WAITING_MAX: usize = 16_384;

/// Something for the language to act on.
#[derive(Debug)]
pub enum Event {
    /// Run a function and answer with [`Mailbox::reply`].
    Call {
        id: u64,
        function: Arc<str>,
        payload: Payload,
        /// The caller takes chunks.
        stream: bool,
        timeout_ms: u32,
        caller: Option<Arc<str>>,
        trace: Trace,
        metadata: Option<Arc<str>>,
    },
    /// Stop handling call `id`; a reply is still welcome.
    Cancel {
        id: u64,
    },
    /// Call `id` may send chunks again.
    Credit {
        id: u64,
    },
    /// A chunk of our streaming call `id`, as the language numbered it.
    Chunk {
        id: u64,
        payload: Payload,
    },
    /// Our call `id` ended.
    Done {
        id: u64,
        outcome: Result<Payload, ErrorBody>,
    },
    /// The engine has taken over registration `id`.
    Registered {
        id: u64,
        rejected: Vec<Rejected>,
    },
    State {
        state: State,
        message: String,
    },
}

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub function: Arc<str>,
    pub payload: Payload,
    pub timeout_ms: Option<u32>,
    pub delivery: Delivery,
    pub trace: Trace,
    pub metadata: Option<Arc<str>>,
}

impl Outgoing {
    /// The call as it is sent, and how long it may take.
    fn call(self) -> (Call, Duration) {
        let mut call = Call::new(None, self.function, self.payload);
        let timeout = self
            .timeout_ms
            .map_or(TIMEOUT_DEFAULT, |ms| Duration::from_millis(ms.into()));
        call.timeout_ms = Some((timeout.as_millis() as u32).max(1));
        call.delivery = self.delivery;
        call.trace = self.trace;
        call.affinity = self.metadata.as_deref().and_then(affinity).map(Arc::from);
        call.metadata = self.metadata;
        (call, timeout)
    }
}

/// A session for a language that asks for its events.
pub struct Mailbox {
    client: Client,
    shared: Arc<Shared>,
}

struct Shared {
    events: Mutex<VecDeque<Event>>,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Calls that the language is working on.
    invocations: DashMap<u64, Invocation>,
    next: AtomicU64,
}

impl Shared {
    fn push(&self, event: Event) {
        let first = {
            let mut events = self.events.lock();
            events.push_back(event);
            events.len() == 1
        };
        if first {
            (self.wake)();
        }
    }
}

impl Mailbox {
    /// Opens a session in the background; `wake` is called from there, when there is something to
    /// drain after there was nothing.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn connect(
        options: Options,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ErrorBody> {
        let runtime = runtime()?;
        let _entered = runtime.enter();
        let client = Client::start(options);
        let shared = Arc::new(Shared {
            events: Mutex::default(),
            wake: Box::new(wake),
            invocations: DashMap::new(),
            next: AtomicU64::new(1),
        });
        runtime.spawn(report(client.state(), Arc::clone(&shared)));
        Ok(Mailbox { client, shared })
    }

    /// Takes up to `max` events, oldest first. `wake` is called again only after all were taken.
    pub fn drain(&self, max: usize) -> Vec<Event> {
        let mut events = self.shared.events.lock();
        let count = events.len().min(max);
        events.drain(..count).collect()
    }

    fn peer(&self) -> &Peer {
        self.client.bus().peer()
    }

    /// Offers functions and binds triggers; the answer comes as [`Event::Registered`].
    ///
    /// # Errors
    /// When the client is closed.
    pub fn register(
        &self,
        functions: Vec<FunctionSpec>,
        triggers: Vec<TriggerSpec>,
    ) -> Result<u64, ErrorBody> {
        let mut registrar = Registrar::new();
        for function in functions {
            registrar.handler(function, Arc::new(ToMailbox(Arc::clone(&self.shared))));
        }
        registrar.register.triggers = triggers;
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let register = self.peer().offer(
            registrar,
            Box::new(move |rejected| shared.push(Event::Registered { id, rejected })),
        );
        self.peer().send(Frame::Register(Box::new(register)))?;
        Ok(id)
    }

    /// Takes functions and triggers back.
    ///
    /// # Errors
    /// When the client is closed.
    pub fn unregister(
        &self,
        functions: Vec<Arc<str>>,
        triggers: Vec<Arc<str>>,
    ) -> Result<(), ErrorBody> {
        self.peer().unregister(Unregister {
            functions,
            triggers,
            trigger_types: Vec::new(),
        })
    }

    /// What the language asks for while it lives leaves in one go.
    pub fn hold(&self) -> Held<'_> {
        self.client.hold()
    }

    /// Makes call `id`, a number that the language uses once. Its outcome comes as
    /// [`Event::Done`], also when it could not be sent.
    pub fn call(&self, id: u64, outgoing: Outgoing) {
        let (call, timeout) = outgoing.call();
        let shared = Arc::clone(&self.shared);
        let waiter = Box::new(MailboxWaiter { id, shared });
        let deadline = Instant::now() + timeout;
        if let Err(error) = self.peer().start(id, call, deadline, waiter) {
            let outcome = Err(error);
            self.shared.push(Event::Done { id, outcome });
        }
    }

    /// Makes a call of whose outcome nobody hears.
    ///
    /// # Errors
    /// `overloaded` when too much waits to be sent, `unavailable` when the client is closed.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), ErrorBody> {
        let (call, _) = outgoing.call();
        self.peer().send(Frame::Call(Box::new(call)))
    }

    /// Gives up on our call `id`.
    pub fn cancel(&self, id: u64) {
        self.peer().abandon(id);
    }

    /// Says that `chunks` more chunks of our call `id` may come.
    pub fn read(&self, id: u64, chunks: u32) {
        // A session that is gone has failed the call already.
        let _ = self.peer().send(Frame::Credit {
            call: CallRef::Number(id),
            chunks,
        });
    }

    /// Answers call `id`. Unknown ids, and second answers, are ignored.
    pub fn reply(&self, id: u64, outcome: Result<Payload, ErrorBody>) {
        if let Some((_, invocation)) = self.shared.invocations.remove(&id) {
            invocation.reply(outcome);
        }
    }

    /// Sends a chunk of call `id`; false when there is no credit now: wait for [`Event::Credit`].
    ///
    /// # Errors
    /// `cancelled` when nobody listens any more.
    pub fn chunk(&self, id: u64, payload: Payload) -> Result<bool, ErrorBody> {
        let chunker: Option<Chunker> = self
            .shared
            .invocations
            .get(&id)
            .and_then(|invocation| invocation.chunker());
        let gone = || ErrorBody::caller(Code::Cancelled, "the call has ended");
        chunker.ok_or_else(gone)?.try_send(payload)
    }

    /// Takes no new calls, lets running ones finish, then ends the session: [`State::Closed`].
    pub fn close(&self) {
        let client = self.client.clone();
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { client.close().await });
        }
    }
}

/// The runtime that all mailboxes of a process share.
fn runtime() -> Result<&'static Runtime, ErrorBody> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("agentos")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    started
        .as_ref()
        .map_err(|why| ErrorBody::worker(Code::Internal, format!("no thread for the bus: {why}")))
}

async fn report(mut state: tokio::sync::watch::Receiver<(State, String)>, shared: Arc<Shared>) {
    loop {
        let (now, message) = state.borrow_and_update().clone();
        shared.push(Event::State {
            state: now,
            message,
        });
        if now == State::Closed || state.changed().await.is_err() {
            return;
        }
    }
}

/// Puts calls into the mailbox.
struct ToMailbox(Arc<Shared>);

impl Handler for ToMailbox {
    fn start(&self, invocation: Invocation) {
        let shared = &self.0;
        if shared.events.lock().len() >= CALLS_WAITING_MAX {
            invocation.reply(Err(ErrorBody::worker(
                Code::Overloaded,
                "too many calls wait for this worker",
            )));
            return;
        }
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        watch(&invocation.running(), id, shared);
        let call = invocation.call();
        let event = Event::Call {
            id,
            function: Arc::clone(&call.function),
            payload: call.payload.clone(),
            stream: invocation.wants_stream(),
            timeout_ms: call
                .timeout_ms
                .unwrap_or(TIMEOUT_DEFAULT.as_millis() as u32),
            caller: call.caller.clone(),
            trace: call.trace.clone(),
            metadata: call.metadata.clone(),
        };
        shared.invocations.insert(id, invocation);
        shared.push(event);
    }
}

fn watch(running: &Running, id: u64, shared: &Arc<Shared>) {
    // Weak: the invocation is kept by `shared`, and keeps this closure.
    let shared = Arc::downgrade(shared);
    *running.watch.lock() = Some(Box::new(move |change| {
        if let Some(shared) = shared.upgrade() {
            shared.push(match change {
                Change::Cancelled => Event::Cancel { id },
                Change::Credit => Event::Credit { id },
            });
        }
    }));
}

struct MailboxWaiter {
    id: u64,
    shared: Arc<Shared>,
}

impl Waiter for MailboxWaiter {
    fn chunk(&mut self, payload: Payload) -> bool {
        self.shared.push(Event::Chunk {
            id: self.id,
            payload,
        });
        true
    }

    fn done(self: Box<Self>, outcome: Result<Payload, ErrorBody>) {
        self.shared.push(Event::Done {
            id: self.id,
            outcome,
        });
    }
}
