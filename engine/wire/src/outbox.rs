//! Messages on their way to one session: bounded in count and bytes, filled from any task.
//!
//! There are two ways in. The engine writes its messages here at once, in the words of the
//! session's dialect ([`Outbox::write`]). Clients leave frames ([`Outbox::push`]) that are written
//! when there is a connection, and may be taken back until then. A session uses one of the two.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use agentos_protocol::{
    ErrorBody, Frame,
    codec::{Draft, Mark, Message, v2::parts::PART_BYTES},
};
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use crate::{
    cork,
    framing::{Opcode, ROOM, Role, begin, finish},
    sending::{Direct, Sending},
    transfers::Transfers,
};

/// Largest part of a message: below the 16 MiB that WebSocket libraries take for one frame.
const PART_BYTES_MAX: usize = 8 << 20;

/// So many results of void calls are a message of their own; fewer wait for other messages, or a
/// little while.
pub(crate) const DONE_MAX: usize = 64;

/// Memory that a buffer keeps between two bursts.
const KEPT_BYTES: usize = 64 << 10;

/// How much may wait for one session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub frames_max: usize,
    /// Of small ones, and as many again of large ones: neither takes the room of the others. One
    /// frame larger than this still fits into an empty outbox.
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

/// Why a message was not written.
#[derive(Debug)]
pub enum Unwritten {
    Refused(Refusal),
    /// The dialect has no form for it.
    Unsayable(ErrorBody),
}

/// How a session is to be closed: a WebSocket close code and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    pub code: u16,
    pub reason: Cow<'static, str>,
}

/// Who may use how much of an outbox: calls leave a quarter of the room to everything else, so
/// that replies still pass when calls are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    Calls,
    All,
}

impl Share {
    fn quarters(self) -> usize {
        match self {
            Share::Calls => 3,
            Share::All => 4,
        }
    }

    fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Call(_) => Share::Calls,
            _ => Share::All,
        }
    }
}

/// See the module.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    /// What has been taken out and is given to the socket.
    sending: Mutex<Sending>,
    reader: AtomicWaker,
    limits: Limits,
    /// Largest message that is taken from the peer.
    heard_bytes_max: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    /// Messages that are written already, so many of them.
    messages: Draft,
    count: usize,
    /// Large messages, if they leave in parts.
    transfers: Option<Box<Transfers>>,
    /// Void calls that went well and of which the peer has not heard, if it takes them so.
    done: Option<Vec<u64>>,
    /// Bytes of `frames`, of the small ones and the large.
    bytes: [usize; 2],
    close: Option<Close>,
    opened: bool,
    gone: bool,
    /// Whoever is at it flushes when it is through with what it reads.
    corked: bool,
    /// How many [`Held`] there are.
    held: usize,
}

impl Outbox {
    pub fn new(limits: Limits) -> Self {
        Outbox {
            waiting: Mutex::default(),
            sending: Mutex::default(),
            reader: AtomicWaker::new(),
            limits,
            heard_bytes_max: Arc::default(),
        }
    }

