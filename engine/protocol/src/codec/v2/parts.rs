//! Large messages in parts, so that small ones pass them on the same connection.
//!
//! A part is a message of its own: the header and a piece of the message that it belongs to. The
//! pieces come in order, the parts of several messages mixed. Each end says that it takes parts
//! among the features of its `hello` or `welcome`.

use bytes::Bytes;

use super::{HEADER_BYTES, invalid, kind};
use crate::{Code, ErrorBody, codec::Draft};

/// Said by an end that takes messages in parts.
pub const FEATURE: &str = "parts";

/// Messages above this size leave in parts of it: a small message waits for about a tenth of a
/// millisecond behind one, and the headers cost nothing against it.
pub const PART_BYTES: usize = 64 << 10;

/// Messages of which an end may have sent some parts and not all.
pub const MESSAGES_MAX: usize = 16;

/// All of them together have at most so many bytes, in largest messages: one may pass another.
pub const LARGEST_MAX: usize = 2;

const FLAG_FIRST: u8 = 1;
const FLAG_ABANDONED: u8 = 2;

/// What may come in parts: messages with a payload.
fn may_be_large(kind: u8) -> bool {
    matches!(kind, kind::CALL | kind::RESULT | kind::CHUNK)
}

/// The number of the call that a message is about, if it is about one.
pub fn call_of(message: &[u8]) -> Option<u64> {
    let kind = *message.first()?;
    let number = message.get(8..HEADER_BYTES)?;
    (kind::CALL..=kind::CANCEL)
        .contains(&kind)
        .then(|| number.try_into().map(u64::from_le_bytes).ok())?
}

/// Whether a message that is too large for one part may leave in several.
pub fn is_divisible(message: &[u8]) -> bool {
    message.first().copied().is_some_and(may_be_large)
}

pub fn is_call(message: &[u8]) -> bool {
    message.first() == Some(&kind::CALL)
}

pub fn is_cancel(message: &[u8]) -> bool {
    message.first() == Some(&kind::CANCEL)
}

pub fn is_part(message: &[u8]) -> bool {
    message.first() == Some(&kind::PART)
}

/// Writes the part of `message` that begins at byte `at` and has `len` bytes. `number` tells its
/// parts from those of other messages.
pub fn write(number: u64, message: &Draft, at: usize, len: usize, out: &mut Draft) {
    let (flags, aux) = if at == 0 {
        (FLAG_FIRST, message.len())
    } else {
        (0, at)
    };
    // Whoever sets a message apart has seen that its length fits.
    out.put(super::header(kind::PART, flags, 0, aux as u32, number));
    out.put_range(message, at..at + len);
}

/// Writes that the rest of a message does not come.
pub fn write_abandoned(number: u64, out: &mut Draft) {
    out.put(super::header(kind::PART, FLAG_ABANDONED, 0, 0, number));
}

/// Puts messages together from their parts.
#[derive(Debug)]
pub struct Assembly {
    message_bytes_max: usize,
    messages: Vec<Partial>,
}

#[derive(Debug)]
struct Partial {
    number: u64,
    total: usize,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes messages of at most `message_bytes_max`.
    pub fn new(message_bytes_max: usize) -> Self {
        Assembly {
            message_bytes_max,
            messages: Vec::new(),
        }
    }

    /// Takes a part; gives the message when it was the last one.
    ///
    /// # Errors
    /// `payload_too_large` when the message will be larger than allowed, `invalid_frame` that says
    /// what else is wrong; what came of the message is forgotten.
    pub fn add(&mut self, part: &[u8]) -> Result<Option<Bytes>, ErrorBody> {
        let parts = super::Parts::of(part)?;
        let (number, piece) = (parts.id, parts.body);
        let place = self.messages.iter().position(|one| one.number == number);
        let aux = parts.aux as usize;
        match (place, parts.flags) {
            (Some(place), FLAG_ABANDONED) => {
                self.messages.swap_remove(place);
                Ok(None)
            }
            (Some(place), 0) => self.go_on(place, aux, piece),
            (None, FLAG_FIRST) => self.begin(number, aux, piece),
            (Some(place), FLAG_FIRST) => {
                self.messages.swap_remove(place);
                Err(invalid(format!("message {number} begins a second time")))
            }
            (None, 0 | FLAG_ABANDONED) => Err(invalid(format!(
                "a part belongs to message {number}, which has not begun"
            ))),
            (place, flags) => {
                if let Some(place) = place {
                    self.messages.swap_remove(place);
                }
                Err(invalid(format!("a part has the unknown flags {flags}")))
            }
        }
    }

    /// Bytes that have come of messages that are not whole.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|one| one.bytes.len()).sum()
    }

    fn begin(
        &mut self,
        number: u64,
        total: usize,
        piece: &[u8],
    ) -> Result<Option<Bytes>, ErrorBody> {
        if total > self.message_bytes_max {
            return Err(ErrorBody::caller(
                Code::PayloadTooLarge,
                format!(
                    "a message of {total} bytes is larger than the limit of {}",
                    self.message_bytes_max
                ),
            ));
        }
        if !piece.first().copied().is_some_and(may_be_large) {
            return Err(invalid("only calls, results and chunks come in parts"));
        }
        if piece.len() > total {
            return Err(too_long(number, total));
        }
        let announced: usize = self.messages.iter().map(|one| one.total).sum();
        if self.messages.len() >= MESSAGES_MAX
            || announced + total > LARGEST_MAX * self.message_bytes_max
        {
            return Err(invalid(format!(
                "parts of more than {MESSAGES_MAX} messages, or of more bytes than {LARGEST_MAX} \
                 largest ones, are under way"
            )));
        }
        if piece.len() == total {
            return Ok(Some(Bytes::copy_from_slice(piece)));
        }
        self.messages.push(Partial {
            number,
            total,
            bytes: piece.to_vec(),
        });
        Ok(None)
    }

    fn go_on(&mut self, place: usize, at: usize, piece: &[u8]) -> Result<Option<Bytes>, ErrorBody> {
        let partial = &mut self.messages[place];
        let (number, total, come) = (partial.number, partial.total, partial.bytes.len());
        let fault = if piece.is_empty() {
            invalid(format!("a part of message {number} is empty"))
        } else if at != come {
            invalid(format!(
                "message {number} goes on at byte {at}, {come} have come"
            ))
        } else if piece.len() > total - come {
            too_long(number, total)
        } else {
            partial.add(piece);
            if partial.bytes.len() < total {
                return Ok(None);
            }
            let whole = self.messages.swap_remove(place);
            return Ok(Some(whole.bytes.into()));
        };
        self.messages.swap_remove(place);
        Err(fault)
    }
}

impl Partial {
    /// Grows with what comes, not with what was announced, and to no more than that.
    fn add(&mut self, piece: &[u8]) {
        let come = self.bytes.len();
        if self.bytes.capacity() - come < piece.len() {
            let more = piece.len().max(come).min(self.total - come);
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(piece);
    }
}

fn too_long(number: u64, total: usize) -> ErrorBody {
    invalid(format!(
        "message {number} has more than the {total} bytes that its first part announced"
    ))
}

#[cfg(test)]
mod tests;
