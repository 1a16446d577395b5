//! The binary dialect's session: `hello` first, then frames.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentos_core::{Caller, Now, SessionSpec, Share, policy::Trust};
use agentos_protocol::{
    Code, ErrorBody, Frame, SessionId, Welcome,
    codec::{
        MESSAGE_BYTES_MAX, Message, SUBPROTOCOL,
        v2::{
            self, done,
            parts::{self, Assembly},
        },
    },
};
use agentos_wire::{Ended, Hooks, Incoming, Kind, Outbox};
use bytes::Bytes;

use super::{Guest, V2Way, access::Way, socket::close_code};
use crate::{
    bus::{Bus, Deliver},
    listener::Gate,
};

/// Deadline of calls that name none (`design.md` §5).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

pub(crate) struct V2 {
    bus: Arc<Bus>,
    outbox: Arc<Outbox>,
    way_out: Arc<V2Way>,
    gate: Arc<Gate>,
    /// The handshake carried the right token already.
    trusted: bool,
    guest: Guest,
    peer: IpAddr,
    instance: Option<Arc<str>>,
    session: Option<(SessionId, Way)>,
    caller: Option<Caller>,
    /// When what is handled now was read.
    now: Now,
    /// Its listener gave it rules.
    is_limited: bool,
    /// Large messages of which not all parts have come.
    assembly: Assembly,
}

impl V2 {
    pub(crate) fn new(
        bus: Arc<Bus>,
        outbox: Arc<Outbox>,
        gate: Arc<Gate>,
        trusted: bool,
        guest: Guest,
        peer: IpAddr,
        instance: Option<Arc<str>>,
    ) -> Self {
        V2 {
            bus,
            way_out: Arc::new(V2Way(Arc::clone(&outbox))),
            outbox,
            assembly: Assembly::new(gate.message_bytes_max()),
            gate,
            trusted,
            is_limited: guest.is_some(),
            guest,
            peer,
            instance,
            session: None,
            caller: None,
            now: Now::default(),
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
        let way_out: Arc<dyn Deliver> = Arc::clone(&self.way_out) as _;
        let opened = self.bus.open(way_out, |public_id| SessionSpec {
            public_id,
            trust: Trust::Worker,
            named: true,
            timeout_default: TIMEOUT_DEFAULT,
            peer: Some(self.peer),
            instance: self.instance.take(),
            share: Share::default(),
            rules: self.guest.as_ref().map(|(_, rules)| Arc::clone(rules)),
        });
        let way = Way::new(Arc::clone(&self.bus), opened.id, self.guest.take());
        self.session = Some((opened.id, way));
        // One with rules sends its calls past them.
        self.caller = Some(opened.caller).filter(|_| !self.is_limited);
        self.outbox.opened();
        // Whoever has shown the token in `hello` only was a stranger until now.
        self.outbox.hear_up_to(self.gate.message_bytes_max());
        let welcome = Welcome {
            session: opened.public_id.to_string(),
            reattach_token: None,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            message_bytes_max: self.gate.message_bytes_max() as u64,
            features: [parts::FEATURE, done::FEATURE].map(str::to_owned).into(),
        };
        if let Ok(bytes) = v2::encode(&Frame::Welcome(Box::new(welcome))) {
            self.outbox.write_first(&Message::Binary(bytes));
        }
        if hello
            .features
            .iter()
            .any(|feature| feature == parts::FEATURE)
        {
            self.outbox.divide(MESSAGE_BYTES_MAX);
        }
        hello.features.push(SUBPROTOCOL.to_owned());
        self.bus.on_frame(opened.id, Frame::Hello(hello));
    }

    fn fault(&self, error: ErrorBody) {
        // A worker too slow to hear of its faults is about to be closed for that.
        let _ = self.way_out.deliver(Frame::Fault(error));
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

    /// Handles a whole message. `owner`: the bytes of which it is all, where they can be shared.
    fn take(&mut self, message: &[u8], owner: Option<&Bytes>) {
        if let Some(caller) = &self.caller {
            match v2::quick(message, owner) {
                Ok(Some(v2::Quick::Call(call))) => return self.bus.call(self.now, caller, &call),
                Ok(Some(v2::Quick::Reply { call, payload })) => {
                    let session = caller.session();
                    return self.bus.result(self.now, session, &call, payload);
                }
                Ok(None) => {}
                Err(error) => return self.fault(error),
            }
        }
        if let Some((session, _)) = &self.session
            && done::is_done(message)
        {
            return match done::read(message) {
                Ok(calls) => calls.for_each(|call| self.bus.done(self.now, *session, call)),
                Err(error) => self.fault(error),
            };
        }
        let bytes = owner.map_or_else(|| Bytes::copy_from_slice(message), Bytes::clone);
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
}

impl Hooks for V2 {
    fn reading(&mut self) {
        self.now = self.bus.clock().now();
    }

    fn received(&mut self, message: Incoming<'_>) {
        if message.kind != Kind::Binary {
            return self.fault(ErrorBody::caller(
                Code::InvalidFrame,
                "this dialect has binary messages only",
            ));
        }
        if parts::is_part(message.bytes()) && self.session.is_some() {
            return match self.assembly.add(message.bytes()) {
                Ok(Some(whole)) => self.take(&whole, Some(&whole)),
                Ok(None) => {}
                Err(error) if error.code == Code::PayloadTooLarge => self.end(error),
                Err(error) => self.fault(error),
            };
        }
        self.take(message.bytes(), message.owner());
    }

    fn ended(&mut self, ended: &Ended) {
        self.outbox.abandon();
        if let Some((session, _)) = self.session.take() {
            tracing::debug!(%session, ?ended, "session ended");
            self.bus.close(session);
        }
    }
}
