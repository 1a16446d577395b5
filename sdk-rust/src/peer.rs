//! A worker's end of a session: its calls out, its handlers in.
//!
//! Knows frames, not sockets: a [`Link`] carries what it sends, and whoever owns the other end
//! feeds [`Peer::on_frame`]. So one peer serves the engine's local sessions and the socket client.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentos_protocol::{
    BindTrigger, Call, CallRef, Code, Delivery, ErrorBody, Frame, Payload, Register, Rejected,
    TriggerSpec, Unregister, stand_in,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::{
    handler::{self, Handler, Invocation, Running},
    worker::{Registrar, TriggerProvider},
};

/// How a peer's frames leave.
pub trait Link: Send + Sync + 'static {
    /// Hands `frame` over, at once and without waiting.
    ///
    /// # Errors
    /// `overloaded` when the outbox is full, `unavailable` when the session is gone.
    fn send(&self, frame: Frame) -> Result<(), ErrorBody>;

    /// Says that a void call went well, sooner or later: nobody waits to hear it.
    ///
    /// # Errors
    /// As [`Link::send`].
    fn done(&self, call: CallRef, function: Arc<str>) -> Result<(), ErrorBody> {
        self.send(result_of_nothing(call, function))
    }

    /// True when the other end cannot vanish without a word, so that it alone keeps deadlines.
    fn keeps_deadlines(&self) -> bool {
        false
    }
}

/// The result of a call whose function has nothing to say.
pub(crate) fn result_of_nothing(call: CallRef, function: Arc<str>) -> Frame {
    Frame::Reply {
        call,
        function,
        outcome: Ok(Payload::NULL),
    }
}

/// What becomes of a call that this peer made.
pub(crate) trait Waiter: Send + Sync {
    /// Takes one chunk; false when there is no room, which ends the call.
    fn chunk(&mut self, payload: Payload) -> bool;
    fn done(self: Box<Self>, outcome: Result<Payload, ErrorBody>);
}

impl Waiter for oneshot::Sender<Result<Payload, ErrorBody>> {
    fn chunk(&mut self, _: Payload) -> bool {
        true
    }

    fn done(self: Box<Self>, outcome: Result<Payload, ErrorBody>) {
        // The caller may have stopped waiting; then nobody wants the outcome.
        let _ = self.send(outcome);
    }
}

/// A call of ours in flight.
struct Pending {
    waiter: Box<dyn Waiter>,
    #[cfg_attr(
        not(feature = "remote"),
        expect(dead_code, reason = "the engine keeps the deadlines of local sessions")
    )]
    deadline: Instant,
}

/// Hears what became of a registration.
pub(crate) type Confirm = Box<dyn FnOnce(Vec<Rejected>) + Send + Sync>;

/// Looked up with on every call.
type Map<K, V> = dashmap::DashMap<K, V, ahash::RandomState>;

/// A worker's end of a session. Cheap to clone.
#[derive(Clone)]
pub struct Peer(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    link: OnceLock<Arc<dyn Link>>,
    next: AtomicU64,
    pending: Map<u64, Pending>,
    /// Told when a call starts on a link that does not keep deadlines.
    started: Notify,
    registrations: Map<u64, Vec<Confirm>>,
    handlers: Map<Arc<str>, Arc<dyn Handler>>,
    providers: Map<Arc<str>, Arc<dyn TriggerProvider>>,
    running: Map<CallRef, Arc<Running>>,
    /// Everything registered, to be said again after a reconnect.
    offered: Mutex<Register>,
}

impl Default for Peer {
    fn default() -> Self {
        Self::new()
    }
}

impl Peer {
    pub fn new() -> Self {
        Peer(Arc::new(Inner {
            link: OnceLock::new(),
            next: AtomicU64::new(1),
            pending: Map::default(),
            started: Notify::new(),
            registrations: Map::default(),
            handlers: Map::default(),
            providers: Map::default(),
            running: Map::default(),
            offered: Mutex::new(Register::default()),
        }))
    }

    /// Ties the peer to its way out. The first link stays.
    pub fn attach(&self, link: Arc<dyn Link>) {
        let _ = self.0.link.set(link);
    }