    /// Writes a message and sees to it that it is sent. `say` adds it to the draft, or tells why it
    /// cannot and leaves the draft as it was; `Ok(false)` when there is nothing to say.
    ///
    /// # Errors
    /// When it is full, the session is closing, or `say` fails.
    pub fn write(
        self: &Arc<Self>,
        share: Share,
        kind: crate::Kind,
        say: impl FnOnce(&mut Draft) -> Result<bool, ErrorBody>,
    ) -> Result<(), Unwritten> {
        let mut waiting = self.waiting.lock();
        if waiting.gone || waiting.close.is_some() {
            return Err(Unwritten::Refused(Refusal::Closed));
        }
        let count = waiting.count + waiting.apart(Transfers::len);
        if count >= self.limits.frames_max / 4 * share.quarters() {
            return Err(Unwritten::Refused(Refusal::Full));
        }
        let before = waiting.messages.len();
        let start = begin(&mut waiting.messages);
        match say(&mut waiting.messages) {
            Ok(true) => {}
            Ok(false) => {
                waiting.messages.rewind(start);
                return Ok(());
            }
            Err(error) => {
                waiting.messages.rewind(start);
                return Err(Unwritten::Unsayable(error));
            }
        }
        let apart = waiting.goes_apart(start);
        let (before, after) = if apart {
            let before = waiting.apart(Transfers::bytes);
            (before, before + waiting.messages.len_since(start))
        } else {
            (before, waiting.messages.len())
        };
        if before > 0 && after > self.limits.bytes_max / 4 * share.quarters() {
            waiting.messages.rewind(start);
            return Err(Unwritten::Refused(Refusal::Full));
        }
        if apart {
            waiting.set_apart(start);
            self.see_to(waiting);
            return Ok(());
        }
        let opcode = kind.opcode();
        finish(
            &mut waiting.messages,
            start,
            opcode,
            Role::Server,
            PART_BYTES_MAX,
        );
        waiting.count += 1;
        self.see_to(waiting);
        Ok(())
    }

    /// Writes a message before all others, past the bounds: what a session says first.
    pub fn write_first(&self, message: &Message) {
        let mut first = Draft::default();
        let start = begin(&mut first);
        first.put(message.bytes());
        let kind = match message {
            Message::Text(_) => crate::Kind::Text,
            Message::Binary(_) => crate::Kind::Binary,
        };
        finish(
            &mut first,
            start,
            kind.opcode(),
            Role::Server,
            PART_BYTES_MAX,
        );
        {
            let mut waiting = self.waiting.lock();
            waiting.messages.prepend(first);
            waiting.count += 1;
        }
        self.reader.wake();
    }

    /// Whoever reads on this thread flushes in the end, or else the session's own task does.
    fn see_to(self: &Arc<Self>, mut waiting: MutexGuard<'_, Waiting>) {
        if waiting.corked {
            return;
        }
        if cork::is_in() {
            waiting.corked = true;
            drop(waiting);
            cork::add(Arc::clone(self));
        } else {
            drop(waiting);
            self.reader.wake();
        }
    }

    /// Adds a frame and wakes the session.
    ///
    /// # Errors
    /// The frame and the reason, when it is full or the session is closing.
    pub fn push(&self, frame: Frame) -> Result<(), Refused> {
        let size = size_of_frame(&frame);
        let share = Share::of(&frame).quarters();
        {
            let mut waiting = self.waiting.lock();
            if waiting.gone || waiting.close.is_some() {
                return Err(Refused {
                    frame,
                    why: Refusal::Closed,
                });
            }
            let frames_full = waiting.frames.len() >= self.limits.frames_max / 4 * share;
            let waits = waiting.bytes[class(size)] + waiting.apart_of(size);
            let bytes_full = waits > 0 && waits + size > self.limits.bytes_max / 4 * share;
            if frames_full || bytes_full {
                return Err(Refused {
                    frame,
                    why: Refusal::Full,
                });
            }
            waiting.bytes[class(size)] += size;
            waiting.frames.push_back(frame);
            if waiting.held > 0 {
                return Ok(());
            }
        }
        self.reader.wake();
        Ok(())
    }

