//! The ways out of sessions over a WebSocket, one for each dialect. Messages are written where they
//! are routed, into the draft that the socket is given next.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use agentos_core::{Routed, Settled};
use agentos_protocol::{
    CallView, Code, ErrorBody, Frame, PayloadView,
    codec::{CLOSE_STOP, Draft, Message, iii, v2},
};
use agentos_wire::{Close, Kind, Outbox, Share, Unwritten};

use super::iii::{dismissal, rejection};
use crate::bus::{Deliver, Parting, Undelivered};

/// The way out of a session of the binary dialect.
pub(crate) struct V2Way(pub(crate) Arc<Outbox>);

impl V2Way {
    fn write(
        &self,
        share: Share,
        say: impl FnOnce(&mut Draft) -> Result<(), ErrorBody>,
    ) -> Result<(), Undelivered> {
        let written = self
            .0
            .write(share, Kind::Binary, |out| say(out).map(|()| true));
        written.map_err(undelivered)
    }
}

impl Deliver for V2Way {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Undelivered)> {
        let written = self.write(share(&frame), |out| v2::write(&frame, out));
        written.map_err(|why| (frame, why))
    }

    fn call(&self, routed: &Routed, call: &CallView<'_>) -> Result<(), Undelivered> {
        self.write(Share::Calls, |out| {
            v2::write_call(&as_routed(routed, call), out)
        })
    }

    fn result(&self, settled: &Settled, payload: PayloadView<'_>) -> Result<(), Undelivered> {
        self.write(Share::All, |out| {
            v2::write_result(&settled.call, payload, out)
        })
    }

    fn close(&self, why: &ErrorBody) {
        close(&self.0, why);
    }

    fn part(&self, parting: Parting) {
        let why = parting.why();
        match parting {
            Parting::Reconnect => self.close(&why),
            Parting::Stop => self.0.close(Close {
                code: CLOSE_STOP,
                reason: why.message.into(),
            }),
        }
    }

    fn can_be_stopped(&self) -> bool {
        true
    }
}

/// The way out of a session of the JSON dialect.
pub(crate) struct JsonWay {
    outbox: Arc<Outbox>,
    codec: iii::Codec,
    /// Messages above this size would end the worker's connection.
    bytes_max: AtomicUsize,
    /// Its SDK ends for good when it is told that its place is taken.
    knows_refusals: AtomicBool,
}

impl JsonWay {
    pub(crate) fn new(outbox: Arc<Outbox>, codec: iii::Codec, bytes_max: usize) -> Self {
        JsonWay {
            outbox,
            codec,
            bytes_max: AtomicUsize::new(bytes_max),
            knows_refusals: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Its SDK understands `registrationrejected`.
    pub(crate) fn knows_refusals(&self) {
        self.knows_refusals.store(true, Ordering::Relaxed);
    }

    /// Takes no more, and closes when what waits has been sent.
    pub(crate) fn end(&self, close: Close) {
        self.outbox.close(close);
    }

    /// Says what comes before everything else.
    pub(crate) fn greet(&self, frame: &Frame) {
        if let Ok(Some(text)) = self.codec.encode(frame) {
            self.outbox.write_first(&Message::Text(text));
        }
    }

    fn write(
        &self,
        share: Share,
        say: impl FnOnce(&mut Draft) -> Result<bool, ErrorBody>,
    ) -> Result<(), Undelivered> {
        let written = self.outbox.write(share, Kind::Text, |out| {
            let start = out.mark();
            let said = say(out)?;
            self.bounded(out.len_since(start)).map(|()| said)
        });
        written.map_err(undelivered)
    }

    fn bounded(&self, bytes: usize) -> Result<(), ErrorBody> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(ErrorBody::engine(
            Code::PayloadTooLarge,
            format!("the message has {bytes} bytes, the worker takes at most {bytes_max}"),
        ))
    }
}

impl Deliver for JsonWay {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Undelivered)> {
        let written = self.write(share(&frame), |out| match rejection(&frame) {
            Some(text) => {
                out.put(text);
                Ok(true)
            }
            None => self.codec.write(&frame, out),
        });
        written.map_err(|why| (frame, why))
    }

    fn call(&self, routed: &Routed, call: &CallView<'_>) -> Result<(), Undelivered> {
        self.write(Share::Calls, |out| {
            let call = as_routed(routed, call);
            self.codec.write_call(&call, out).map(|()| true)
        })
    }

    fn result(&self, settled: &Settled, payload: PayloadView<'_>) -> Result<(), Undelivered> {
        self.write(Share::All, |out| {
            let Settled { call, function, .. } = settled;
            let written = self.codec.write_result(call, function, payload, out);
            written.map(|()| true)
        })
    }

    fn close(&self, why: &ErrorBody) {
        close(&self.outbox, why);
    }

    fn part(&self, parting: Parting) {
        if parting == Parting::Stop && self.can_be_stopped() {
            // No close code stops these SDKs. Without room for the word it connects again.
            let _ = self.deliver(Frame::Fault(dismissal()));
        }
        self.close(&parting.why());
    }

    fn can_be_stopped(&self) -> bool {
        self.knows_refusals.load(Ordering::Relaxed)
    }

    fn speaks_json(&self) -> bool {
        true
    }
}

/// The call as its callee gets it.
pub(crate) fn as_routed<'a>(routed: &'a Routed, call: &CallView<'a>) -> CallView<'a> {
    CallView {
        call: Some(routed.call.into()),
        function: routed.local.as_deref().unwrap_or(call.function),
        caller: routed.caller.as_deref(),
        timeout_ms: Some(routed.timeout_ms),
        trace_parent: routed.trace_parent.as_deref().or(call.trace_parent),
        // It has done its work.
        affinity: None,
        ..call.clone()
    }
}

fn share(frame: &Frame) -> Share {
    match frame {
        Frame::Call(_) => Share::Calls,
        _ => Share::All,
    }
}

fn undelivered(why: Unwritten) -> Undelivered {
    match why {
        Unwritten::Refused(agentos_wire::Refusal::Full) => Undelivered::Full,
        Unwritten::Refused(agentos_wire::Refusal::Closed) => Undelivered::Closed,
        Unwritten::Unsayable(error) => Undelivered::Unsayable(error),
    }
}

fn close(outbox: &Outbox, why: &ErrorBody) {
    let close = Close {
        code: close_code(why.code),
        reason: why.message.clone().into(),
    };
    match why.code {
        Code::Overloaded | Code::PayloadTooLarge => outbox.cut(close),
        _ => outbox.close(close),
    }
}

/// WebSocket close codes (RFC 6455 §7.4.1 and its registry). Never 1000 or 1001 from our side:
/// some clients take those for the end and do not come back.
pub(crate) fn close_code(code: Code) -> u16 {
    match code {
        Code::Unauthenticated | Code::Forbidden => 1008,
        Code::InvalidFrame => 1002,
        Code::PayloadTooLarge => 1009,
        Code::Overloaded => 1013,
        Code::Unavailable | Code::Conflict => 1012,
        _ => 1011,
    }
}
