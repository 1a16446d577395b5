//! Owns the router and the sessions, and performs what the router decides.
//!
//! There is no central task: whoever brings a frame routes it and puts the outcome on the target's
//! outbox before returning.

mod fleet;
mod pool;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentos_core::{
    Caller, Effect, Effects, Event, FunctionView, Limits, Now, Refusal, Refused, Routed, Router,
    SessionSpec, SessionView, Settled, TriggerTypeView, TriggerView, Watcher, policy::Rules,
};
use agentos_protocol::{
    Call, CallId, CallRef, CallView, Delivery, ErrorBody, Frame, Payload, PayloadView, Register,
    SessionId,
};
use dashmap::DashMap;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use fleet::{Door, Questions};
use pool::Pool;
pub use pool::{Drained, Parting};

use crate::{clock::Clock, session::as_routed};

/// Looked up with on every call.
type Hasher = ahash::RandomState;

/// Events kept for a listener that is slow; it is told of the gap.
const EVENTS_MAX: usize = 1024;

/// The engine's side of one session's way out.
pub(crate) trait Deliver: Send + Sync {
    /// Takes a frame for the worker, without waiting.
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Undelivered)>;

    /// Takes a call as it lies in its caller's message.
    fn call(&self, routed: &Routed, call: &CallView<'_>) -> Result<(), Undelivered> {
        let call = Box::new(as_routed(routed, call).to_call());
        self.deliver(Frame::Call(call)).map_err(|(_, why)| why)
    }

    /// Takes a call that was made in this process.
    fn call_here(&self, routed: Routed, call: Box<Call>) -> Result<(), Undelivered> {
        self.call(&routed, &call.view())
    }

    /// Takes a result as it lies in its worker's message.
    fn result(&self, settled: &Settled, payload: PayloadView<'_>) -> Result<(), Undelivered> {
        let frame = Frame::Reply {
            call: settled.call.clone(),
            function: Arc::clone(&settled.function),
            outcome: Ok(payload.to_payload()),
        };
        self.deliver(frame).map_err(|(_, why)| why)
    }

    /// Takes a result that was made in this process.
    fn result_here(&self, settled: &Settled, payload: Payload) -> Result<(), Undelivered> {
        self.result(settled, payload.view())
    }

    /// Ends the session once what was taken is delivered.
    fn close(&self, why: &ErrorBody);

    /// Ends the session of a worker that has nothing left, so that its SDK does what is wanted.
    fn part(&self, parting: Parting) {
        self.close(&parting.why());
    }

    /// Whether its SDK can be told not to connect again.
    fn can_be_stopped(&self) -> bool {
        false
    }

    /// Whether it leads to a client of the JSON dialect.
    fn speaks_json(&self) -> bool {
        false
    }
}

/// Why a session did not take something.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// Its outbox is full.
    Full,
    /// It is gone, or going.
    Closed,
    /// Its dialect has no form for it.
    Unsayable(ErrorBody),
}

struct Session {
    way: Arc<dyn Deliver>,
    public_id: Arc<str>,
    reattach_token: Arc<str>,
}

/// The bus. Shared by every session.
pub struct Bus {
    router: Router,
    clock: Clock,
    sessions: DashMap<SessionId, Session, Hasher>,
    /// Sessions by their public ids.
    named: DashMap<Arc<str>, SessionId>,
    pool: Pool,
    door: Door,
    questions: Questions,
    next_session: AtomicU64,
    /// Marks the ids of this engine's life in the JSON dialect.
    mark: u64,
    sooner: Notify,
    events: broadcast::Sender<Event>,
}

/// A session just opened.
pub(crate) struct Opened {
    pub(crate) id: SessionId,
    pub(crate) public_id: Arc<str>,
    pub(crate) reattach_token: Arc<str>,
    /// With which it calls.
    pub(crate) caller: Caller,
}

