//! The binary dialect's session: `hello` first, then frames.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentos_core::{SessionSpec, policy::Trust};
use agentos_protocol::{
    Code, ErrorBody, Frame, SessionId, Welcome,
    codec::{Message, SUBPROTOCOL, v2},
};
use agentos_wire::{Ended, Hooks, Outbox};

use super::{Guest, SocketWay, access::Way, socket::close_code};
use crate::{bus::Bus, listener::Gate};

/// Deadline of calls that name none (`design.md` §5).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

pub(crate) struct V2 {
    bus: Arc<Bus>,
    outbox: Arc<Outbox>,
    gate: Arc<Gate>,
    /// The handshake carried the right token already.
    trusted: bool,
    guest: Guest,
    peer: IpAddr,
    session: Option<(SessionId, Way)>,
}

impl V2 {
    pub(crate) fn new(
        bus: Arc<Bus>,
        outbox: Arc<Outbox>,
        gate: Arc<Gate>,
        trusted: bool,
        guest: Guest,
        peer: IpAddr,
    ) -> Self {
        V2 {
            bus,
            outbox,
            gate,
            trusted,
            guest,
            peer,
            session: None,
        }
    }

    fn greet(&mut self, frame: Frame) {
        let Frame::Hello(mut hello) = frame else {
            return self.end(ErrorBody::caller(
                Code::InvalidFrame,
                "the first frame of a session is `hello`",
            ));
        };
        if !self.trusted && !self.gate.admits(hello.token.as_deref()) {
            return self.end(self.gate.refusal(hello.token.is_some()));
        }
        let opened = self
            .bus
            .open(Arc::new(SocketWay(Arc::clone(&self.outbox))), |public_id| {
                SessionSpec {
                    public_id,
                    trust: Trust::Worker,
                    named: true,
                    timeout_default: TIMEOUT_DEFAULT,
                    peer: Some(self.peer),
                    rules: self.guest.as_ref().map(|(_, rules)| Arc::clone(rules)),
                }
            });
        let way = Way::new(Arc::clone(&self.bus), opened.id, self.guest.take());
        self.session = Some((opened.id, way));
        self.outbox.opened();
        let welcome = Welcome {
            session: opened.public_id.to_string(),
            reattach_token: None,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            message_bytes_max: self.gate.message_bytes_max() as u64,
            features: Vec::new(),
        };
        self.outbox
            .push_first(vec![Frame::Welcome(Box::new(welcome))]);
        hello.features.push(SUBPROTOCOL.to_owned());
        self.bus.on_frame(opened.id, Frame::Hello(hello));
    }

    fn fault(&self, error: ErrorBody) {
        // A worker too slow to hear of its faults is about to be closed for that.
        let _ = self.outbox.push(Frame::Fault(error));
    }

    /// Says what was wrong and closes.
    pub(crate) fn end(&self, error: ErrorBody) {
        let close = agentos_wire::Close {
            code: close_code(error.code),
            reason: error.message.clone().into(),
        };
        self.fault(error);
        self.outbox.close(close);
    }
}

impl Hooks for V2 {
    fn received(&mut self, message: Message) {
        let Message::Binary(bytes) = message else {
            return self.fault(ErrorBody::caller(
                Code::InvalidFrame,
                "this dialect has binary messages only",
            ));
        };
        match (v2::decode(&bytes), &self.session) {
            (Ok(Frame::Hello(_)), Some(_)) => self.fault(ErrorBody::caller(
                Code::InvalidFrame,
                "the session has been greeted",
            )),
            (Ok(frame), Some((_, way))) => way.take(frame),
            (Ok(frame), None) => self.greet(frame),
            (Err(error), Some(_)) => self.fault(error),
            (Err(error), None) => self.end(error),
        }
    }

    fn encode(&mut self, frame: Frame) -> Option<Message> {
        match v2::encode(&frame) {
            Ok(bytes) => Some(Message::Binary(bytes)),
            Err(error) => {
                if let Some((session, _)) = self.session {
                    self.bus.unsendable(session, frame, error);
                }
                None
            }
        }
    }

    fn ended(&mut self, ended: &Ended) {
        self.outbox.abandon();
        if let Some((session, _)) = self.session.take() {
            tracing::debug!(%session, ?ended, "session ended");
            self.bus.close(session);
        }
    }
}
