use super::*;
use crate::{CallRef, Frame, Payload, codec::v2};

const LIMIT: usize = 1000;

fn result(number: u64, bytes: usize) -> Bytes {
    let frame = Frame::Reply {
        call: CallRef::Number(number),
        function: "".into(),
        outcome: Ok(Payload::binary(vec![number as u8; bytes])),
    };
    v2::encode(&frame).expect("it has a number")
}

/// The message in parts of `part_bytes`.
fn parts(number: u64, message: &Bytes, part_bytes: usize) -> Vec<Bytes> {
    let mut draft = Draft::default();
    draft.put_body(message.clone());
    let starts = (0..message.len()).step_by(part_bytes);
    starts
        .map(|at| {
            let mut out = Draft::flat();
            let len = part_bytes.min(message.len() - at);
            write(number, &draft, at, len, &mut out);
            out.into_bytes()
        })
        .collect()
}

/// `message` as its sender would mangle it, after `before` good parts of it.
fn check(before: usize, wrong: impl FnOnce(&mut Vec<u8>), expect: &str) {
    let mut assembly = Assembly::new(LIMIT);
    let message = result(1, 100);
    let parts = parts(7, &message, 40);
    for part in &parts[..before] {
        assert_eq!(assembly.add(part), Ok(None));
    }
    let mut bad = parts[before].to_vec();
    wrong(&mut bad);
    let error = assembly.add(&bad).expect_err("it is wrong");
    assert!(error.message.contains(expect), "{error}");
    assert_eq!(assembly.bytes(), 0, "nothing is kept of it");
    // The connection is good for another message of that number.
    let mut whole = None;
    for part in &parts {
        whole = assembly.add(part).expect("good");
    }
    assert_eq!(whole, Some(message));
}

#[test]
fn messages_come_together_whatever_is_between() {
    let mut assembly = Assembly::new(LIMIT);
    let messages = [result(1, 500), result(2, 77), result(3, 1)];
    let mut queues: Vec<_> = (5..)
        .zip(&messages)
        .map(|(number, message)| parts(number, message, 13).into_iter())
        .collect();
    let mut whole = Vec::new();
    while whole.len() < messages.len() {
        for queue in &mut queues {
            let Some(part) = queue.next() else { continue };
            whole.extend(assembly.add(&part).expect("good"));
        }
    }
    whole.sort_by_key(|message| call_of(message));
    assert_eq!(whole, messages);
    assert_eq!(assembly.bytes(), 0);
}

#[test]
fn wrong_parts_are_named_and_forgotten() {
    let flags = |flags| move |part: &mut Vec<u8>| part[1] = flags;
    check(0, flags(0), "has not begun");
    check(0, flags(FLAG_ABANDONED), "has not begun");
    check(1, flags(FLAG_FIRST), "begins a second time");
    check(1, flags(4), "unknown flags");
    check(1, |part| part.truncate(HEADER_BYTES), "is empty");
    check(0, |part| part.truncate(HEADER_BYTES), "only calls");
    check(0, |part| part[HEADER_BYTES] = kind::HELLO, "only calls");
    check(0, |part| part[HEADER_BYTES] = kind::PART, "only calls");
    check(1, |part| part[4] += 1, "goes on at byte 41, 40 have come");
    check(2, |part| part.extend([0; 1]), "announced");
    check(0, |part| part[4] = 39, "announced");
    check(0, |part| part[5] = 0xff, "larger than the limit");
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut assembly = Assembly::new(LIMIT);
    let small = result(1, 50);
    for number in 0..MESSAGES_MAX as u64 {
        assembly
            .add(&parts(number, &small, 40)[0])
            .expect("room for it");
    }
    let error = assembly
        .add(&parts(99, &small, 40)[0])
        .expect_err("one too many");
    assert!(error.message.contains("under way"), "{error}");

    let mut assembly = Assembly::new(LIMIT);
    let large = result(1, LIMIT - HEADER_BYTES);
    for number in 0..LARGEST_MAX as u64 {
        assembly
            .add(&parts(number, &large, 40)[0])
            .expect("room for it");
    }
    assembly
        .add(&parts(99, &small, 40)[0])
        .expect_err("no room in bytes");
}

#[test]
fn an_abandoned_message_leaves_room() {
    let mut assembly = Assembly::new(LIMIT);
    let message = result(1, 100);
    let parts = parts(7, &message, 40);
    assembly.add(&parts[0]).expect("begins");
    let mut end = Draft::flat();
    write_abandoned(7, &mut end);
    assert_eq!(assembly.add(&end.into_bytes()), Ok(None));
    assert_eq!(assembly.bytes(), 0);
    assert!(assembly.add(&parts[1]).is_err(), "it is not there");
}
