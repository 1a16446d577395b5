//! The JSON dialect's session, with the quirks that its clients rely on.

mod hold;
mod words;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_core::{SessionSpec, policy::Trust};
use agentos_protocol::{
    CallRef, Code, ErrorBody, Frame, Hello, Payload, SessionId, Welcome,
    codec::{Message, iii},
};
use agentos_wire::{Ended, Hooks, Outbox};
use parking_lot::Mutex;

use hold::Hold;
use words::{Who, Words};

use super::{Guest, JsonWay, SocketWay, access::Way};
use crate::{
    builtin::{
        live::Live,
        observe::{self, Telemetry},
    },
    bus::Bus,
    config::Conflicts,
};

/// Clients of this dialect keep their deadlines themselves and do not tell; so ours only bounds.
const TIMEOUT_DEFAULT: Duration = Duration::from_hours(1);

/// As long as iii waits for a namespace.
const REJECT_GRACE_MIN: Duration = Duration::from_secs(5);

/// Largest message that the other SDKs take.
const BYTES_MAX: usize = 64 << 20;

/// Largest message that the Python SDK takes without closing its connection, unless it says more.
const PYTHON_BYTES_MAX: usize = 1 << 20;
const LARGE_MESSAGES: &str = "large-messages.v1";

/// What all sessions of one listener share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) bus: Arc<Bus>,
    /// How long registrations wait for the worker to say who it is.
    pub(crate) grace: Live<Duration>,
    pub(crate) telemetry: Telemetry,
    /// Taken while a session looks whether what it registers is free, and registers it.
    pub(crate) registering: Arc<Mutex<()>>,
}

pub(crate) struct Iii {
    bus: Arc<Bus>,
    outbox: Arc<Outbox>,
    codec: iii::Codec,
    session: SessionId,
    hold: Hold,
    /// Its listener gave it rules.
    is_limited: bool,
    /// Nothing is held, nor will be.
    open: bool,
    /// Messages above this size would end the worker's connection.
    bytes_max: usize,
    telemetry: Telemetry,
    public_id: Arc<str>,
}

impl Iii {
    /// Opens the session at once: in this dialect the engine speaks first.
    pub(crate) fn open(
        shared: Shared,
        outbox: Arc<Outbox>,
        guest: Guest,
        peer: IpAddr,
        conflicts: Conflicts,
    ) -> Self {
        let Shared {
            bus,
            grace,
            telemetry,
            registering,
        } = shared;
        let grace = match conflicts {
            Conflicts::Share => *grace.get(),
            // Where it is to be free must be known before it is looked for.
            Conflicts::Reject => (*grace.get()).max(REJECT_GRACE_MIN),
        };
        let is_limited = guest.is_some();
        let rules = guest.as_ref().map(|(_, rules)| Arc::clone(rules));
        let rules_of_ids = rules.clone();
        let opened = bus.open(
            Arc::new(JsonWay(SocketWay(Arc::clone(&outbox)))),
            |public_id| SessionSpec {
                public_id,
                trust: Trust::Worker,
                named: true,
                timeout_default: TIMEOUT_DEFAULT,
                rules,
                peer: Some(peer),
            },
        );
        let welcome = Welcome {
            session: opened.public_id.to_string(),
            reattach_token: Some(opened.reattach_token.to_string()),
            ..Welcome::default()
        };
        outbox.push_first(vec![Frame::Welcome(Box::new(welcome))]);
        let codec = iii::Codec::new(bus.mark());
        let words = Words {
            way: Way::new(Arc::clone(&bus), opened.id, guest),
            bus: Arc::clone(&bus),
            session: opened.id,
            outbox: Arc::clone(&outbox),
            rules: rules_of_ids,
            registering: (conflicts == Conflicts::Reject).then_some(registering),
            who: Mutex::new(Who::Unsaid(Vec::new())),
        };
        Iii {
            bus,
            outbox,
            codec,
            session: opened.id,
            hold: Hold::new(words, grace),
            is_limited,
            open: grace.is_zero(),
            bytes_max: BYTES_MAX,
            telemetry,
            public_id: opened.public_id,
        }
    }

    fn take(&mut self, mut frame: Frame) {
        // A refusal is told even to who wants no answer, under a name of the engine's.
        if let Frame::Call(call) = &mut frame
            && self.is_limited
            && call.call.is_none()
        {
            call.call = Some(CallRef::Uuid(uuid::Uuid::new_v4()));
        }
        if self.open {
            self.hold.pass(frame);
        } else {
            self.open = self.hold.take(frame, Instant::now());
        }
    }

    fn identify(&mut self, hello: Hello, call: Option<CallRef>) {
        let takes_large = hello
            .features
            .iter()
            .any(|feature| feature == LARGE_MESSAGES);
        self.bytes_max = if hello.language == "python" && !takes_large {
            PYTHON_BYTES_MAX
        } else {
            BYTES_MAX
        };
        self.hold.identify(hello);
        if let Some(call) = call {
            let outcome = Ok(Payload::json(r#"{"success":true}"#));
            // Full only if the worker does not read, and then the answer does not matter.
            let _ = self.outbox.push(Frame::Reply {
                call,
                function: iii::IDENTIFY.into(),
                outcome,
            });
        }
    }
}

impl Hooks for Iii {
    fn received(&mut self, message: Message) {
        if let Some((prefix, body)) = observe::frame(&message) {
            return self.telemetry.ingest(prefix, body, Some(&self.public_id));
        }
        let (Message::Binary(bytes) | Message::Text(bytes)) = &message;
        match self.codec.decode(bytes) {
            Ok(iii::Decoded::Frame(frame)) => self.take(frame),
            Ok(iii::Decoded::Identify { hello, call }) => self.identify(*hello, call),
            Ok(iii::Decoded::Reattach { previous, token }) => self.bus.retire(&previous, &token),
            Ok(iii::Decoded::Service | iii::Decoded::Nothing) => {}
            // Clients of this dialect send what an engine does not know and expect it to pass; an
            // error message would end the read loop of some.
            Err(error) => tracing::warn!(session = %self.session, %error, "a message was ignored"),
        }
    }

    fn encode(&mut self, frame: Frame) -> Option<Message> {
        if let Some(rejection) = words::rejection(&frame) {
            return Some(rejection);
        }
        match self.codec.encode(&frame) {
            Ok(Some(bytes)) if bytes.len() > self.bytes_max => {
                let message = format!(
                    "the message has {} bytes, the worker takes at most {}",
                    bytes.len(),
                    self.bytes_max
                );
                self.bus.unsendable(
                    self.session,
                    frame,
                    ErrorBody::engine(Code::PayloadTooLarge, message),
                );
                None
            }
            Ok(message) => message.map(Message::Text),
            Err(error) => {
                self.bus.unsendable(self.session, frame, error);
                None
            }
        }
    }

    fn ended(&mut self, ended: &Ended) {
        tracing::debug!(session = %self.session, ?ended, "session ended");
        self.outbox.abandon();
        self.bus.close(self.session);
    }
}