    /// Frames that are pushed while it lives leave together, and wake the session once.
    pub fn hold(&self) -> Held<'_> {
        self.waiting.lock().held += 1;
        Held(self)
    }

    /// Puts frames before all others, past the bounds: what a session says first.
    pub fn push_first(&self, frames: Vec<Frame>) {
        {
            let mut waiting = self.waiting.lock();
            for frame in frames.into_iter().rev() {
                let size = size_of_frame(&frame);
                waiting.bytes[class(size)] += size;
                waiting.frames.push_front(frame);
            }
        }
        self.reader.wake();
    }

    /// Takes the oldest frame.
    pub fn pop(&self) -> Option<Frame> {
        self.next().map(|(frame, _)| frame)
    }

    /// Takes the oldest frame; true when it is to be written apart, as it may leave in parts.
    pub(crate) fn next(&self) -> Option<(Frame, bool)> {
        let mut waiting = self.waiting.lock();
        let frame = waiting.frames.pop_front()?;
        let size = size_of_frame(&frame);
        waiting.bytes[class(size)] -= size;
        let may_divide = |transfers: &Transfers| !transfers.is_empty() || size > PART_BYTES;
        let apart = waiting.transfers.as_deref().is_some_and(may_divide);
        Some((frame, apart))
    }

    /// Removes and returns the frames that `unwanted` picks.
    pub fn remove(&self, unwanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut waiting = self.waiting.lock();
        let (out, kept): (VecDeque<Frame>, VecDeque<Frame>) = std::mem::take(&mut waiting.frames)
            .into_iter()
            .partition(|frame| unwanted(frame));
        waiting.bytes = [0; 2];
        for size in kept.iter().map(size_of_frame) {
            waiting.bytes[class(size)] += size;
        }
        waiting.frames = kept;
        out.into()
    }

    /// Looks at the frames that wait.
    pub fn any(&self, wanted: impl Fn(&Frame) -> bool) -> bool {
        self.waiting.lock().frames.iter().any(wanted)
    }

    /// Frames and messages that wait.
    pub fn len(&self) -> usize {
        let waiting = self.waiting.lock();
        waiting.frames.len() + waiting.count + waiting.apart(Transfers::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes no more; the session closes when what waits has been sent.
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
        self.waiting.lock().clear();
        self.close(close);
    }

    /// How the session is to be closed, whether or not something still waits.
    pub(crate) fn asked_to_close(&self) -> Option<Close> {
        self.waiting.lock().close.clone()
    }

    /// How the session is to be closed, once nothing waits any more.
    pub(crate) fn closing(&self) -> Option<Close> {
        let waiting = self.waiting.lock();
        let left = waiting.frames.len()
            + waiting.count
            + waiting.apart(Transfers::len)
            + waiting.done.as_ref().map_or(0, Vec::len);
        if left == 0 {
            waiting.close.clone()
        } else {
            None
        }
    }

    /// The session is gone: drops what waits and refuses the rest.
    pub fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.gone = true;
        waiting.clear();
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    // ── For the pump, and for whoever flushes in its place ──────────────────────────────────

    /// A new connection: what an earlier one was given is lost with it. Gives back where the reader
    /// finds how large a message may be, which is `bytes_max` at first.
    pub(crate) fn connect(
        &self,
        direct: Option<Direct>,
        said: Draft,
        bytes_max: usize,
    ) -> Arc<AtomicUsize> {
        {
            let mut waiting = self.waiting.lock();
            waiting.transfers = None;
            waiting.done = None;
        }
        *self.sending.lock() = Sending::new(direct, said);
        self.hear_up_to(bytes_max);
        Arc::clone(&self.heard_bytes_max)
    }

    /// Messages of so many bytes are taken from now on.
    pub fn hear_up_to(&self, bytes_max: usize) {
        self.heard_bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// The connection is over: lets go of its socket, so that it closes when its task does.
    pub(crate) fn disconnect(&self) {
        *self.sending.lock() = Sending::default();
    }

    pub(crate) fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock()
    }

    /// From now on large messages leave in parts: the peer of this connection has said that it
    /// takes them, and messages of up to `message_bytes_max`.
    pub fn divide(&self, message_bytes_max: usize) {
        self.waiting.lock().transfers = Some(Box::new(Transfers::new(message_bytes_max)));
    }

    /// From now on [`Outbox::done`] has an effect: the peer of this connection takes such messages.
    pub fn collect_done(&self) {
        self.waiting.lock().done = Some(Vec::new());
    }

    /// Tells the peer some time soon that a void call went well; `Ok(false)` when it takes that
    /// only as a result.
    ///
    /// # Errors
    /// When too many wait.
    pub fn done(&self, call: u64) -> Result<bool, Refusal> {
        let mut waiting = self.waiting.lock();
        let Some(done) = &mut waiting.done else {
            return Ok(false);
        };
        if done.len() >= self.limits.frames_max {
            return Err(Refusal::Full);
        }
        done.push(call);
        let count = done.len();
        drop(waiting);
        // The first one sets a timer; in between nobody has to be woken.
        if count == 1 || count == DONE_MAX {
            self.reader.wake();
        }
        Ok(true)
    }

    /// Moves the void calls that went well into `out` if there are enough for a message, or `now`.
    /// True when some are left.
    pub(crate) fn take_done(&self, now: bool, out: &mut Vec<u64>) -> bool {
        let mut waiting = self.waiting.lock();
        let is_closing = waiting.close.is_some();
        let Some(done) = waiting.done.as_mut().filter(|done| !done.is_empty()) else {
            return false;
        };
        if !now && !is_closing && done.len() < DONE_MAX {
            return true;
        }
        out.append(done);
        false
    }

    /// Moves the messages that wait into `out`, which must be empty. True when parts of large ones
    /// wait as well.
    pub(crate) fn take_messages(&self, out: &mut Draft) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.corked = false;
        if waiting.count > 0 {
            waiting.count = 0;
            std::mem::swap(&mut waiting.messages, out);
        }
        waiting.apart(Transfers::len) > 0
    }

    /// Adds some parts of large messages to `out`.
    pub(crate) fn take_parts(&self, role: Role, out: &mut Draft) {
        if let Some(transfers) = &mut self.waiting.lock().transfers {
            transfers.write(role, out);
        }
    }

    /// Takes `message`, which was written apart, unless it may as well go now.
    pub(crate) fn set_apart(&self, message: Draft, role: Role, out: &mut Draft) -> Option<Draft> {
        let mut waiting = self.waiting.lock();
        match &mut waiting.transfers {
            Some(transfers) if transfers.wants(message.text(), message.len()) => {
                transfers.add(message, role, out);
                None
            }
            _ => Some(message),
        }
    }

    /// Sends what waits if nobody else is at it and the socket takes it; else leaves it to the
    /// session's own task.
    pub(crate) fn flush(&self) {
        let is_done = match self.sending.try_lock() {
            Some(mut sending) => sending.flush(self),
            None => false,
        };
        if !is_done {
            self.waiting.lock().corked = false;
            self.reader.wake();
        }
    }

    /// Gives memory back that a burst has left.
    pub(crate) fn shrink(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.messages.is_empty() {
            waiting.messages.clear(0);
        }
        if waiting.frames.is_empty() {
            waiting.frames = VecDeque::new();
        }
    }
}

