use agentos_protocol::{
    Call, CallRef, Frame, Payload,
    codec::v2::{self, HEADER_BYTES, kind, parts::Assembly},
};

use super::*;

const LARGE: usize = 10 * PART_BYTES;

fn draft(frame: &Frame) -> Draft {
    let mut draft = Draft::default();
    v2::write(frame, &mut draft).expect("it can be written");
    draft
}

fn call(number: u64, bytes: usize) -> Draft {
    let number = Some(CallRef::Number(number));
    let call = Call::new(number, "f", Payload::binary(vec![1; bytes]));
    draft(&Frame::Call(Box::new(call)))
}

fn chunk(number: u64, bytes: usize) -> Draft {
    draft(&Frame::Chunk {
        call: CallRef::Number(number),
        payload: Payload::binary(vec![1; bytes]),
    })
}

fn cancel(number: u64) -> Draft {
    draft(&Frame::Cancel {
        call: CallRef::Number(number),
    })
}

/// What a peer has got.
struct Peer {
    transfers: Transfers,
    assembly: Assembly,
    /// Kinds and calls of the messages that have come.
    heard: Vec<(u8, u64)>,
}

impl Peer {
    fn new(message_bytes_max: usize) -> Self {
        Peer {
            transfers: Transfers::new(message_bytes_max),
            assembly: Assembly::new(message_bytes_max),
            heard: Vec::new(),
        }
    }

    fn say(&mut self, message: Draft) {
        assert!(self.transfers.wants(message.text(), message.len()));
        let mut out = Draft::default();
        self.transfers.add(message, Role::Server, &mut out);
        self.hear(out);
    }

    fn turn(&mut self) {
        let mut out = Draft::default();
        self.transfers.write(Role::Server, &mut out);
        self.hear(out);
    }

    fn hear(&mut self, out: Draft) {
        let mut rest = &out.into_bytes()[..];
        while !rest.is_empty() {
            let header = crate::framing::Header::parse(rest, Role::Client)
                .expect("good")
                .expect("whole");
            let (message, after) = rest[header.bytes..].split_at(header.len as usize);
            rest = after;
            if !parts::is_part(message) {
                self.note(message);
            } else if let Some(whole) = self.assembly.add(message).expect("good parts") {
                self.note(&whole);
            }
        }
    }

    fn note(&mut self, message: &[u8]) {
        assert!(message.len() >= HEADER_BYTES);
        let call = parts::call_of(message).expect("about a call");
        self.heard.push((message[0], call));
    }

    fn drain(&mut self) {
        while !self.transfers.is_empty() {
            self.turn();
        }
        assert_eq!(self.transfers.bytes(), 0);
        assert_eq!(self.assembly.bytes(), 0);
    }
}

#[test]
fn a_turn_is_short_and_goes_round() {
    let mut peer = Peer::new(1 << 20);
    peer.say(call(1, LARGE));
    peer.say(call(2, 2 * PART_BYTES));
    let before = peer.transfers.bytes();
    peer.turn();
    assert_eq!(before - peer.transfers.bytes(), TURN_BYTES);
    // The second is through although the first began long before.
    peer.turn();
    assert_eq!(peer.heard, [(kind::CALL, 2)]);
    peer.drain();
    assert_eq!(peer.heard, [(kind::CALL, 2), (kind::CALL, 1)]);
}

#[test]
fn what_is_said_about_a_call_keeps_its_order() {
    let mut peer = Peer::new(1 << 20);
    peer.say(chunk(1, LARGE));
    peer.say(chunk(1, 5));
    peer.say(chunk(1, LARGE));
    peer.say(cancel(1));
    peer.say(call(2, LARGE));
    assert!(!peer.transfers.wants(call(3, 5).text(), 22));
    peer.drain();
    let of = |number| peer.heard.iter().filter(move |(_, call)| *call == number);
    let kinds: Vec<u8> = of(1).map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [kind::CHUNK, kind::CHUNK, kind::CHUNK, kind::CANCEL]);
    assert_eq!(of(2).count(), 1);
}

#[test]
fn a_cancelled_call_does_not_go_on() {
    let mut peer = Peer::new(1 << 20);
    peer.say(call(1, LARGE));
    peer.turn();
    peer.say(call(2, LARGE));
    peer.say(cancel(1));
    peer.say(cancel(2));
    assert!(peer.transfers.is_empty());
    peer.drain();
    assert_eq!(peer.heard, []);
}

#[test]
fn no_more_is_under_way_than_the_peer_takes() {
    let mut peer = Peer::new(LARGE + 1024);
    for number in 1..20 {
        peer.say(call(number, LARGE));
        peer.say(call(100 + number, PART_BYTES));
    }
    // The assembly refuses what would be too much.
    peer.drain();
    assert_eq!(peer.heard.len(), 38);
}
