//! What must hold for any input of the decoders. Fuzz targets and property tests ask it; it
//! panics when the answer is no.

use bytes::Bytes;

use super::{
    iii::{Codec, Decoded, Quick},
    v2::{
        self,
        parts::{Assembly, LARGEST_MAX},
    },
};
use crate::{Frame, Payload};

#[cfg(test)]
mod tests;

/// Marks the ids of a made-up life of the engine.
const MARK: u64 = 0x0f1e_2d3c_4b5a_6978;

/// Whatever the binary dialect can read it can write, and reads the same again.
///
/// # Panics
/// When that does not hold.
pub fn v2_reads(bytes: &Bytes) {
    let Ok(frame) = v2::decode(bytes) else { return };
    let written = v2::encode(&frame).expect("what was read can be written");
    let again = v2::decode(&written).expect("what was written can be read");
    assert_eq!(again, frame);
}

/// Whatever parts come, what is kept of them is bounded, and a whole message can be read or refused.
/// `data`: parts, each after a byte that tells its length.
///
/// # Panics
/// When that does not hold.
pub fn v2_parts(data: &[u8]) {
    const BYTES_MAX: usize = 256;
    let mut assembly = Assembly::new(BYTES_MAX);
    let mut rest = data;
    while let Some((len, after)) = rest.split_first() {
        let (part, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        if let Ok(Some(message)) = assembly.add(part) {
            assert!(message.len() <= BYTES_MAX, "{}", message.len());
            v2_reads(&message);
        }
        assert!(assembly.bytes() <= LARGEST_MAX * BYTES_MAX);
    }
}

/// A frame that the binary dialect can write comes back as it was, but for what never travels.
///
/// # Panics
/// When that does not hold.
pub fn v2_writes(frame: &Frame) {
    let Ok(written) = v2::encode(frame) else {
        return;
    };
    let mut expected = frame.clone();
    match &mut expected {
        // A result is known by its number.
        Frame::Reply { function, .. } => *function = "".into(),
        // 0 stands for the default.
        Frame::Call(call) => call.timeout_ms = call.timeout_ms.filter(|ms| *ms != 0),
        _ => {}
    }
    let again = v2::decode(&written).expect("what was written can be read");
    assert_eq!(again, expected);
}

/// What the JSON dialect reads off one worker it can write to another, who reads the same: calls
/// with payload, trace and side-car, results, errors.
///
/// # Panics
/// When that does not hold.
pub fn iii_reads(bytes: &Bytes) {
    let codec = Codec::new(MARK);
    let decoded = codec.decode(bytes);
    let quick = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| codec.quick(text, None));
    match (quick, &decoded) {
        (None, _) => {}
        (Some(Quick::Call(quick)), Ok(Decoded::Frame(Frame::Call(call)))) => {
            assert_eq!(quick.to_call(), **call);
        }
        (
            Some(Quick::Reply {
                call: name,
                payload,
            }),
            Ok(Decoded::Frame(Frame::Reply { call, outcome, .. })),
        ) => {
            assert_eq!((&name, &Ok(payload.to_payload())), (call, outcome));
        }
        (Some(quick), decoded) => panic!("{quick:?} is {decoded:?}"),
    }
    let Ok(Decoded::Frame(frame)) = decoded else {
        return;
    };
    let written = codec.encode(&frame).expect("what was read can be written");
    // Registrations only travel towards the engine.
    let Some(written) = written else { return };
    let again = match codec
        .decode(&written)
        .expect("what was written can be read")
    {
        Decoded::Frame(frame) => frame,
        other => panic!("{frame:?} became {other:?}"),
    };
    match (again, frame) {
        (Frame::Call(mut again), Frame::Call(frame)) => {
            // The delivery is the engine's to know.
            again.delivery.clone_from(&frame.delivery);
            assert_eq!(again, frame);
        }
        // Of a refused trigger only the message travels.
        (Frame::TriggerBound { id: again, .. }, Frame::TriggerBound { id, .. }) => {
            assert_eq!(again, id);
        }
        (again, frame) => assert_eq!(again, frame),
    }
}

/// Whatever the JSON dialect writes is one JSON object with a `type`, whoever made the payload.
///
/// # Panics
/// When that does not hold.
pub fn iii_writes(frame: &Frame) {
    let codec = Codec::new(MARK);
    let Ok(Some(written)) = codec.encode(frame) else {
        return;
    };
    let message: serde_json::Value = Payload::json(written.clone())
        .decode()
        .expect("what was written is JSON");
    assert!(message["type"].is_string(), "{message}");
    codec
        .decode(&written)
        .expect("what was written can be read");
}