impl Bus {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Bus {
            router: Router::new(limits),
            clock: Clock::start(),
            sessions: DashMap::default(),
            named: DashMap::new(),
            pool: Pool::default(),
            door: Door::default(),
            questions: Questions::default(),
            next_session: AtomicU64::new(1),
            mark: uuid::Uuid::new_v4().as_u64_pair().0,
            sooner: Notify::new(),
            events: broadcast::Sender::new(EVENTS_MAX),
        })
    }

    /// Lets `watcher` hear of every call from now on.
    pub(crate) fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.router.watch(watcher);
    }

    /// Opens a session that `way` leads to. `spec` makes the router's view of it.
    pub(crate) fn open(
        &self,
        way: Arc<dyn Deliver>,
        spec: impl FnOnce(Arc<str>) -> SessionSpec,
    ) -> Opened {
        let id = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let public_id: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        let reattach_token: Arc<str> = uuid::Uuid::new_v4().simple().to_string().into();
        let is_stranger = way.speaks_json();
        let session = Session {
            way,
            public_id: Arc::clone(&public_id),
            reattach_token: Arc::clone(&reattach_token),
        };
        self.sessions.insert(id, session);
        self.named.insert(Arc::clone(&public_id), id);
        let mut out = Effects::new();
        let mut spec = spec(Arc::clone(&public_id));
        if let Some(share) = self.pool.expected(spec.instance.as_deref()) {
            spec.share = share;
        }
        let caller = self.router.open(self.clock.now(), id, spec, &mut out);
        if is_stranger {
            self.let_in(id);
        }
        self.perform(out);
        Opened {
            id,
            public_id,
            reattach_token,
            caller,
        }
    }

    /// Handles one frame that the session `from` sent.
    pub(crate) fn on_frame(&self, from: SessionId, frame: Frame) {
        if let Frame::Hello(hello) = &frame {
            self.greeted(from, hello);
        }
        let mut out = Effects::new();
        self.router
            .on_frame(self.clock.now(), from, frame, &mut out);
        self.perform(out);
    }

    /// Handles a call that a session without rules has made.
    pub(crate) fn call(&self, now: Now, caller: &Caller, call: &CallView<'_>) {
        let mut out = Effects::new();
        match self.router.call(now, caller, call, &mut out) {
            // It waits for a worker with room.
            Ok(None) => {}
            Ok(Some(routed)) => self.send(now, &routed, call, &mut out),
            Err(error) => {
                let made = (call.call.clone(), call.function.into());
                self.nobody_runs(caller, made, &call.delivery, error, &mut out);
            }
        }
        self.perform(out);
    }

    /// Handles a call that a worker in this process has made, and which may be passed on as it is.
    pub(crate) fn call_here(&self, caller: &Caller, call: Box<Call>) {
        let (now, mut out) = (self.clock.now(), Effects::new());
        match self.router.call(now, caller, &call.view(), &mut out) {
            Ok(None) => {}
            Ok(Some(routed)) => {
                let (place, sooner) = ((routed.to, routed.call), routed.sooner);
                let sent = match self.way(routed.to) {
                    Some(way) => way.call_here(routed, call),
                    None => Err(Undelivered::Closed),
                };
                self.sent(now, place, sooner, sent, &mut out);
            }
            Err(error) => {
                let Call {
                    call,
                    function,
                    delivery,
                    ..
                } = *call;
                self.nobody_runs(caller, (call, function), &delivery, error, &mut out);
            }
        }
        self.perform(out);
    }

    /// Gives a call that has been routed to whoever runs it.
    fn send(&self, now: Now, routed: &Routed, call: &CallView<'_>, out: &mut Effects) {
        let sent = match self.way(routed.to) {
            Some(way) => way.call(routed, call),
            None => Err(Undelivered::Closed),
        };
        let why = match sent {
            Err(Undelivered::Full) => Refusal::Full,
            Err(Undelivered::Closed) => Refusal::Closed,
            sent => {
                let place = (routed.to, routed.call);
                return self.sent(now, place, routed.sooner, sent, out);
            }
        };
        // Here it is still at hand, so that another may have it.
        let call = Box::new(as_routed(routed, call).to_call());
        self.router
            .refused(now, routed.to, Frame::Call(call), why, out);
        if routed.sooner {
            out.push(Effect::Sooner);
        }
    }

    /// A call has been given to its callee, or was not taken.
    fn sent(
        &self,
        now: Now,
        (to, call): (SessionId, CallId),
        sooner: bool,
        sent: Result<(), Undelivered>,
        out: &mut Effects,
    ) {
        let id = call.into();
        let refused = |why, out: &mut _| {
            self.router.on_call_refused(now, to, Some(&id), why, out);
        };
        match sent {
            Ok(()) => {}
            Err(Undelivered::Full) => refused(Refusal::Full, out),
            Err(Undelivered::Closed) => refused(Refusal::Closed, out),
            Err(Undelivered::Unsayable(error)) => {
                self.router.fail_refused(now, to, Some(&id), error, out);
            }
        }
        if sooner {
            out.push(Effect::Sooner);
        }
    }

    fn nobody_runs(
        &self,
        caller: &Caller,
        (call, function): (Option<CallRef>, Arc<str>),
        delivery: &Delivery,
        error: ErrorBody,
        out: &mut Effects,
    ) {
        let from = caller.session();
        self.router
            .refuse_call(from, call, function, delivery, error, out);
    }

    /// A void call that the session `from` was given went well.
    pub(crate) fn done(&self, now: Now, from: SessionId, call: CallId) {
        let mut out = Effects::new();
        self.router.done(now, from, call, &mut out);
        self.perform(out);
    }

    /// Handles a result that the session `from` sent.
    pub(crate) fn result(
        &self,
        now: Now,
        from: SessionId,
        call: &CallRef,
        payload: PayloadView<'_>,
    ) {
        // Late, doubled and foreign results find nobody.
        let mut out = Effects::new();
        if let Some(settled) = self.router.settle(now, from, call, &mut out)
            && let Some(way) = self.way(settled.to)
        {
            let told = way.result(&settled, payload);
            self.told(settled, told, &mut out);
        }
        // After the result: what is said of the callee then is true.
        self.perform(out);
    }

    /// Handles a result of a worker in this process, which may be passed on as it is.
    pub(crate) fn result_here(&self, from: SessionId, call: &CallRef, payload: Payload) {
        let mut out = Effects::new();
        if let Some(settled) = self.router.settle(self.clock.now(), from, call, &mut out)
            && let Some(way) = self.way(settled.to)
        {
            let told = way.result_here(&settled, payload);
            self.told(settled, told, &mut out);
        }
        self.perform(out);
    }

    /// A caller has been given its result, or did not take it.
    fn told(&self, settled: Settled, told: Result<(), Undelivered>, out: &mut Effects) {
        match told {
            Ok(()) | Err(Undelivered::Closed) => {}
            Err(Undelivered::Full) => self.router.on_reply_refused(settled.to, out),
            Err(Undelivered::Unsayable(error)) => out.push(Effect::Send {
                to: settled.to,
                frame: Frame::Reply {
                    call: settled.call,
                    function: settled.function,
                    outcome: Err(error),
                },
            }),
        }
    }

    /// Cloned out: a local session may act on what it gets, and so come back here.
    fn way(&self, session: SessionId) -> Option<Arc<dyn Deliver>> {
        let session = self.sessions.get(&session)?;
        Some(Arc::clone(&session.way))
    }

    /// Handles a registration that hooks have looked at, and says what they refused.
    pub(crate) fn register_inspected(
        &self,
        from: SessionId,
        register: Register,
        refused: Vec<Refused>,
    ) {
        let mut out = Effects::new();
        self.router
            .register(self.clock.now(), from, register, refused, &mut out);
        self.perform(out);
    }

    /// Ends a session that cannot go on.
    pub(crate) fn end(&self, session: SessionId, why: ErrorBody) {
        self.perform(Effects::from_iter([Effect::Close { session, why }]));
    }

    /// The session is gone.
    pub(crate) fn close(&self, session: SessionId) {
        if let Some((_, row)) = self.sessions.remove(&session) {
            self.named.remove(&row.public_id);
        }
        let mut out = Effects::new();
        self.router.close(self.clock.now(), session, &mut out);
        self.pool.gone(session);
        self.perform(out);
    }

    /// Retires an earlier session of a worker that has come back, if it knows the secret.
    pub(crate) fn retire(&self, public_id: &str, token: &str) {
        let earlier = self.session_of(public_id).and_then(|id| {
            let session = self.sessions.get(&id)?;
            same(&session.reattach_token, token).then(|| (id, Arc::clone(&session.way)))
        });
        if let Some((id, way)) = earlier {
            way.close(&ErrorBody::engine(
                agentos_protocol::Code::Conflict,
                "the worker has reconnected",
            ));
            self.close(id);
        }
    }

    /// Performs effects in order, and those that they cause.
    fn perform(&self, mut effects: Effects) {
        while !effects.is_empty() {
            let mut next = Effects::new();
            for effect in effects {
                self.act(effect, &mut next);
            }
            effects = next;
        }
    }

    fn act(&self, effect: Effect, next: &mut Effects) {
        match effect {
            Effect::Send { to, frame } => {
                let sent = match self.way(to) {
                    Some(way) => way.deliver(frame),
                    None => Err((frame, Undelivered::Closed)),
                };
                let now = || self.clock.now();
                match sent {
                    Ok(()) => {}
                    Err((frame, Undelivered::Full)) => {
                        self.router.refused(now(), to, frame, Refusal::Full, next);
                    }
                    Err((frame, Undelivered::Closed)) => {
                        self.router.refused(now(), to, frame, Refusal::Closed, next);
                    }
                    Err((frame, Undelivered::Unsayable(error))) => {
                        self.router.unsendable(now(), to, frame, error, next);
                    }
                }
            }
            Effect::Close { session, why } => {
                // Each frame that did not fit asks for it; the first one has it done.
                if let Some((_, row)) = self.sessions.remove(&session) {
                    tracing::warn!(%session, %why, "closing a session");
                    self.named.remove(&row.public_id);
                    row.way.close(&why);
                    self.router.close(self.clock.now(), session, next);
                    self.pool.gone(session);
                }
            }
            Effect::Drained(session) => self.pool.drained(session),
            Effect::Sooner => self.sooner.notify_one(),
            Effect::Event(event) => {
                match &event {
                    Event::VoidCallFailed { function, error } => {
                        tracing::warn!(%function, %error, "a void call failed");
                    }
                    Event::RegistrationRefused { id, error, .. } => {
                        tracing::warn!(%id, %error, "a registration was refused");
                    }
                    _ => {}
                }
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
        }
    }

    /// Ends calls at their deadlines, until `stop`. Sleeps while no deadline is near.
    pub(crate) async fn keep_deadlines(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let mut out = Effects::new();
            let next = self.router.expire(self.clock.now(), &mut out);
            self.perform(out);
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.clock.instant(next).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.sooner.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Says goodbye to every session and closes it.
    pub(crate) fn close_all(&self, why: &ErrorBody) {
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .map(|session| (*session.key(), Arc::clone(&session.way)))
            .collect();
        for (_, way) in sessions {
            // A session that takes no goodbye is closed all the same.
            let _ = way.deliver(Frame::Goodbye {
                reason: why.message.as_str().into(),
            });
            way.close(why);
        }
    }

    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    // ── For those who look ──────────────────────────────────────────────────────────────────

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub fn functions(&self) -> Vec<FunctionView> {
        self.router.functions()
    }

    pub fn function(&self, namespace: Option<&str>, id: &str) -> Option<FunctionView> {
        self.router.function(namespace, id)
    }

    /// What the session of this public id may do, if its listener limits it.
    pub fn rules_of(&self, public_id: &str) -> Option<Arc<Rules>> {
        self.session_of(public_id)
            .and_then(|session| self.router.rules(session))
    }

    /// The session of this public id.
    pub(crate) fn session_of(&self, public_id: &str) -> Option<SessionId> {
        self.named.get(public_id).map(|session| *session)
    }

    pub fn workers(&self) -> Vec<SessionView> {
        self.router.sessions()
    }

    pub fn triggers(&self) -> Vec<TriggerView> {
        self.router.triggers()
    }

    pub fn trigger_types(&self) -> Vec<TriggerTypeView> {
        self.router.trigger_types()
    }

    pub fn calls_in_flight(&self) -> usize {
        self.router.calls_in_flight()
    }

    /// Whether a call of `function` may reach a client of the JSON dialect.
    pub(crate) fn speaks_json(&self, namespace: Option<&str>, function: &str) -> bool {
        let sessions = self.router.function(namespace, function);
        sessions.is_some_and(|function| {
            function.sessions.iter().any(|session| {
                let session = self.sessions.get(session);
                session.is_some_and(|session| session.way.speaks_json())
            })
        })
    }
}

/// Compares secrets in a time that does not tell where they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
