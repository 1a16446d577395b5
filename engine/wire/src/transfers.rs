//! Large messages that leave in parts, between everything else.
//!
//! Each time the socket is given something, what is small goes first and some parts follow, of all
//! messages in turn. So a large message delays a small one by a few parts and no more. What is
//! said about one call keeps its order: it waits here behind the call's large message.

use std::collections::VecDeque;

use agentos_protocol::codec::{
    Draft,
    v2::parts::{self, LARGEST_MAX, MESSAGES_MAX, PART_BYTES},
};

use crate::framing::{Opcode, Role, begin, finish};

/// Bytes of parts that are given to the socket in one write.
const TURN_BYTES: usize = 4 * PART_BYTES;

/// See the module.
#[derive(Default)]
pub(crate) struct Transfers {
    /// Messages of which parts have been sent, in the order of their turns.
    started: VecDeque<Transfer>,
    /// Messages of which none has.
    waiting: VecDeque<Transfer>,
    /// The number of the next transfer.
    next: u64,
    /// Of all messages, what has not been sent.
    bytes: usize,
    /// Bytes that the peer takes in one message.
    message_bytes_max: usize,
}

struct Transfer {
    number: u64,
    /// The call that the message is about.
    call: Option<u64>,
    message: Draft,
    sent: usize,
}

impl Transfers {
    /// For a peer that takes parts of messages of at most `message_bytes_max`.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Transfers {
            message_bytes_max,
            ..Transfers::default()
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Transfers {
            next: self.next,
            ..Transfers::new(self.message_bytes_max)
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.started.len() + self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message of so many bytes, which begins with `head`, leaves by this way: it is
    /// large, or comes after a large one about the same call.
    pub(crate) fn wants(&self, head: &[u8], bytes: usize) -> bool {
        let is_large =
            bytes > PART_BYTES && parts::is_divisible(head) && u32::try_from(bytes).is_ok();
        is_large || (!self.is_empty() && self.is_about(parts::call_of(head)))
    }

    fn is_about(&self, call: Option<u64>) -> bool {
        call.is_some() && self.all().any(|transfer| transfer.call == call)
    }

    fn all(&self) -> impl Iterator<Item = &Transfer> {
        self.started.iter().chain(&self.waiting)
    }

    /// Takes a message that [`Transfers::wants`]. When it takes a call back that has not gone out,
    /// neither goes; what is to be said of that is written to `out`.
    pub(crate) fn add(&mut self, message: Draft, role: Role, out: &mut Draft) {
        let call = parts::call_of(message.text());
        if parts::is_cancel(message.text()) && self.withdraw(call, role, out) {
            return;
        }
        self.bytes += message.len();
        self.next += 1;
        self.waiting.push_back(Transfer {
            number: self.next,
            call,
            message,
            sent: 0,
        });
    }

    /// Forgets a call, if it is here; true when it was.
    fn withdraw(&mut self, call: Option<u64>, role: Role, out: &mut Draft) -> bool {
        let is_it =
            |transfer: &Transfer| transfer.call == call && parts::is_call(transfer.message.text());
        if let Some(place) = self.waiting.iter().position(is_it) {
            let transfer = self.waiting.remove(place).expect("it is there");
            self.bytes -= transfer.message.len();
            return true;
        }
        let Some(place) = self.started.iter().position(is_it) else {
            return false;
        };
        let transfer = self.started.remove(place).expect("it is there");
        self.bytes -= transfer.message.len() - transfer.sent;
        let start = begin(out);
        parts::write_abandoned(transfer.number, out);
        finish(out, start, Opcode::Binary, role, usize::MAX);
        true
    }

    /// Writes what it is now the turn of.
    pub(crate) fn write(&mut self, role: Role, out: &mut Draft) {
        let mut room = TURN_BYTES;
        while room > 0 {
            self.start(role, out);
            let Some(mut transfer) = self.started.pop_front() else {
                return;
            };
            let len = PART_BYTES.min(transfer.message.len() - transfer.sent);
            let start = begin(out);
            let at = transfer.sent;
            parts::write(transfer.number, &transfer.message, at, len, out);
            finish(out, start, Opcode::Binary, role, usize::MAX);
            transfer.sent += len;
            self.bytes -= len;
            room = room.saturating_sub(len);
            if transfer.sent < transfer.message.len() {
                self.started.push_back(transfer);
            }
        }
    }

    /// Lets messages that wait begin, as many as the peer takes at one time, in their order but for
    /// those that come after another about the same call.
    fn start(&mut self, role: Role, out: &mut Draft) {
        let mut place = 0;
        while let Some(transfer) = self.waiting.get(place) {
            let mut before = self.started.iter().chain(self.waiting.iter().take(place));
            if transfer.call.is_some() && before.any(|other| other.call == transfer.call) {
                place += 1;
                continue;
            }
            let is_large = transfer.message.len() > PART_BYTES;
            if is_large && !self.has_room(transfer.message.len()) {
                return;
            }
            let transfer = self.waiting.remove(place).expect("it is there");
            if is_large {
                self.started.push_back(transfer);
                continue;
            }
            self.bytes -= transfer.message.len();
            let start = begin(out);
            out.put_range(&transfer.message, 0..transfer.message.len());
            finish(out, start, Opcode::Binary, role, usize::MAX);
        }
    }

    /// Whether the peer has to take another message beside those that have begun.
    fn has_room(&self, bytes: usize) -> bool {
        let under_way: usize = self.started.iter().map(|one| one.message.len()).sum();
        self.started.is_empty()
            || (self.started.len() < MESSAGES_MAX
                && under_way + bytes <= LARGEST_MAX * self.message_bytes_max)
    }
}

#[cfg(test)]
mod tests;