/// See [`Outbox::hold`].
#[must_use = "it holds nothing once it is dropped"]
pub struct Held<'a>(&'a Outbox);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let is_due = {
            let mut waiting = self.0.waiting.lock();
            waiting.held -= 1;
            waiting.held == 0 && !waiting.frames.is_empty()
        };
        if is_due {
            self.0.reader.wake();
        }
    }
}

impl Waiting {
    fn clear(&mut self) {
        self.frames.clear();
        self.bytes = [0; 2];
        self.messages.clear(KEPT_BYTES);
        self.count = 0;
        if let Some(done) = &mut self.done {
            done.clear();
        }
        if let Some(transfers) = &mut self.transfers {
            transfers.clear();
        }
    }

    /// A figure of what leaves in parts.
    fn apart(&self, figure: fn(&Transfers) -> usize) -> usize {
        self.transfers.as_deref().map_or(0, figure)
    }

    /// What leaves in parts and shares its room with a frame of `size` bytes.
    fn apart_of(&self, size: usize) -> usize {
        match class(size) {
            SMALL => 0,
            _ => self.apart(Transfers::bytes),
        }
    }

    /// Whether the message that was begun at `start` is to leave in parts.
    fn goes_apart(&self, start: Mark) -> bool {
        let Some(transfers) = &self.transfers else {
            return false;
        };
        let head = &self.messages.text()[start.text_at() + ROOM..];
        transfers.wants(head, self.messages.len_since(start) - ROOM)
    }

