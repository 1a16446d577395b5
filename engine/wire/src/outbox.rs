//! Frames on their way to one session: bounded in count and bytes, filled from any task, emptied
//! by the session's own.

use std::{borrow::Cow, collections::VecDeque, task::Waker};

use agentos_protocol::{ErrorBody, Frame};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use serde_json::Value;

/// How much may wait for one session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub frames_max: usize,
    /// One frame larger than this still fits into an empty outbox.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A second of traffic at the rate a fast worker reaches, and one largest message.
        Limits {
            frames_max: 65_536,
            bytes_max: 64 << 20,
        }
    }
}

/// A frame that did not get in, and why.
#[derive(Debug)]
pub struct Refused {
    pub frame: Frame,
    pub why: Refusal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Full,
    Closed,
}

/// How a session is to be closed: a WebSocket close code and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    pub code: u16,
    pub reason: Cow<'static, str>,
}

/// See the module.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    reader: AtomicWaker,
    limits: Limits,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    close: Option<Close>,
    opened: bool,
    gone: bool,
}

impl Outbox {
    pub fn new(limits: Limits) -> Self {
        Outbox {
            waiting: Mutex::default(),
            reader: AtomicWaker::new(),
            limits,
        }
    }

    /// Adds a frame and wakes the session. Calls leave a quarter of the room to everything else,
    /// so that replies still pass when calls are refused.
    ///
    /// # Errors
    /// The frame and the reason, when it is full or the session is closing.
    pub fn push(&self, frame: Frame) -> Result<(), Refused> {
        let size = size_of_frame(&frame);
        let share = if matches!(frame, Frame::Call(_)) {
            3
        } else {
            4
        };
        {
            let mut waiting = self.waiting.lock();
            if waiting.gone || waiting.close.is_some() {
                return Err(Refused {
                    frame,
                    why: Refusal::Closed,
                });
            }
            let frames_full = waiting.frames.len() >= self.limits.frames_max / 4 * share;
            let bytes_full = !waiting.frames.is_empty()
                && waiting.bytes + size > self.limits.bytes_max / 4 * share;
            if frames_full || bytes_full {
                return Err(Refused {
                    frame,
                    why: Refusal::Full,
                });
            }
            waiting.bytes += size;
            waiting.frames.push_back(frame);
        }
        self.reader.wake();
        Ok(())
    }

    /// Puts frames before all others, past the bounds: what a session says first.
    pub fn push_first(&self, frames: Vec<Frame>) {
        {
            let mut waiting = self.waiting.lock();
            for frame in frames.into_iter().rev() {
                waiting.bytes += size_of_frame(&frame);
                waiting.frames.push_front(frame);
            }
        }
        self.reader.wake();
    }

    /// Takes the oldest frame.
    pub fn pop(&self) -> Option<Frame> {
        let mut waiting = self.waiting.lock();
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= size_of_frame(&frame);
        Some(frame)
    }

    /// Removes and returns the frames that `unwanted` picks.
    pub fn remove(&self, unwanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut waiting = self.waiting.lock();
        let (out, kept): (VecDeque<Frame>, VecDeque<Frame>) = std::mem::take(&mut waiting.frames)
            .into_iter()
            .partition(|frame| unwanted(frame));
        waiting.bytes = kept.iter().map(size_of_frame).sum();
        waiting.frames = kept;
        out.into()
    }

