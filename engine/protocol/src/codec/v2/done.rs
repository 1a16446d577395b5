//! Results of void calls that went well, many in one message: nobody waits for them, but the
//! engine counts how busy each worker is.

use super::{Parts, header, invalid, kind};
use crate::{CallId, ErrorBody, codec::Draft};

/// Said by an engine that takes such messages.
pub const FEATURE: &str = "done";

/// Bytes of a number in the body.
const NUMBER_BYTES: usize = 8;

pub fn is_done(message: &[u8]) -> bool {
    message.first() == Some(&kind::DONE)
}

/// Writes that the void calls of these numbers went well.
pub fn write(calls: &[u64], out: &mut Draft) {
    out.put(header(kind::DONE, 0, 0, 0, 0));
    for call in calls {
        out.put(call.to_le_bytes());
    }
}

/// The calls that went well.
///
/// # Errors
/// `invalid_frame` when the body is no list of numbers.
pub fn read(message: &[u8]) -> Result<impl Iterator<Item = CallId>, ErrorBody> {
    let body = Parts::of(message)?.body;
    let (numbers, rest) = body.as_chunks::<NUMBER_BYTES>();
    if !rest.is_empty() || numbers.is_empty() {
        return Err(invalid(format!(
            "the numbers of calls have {NUMBER_BYTES} bytes each, the body has {}",
            body.len()
        )));
    }
    Ok(numbers
        .iter()
        .map(|number| CallId(u64::from_le_bytes(*number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_crumbs_are_refused() {
        let mut draft = Draft::flat();
        let calls = [1, 1 << 35, u64::MAX];
        write(&calls, &mut draft);
        let message = draft.into_bytes();
        assert!(is_done(&message));
        let read_again: Vec<u64> = read(&message).expect("good").map(|call| call.0).collect();
        assert_eq!(read_again, calls);
        for wrong in [&message[..message.len() - 1], &message[..16], &message[..3]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
