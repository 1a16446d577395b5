//! The way out of a session over a WebSocket, whatever its dialect.

use std::sync::Arc;

use agentos_core::Refusal;
use agentos_protocol::{Code, ErrorBody, Frame};
use agentos_wire::{Close, Outbox};

use crate::bus::Deliver;

pub(crate) struct SocketWay(pub(crate) Arc<Outbox>);

impl Deliver for SocketWay {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Refusal)> {
        self.0.push(frame).map_err(|refused| match refused.why {
            agentos_wire::Refusal::Full => (refused.frame, Refusal::Full),
            agentos_wire::Refusal::Closed => (refused.frame, Refusal::Closed),
        })
    }

    fn close(&self, why: &ErrorBody) {
        let close = Close {
            code: close_code(why.code),
            reason: why.message.clone().into(),
        };
        match why.code {
            Code::Overloaded | Code::PayloadTooLarge => self.0.cut(close),
            _ => self.0.close(close),
        }
    }
}

/// The way out of a session of the JSON dialect.
pub(crate) struct JsonWay(pub(crate) SocketWay);

impl Deliver for JsonWay {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Refusal)> {
        self.0.deliver(frame)
    }

    fn close(&self, why: &ErrorBody) {
        self.0.close(why);
    }

    fn speaks_json(&self) -> bool {
        true
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
