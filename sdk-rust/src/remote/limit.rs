//! The largest message that the engine takes. One that is larger would end the session, and every
//! other call with it: it is refused here, and fails its own call alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use agentos_protocol::{Call, Code, ErrorBody, Frame, codec::MESSAGE_BYTES_MAX};

/// What a message has beside its texts: the header, and the lengths and tags of its meta.
const FRAME_BYTES: usize = 16 + 2 + 6 * 3;

/// Bytes of the largest message, as the engine has said it lately.
pub(super) struct Limit(AtomicUsize);

impl Default for Limit {
    fn default() -> Self {
        Limit(AtomicUsize::new(MESSAGE_BYTES_MAX))
    }
}

impl Limit {
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Fails with `payload_too_large` for what the engine would not take.
    pub(super) fn check(&self, frame: &Frame) -> Result<(), ErrorBody> {
        let bytes_max = self.0.load(Ordering::Relaxed);
        let (bytes, error): (usize, fn(Code, String) -> ErrorBody) = match frame {
            Frame::Call(call) => (call.payload.len() + beside(call), ErrorBody::caller),
            Frame::Reply {
                outcome: Ok(payload),
                ..
            }
            | Frame::Chunk { payload, .. } => (payload.len(), ErrorBody::worker),
            _ => return Ok(()),
        };
        if bytes + FRAME_BYTES <= bytes_max {
            return Ok(());
        }
        let why = format!(
            "a message of {bytes} bytes cannot be sent: the engine takes {bytes_max}; send it as a stream"
        );
        Err(error(Code::PayloadTooLarge, why))
    }
}

fn beside(call: &Call) -> usize {
    let texts = [
        Some(&call.function),
        call.metadata.as_ref(),
        call.namespace.as_ref(),
        call.trace.parent.as_ref(),
        call.trace.baggage.as_ref(),
    ];
    texts.into_iter().flatten().map(|text| text.len()).sum()
}
