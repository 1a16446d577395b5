//! `(now, from, frame) → effects`: the one place where a frame's meaning is decided.

mod calling;
mod draining;
mod registering;
mod resending;

#[cfg(test)]
mod simulation;

pub use calling::{Routed, Settled};
use draining::Ended;
pub use registering::Refused;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use agentos_protocol::{CallId, CallRef, Code, ErrorBody, Frame, Hello, SessionId, namespace};

use crate::{
    Effect, Effects, Event, FunctionView, Now, SessionView, Share, TriggerTypeView, TriggerView,
    Watcher,
    calls::{Calls, InFlight},
    policy::{Rules, Trust},
    registry::{Caller, NOBODY, Registry, Session, Standing},
};

/// Bounds of what sessions may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls in flight at one time; more are `overloaded`.
    pub calls_in_flight_max: usize,
    /// Of those, calls that one session has made: one must not take the room of all.
    pub calls_per_session_max: u32,
    /// Functions one session may offer.
    pub functions_per_session_max: usize,
    /// Triggers one session may bind.
    pub triggers_per_session_max: usize,
    /// Longest deadline.
    pub timeout_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls_in_flight_max: 262_144,
            calls_per_session_max: 65_536,
            functions_per_session_max: 65_536,
            triggers_per_session_max: 65_536,
            timeout_max: Duration::from_hours(24),
        }
    }
}

/// What the bus knows of a session that it opens.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// What other workers call it by.
    pub public_id: Arc<str>,
    pub trust: Trust,
    /// Whether callees are told that this session called.
    pub named: bool,
    /// Deadline of its calls that name none.
    pub timeout_default: Duration,
    /// What it may do; without rules, everything a worker may.
    pub rules: Option<Arc<Rules>>,
    /// Where it connected from; `None` for a local one.
    pub peer: Option<IpAddr>,
    /// What whoever started the worker calls this instance of it.
    pub instance: Option<Arc<str>>,
    pub share: Share,
}

/// Why the bus could not put a frame on a session's outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The outbox is full.
    Full,
    /// The session is gone, or going.
    Closed,
}

/// See the module. Cheap to share; every method takes `&self`.
pub struct Router {
    registry: Registry,
    calls: Calls,
    limits: Limits,
    watcher: OnceLock<Arc<dyn Watcher>>,
    /// Stands for the callee of calls that wait for one.
    nobody: Arc<Standing>,
}

impl Router {
    pub fn new(limits: Limits) -> Self {
        Router {
            registry: Registry::default(),
            calls: Calls::new(),
            limits,
            watcher: OnceLock::new(),
            nobody: Arc::new(Standing::new(
                "".into(),
                false,
                Duration::ZERO,
                None,
                Share::default(),
            )),
        }
    }

