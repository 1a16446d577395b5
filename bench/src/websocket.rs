//! As much of RFC 6455 as a measured client needs, by hand, so that the clients cost little and
//! the same against every server.

use anyhow::{Context, Result, bail};

use crate::link::Link;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Instead of a length: it follows in 16 bits, or in 64.
const IN_16_BITS: u8 = 0x7e;
const IN_64_BITS: u8 = 0x7f;

/// A whole message, as far as it has come.
pub(crate) struct Message<'a> {
    pub(crate) opcode: u8,
    pub(crate) body: &'a [u8],
    /// Bytes of the input that it took.
    pub(crate) taken: usize,
}

/// The message at the beginning of `input`, once it is there as a whole.
pub(crate) fn parse(input: &[u8]) -> Result<Option<Message<'_>>> {
    let Some((&[first, second], rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    if first & FINAL == 0 || second & MASKED != 0 {
        bail!("a fragment or a masked frame: not expected of a server");
    }
    let (length, head) = match second {
        IN_16_BITS => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        IN_64_BITS => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let taken = head + usize::try_from(length)?;
    let Some(body) = input.get(head..taken) else {
        return Ok(None);
    };
    let opcode = first & 0xf;
    if opcode == CLOSE {
        bail!(
            "closed: {}",
            String::from_utf8_lossy(body.get(2..).unwrap_or_default())
        );
    }
    Ok(Some(Message {
        opcode,
        body,
        taken,
    }))
}

/// Begins a message of `length` bytes. The mask is 0: the server has to apply it all the same, and
/// the client saves doing so.
pub(crate) fn begin(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match length {
        0..126 => out.push(MASKED | length as u8),
        126..0x1_0000 => {
            out.push(MASKED | IN_16_BITS);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | IN_64_BITS);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

pub(crate) fn message(opcode: u8, body: &[u8], out: &mut Vec<u8>) {
    begin(opcode, body.len(), out);
    out.extend_from_slice(body);
}

/// Connects and upgrades.
pub(crate) async fn connect(address: &str, path: &str, subprotocol: Option<&str>) -> Result<Link> {
    let mut link = Link::connect(address).await?;
    let subprotocol = subprotocol
        .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n"
    );
    link.outgoing.bytes.extend_from_slice(request.as_bytes());
    loop {
        link.step().await.context("no answer to the upgrade")?;
        if let Some(end) = memchr::memmem::find(&link.input, b"\r\n\r\n") {
            let head = link.input.split_to(end + 4);
            if !head.starts_with(b"HTTP/1.1 101") {
                bail!("not upgraded: {}", String::from_utf8_lossy(&head));
            }
            return Ok(link);
        }
    }
}
