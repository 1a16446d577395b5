//! HTTP/1.1 with one request at a time on a connection that stays.

use anyhow::{Context, Result, bail};
use memchr::memmem;

use super::{Dialect, End, HTTP_PATH, Heard, Place, Template};
use crate::link::Link;

#[derive(Clone)]
pub(crate) struct Http;

impl Dialect for Http {
    async fn open(&self, place: &Place, _end: &End) -> Result<Link> {
        Ok(Link::connect(&place.address).await?)
    }

    fn call(&self, _function: &str, payload: &[u8], _void: bool) -> Result<Template> {
        let mut bytes = format!(
            "POST {HTTP_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            payload.len()
        )
        .into_bytes();
        bytes.extend_from_slice(payload);
        Ok(Template {
            bytes,
            number_at: None,
        })
    }

    fn publish(&self, _topic: &str, _payload: &[u8]) -> Result<Vec<u8>> {
        bail!("HTTP has no topics")
    }

    fn write_number(&self, _number: u64, _at: &mut [u8]) {}

    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>> {
        let Some(head) = memmem::find(input, b"\r\n\r\n") else {
            return Ok(None);
        };
        let length = content_length(&input[..head])?;
        let taken = head + 4 + length;
        if input.len() < taken {
            return Ok(None);
        }
        let good = input.starts_with(b"HTTP/1.1 200") && length > 2;
        // One at a time: it can only be the first.
        Ok(Some((taken, Heard::Reply { number: 1, good })))
    }

    fn answer(&self, _reply_to: &[u8], _payload: Option<&[u8]>, _out: &mut Vec<u8>) {}

    fn pong(&self, _ping: &[u8], _out: &mut Vec<u8>) {}
}

fn content_length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked(NAME.len())?;
            name.eq_ignore_ascii_case(NAME).then_some(value)
        })
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
        .with_context(|| format!("no length: {}", String::from_utf8_lossy(head)))
}
