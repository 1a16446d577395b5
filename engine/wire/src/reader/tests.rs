//! Against tungstenite, which writes what is read here and reads what is written here.

use std::{
    io::{self, Cursor},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::tungstenite::{
    Bytes as TungsteniteBytes, Message, WebSocket,
    protocol::{
        Role as TungsteniteRole,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::*;

/// A socket that gives its bytes in pieces of the sizes that it is told, over and over.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = *self.sizes.next().expect("it goes round");
        let (piece, rest) = self
            .bytes
            .split_at(size.min(self.bytes.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, PartialEq, Clone)]
enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// Everything that is heard, and how it ended.
fn read(bytes: &[u8], role: Role, bytes_max: usize, sizes: &[usize]) -> (Vec<Told>, Fault) {
    let mut socket = Pieces {
        bytes,
        sizes: sizes.iter().cycle(),
    };
    let mut reader = Reader::new(role, Arc::new(bytes_max.into()), Vec::new());
    let mut told = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let turn = reader.poll_read(&mut socket, &mut context, &mut |heard| {
            told.push(match heard {
                Heard::Message(message) => match message.text() {
                    Some(text) => Told::Text(text.to_owned()),
                    None => Told::Binary(message.to_bytes().to_vec()),
                },
                Heard::Ping(payload) => Told::Ping(payload.to_vec()),
                Heard::Pong => Told::Pong,
                Heard::Close(code) => Told::Close(code),
            });
            true
        });
        match turn {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(fault)) => return (told, fault),
            Poll::Pending => panic!("pieces are always ready"),
        }
    }
}

/// Messages as tungstenite writes them.
fn written(role: TungsteniteRole, messages: Vec<Message>) -> Vec<u8> {
    let mut socket = WebSocket::from_raw_socket(Cursor::new(Vec::new()), role, None);
    for message in messages {
        socket.send(message).expect("memory takes it");
    }
    socket.get_ref().get_ref().clone()
}

fn part(text: &str, kind: Data, is_last: bool) -> Message {
    let bytes = TungsteniteBytes::copy_from_slice(text.as_bytes());
    Message::Frame(Frame::message(bytes, OpCode::Data(kind), is_last))
}

/// Every way of cutting that matters: byte by byte, odd pieces, all at once.
const CUTS: [&[usize]; 5] = [&[1], &[7, 1, 130], &[4096], &[usize::MAX], &[20_000, 3]];

#[test]
fn what_tungstenite_writes_is_read_however_it_is_cut() {
    let large = "é".repeat(40_000);
    let bytes = vec![7; 300_000];
    let messages = vec![
        Message::text("{}"),
        Message::binary(vec![1, 2, 3]),
        Message::Ping(TungsteniteBytes::from_static(b"are you there")),
        Message::text("x".repeat(126)),
        Message::text(large.clone()),
        Message::binary(Vec::new()),
        part("in ", Data::Text, false),
        part("three ", Data::Continue, false),
        Message::Pong(TungsteniteBytes::new()),
        part("parts", Data::Continue, true),
        Message::binary(bytes.clone()),
        part(&large, Data::Binary, false),
        part(&large, Data::Continue, true),
        Message::text("after"),
    ];
    let expected = vec![
        Told::Text("{}".into()),
        Told::Binary(vec![1, 2, 3]),
        Told::Ping(b"are you there".to_vec()),
        Told::Text("x".repeat(126)),
        Told::Text(large.clone()),
        Told::Binary(Vec::new()),
        Told::Pong,
        Told::Text("in three parts".into()),
        Told::Binary(bytes),
        Told::Binary(large.repeat(2).into_bytes()),
        Told::Text("after".into()),
    ];
    for (theirs, ours) in [
        (TungsteniteRole::Client, Role::Server),
        (TungsteniteRole::Server, Role::Client),
    ] {
        let bytes = written(theirs, messages.clone());
        for cuts in CUTS {
            let (told, fault) = read(&bytes, ours, 1 << 20, cuts);
            assert_eq!(fault, Fault::Eof, "{ours:?} {cuts:?}");
            assert!(told == expected, "{ours:?} {cuts:?}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_after_it_is_heard() {
    let masked = |head: [u8; 2], payload: &[u8]| [&head[..], &[0; 4], payload].concat();
    let rows: [(&str, Vec<u8>, Fault); 8] = [
        (
            "text is UTF-8",
            masked([0x81, 0x82], &[0xc3, 0x28]),
            NOT_UTF8,
        ),
        (
            "a fragment has a beginning",
            masked([0x80, 0x80], &[]),
            Fault::Protocol(1002, "a fragment continues nothing"),
        ),
        (
            "one message at a time",
            [masked([0x01, 0x81], b"a"), masked([0x81, 0x81], b"b")].concat(),
            Fault::Protocol(1002, "a message begins inside another"),
        ),
        (
            "clients mask",
            vec![0x81, 0x01, b'a'],
            Fault::Protocol(1002, "a client's frame is not masked"),
        ),
        (
            "close codes have two bytes",
            masked([0x88, 0x81], &[3]),
            Fault::Protocol(1002, "a close code has two bytes"),
        ),
        (
            "large ones are refused by their header",
            masked([0x82, 0xff], &[])
                .into_iter()
                .chain([0xff; 8])
                .collect(),
            Fault::Eof,
        ),
        (
            "a size is looked at before anything comes",
            [&[0x82, 0xff][..], &(2_000_000_u64.to_be_bytes()), &[0; 4]].concat(),
            Fault::TooLarge(2_000_000),
        ),
        (
            "fragments add up",
            [
                masked([0x02, 0xfd], &[1; 125]),
                [&[0x80, 0xff][..], &(1_048_500_u64.to_be_bytes()), &[0; 4]].concat(),
            ]
            .concat(),
            Fault::TooLarge(1_048_625),
        ),
    ];
    for (what, bytes, expected) in rows {
        // Lengths beyond any memory are faults, too; which one is the header's business.
        if expected == Fault::Eof {
            let (told, fault) = read(&bytes, Role::Server, 1 << 20, &[usize::MAX]);
            assert!(
                told.is_empty() && fault != Fault::Io(String::new()),
                "{what}"
            );
            continue;
        }
        for cuts in CUTS {
            let (told, fault) = read(&bytes, Role::Server, 1 << 20, cuts);
            assert_eq!(fault, expected, "{what} {cuts:?}");
            assert!(told.is_empty(), "{what} {cuts:?}");
        }
    }
}

#[test]
fn who_wants_to_stop_hears_the_rest_next_time() {
    let bytes = written(
        TungsteniteRole::Client,
        vec![
            Message::text("one"),
            Message::text("two"),
            Message::text("three"),
        ],
    );
    let mut reader = Reader::new(Role::Server, Arc::new((1 << 20).into()), bytes);
    let mut heard = Vec::new();
    for _ in 0..3 {
        let turn = reader.take_first(&mut |message| {
            heard.push(format!("{message:?}"));
            false
        });
        assert_eq!(turn, Ok(Turn::Stop));
    }
    assert_eq!(heard.len(), 3);
    assert!(
        heard[0].contains("one") && heard[2].contains("three"),
        "{heard:?}"
    );
}
