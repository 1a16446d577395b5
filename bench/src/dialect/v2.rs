//! `agentos.v2`: frames are made by the codec once, then sent again with another number.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use agentos_protocol::{
    Call, CallRef, Delivery, Frame, FunctionSpec, Hello, Payload, Register, TriggerSpec,
    codec::{
        SUBPROTOCOL,
        v2::{HEADER_BYTES, encode, kind},
    },
};
use anyhow::{Result, bail};
use bytes::Bytes;

use super::{Dialect, End, Heard, Place, Template};
use crate::{
    link::Link,
    websocket::{self, BINARY, PING, PONG},
};

/// Where the number of a call is in its header.
const NUMBER: std::ops::Range<usize> = 8..16;

/// As our SDKs: so many results of void calls make a message, fewer wait for another message or so
/// long.
const DONE_MAX: usize = 64;
const DONE_DELAY: Duration = Duration::from_millis(2);

#[derive(Clone, Default)]
pub(crate) struct V2 {
    done: Rc<RefCell<Done>>,
}

/// Void calls that have been run, and since when some are.
#[derive(Default)]
struct Done {
    numbers: Vec<u8>,
    since: Option<Instant>,
}

impl Dialect for V2 {
    async fn open(&self, place: &Place, end: &End) -> Result<Link> {
        if place.bare {
            let path = format!("/{}/{}", end.role, end.index);
            return websocket::connect(&place.address, &path, None).await;
        }
        let mut link = websocket::connect(&place.address, "/", Some(SUBPROTOCOL)).await?;
        let hello = Frame::Hello(Box::new(Hello {
            name: format!("bench-{}-{}", end.role, end.index),
            language: "rust".to_owned(),
            ..Hello::default()
        }));
        let register = Frame::Register(Box::new(Register {
            request: 1,
            functions: end
                .offers
                .iter()
                .map(|id| FunctionSpec::new(id.as_str()))
                .collect(),
            triggers: end
                .bind
                .iter()
                .zip(&end.offers)
                .map(|(bind, function)| {
                    let (kind, config) = bind.trigger();
                    let id = format!("bench-{}-{}", end.role, end.index);
                    TriggerSpec::new(id, kind, function.as_str(), config)
                })
                .collect(),
            ..Register::default()
        }));
        for frame in [hello, register] {
            websocket::message(BINARY, &encode(&frame)?, &mut link.outgoing.bytes);
        }
        self.wait_for(
            &mut link,
            |heard| matches!(heard, Heard::Other(body) if body.first() == Some(&kind::REGISTERED)),
        )
        .await?;
        Ok(link)
    }

    fn call(&self, function: &str, payload: &[u8], void: bool) -> Result<Template> {
        let number = (!void).then_some(CallRef::Number(1));
        let payload = Payload::json(Bytes::copy_from_slice(payload));
        let mut call = Call::new(number, function, payload);
        if void {
            call.delivery = Delivery::Void;
        }
        let body = encode(&Frame::Call(Box::new(call)))?;
        let mut bytes = Vec::new();
        websocket::message(BINARY, &body, &mut bytes);
        let head = bytes.len() - body.len();
        Ok(Template {
            bytes,
            number_at: (!void).then_some(head + NUMBER.start..head + NUMBER.end),
        })
    }

    fn publish(&self, topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let data = super::topic_and_data(topic, payload);
        Ok(self.call("publish", &data, true)?.bytes)
    }

    fn write_number(&self, number: u64, at: &mut [u8]) {
        at.copy_from_slice(&number.to_le_bytes());
    }

    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>> {
        let Some(message) = websocket::parse(input)? else {
            return Ok(None);
        };
        let heard = match message.opcode {
            BINARY => heard(message.body)?,
            PING => Heard::Ping(message.body),
            _ => Heard::Other(message.body),
        };
        Ok(Some((message.taken, heard)))
    }

    fn answer(&self, reply_to: &[u8], payload: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(payload) = payload else {
            let mut done = self.done.borrow_mut();
            done.numbers.extend_from_slice(reply_to);
            return;
        };
        websocket::begin(BINARY, HEADER_BYTES + payload.len(), out);
        out.extend_from_slice(&[kind::RESULT, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(reply_to);
        out.extend_from_slice(payload);
    }

    fn end_of_read(&self, out: &mut Vec<u8>) {
        let mut done = self.done.borrow_mut();
        if done.numbers.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_due = now.duration_since(*done.since.get_or_insert(now)) >= DONE_DELAY;
        if out.is_empty() && !is_due && done.numbers.len() < DONE_MAX * NUMBER.len() {
            return;
        }
        websocket::begin(BINARY, HEADER_BYTES + done.numbers.len(), out);
        out.push(kind::DONE);
        out.extend_from_slice(&[0; HEADER_BYTES - 1]);
        out.append(&mut done.numbers);
        done.since = None;
    }

    fn pong(&self, ping: &[u8], out: &mut Vec<u8>) {
        websocket::message(PONG, ping, out);
    }
}

fn heard(body: &[u8]) -> Result<Heard<'_>> {
    let Some((head, rest)) = body.split_first_chunk::<HEADER_BYTES>() else {
        bail!("a message of {} bytes", body.len());
    };
    let number = &head[NUMBER];
    Ok(match head[0] {
        kind::CALL => {
            let meta = usize::from(u16::from_le_bytes([head[2], head[3]]));
            Heard::Call {
                reply_to: if number == [0; 8] { &[] } else { number },
                payload: rest.get(meta..).unwrap_or_default(),
            }
        }
        found @ (kind::RESULT | kind::ERROR) => Heard::Reply {
            number: number
                .try_into()
                .map(u64::from_le_bytes)
                .expect("eight bytes"),
            good: found == kind::RESULT,
        },
        kind::FAULT => bail!("a fault: {}", String::from_utf8_lossy(rest)),
        _ => Heard::Other(body),
    })
}
