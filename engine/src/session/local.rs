//! A worker in the engine's process: the same frames, no socket and no JSON envelope.

use std::{sync::Arc, time::Duration};

use agentos_core::{Caller, Routed, SessionSpec, Settled, Share, policy::Trust};
use agentos_protocol::{Call, Code, ErrorBody, Frame, Hello, Payload, SessionId};
use agentos_sdk::{Bus as BusHandle, Link, Peer, Registrar, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Deliver, Undelivered};

/// Deadline of calls that name none (`design.md` §5).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// An in-process worker that is running.
pub(crate) struct LocalSession {
    name: String,
    bus: Arc<Bus>,
    id: SessionId,
    stop: CancellationToken,
    work: JoinHandle<()>,
    peer: Peer,
}

impl LocalSession {
    /// Opens a session for `worker`, registers what it offers, and starts its background work.
    ///
    /// # Errors
    /// The first registration that was refused.
    pub(crate) async fn open(
        bus: &Arc<Bus>,
        name: &str,
        trust: Trust,
        worker: Arc<dyn Worker>,
    ) -> Result<Self, ErrorBody> {
        let peer = Peer::new();
        let way_out = Arc::new(ToPeer {
            peer: peer.clone(),
            trust,
        });
        let opened = bus.open(way_out, |public_id| SessionSpec {
            public_id,
            trust,
            named: trust == Trust::Worker,
            timeout_default: TIMEOUT_DEFAULT,
            rules: None,
            peer: None,
            instance: None,
            share: Share::default(),
        });
        peer.attach(Arc::new(ToBus {
            bus: Arc::clone(bus),
            caller: opened.caller,
        }));
        bus.on_frame(opened.id, Frame::Hello(Box::new(hello(name))));
        let mut registrar = Registrar::new();
        Arc::clone(&worker).register(&mut registrar);
        if let Err(error) = peer.register(registrar).await {
            bus.close(opened.id);
            return Err(error);
        }
        let stop = CancellationToken::new();
        let work = tokio::spawn(background(
            name.to_owned(),
            worker,
            BusHandle::new(peer.clone()),
            stop.clone(),
        ));
        Ok(LocalSession {
            name: name.to_owned(),
            bus: Arc::clone(bus),
            id: opened.id,
            stop,
            work,
            peer,
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The bus as the worker has it.
    pub(crate) fn bus(&self) -> BusHandle {
        BusHandle::new(self.peer.clone())
    }

    /// Stops the worker's background work and closes the session.
    pub(crate) async fn close(self, patience: Duration) {
        self.stop.cancel();
        let abort = self.work.abort_handle();
        if tokio::time::timeout(patience, self.work).await.is_err() {
            tracing::warn!(worker = self.name, "background work did not stop in time");
            abort.abort();
        }
        self.bus.close(self.id);
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        name: name.to_owned(),
        language: "rust".to_owned(),
        sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: Some(std::process::id()),
        os: Some(std::env::consts::OS.to_owned()),
        features: vec!["in-process".to_owned()],
        ..Hello::default()
    }
}

async fn background(
    name: String,
    worker: Arc<dyn Worker>,
    bus: BusHandle,
    stop: CancellationToken,
) {
    if let Err(error) = worker.run(bus, stop).await {
        tracing::error!(worker = name, %error, "background work failed; the worker's functions stay");
    }
}

/// The engine's way to the worker.
struct ToPeer {
    peer: Peer,
    trust: Trust,
}

impl Deliver for ToPeer {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Undelivered)> {
        // Built-ins are quick to take their first step, so a socket's task takes it; what other
        // workers do must not keep the socket's other frames waiting.
        let from_socket = agentos_wire::is_corked();
        match frame {
            Frame::Call(call) if !from_socket || self.trust == Trust::Engine => {
                self.peer.on_call_here(*call, from_socket);
            }
            frame => self.peer.on_frame(frame),
        }
        Ok(())
    }

    fn call_here(&self, routed: Routed, mut call: Box<Call>) -> Result<(), Undelivered> {
        routed.address(&mut call);
        self.deliver(Frame::Call(call)).map_err(|(_, why)| why)
    }

    fn result_here(&self, settled: &Settled, payload: Payload) -> Result<(), Undelivered> {
        let frame = Frame::Reply {
            call: settled.call.clone(),
            function: Arc::clone(&settled.function),
            outcome: Ok(payload),
        };
        self.deliver(frame).map_err(|(_, why)| why)
    }

    fn close(&self, why: &ErrorBody) {
        self.peer.lost(|_| false, &why.message);
    }
}

/// The worker's way to the engine.
struct ToBus {
    bus: Arc<Bus>,
    caller: Caller,
}

impl Link for ToBus {
    fn send(&self, frame: Frame) -> Result<(), ErrorBody> {
        let id = self.caller.session();
        match frame {
            Frame::Hello(_) => {
                return Err(ErrorBody::caller(
                    Code::InvalidFrame,
                    "the session has been greeted",
                ));
            }
            // These two are nearly all.
            Frame::Call(call) => self.bus.call_here(&self.caller, call),
            Frame::Reply {
                call,
                outcome: Ok(payload),
                ..
            } => self.bus.result_here(id, &call, payload),
            frame => self.bus.on_frame(id, frame),
        }
        Ok(())
    }

    fn keeps_deadlines(&self) -> bool {
        true
    }
}