    /// Sets the message that was begun at `start` apart.
    fn set_apart(&mut self, start: Mark) {
        let message = self.messages.split_off(start, ROOM);
        let before = self.messages.len();
        if let Some(transfers) = &mut self.transfers {
            transfers.add(message, Role::Server, &mut self.messages);
        }
        self.count += usize::from(self.messages.len() > before);
    }
}

impl crate::Kind {
    pub(crate) fn opcode(self) -> Opcode {
        match self {
            crate::Kind::Text => Opcode::Text,
            crate::Kind::Binary => Opcode::Binary,
        }
    }
}
/// Index into the bytes of frames: those that are small.
const SMALL: usize = 0;
const LARGE: usize = 1;

/// Whether a frame of so many bytes takes the room of small ones or of large.
fn class(size: usize) -> usize {
    if size > PART_BYTES { LARGE } else { SMALL }
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
    use std::task::Wake;

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
    fn what_is_held_wakes_the_session_once() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let wakes = || woken.0.load(Ordering::Relaxed);
        let outbox = Outbox::new(Limits::default());
        // A waker is used up by a wake.
        let listen = || outbox.register(&Waker::from(Arc::clone(&woken)));
        listen();
        let outer = outbox.hold();
        let inner = outbox.hold();
        outbox.push(Frame::Ping).expect("open");
        drop(inner);
        outbox.push(Frame::Ping).expect("open");
        assert_eq!(wakes(), 0);
        drop(outer);
        assert_eq!((wakes(), outbox.len()), (1, 2));
        listen();
        outbox.push(Frame::Ping).expect("open");
        assert_eq!(wakes(), 2);
    }

    #[test]
    fn a_large_frame_leaves_the_room_of_small_ones() {
        let outbox = Outbox::new(Limits {
            frames_max: 16,
            bytes_max: 4096,
        });
        let chunk = |bytes| Frame::Chunk {
            call: CallRef::Number(1),
            payload: Payload::binary(vec![0; bytes]),
        };
        outbox.push(chunk(PART_BYTES)).expect("empty");
        outbox.push(chunk(100)).expect("it has room of its own");
        let refused = outbox.push(chunk(PART_BYTES)).expect_err("full");
        assert_eq!(refused.why, Refusal::Full);
        outbox.pop().expect("one waits");
        outbox.push(chunk(PART_BYTES)).expect("room again");
    }

    #[test]
    fn void_calls_are_told_of_when_there_are_many_or_it_is_time() {
        let outbox = Outbox::new(Limits::default());
        let mut told = Vec::new();
        assert_eq!(outbox.done(1), Ok(false), "the peer takes no such message");
        outbox.collect_done();
        for call in 1..DONE_MAX as u64 {
            assert_eq!(outbox.done(call), Ok(true));
        }
        assert!(outbox.take_done(false, &mut told), "they wait");
        outbox.done(64).expect("there is room");
        assert!(!outbox.take_done(false, &mut told), "enough for a message");
        assert_eq!(told, (1..=64).collect::<Vec<u64>>());
        outbox.done(65).expect("there is room");
        outbox.close(Close {
            code: 1000,
            reason: "done".into(),
        });
        assert_eq!(outbox.closing(), None);
        assert!(!outbox.take_done(false, &mut told), "none is left behind");
        assert_eq!(outbox.closing().map(|close| close.code), Some(1000));
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
