//! The JSON dialect's session, with the quirks that its clients rely on.

mod hold;
mod words;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_core::{Caller, Now, SessionSpec, Share, policy::Trust};
use agentos_protocol::{
    CallRef, Frame, Hello, Payload, SessionId, Welcome,
    codec::iii::{self, Quick},
};
use agentos_wire::{Ended, Hooks, Incoming, Outbox};
use parking_lot::Mutex;

use hold::Hold;
use words::{Who, Words};
pub(super) use words::{dismissal, rejection};

use super::{Guest, JsonWay, access::Way};
use crate::{
    builtin::{
        live::Live,
        observe::{self, Telemetry},
    },
    bus::{Bus, Deliver},
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
    way_out: Arc<JsonWay>,
    codec: iii::Codec,
    session: SessionId,
    caller: Caller,
    /// When what is handled now was read.
    now: Now,
    hold: Hold,
    /// Its listener gave it rules.
    is_limited: bool,
    /// Nothing is held, nor will be.
    open: bool,
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
        instance: Option<Arc<str>>,
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
        let codec = iii::Codec::new(bus.mark());
        let way_out = Arc::new(JsonWay::new(Arc::clone(&outbox), codec, BYTES_MAX));
        let opened = bus.open(Arc::clone(&way_out) as _, |public_id| SessionSpec {
            public_id,
            trust: Trust::Worker,
            named: true,
            timeout_default: TIMEOUT_DEFAULT,
            rules,
            peer: Some(peer),
            instance,
            share: Share::default(),
        });
        let welcome = Welcome {
            session: opened.public_id.to_string(),
            reattach_token: Some(opened.reattach_token.to_string()),
            ..Welcome::default()
        };
        way_out.greet(&Frame::Welcome(Box::new(welcome)));
        let words = Words {
            way: Way::new(Arc::clone(&bus), opened.id, guest),
            bus: Arc::clone(&bus),
            session: opened.id,
            way_out: Arc::clone(&way_out),
            rules: rules_of_ids,
            registering: (conflicts == Conflicts::Reject).then_some(registering),
            who: Mutex::new(Who::Unsaid(Vec::new())),
        };
        Iii {
            bus,
            outbox,
            way_out,
            codec,
            session: opened.id,
            caller: opened.caller,
            now: Now::default(),
            hold: Hold::new(words, grace),
            is_limited,
            open: grace.is_zero(),
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
        let is_small = hello.language == "python" && !takes_large;
        self.way_out.set_bytes_max(if is_small {
            PYTHON_BYTES_MAX
        } else {
            BYTES_MAX
        });
        self.hold.identify(hello);
        if let Some(call) = call {
            let outcome = Ok(Payload::json(r#"{"success":true}"#));
            // Full only if the worker does not read, and then the answer does not matter.
            let _ = self.way_out.deliver(Frame::Reply {
                call,
                function: iii::IDENTIFY.into(),
                outcome,
            });
        }
    }
}

impl Hooks for Iii {
    fn reading(&mut self) {
        self.now = self.bus.clock().now();
    }

    fn received(&mut self, message: Incoming<'_>) {
        if let Some((prefix, body)) = observe::frame(&message) {
            return self.telemetry.ingest(prefix, body, Some(&self.public_id));
        }
        if let Some(text) = message.text()
            && self.open
            && !self.is_limited
            && let Some(quick) = self.codec.quick(text, message.owner())
        {
            return match quick {
                Quick::Call(call) => self.bus.call(self.now, &self.caller, &call),
                Quick::Reply { call, payload } => {
                    self.bus.result(self.now, self.session, &call, payload);
                }
            };
        }
        match self.codec.decode(&message.to_bytes()) {
            Ok(iii::Decoded::Frame(frame)) => self.take(frame),
            Ok(iii::Decoded::Identify { hello, call }) => self.identify(*hello, call),
            Ok(iii::Decoded::Reattach { previous, token }) => self.bus.retire(&previous, &token),
            Ok(iii::Decoded::Service | iii::Decoded::Nothing) => {}
            // Clients of this dialect send what an engine does not know and expect it to pass; an
            // error message would end the read loop of some.
            Err(error) => tracing::warn!(session = %self.session, %error, "a message was ignored"),
        }
    }

    fn ended(&mut self, ended: &Ended) {
        tracing::debug!(session = %self.session, ?ended, "session ended");
        self.outbox.abandon();
        self.bus.close(self.session);
    }
}
