//! The protocol of NATS, as its clients speak it.

use anyhow::{Context, Result, bail};
use memchr::memmem;

use super::{Bind, Dialect, End, Heard, Place, Template};
use crate::{
    link::Link,
    payload::{read_hex, write_hex},
};

const LINE_END: &[u8] = b"\r\n";
const INBOX: &str = "_INBOX.";
const DIGITS: usize = 16;

#[derive(Clone)]
pub(crate) struct Nats {
    /// Makes the inboxes of two connections differ.
    seed: u64,
}

impl Nats {
    pub(crate) fn new(seed: u64) -> Self {
        Nats { seed }
    }
}

/// Subjects have dots where ids have colons.
fn subject(id: &str) -> String {
    id.replace("::", ".")
}

fn publish(subject: &str, reply_to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    if !reply_to.is_empty() {
        out.extend_from_slice(reply_to);
        out.push(b' ');
    }
    out.extend_from_slice(payload.len().to_string().as_bytes());
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(payload);
    out.extend_from_slice(LINE_END);
}

impl Dialect for Nats {
    async fn open(&self, place: &Place, end: &End) -> Result<Link> {
        let mut link = Link::connect(&place.address).await?;
        let mut say = |line: String| {
            link.outgoing.bytes.extend_from_slice(line.as_bytes());
            link.outgoing.bytes.extend_from_slice(LINE_END);
        };
        say(r#"CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"name":"bench","lang":"rust","version":"1","protocol":1}"#.to_owned());
        say(format!("SUB {INBOX}{:x}.* 1", self.seed));
        for (index, id) in end.offers.iter().enumerate() {
            say(format!("SUB {} {}", subject(id), index + 2));
        }
        match &end.bind {
            Some(Bind::Topic(topic)) => say(format!("SUB {topic} 9")),
            Some(Bind::Http(_)) => bail!("NATS has no HTTP"),
            None => {}
        }
        // Lines are handled in order, so after the answer the subscriptions are in force.
        say("PING".to_owned());
        self.wait_for(
            &mut link,
            |heard| matches!(heard, Heard::Other(line) if line.starts_with(b"PONG")),
        )
        .await?;
        Ok(link)
    }

    fn call(&self, function: &str, payload: &[u8], void: bool) -> Result<Template> {
        let mut bytes = Vec::new();
        let subject = subject(function);
        if void {
            publish(&subject, &[], payload, &mut bytes);
            return Ok(Template {
                bytes,
                number_at: None,
            });
        }
        let inbox = format!("{INBOX}{:x}.{:0DIGITS$}", self.seed, 0);
        publish(&subject, inbox.as_bytes(), payload, &mut bytes);
        let end = "PUB ".len() + subject.len() + 1 + inbox.len();
        Ok(Template {
            bytes,
            number_at: Some(end - DIGITS..end),
        })
    }

    fn publish(&self, topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        publish(topic, &[], payload, &mut bytes);
        Ok(bytes)
    }

    fn write_number(&self, number: u64, at: &mut [u8]) {
        write_hex(number, at);
    }

    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>> {
        let Some(end) = memmem::find(input, LINE_END) else {
            return Ok(None);
        };
        let (line, head) = (&input[..end], end + LINE_END.len());
        let Some(words) = line.strip_prefix(b"MSG ") else {
            return Ok(Some(match line {
                b"PING" => (head, Heard::Ping(&[])),
                _ if line.starts_with(b"-ERR") => {
                    bail!("{}", String::from_utf8_lossy(line))
                }
                _ => (head, Heard::Other(line)),
            }));
        };
        // subject sid [reply-to] bytes
        let mut words = words.split(|byte| *byte == b' ');
        let subject = words.next().unwrap_or_default();
        let _sid = words.next();
        let (third, fourth) = (words.next().unwrap_or_default(), words.next());
        let (reply_to, length) = fourth.map_or((&[][..], third), |fourth| (third, fourth));
        let length: usize = std::str::from_utf8(length)?
            .parse()
            .context("a message without a length")?;
        let Some(payload) = input.get(head..head + length) else {
            return Ok(None);
        };
        let taken = head + length + LINE_END.len();
        if input.len() < taken {
            return Ok(None);
        }
        let heard = if subject.starts_with(INBOX.as_bytes()) {
            Heard::Reply {
                number: read_hex(&subject[subject.len() - DIGITS..]),
                good: !payload.is_empty(),
            }
        } else {
            Heard::Call { reply_to, payload }
        };
        Ok(Some((taken, heard)))
    }

    fn answer(&self, reply_to: &[u8], payload: Option<&[u8]>, out: &mut Vec<u8>) {
        let payload = payload.unwrap_or_default();
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(reply_to);
        out.push(b' ');
        out.extend_from_slice(payload.len().to_string().as_bytes());
        out.extend_from_slice(LINE_END);
        out.extend_from_slice(payload);
        out.extend_from_slice(LINE_END);
    }

    fn pong(&self, _ping: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }
}
