//! A bus in memory, so that workers can be tested together without an engine (feature `testing`).
//!
//! It routes frames between peers as the engine would: calls, chunks, credit, cancellation and
//! deadlines. It offers `state::*` and `engine::functions::list`, and forgets everything at the end.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{
    Bus, Code, Error, FunctionSpec, Link, Peer, Registrar, Stop, Worker,
    protocol::{Call, CallRef, Frame, Register},
};
use dashmap::DashMap;

mod builtin;

pub use builtin::State;

/// Workers in one process, each on a session of its own. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    sessions: DashMap<u64, Peer>,
    functions: DashMap<Arc<str>, (u64, FunctionSpec)>,
    calls: DashMap<u64, InFlight>,
    next: AtomicU64,
}

struct InFlight {
    caller: u64,
    reference: CallRef,
    callee: u64,
    function: Arc<str>,
}

/// A worker that joined. Dropping it leaves the worker in place.
pub struct Seat {
    pub bus: Bus,
    session: u64,
    stop: Stop,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A bus without workers.
    pub fn new() -> Self {
        Hub(Arc::new(Inner {
            sessions: DashMap::new(),
            functions: DashMap::new(),
            calls: DashMap::new(),
            next: AtomicU64::new(1),
        }))
    }

    /// A bus with `state` on it, and with `engine::functions::list`.
    pub async fn with_state(state: Arc<State>) -> Self {
        let hub = Hub::new();
        hub.join(state).await;
        hub.join(builtin::Admin::new(&hub)).await;
        hub
    }

    /// Registers `worker` and starts its background work.
    pub async fn join(&self, worker: Arc<dyn Worker>) -> Seat {
        let session = self.0.number();
        let peer = Peer::new();
        peer.attach(Arc::new(Line {
            hub: Arc::downgrade(&self.0),
            session,
        }));
        self.0.sessions.insert(session, peer.clone());
        let mut registrar = Registrar::new();
        Arc::clone(&worker).register(&mut registrar);
        peer.register(registrar)
            .await
            .expect("the hub takes every registration");
        let (bus, stop) = (Bus::new(peer), Stop::new());
        tokio::spawn(worker.run(bus.clone(), stop.clone()));
        Seat { bus, session, stop }
    }

    /// Takes a worker away; its calls in flight fail with `worker_lost`.
    pub fn leave(&self, seat: &Seat) {
        seat.stop.cancel();
        self.0
            .functions
            .retain(|_, (session, _)| *session != seat.session);
        let peer = self.0.sessions.remove(&seat.session);
        let lost: Vec<u64> = self
            .0
            .calls
            .iter()
            .filter(|call| call.callee == seat.session)
            .map(|call| *call.key())
            .collect();
        for number in lost {
            self.0.fail(
                number,
                Error::engine(Code::WorkerLost, "the worker went away"),
            );
        }
        if let Some((_, peer)) = peer {
            peer.lost(|_| false, "the session closed");
        }
    }

    /// Calls that have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.0.calls.len()
    }

    fn functions(&self) -> Vec<FunctionSpec> {
        let mut specs: Vec<_> = self
            .0
            .functions
            .iter()
            .map(|entry| entry.1.clone())
            .collect();
        specs.sort_by(|a, b| a.id.cmp(&b.id));
        specs
    }
}

impl Inner {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn peer(&self, session: u64) -> Option<Peer> {
        self.sessions.get(&session).map(|peer| peer.clone())
    }

    fn tell(&self, session: u64, frame: Frame) {
        if let Some(peer) = self.peer(session) {
            peer.on_frame(frame);
        }
    }

