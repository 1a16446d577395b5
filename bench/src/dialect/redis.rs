//! As much of Redis' protocol (RESP 2) as publishing and subscribing need.

use anyhow::{Context, Result, bail};
use memchr::memmem;

use super::{Bind, Dialect, End, Heard, Place, Template};
use crate::link::Link;

const LINE_END: &[u8] = b"\r\n";

#[derive(Clone)]
pub(crate) struct Redis;

pub(crate) fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(LINE_END);
    }
}

/// The line at the beginning of `input`, and where the next one begins.
fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memmem::find(input, LINE_END)?;
    Some((&input[..end], end + LINE_END.len()))
}

fn length(digits: &[u8]) -> Result<usize> {
    std::str::from_utf8(digits)?
        .parse()
        .context("a length that is no number")
}

impl Dialect for Redis {
    async fn open(&self, place: &Place, end: &End) -> Result<Link> {
        let mut link = Link::connect(&place.address).await?;
        match &end.bind {
            Some(Bind::Topic(topic)) => {
                command(&[b"SUBSCRIBE", topic.as_bytes()], &mut link.outgoing.bytes);
            }
            Some(Bind::Http(_)) => bail!("Redis has no HTTP"),
            None => command(&[b"PING"], &mut link.outgoing.bytes),
        }
        self.wait_for(&mut link, |_| true).await?;
        Ok(link)
    }

    fn call(&self, _function: &str, _payload: &[u8], _void: bool) -> Result<Template> {
        bail!("Redis has no calls")
    }

    fn publish(&self, topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        command(&[b"PUBLISH", topic.as_bytes(), payload], &mut bytes);
        Ok(bytes)
    }

    fn write_number(&self, _number: u64, _at: &mut [u8]) {}

    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>> {
        let Some((head, mut taken)) = line(input) else {
            return Ok(None);
        };
        match head.split_first() {
            Some((b'*', count)) => {
                // `message`, the topic and the message; or `subscribe`, the topic and a number.
                let mut last: &[u8] = &[];
                let mut first = None;
                for _ in 0..length(count)? {
                    let Some((part, next)) = line(&input[taken..]) else {
                        return Ok(None);
                    };
                    taken += next;
                    if let Some((b'$', digits)) = part.split_first() {
                        let bytes = length(digits)?;
                        let Some(part) = input.get(taken..taken + bytes) else {
                            return Ok(None);
                        };
                        last = part;
                        taken += bytes + LINE_END.len();
                        if taken > input.len() {
                            return Ok(None);
                        }
                    }
                    first.get_or_insert(last);
                }
                Ok(Some((
                    taken,
                    if first == Some(b"message") {
                        Heard::Call {
                            reply_to: &[],
                            payload: last,
                        }
                    } else {
                        Heard::Other(head)
                    },
                )))
            }
            Some((b'-', error)) => bail!("{}", String::from_utf8_lossy(error)),
            _ => Ok(Some((taken, Heard::Other(head)))),
        }
    }

    fn answer(&self, _reply_to: &[u8], _payload: Option<&[u8]>, _out: &mut Vec<u8>) {}

    fn pong(&self, _ping: &[u8], _out: &mut Vec<u8>) {}
}