    /// Lets `watcher` hear of every call from now on. Only the first one is taken.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        let _ = self.watcher.set(watcher);
    }

    fn watcher_of(&self, trust: Trust) -> Option<&Arc<dyn Watcher>> {
        self.watcher.get().filter(|_| trust != Trust::Engine)
    }

    /// Admits a session whose right to be here has been checked.
    pub fn open(&self, now: Now, id: SessionId, spec: SessionSpec, out: &mut Effects) -> Caller {
        if let Some(watcher) = self.watcher_of(spec.trust) {
            watcher.worker_connected();
        }
        let standing = Arc::new(Standing::new(
            Arc::clone(&spec.public_id),
            spec.named,
            spec.timeout_default,
            spec.rules,
            spec.share,
        ));
        let session = Session {
            standing: Arc::clone(&standing),
            trust: spec.trust,
            hello: Hello::default(),
            namespace: None,
            peer: spec.peer,
            instance: spec.instance,
            worker: None,
            connected: now,
            functions: BTreeSet::new(),
            triggers: BTreeSet::new(),
            trigger_types: BTreeSet::new(),
            leaving: false,
        };
        self.registry.sessions.insert(id, session);
        out.push(Effect::Event(Event::WorkerConnected {
            session: id,
            worker: spec.public_id,
        }));
        Caller {
            session: id,
            standing,
        }
    }

    /// Applies one frame and appends what must happen next to `out`.
    pub fn on_frame(&self, now: Now, from: SessionId, frame: Frame, out: &mut Effects) {
        match frame {
            Frame::Call(call) => self.on_call(now, from, call, out),
            Frame::Reply { call, outcome, .. } => self.on_reply(now, from, &call, outcome, out),
            Frame::Chunk { call, payload } => self.on_chunk(from, &call, payload, out),
            Frame::Credit { call, chunks } => self.on_credit(from, &call, chunks, out),
            Frame::Cancel { call } => self.on_cancel(now, from, &call, out),
            Frame::Register(register) => self.register(now, from, *register, Vec::new(), out),
            Frame::Unregister(ids) => self.on_unregister(now, from, *ids, out),
            Frame::TriggerBound {
                id,
                trigger_type,
                function,
                error,
            } => {
                self.on_trigger_bound(from, id, trigger_type, function, error, out);
            }
            Frame::Hello(hello) => self.on_hello(now, from, *hello, out),
            Frame::Goodbye { .. } => self.on_goodbye(now, from, out),
            Frame::Ping => out.push(Effect::Send {
                to: from,
                frame: Frame::Pong,
            }),
            Frame::Pong => {}
            Frame::Welcome(_)
            | Frame::Registered { .. }
            | Frame::BindTrigger(_)
            | Frame::UnbindTrigger { .. }
            | Frame::Fault(_) => {
                let error = ErrorBody::caller(
                    Code::InvalidFrame,
                    "only the engine sends this kind of frame",
                );
                out.push(Effect::Send {
                    to: from,
                    frame: Frame::Fault(error),
                });
            }
        }
    }

    fn on_hello(&self, now: Now, from: SessionId, mut hello: Hello, out: &mut Effects) {
        // The secret has done its work; nothing that lists sessions shall ever show it.
        hello.token = None;
        let namespace = hello.namespace.as_deref().and_then(namespace);
        let Some(mut session) = self.registry.sessions.get_mut(from) else {
            return;
        };
        let number = self
            .registry
            .builds
            .number(&hello.name, hello.build.as_deref());
        session.standing.build.store(number, Ordering::Relaxed);
        session.hello = hello;
        if session.namespace != namespace {
            self.relocate(now, from, &mut session, namespace, out);
        }
        out.push(Effect::Event(Event::WorkerIdentified {
            session: from,
            worker: Arc::clone(&session.standing.public_id),
            name: session.hello.name.as_str().into(),
        }));
    }

    /// The session is an instance of `worker`: of triggers that its instances bind alike, one is bound.
    pub fn belongs(&self, session: SessionId, worker: Arc<str>, out: &mut Effects) {
        let Some(mut row) = self.registry.sessions.get_mut(session) else {
            return;
        };
        row.worker = Some(worker);
        // It may have bound some before anybody could know.
        let namespace = row.namespace.clone();
        self.rebind(session, &row, namespace.as_deref(), out);
    }

    /// Forgets a session that is gone: its calls end at once, its offers disappear.
    pub fn close(&self, now: Now, session: SessionId, out: &mut Effects) {
        let Some(row) = self.registry.sessions.remove(session) else {
            return;
        };
        row.standing.is_closed.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher_of(row.trust) {
            watcher.worker_gone();
        }
        self.withdraw_all(now, session, &row, out);
        let name = Arc::from(row.hello.name.as_str());
        let part = |call: &InFlight| call.callee == session || call.caller == session;
        for id in self.calls.find(part) {
            if self.resend(now, id, session, out) {
                continue;
            }
            let Some(call) = self.calls.take(id, part) else {
                continue;
            };
            if call.callee == session {
                let function = call.named();
                let error = ErrorBody::engine(
                    Code::WorkerLost,
                    format!("the worker that ran `{function}` went away before it answered"),
                );
                self.end(now, call, Err(error), out);
            } else {
                self.leave(now, &call, Ended::Unwanted, out);
                cancel(id, call.callee, out);
            }
        }
        out.push(Effect::Event(Event::WorkerDisconnected {
            session,
            worker: Arc::clone(&row.standing.public_id),
            name,
        }));
    }

    /// Ends the calls whose deadline has passed; says when to look again.
    pub fn expire(&self, now: Now, out: &mut Effects) -> Option<Now> {
        let (late, next) = self.calls.take_late(now);
        for (id, call) in late {
            cancel(id, call.callee, out);
            let function = call.named();
            let error = ErrorBody::engine(
                Code::Timeout,
                format!("`{function}` did not answer before its deadline"),
            );
            self.end(now, call, Err(error), out);
        }
        next
    }

    /// Takes back a frame that did not reach its session.
    pub fn refused(&self, now: Now, to: SessionId, frame: Frame, why: Refusal, out: &mut Effects) {
        match (frame, why) {
            (Frame::Call(call), _) if self.redirect(now, to, &call, out) => {}
            (Frame::Call(call), _) => self.on_call_refused(now, to, call.call.as_ref(), why, out),
            // Its calls are about to end anyway, or have.
            (_, Refusal::Closed) => {}
            // The function sends more than its caller takes: that is this call's end, not the
            // caller's.
            (Frame::Chunk { call, .. }, Refusal::Full) => {
                self.on_chunk_refused(now, to, &call, out)
            }
            (_, Refusal::Full) => self.on_reply_refused(to, out),
        }
    }

    /// What is no call did not fit into the session's outbox: it does not read.
    pub fn on_reply_refused(&self, to: SessionId, out: &mut Effects) {
        let why = ErrorBody::engine(Code::Overloaded, "the worker does not read what it is sent");
        out.push(Effect::Close { session: to, why });
    }

    /// A payload that the session's dialect cannot carry.
    pub fn unsendable(
        &self,
        now: Now,
        to: SessionId,
        frame: Frame,
        error: ErrorBody,
        out: &mut Effects,
    ) {
        match frame {
            Frame::Call(call) => self.fail_refused(now, to, call.call.as_ref(), error, out),
            Frame::Reply {
                call,
                function,
                outcome: Ok(_),
            } => {
                let outcome = Err(error);
                let frame = Frame::Reply {
                    call,
                    function,
                    outcome,
                };
                out.push(Effect::Send { to, frame });
            }
            // Not even the error can be said, and saying so would not go through either.
            Frame::Reply {
                outcome: Err(_), ..
            } => out.push(Effect::Close {
                session: to,
                why: error,
            }),
            _ => {}
        }
    }

    // ── For those who look ──────────────────────────────────────────────────────────────────

    pub fn functions(&self) -> Vec<FunctionView> {
        self.registry.functions.list()
    }

    pub fn function(&self, namespace: Option<&str>, id: &str) -> Option<FunctionView> {
        self.registry.functions.get(namespace, id)
    }

    /// What the session may do, if its listener limits it.
    pub fn rules(&self, session: SessionId) -> Option<Arc<Rules>> {
        self.registry
            .sessions
            .look(session, |session| session.standing.rules.clone())
            .flatten()
    }

    pub fn sessions(&self) -> Vec<SessionView> {
        self.registry.sessions.list()
    }

    pub fn triggers(&self) -> Vec<TriggerView> {
        self.registry.triggers.list()
    }

    pub fn trigger_types(&self) -> Vec<TriggerTypeView> {
        self.registry.triggers.types()
    }

    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Where the session connected from; `None` for a local one, and one that is gone.
    pub fn peer(&self, session: SessionId) -> Option<IpAddr> {
        self.registry
            .sessions
            .look(session, |session| session.peer)
            .flatten()
    }

    /// How many calls the session has; `None` when it is gone.
    pub fn in_flight(&self, session: SessionId) -> Option<u32> {
        self.registry
            .sessions
            .look(session, |row| row.standing.traffic.look().in_flight())
    }

    /// Calls that `session` has been given and not answered.
    pub fn running_on(&self, session: SessionId) -> usize {
        self.calls.running_on(session)
    }
}

/// Tells the callee, if there is one yet, that nobody waits any more.
fn cancel(id: CallId, callee: SessionId, out: &mut Effects) {
    if callee != NOBODY {
        let frame = Frame::Cancel { call: id.into() };
        out.push(Effect::Send { to: callee, frame });
    }
}

/// The call that a callee calls `reference`: callees always use our numbers.
fn ours(reference: &CallRef) -> Option<CallId> {
    reference.number().map(CallId)
}