    /// Looks at what waits.
    pub fn any(&self, wanted: impl Fn(&Frame) -> bool) -> bool {
        self.waiting.lock().frames.iter().any(wanted)
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().frames.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes no more frames; the session closes when what waits has been sent.
    pub fn close(&self, close: Close) {
        self.waiting.lock().close.get_or_insert(close);
        self.reader.wake();
    }

    /// What comes first has come: [`Outbox::close_unless_opened`] has no effect any more.
    pub fn opened(&self) {
        self.waiting.lock().opened = true;
    }

    /// Closes a session that has not been opened.
    pub fn close_unless_opened(&self, close: Close) {
        if !self.waiting.lock().opened {
            self.close(close);
        }
    }

    /// Drops what waits, then closes: the session cannot keep up.
    pub fn cut(&self, close: Close) {
        {
            let mut waiting = self.waiting.lock();
            waiting.frames.clear();
            waiting.bytes = 0;
        }
        self.close(close);
    }

    /// How the session is to be closed, whether or not something still waits.
    pub(crate) fn asked_to_close(&self) -> Option<Close> {
        self.waiting.lock().close.clone()
    }

    /// How the session is to be closed, once nothing waits any more.
    pub(crate) fn closing(&self) -> Option<Close> {
        let waiting = self.waiting.lock();
        if waiting.frames.is_empty() {
            waiting.close.clone()
        } else {
            None
        }
    }

    /// The session is gone: drops what waits and refuses the rest.
    pub fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.gone = true;
        waiting.frames.clear();
        waiting.bytes = 0;
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }
}

/// Bytes a frame is counted with: what may be large in it, and a flat rate for the rest.
fn size_of_frame(frame: &Frame) -> usize {
    const FLAT: usize = 256;
    let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    FLAT + match frame {
        Frame::Call(call) => {
            call.payload.len()
                + call.function.len()
                + text(&call.metadata)
                + text(&call.trace.parent)
                + text(&call.trace.baggage)
        }
        Frame::Reply {
            outcome: Ok(payload),
            ..
        }
        | Frame::Chunk { payload, .. } => payload.len(),
        Frame::Reply {
            outcome: Err(error),
            ..
        }
        | Frame::Fault(error)
        | Frame::TriggerBound {
            error: Some(error), ..
        } => size_of_error(error),
        Frame::Registered { rejected, .. } => rejected
            .iter()
            .map(|rejected| FLAT + rejected.id.len() + size_of_error(&rejected.error))
            .sum(),
        Frame::BindTrigger(bind) => size_of_json(&bind.spec.config),
        _ => 0,
    }
}

fn size_of_error(error: &ErrorBody) -> usize {
    error.message.len() + error.details.as_ref().map_or(0, size_of_json)
}

/// About as many bytes as the value takes in memory.
fn size_of_json(value: &Value) -> usize {
    const NODE: usize = 32;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of_json).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() + size_of_json(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use agentos_protocol::{Call, CallRef, Payload};

    use super::*;

    fn call() -> Frame {
        Frame::Call(Box::new(Call::new(
            Some(CallRef::Number(1)),
            "f",
            Payload::NULL,
        )))
    }

    #[test]
    fn calls_are_refused_before_replies() {
        let outbox = Outbox::new(Limits {
            frames_max: 4,
            bytes_max: 1 << 20,
        });
        for _ in 0..3 {
            outbox.push(call()).expect("room for three calls");
        }
        assert_eq!(
            outbox.push(call()).expect_err("full for calls").why,
            Refusal::Full
        );
        outbox.push(Frame::Ping).expect("room for another frame");
        assert_eq!(
            outbox.push(Frame::Ping).expect_err("full").why,
            Refusal::Full
        );
    }

    #[test]
    fn a_large_frame_fits_into_an_empty_outbox() {
        let outbox = Outbox::new(Limits {
            frames_max: 4,
            bytes_max: 10,
        });
        let large = || Frame::Chunk {
            call: CallRef::Number(1),
            payload: Payload::binary(vec![0; 100]),
        };
        outbox.push(large()).expect("empty");
        assert_eq!(outbox.push(large()).expect_err("full").why, Refusal::Full);
        outbox.pop().expect("one waits");
        outbox.push(large()).expect("empty again");
    }

    #[test]
    fn closing_waits_for_what_was_accepted() {
        let outbox = Outbox::new(Limits::default());
        outbox.push(Frame::Ping).expect("open");
        outbox.close(Close {
            code: 1012,
            reason: "restart".into(),
        });
        assert_eq!(
            outbox.push(Frame::Ping).expect_err("closing").why,
            Refusal::Closed
        );
        assert_eq!(outbox.closing(), None);
        outbox.pop().expect("one waits");
        assert_eq!(outbox.closing().map(|close| close.code), Some(1012));
    }
}