    fn on_frame(self: &Arc<Self>, from: u64, frame: Frame) {
        match frame {
            Frame::Register(register) => self.on_register(from, *register),
            Frame::Call(call) => self.on_call(from, *call),
            Frame::Reply { call, outcome, .. } => {
                let call = call.number().and_then(|number| self.calls.remove(&number));
                if let Some((
                    _,
                    InFlight {
                        caller,
                        reference,
                        function,
                        ..
                    },
                )) = call
                {
                    self.tell(
                        caller,
                        Frame::Reply {
                            call: reference,
                            function,
                            outcome,
                        },
                    );
                }
            }
            Frame::Chunk { call, payload } => {
                let to = call.number().and_then(|number| {
                    self.calls
                        .get(&number)
                        .map(|call| (call.caller, call.reference.clone()))
                });
                if let Some((caller, reference)) = to {
                    self.tell(
                        caller,
                        Frame::Chunk {
                            call: reference,
                            payload,
                        },
                    );
                }
            }
            Frame::Credit { call, chunks } => {
                if let Some((number, callee)) = self.callee(from, &call) {
                    self.tell(
                        callee,
                        Frame::Credit {
                            call: CallRef::Number(number),
                            chunks,
                        },
                    );
                }
            }
            Frame::Cancel { call } => {
                if let Some((number, callee)) = self.callee(from, &call) {
                    self.calls.remove(&number);
                    self.tell(
                        callee,
                        Frame::Cancel {
                            call: CallRef::Number(number),
                        },
                    );
                }
            }
            _ => {}
        }
    }

    fn on_register(&self, from: u64, register: Register) {
        for spec in register.functions {
            self.functions.insert(Arc::clone(&spec.id), (from, spec));
        }
        self.tell(
            from,
            Frame::Registered {
                request: register.request,
                rejected: Vec::new(),
            },
        );
    }

    fn on_call(self: &Arc<Self>, from: u64, mut call: Call) {
        let callee = self.functions.get(&call.function).map(|entry| entry.0);
        let Some(callee) = callee else {
            if let Some(reference) = call.call {
                let message = format!("no worker offers `{}`", call.function);
                let outcome = Err(Error::engine(Code::NotFound, message));
                self.tell(
                    from,
                    Frame::Reply {
                        call: reference,
                        function: call.function,
                        outcome,
                    },
                );
            }
            return;
        };
        let number = self.number();
        if let Some(reference) = call.call.replace(CallRef::Number(number)) {
            let function = Arc::clone(&call.function);
            self.calls.insert(
                number,
                InFlight {
                    caller: from,
                    reference,
                    callee,
                    function,
                },
            );
            self.expire(
                number,
                Duration::from_millis(call.timeout_ms.unwrap_or(30_000).into()),
            );
        } else {
            call.call = None;
        }
        self.tell(callee, Frame::Call(Box::new(call)));
    }

    fn expire(self: &Arc<Self>, number: u64, timeout: Duration) {
        let hub = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            if let Some(hub) = hub.upgrade() {
                hub.fail(number, Error::engine(Code::Timeout, "the deadline passed"));
            }
        });
    }

    /// Ends a call with `error` on both sides.
    fn fail(&self, number: u64, error: Error) {
        if let Some((
            _,
            InFlight {
                caller,
                reference,
                callee,
                function,
            },
        )) = self.calls.remove(&number)
        {
            self.tell(
                callee,
                Frame::Cancel {
                    call: CallRef::Number(number),
                },
            );
            self.tell(
                caller,
                Frame::Reply {
                    call: reference,
                    function,
                    outcome: Err(error),
                },
            );
        }
    }

    fn callee(&self, caller: u64, reference: &CallRef) -> Option<(u64, u64)> {
        self.calls
            .iter()
            .find(|call| call.caller == caller && call.reference == *reference)
            .map(|call| (*call.key(), call.callee))
    }
}

/// A peer's way into the hub.
struct Line {
    hub: Weak<Inner>,
    session: u64,
}

impl Link for Line {
    fn send(&self, frame: Frame) -> Result<(), Error> {
        let gone = || Error::engine(Code::Unavailable, "the hub is gone");
        self.hub
            .upgrade()
            .ok_or_else(gone)?
            .on_frame(self.session, frame);
        Ok(())
    }
}
