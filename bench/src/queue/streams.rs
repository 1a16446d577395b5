//! Redis Streams with a consumer group.

use anyhow::{Context, Result, bail};
use memchr::memmem;

use super::{
    IN_WORK_MAX,
    broker::{Broker, Hear, Heard},
};
use crate::{dialect::redis::command, link::Link};

const LINE_END: &[u8] = b"\r\n";

#[derive(Clone, Copy)]
pub(crate) struct Streams;

fn read_group(out: &mut Vec<u8>) {
    let most = IN_WORK_MAX.to_string();
    command(
        &[
            b"XREADGROUP",
            b"GROUP",
            b"g",
            b"c",
            b"COUNT",
            most.as_bytes(),
            b"BLOCK",
            b"0",
            b"STREAMS",
            b"bench",
            b">",
        ],
        out,
    );
}

impl Broker for Streams {
    async fn open(&self, address: &str, consume: bool) -> Result<Link> {
        let mut link = Link::connect(address).await?;
        let group: [&[u8]; 6] = [b"XGROUP", b"CREATE", b"bench", b"g", b"$", b"MKSTREAM"];
        command(&group, &mut link.outgoing.bytes);
        while !link.input.ends_with(LINE_END) {
            link.step().await?;
        }
        link.input.clear();
        if consume {
            read_group(&mut link.outgoing.bytes);
        }
        Ok(link)
    }

    fn producer(&self, _index: usize) -> Self {
        Streams
    }

    async fn connect(&self, address: &str, _index: usize) -> Result<Link> {
        Ok(Link::connect(address).await?)
    }

    fn message(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        command(&[b"XADD", b"bench", b"*", b"d", payload], &mut bytes);
        Ok(bytes)
    }

    fn read(&self, input: &[u8], out: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>> {
        let mut ids = Vec::new();
        let Some(length) = value(input, &mut ids)? else {
            return Ok(None);
        };
        match input.first() {
            Some(b'$') => hear(Heard::Receipt { good: true }, out),
            Some(b'*') => {
                for id in ids {
                    hear(Heard::Message(id), out);
                }
            }
            // How many were acknowledged.
            _ => {}
        }
        Ok(Some(length))
    }

    fn acknowledge(&self, message: &[u8], out: &mut Vec<u8>) {
        command(&[b"XACK", b"bench", b"g", message], out);
    }

    fn ask_for_more(&self, out: &mut Vec<u8>, taken: u64) {
        if taken > 0 {
            read_group(out);
        }
    }
}

/// The length of the value at the beginning of `input`, once it is there as a whole; and the ids of
/// entries in it, as which nothing else looks.
fn value<'a>(input: &'a [u8], ids: &mut Vec<&'a [u8]>) -> Result<Option<usize>> {
    let Some(end) = memmem::find(input, LINE_END) else {
        return Ok(None);
    };
    let (line, mut taken) = (&input[..end], end + LINE_END.len());
    let number = || -> Result<i64> {
        let digits = std::str::from_utf8(&line[1..])?;
        digits.parse().context("a length that is no number")
    };
    match line.first() {
        Some(b'*') => {
            for _ in 0..number()? {
                match value(&input[taken..], ids)? {
                    Some(length) => taken += length,
                    None => return Ok(None),
                }
            }
        }
        Some(b'$') => {
            let Ok(bytes) = usize::try_from(number()?) else {
                return Ok(Some(taken));
            };
            let Some(text) = input.get(taken..taken + bytes) else {
                return Ok(None);
            };
            if text.contains(&b'-') && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-')) {
                ids.push(text);
            }
            taken += bytes + LINE_END.len();
            if input.len() < taken {
                return Ok(None);
            }
        }
        Some(b'-') => bail!("{}", String::from_utf8_lossy(line)),
        _ => {}
    }
    Ok(Some(taken))
}