    pub(crate) fn link(&self) -> Result<&Arc<dyn Link>, ErrorBody> {
        self.0
            .link
            .get()
            .ok_or_else(|| ErrorBody::engine(Code::Unavailable, "the session is not open yet"))
    }

    pub(crate) fn send(&self, frame: Frame) -> Result<(), ErrorBody> {
        self.link()?.send(frame)
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    // ── Offering ────────────────────────────────────────────────────────────────────────────

    /// Takes over what `registrar` collected and tells the engine; waits for its word.
    ///
    /// # Errors
    /// The first refusal, if anything was refused; `timeout` when the engine is silent.
    pub async fn register(&self, registrar: Registrar) -> Result<(), ErrorBody> {
        let (tell, answer) = oneshot::channel();
        let request = self.offer(
            registrar,
            Box::new(move |rejected| drop(tell.send(rejected))),
        );
        self.send(Frame::Register(Box::new(request)))?;
        match tokio::time::timeout(REGISTER_TIMEOUT, answer).await {
            Ok(Ok(rejected)) => match rejected.into_iter().next() {
                None => Ok(()),
                Some(rejected) => Err(rejected.error),
            },
            Ok(Err(_)) => Err(ErrorBody::engine(
                Code::Unavailable,
                "the session closed during registration",
            )),
            Err(_) => Err(ErrorBody::engine(
                Code::Timeout,
                "the engine did not confirm the registration in 10 s",
            )),
        }
    }

    /// Takes over what `registrar` collected; the caller sends what comes back.
    pub(crate) fn offer(&self, registrar: Registrar, confirm: Confirm) -> Register {
        let Registrar {
            mut register,
            handlers,
            providers,
        } = registrar;
        for (id, handler) in handlers {
            self.0.handlers.insert(id, handler);
        }
        for (id, provider) in providers {
            self.0.providers.insert(id, provider);
        }
        remember(&mut self.0.offered.lock(), &register);
        register.request = self.number();
        self.0.registrations.insert(register.request, vec![confirm]);
        register
    }

    /// Takes functions and triggers back.
    ///
    /// # Errors
    /// When the frame could not be sent.
    pub fn unregister(&self, ids: Unregister) -> Result<(), ErrorBody> {
        for id in &ids.functions {
            self.0.handlers.remove(id);
        }
        {
            let mut offered = self.0.offered.lock();
            offered
                .functions
                .retain(|function| !ids.functions.contains(&function.id));
            offered
                .triggers
                .retain(|trigger| !ids.triggers.contains(&trigger.id));
            offered
                .trigger_types
                .retain(|kind| !ids.trigger_types.contains(&kind.id));
        }
        self.send(Frame::Unregister(Box::new(ids)))
    }

    /// Everything on offer, to be said first on a new connection. Its answer stands for every
    /// registration that still waits for one.
    pub fn replay(&self) -> Register {
        let mut register = self.0.offered.lock().clone();
        register.request = self.number();
        let waiting: Vec<u64> = self
            .0
            .registrations
            .iter()
            .map(|entry| *entry.key())
            .collect();
        let confirms = waiting
            .iter()
            .filter_map(|request| self.0.registrations.remove(request))
            .flat_map(|(_, confirms)| confirms);
        let confirms: Vec<Confirm> = confirms.collect();
        self.0.registrations.insert(register.request, confirms);
        register
    }

    // ── Calling ─────────────────────────────────────────────────────────────────────────────

    /// Sends `call` under `number` and keeps `waiter` for its outcome.
    pub(crate) fn start(
        &self,
        number: u64,
        mut call: Call,
        deadline: Instant,
        waiter: Box<dyn Waiter>,
    ) -> Result<(), ErrorBody> {
        let link = self.link()?;
        call.call = Some(CallRef::Number(number));
        self.0.pending.insert(number, Pending { waiter, deadline });
        if let Err(error) = link.send(Frame::Call(Box::new(call))) {
            self.0.pending.remove(&number);
            return Err(error);
        }
        if !link.keeps_deadlines() {
            self.0.started.notify_one();
        }
        Ok(())
    }

    /// Ends calls whose deadline passed more than [`DEADLINE_GRACE`] ago without a word from the
    /// engine. Runs for as long as the client lives; sleeps while no call is pending.
    #[cfg(feature = "remote")]
    pub(crate) async fn keep_deadlines(self) {
        loop {
            if self.0.pending.is_empty() {
                self.0.started.notified().await;
            }
            tokio::time::sleep(DEADLINE_GRACE / 2).await;
            let now = Instant::now();
            let late: Vec<u64> = self
                .0
                .pending
                .iter()
                .filter(|call| now > call.deadline + DEADLINE_GRACE)
                .map(|call| *call.key())
                .collect();
            for number in late {
                self.fail(
                    number,
                    &ErrorBody::engine(
                        Code::Timeout,
                        "no outcome by the deadline, and no word from the engine",
                    ),
                );
            }
        }
    }

    fn fail(&self, number: u64, error: &ErrorBody) {
        if let Some((_, pending)) = self.0.pending.remove(&number) {
            pending.waiter.done(Err(error.clone()));
        }
    }

    /// Forgets a call and tells the callee that nobody waits; nothing if it already ended.
    pub(crate) fn abandon(&self, number: u64) {
        if self.0.pending.remove(&number).is_some() {
            // If the session is gone there is nobody left to tell.
            let _ = self.send(Frame::Cancel {
                call: CallRef::Number(number),
            });
        }
    }

    /// Calls of this peer that still wait for an outcome.
    pub fn pending(&self) -> usize {
        self.0.pending.len()
    }

    /// Calls that handlers of this peer are working on.
    pub fn running(&self) -> usize {
        self.0.running.len()
    }

    /// Fails every waiting call whose number `keep` does not want, and stops every handler: the
    /// session is gone.
    pub fn lost(&self, keep: impl Fn(u64) -> bool, why: &str) {
        let numbers: Vec<u64> = self
            .0
            .pending
            .iter()
            .map(|entry| *entry.key())
            .filter(|number| !keep(*number))
            .collect();
        let error = ErrorBody::engine(Code::Unavailable, why);
        for number in numbers {
            self.fail(number, &error);
        }
        for running in &self.0.running {
            running.cancel();
        }
    }

    // ── Hearing ─────────────────────────────────────────────────────────────────────────────

    /// Acts on a call whose handler may take its first step at once, on this task. `from_socket`:
    /// this is the task that reads for a socket, and holds no lock.
    ///
    /// A call that somebody waits for is made by a task that holds no lock either; one that nobody
    /// waits for may be made under one, and what it comes back to could want the same.
    pub fn on_call_here(&self, call: Call, from_socket: bool) {
        let awaited = matches!(call.delivery, Delivery::Reply | Delivery::Stream);
        let here = if from_socket && !handler::is_inside() {
            true
        } else {
            awaited
        };
        self.on_call(call, here);
    }

    /// Acts on one frame from the engine.
    pub fn on_frame(&self, frame: Frame) {
        match frame {
            Frame::Call(call) => self.on_call(*call, false),
            Frame::Reply { call, outcome, .. } => {
                let waiter = call
                    .number()
                    .and_then(|number| self.0.pending.remove(&number));
                if let Some((_, pending)) = waiter {
                    pending.waiter.done(outcome);
                }
            }
            Frame::Chunk { call, payload } => self.on_chunk(&call, payload),
            Frame::Credit { call, chunks } => {
                let running = self.0.running.get(&call).map(|entry| Arc::clone(&entry));
                if let Some(running) = running {
                    running.grant(chunks);
                }
            }
            Frame::Cancel { call } => {
                let running = self.0.running.get(&call).map(|entry| Arc::clone(&entry));
                if let Some(running) = running {
                    running.cancel();
                }
            }
            Frame::Registered { request, rejected } => {
                for refused in &rejected {
                    tracing::warn!(id = %refused.id, error = %refused.error, "registration refused");
                }
                let confirms = self
                    .0
                    .registrations
                    .remove(&request)
                    .map(|(_, confirms)| confirms);
                for confirm in confirms.unwrap_or_default() {
                    confirm(rejected.clone());
                }
            }
            Frame::BindTrigger(bind) => self.on_bind(*bind),
            Frame::UnbindTrigger { id, trigger_type } => {
                let provider = self
                    .0
                    .providers
                    .get(&trigger_type)
                    .map(|entry| Arc::clone(&entry));
                if let Some(provider) = provider {
                    provider.unbind(&id);
                }
            }
            Frame::TriggerBound {
                id,
                error: Some(error),
                ..
            } => {
                tracing::warn!(trigger = %id, %error, "trigger not bound");
            }
            Frame::Fault(error) => tracing::warn!(%error, "the engine refused a frame"),
            Frame::Ping => {
                let _ = self.send(Frame::Pong);
            }
            Frame::TriggerBound { .. }
            | Frame::Welcome(_)
            | Frame::Goodbye { .. }
            | Frame::Pong
            | Frame::Hello(_)
            | Frame::Register(_)
            | Frame::Unregister(_) => {}
        }
    }

    fn on_call(&self, call: Call, here: bool) {
        match self.handler(&call) {
            Some(handler) => handler.start(Invocation::new(self.clone(), call, here)),
            None => {
                let message = format!("the worker has no function `{}`", call.function);
                if let Some(reference) = call.call {
                    let outcome = Err(ErrorBody::worker(Code::NotFound, message));
                    let _ = self.send(Frame::Reply {
                        call: reference,
                        function: call.function,
                        outcome,
                    });
                }
            }
        }
    }

    /// Who runs `call`: the function's handler, or one that stands in for it.
    fn handler(&self, call: &Call) -> Option<Arc<dyn Handler>> {
        let named = |id: &str| self.0.handlers.get(id).map(|entry| Arc::clone(&entry));
        match call.delivery {
            Delivery::Enqueue(_) => named(stand_in::ENQUEUE),
            _ => named(&call.function).or_else(|| named(stand_in::HTTP)),
        }
    }

    fn on_chunk(&self, call: &CallRef, payload: Payload) {
        let Some(number) = call.number() else { return };
        let room = match self.0.pending.get_mut(&number) {
            Some(mut pending) => pending.waiter.chunk(payload),
            None => return,
        };
        if !room {
            let _ = self.send(Frame::Cancel {
                call: CallRef::Number(number),
            });
            self.fail(
                number,
                &ErrorBody::worker(
                    Code::Overloaded,
                    "the function sent more chunks, or more bytes, than its caller holds unread",
                ),
            );
        }
    }

    fn on_bind(&self, bind: BindTrigger) {
        let TriggerSpec {
            id,
            trigger_type,
            function,
            ..
        } = bind.spec.clone();
        let provider = self
            .0
            .providers
            .get(&trigger_type)
            .map(|entry| Arc::clone(&entry));
        let error = match provider {
            Some(provider) => provider.bind(bind.spec).err(),
            None => Some(ErrorBody::worker(
                Code::NotFound,
                format!("the worker provides no trigger type `{trigger_type}`"),
            )),
        };
        let _ = self.send(Frame::TriggerBound {
            id,
            trigger_type,
            function,
            error,
        });
    }

    pub(crate) fn track(&self, call: &CallRef, running: Arc<Running>) {
        self.0.running.insert(call.clone(), running);
    }

    pub(crate) fn untrack(&self, call: &CallRef) {
        self.0.running.remove(call);
    }
}

/// How much longer than the deadline a caller waits for the engine's word on it.
#[cfg(feature = "remote")]
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// How long the engine may take to confirm a registration; generous, since it only has to answer.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Adds `news` to `offered`, replacing what has the same id.
fn remember(offered: &mut Register, news: &Register) {
    offered
        .functions
        .retain(|old| news.functions.iter().all(|new| new.id != old.id));
    offered
        .triggers
        .retain(|old| news.triggers.iter().all(|new| new.id != old.id));
    offered
        .trigger_types
        .retain(|old| news.trigger_types.iter().all(|new| new.id != old.id));
    offered.functions.extend(news.functions.iter().cloned());
    offered.triggers.extend(news.triggers.iter().cloned());
    offered
        .trigger_types
        .extend(news.trigger_types.iter().cloned());
}
