//! The role that asks a gateway, one request at a time on each connection, and measures.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use memchr::memmem;
use tokio::task::JoinSet;

use super::{DIGITS, MARK, now_ns};
use crate::{
    args::{Talk, Window},
    link::Link,
    role::{announce, end_with_parent},
    tally::Tally,
};

pub(crate) async fn run(talk: Talk, window: Window) -> Result<()> {
    end_with_parent();
    let tally = Tally::new()?;
    let request = request(&talk);
    let mut asking = JoinSet::new();
    for _ in 0..talk.connections {
        let client = Client {
            link: Link::connect(&talk.at).await?,
            tally: Rc::clone(&tally),
            request: request.clone(),
            talk: talk.clone(),
        };
        asking.spawn_local(client.ask());
    }
    let measured = tally.measure(&window, &mut asking).await?;
    announce(&serde_json::to_string(&measured)?);
    Ok(())
}

/// The same bytes each time.
fn request(talk: &Talk) -> Vec<u8> {
    let mut body = serde_json::json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "a".repeat(talk.prompt_bytes) }],
    });
    if talk.tokens > 0 {
        body["stream"] = true.into();
        body["stream_options"] = serde_json::json!({ "include_usage": true });
        body["max_tokens"] = talk.tokens.into();
        body["seed"] = talk.pace_us.into();
    }
    let body = body.to_string();
    let key = &talk.key;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

struct Client {
    link: Link,
    tally: Rc<Tally>,
    request: Vec<u8>,
    talk: Talk,
}

impl Client {
    async fn ask(mut self) -> Result<()> {
        while !self.tally.is_draining() {
            self.link.outgoing.bytes.extend_from_slice(&self.request);
            let began = Instant::now();
            self.tally.sent(1);
            if self.talk.tokens > 0 {
                self.hear(began).await?;
            } else {
                self.whole().await?;
                self.tally.took(began.elapsed());
                self.tally.count(1);
            }
            self.tally.came_back(1);
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<String> {
        loop {
            self.link.step().await?;
            if let Some(end) = memmem::find(&self.link.input, b"\r\n\r\n") {
                let head = self.link.input.split_to(end + 4);
                let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
                if head.starts_with("http/1.1 200") {
                    return Ok(head);
                }
                let more = String::from_utf8_lossy(&self.link.input);
                bail!("refused: {head}{more}");
            }
        }
    }

    async fn whole(&mut self) -> Result<()> {
        let head = self.head().await?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .context("an answer without a length")?
            .trim()
            .parse()?;
        while self.link.input.len() < length {
            self.link.step().await?;
        }
        let _ = self.link.input.split_to(length);
        Ok(())
    }

    /// Reads a stream to its end, token by token.
    async fn hear(&mut self, began: Instant) -> Result<()> {
        let head = self.head().await?;
        if !head.contains("transfer-encoding: chunked") {
            bail!("a stream that is not in chunks: {head}");
        }
        let (mut tokens, mut chunks, mut body) = (0, Chunks::default(), Vec::new());
        loop {
            let is_over = chunks.read(&mut self.link.input, &mut body)?;
            // What may be the beginning of a token is left for the next read.
            let now = now_ns();
            let (mut at, mut heard) = (0, 0);
            while let Some(found) = memmem::find(&body[at..], MARK) {
                let digits = at + found + MARK.len();
                let Some(made) = body.get(digits..digits + DIGITS) else {
                    break;
                };
                let made: u64 = std::str::from_utf8(made)?.parse()?;
                heard += 1;
                if self.talk.first {
                    if tokens + heard == 1 {
                        self.tally.took(began.elapsed());
                    }
                } else {
                    self.tally
                        .took(Duration::from_nanos(now.saturating_sub(made)));
                }
                at = digits + DIGITS;
            }
            tokens += heard;
            self.tally.count(heard);
            body.drain(..body.len().saturating_sub(MARK.len() + DIGITS).max(at));
            if is_over {
                break;
            }
            self.link.step().await?;
        }
        if tokens != self.talk.tokens {
            self.tally.failed();
        }
        Ok(())
    }
}

/// The framing of a body in chunks (RFC 9112, 7.1), without extensions and trailers.
#[derive(Default)]
struct Chunks {
    /// Of the chunk that is being read, with its line end.
    left: usize,
}

impl Chunks {
    /// Moves what is there of the body; true at its end.
    fn read(&mut self, input: &mut BytesMut, body: &mut Vec<u8>) -> Result<bool> {
        loop {
            let taken = self.left.min(input.len());
            let piece = input.split_to(taken);
            // The last two bytes of a chunk are its line end.
            let data = taken.min(self.left.saturating_sub(2));
            body.extend_from_slice(&piece[..data]);
            self.left -= taken;
            if self.left > 0 {
                return Ok(false);
            }
            let Some(end) = memmem::find(input, b"\r\n") else {
                return Ok(false);
            };
            let size = usize::from_str_radix(std::str::from_utf8(&input[..end])?.trim(), 16)?;
            if size == 0 {
                if input.len() < end + 4 {
                    return Ok(false);
                }
                let _ = input.split_to(end + 4);
                return Ok(true);
            }
            let _ = input.split_to(end + 2);
            self.left = size + 2;
        }
    }
}
