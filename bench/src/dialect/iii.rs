//! JSON text frames as the iii SDKs send them.

use anyhow::Result;
use memchr::{memchr2, memmem::Finder};

use super::{Dialect, End, Heard, Place, Template};
use crate::{
    link::Link,
    payload::{read_hex, write_hex},
    websocket::{self, PING, PONG, TEXT},
};

const UUID_BYTES: usize = 36;

#[derive(Clone)]
pub(crate) struct Iii {
    /// Makes the ids of two connections differ.
    seed: u64,
    kind: Finder<'static>,
    id: Finder<'static>,
    data: Finder<'static>,
    result: Finder<'static>,
}

impl Iii {
    pub(crate) fn new(seed: u64) -> Self {
        Iii {
            seed,
            kind: Finder::new(b"\"type\":\""),
            id: Finder::new(b"\"invocation_id\":\""),
            data: Finder::new(b"\"data\":"),
            result: Finder::new(b"\"result\":"),
        }
    }

    fn id<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        self.id
            .find(text)
            .and_then(|at| text.get(at + 17..))
            .and_then(|rest| rest.get(..memchr::memchr(b'"', rest)?))
            .unwrap_or_default()
    }

    fn heard<'a>(&self, text: &'a [u8]) -> Heard<'a> {
        let kind = self
            .kind
            .find(text)
            .map(|at| &text[at + 8..])
            .unwrap_or_default();
        if kind.starts_with(b"invocationresult\"") {
            return Heard::Reply {
                number: number(self.id(text)),
                good: self.result.find(text).is_some(),
            };
        }
        if kind.starts_with(b"invokefunction\"") {
            let payload = self
                .data
                .find(text)
                .map(|at| value(&text[at + 7..]))
                .unwrap_or_default();
            return Heard::Call {
                reply_to: self.id(text),
                payload,
            };
        }
        Heard::Other(text)
    }
}

impl Dialect for Iii {
    async fn open(&self, place: &Place, end: &End) -> Result<Link> {
        if place.bare {
            let path = format!("/{}/{}", end.role, end.index);
            return websocket::connect(&place.address, &path, None).await;
        }
        let mut link = websocket::connect(&place.address, "/", None).await?;
        self.wait_for(&mut link, |heard| matches!(heard, Heard::Other(_)))
            .await?;
        let out = &mut link.outgoing.bytes;
        let mut say = |text: &str| websocket::message(TEXT, text.as_bytes(), out);
        for id in &end.offers {
            say(&format!(r#"{{"type":"registerfunction","id":"{id}"}}"#));
        }
        if let (Some(bind), Some(function)) = (&end.bind, end.offers.first()) {
            let (kind, config) = bind.trigger();
            let mut id = [0; UUID_BYTES];
            self.write_number(1, &mut id);
            say(&format!(
                r#"{{"type":"registertrigger","id":"{}","trigger_type":"{kind}","function_id":"{function}","config":{config}}}"#,
                String::from_utf8_lossy(&id)
            ));
        }
        say(&format!(
            r#"{{"type":"invokefunction","function_id":"engine::workers::register","data":{{"runtime":"node","version":"0.11.6","name":"bench-{}-{}","os":"linux","pid":1,"isolation":null}},"action":{{"type":"void"}}}}"#,
            end.role, end.index
        ));
        // Registering is silent; frames are handled in order, so after any answer it is in force.
        let mut call = self.call("bench::absent", b"{}", false)?;
        if let Some(at) = call.number_at.take() {
            self.write_number(1, &mut call.bytes[at]);
        }
        link.outgoing.bytes.extend_from_slice(&call.bytes);
        self.wait_for(&mut link, |heard| matches!(heard, Heard::Reply { .. }))
            .await?;
        Ok(link)
    }

    fn call(&self, function: &str, payload: &[u8], void: bool) -> Result<Template> {
        let mut text = br#"{"type":"invokefunction","#.to_vec();
        let mut number_at = None;
        if !void {
            text.extend_from_slice(br#""invocation_id":""#);
            number_at = Some(text.len());
            text.extend_from_slice(&[b'0'; UUID_BYTES]);
            text.extend_from_slice(br#"","#);
        }
        text.extend_from_slice(format!(r#""function_id":"{function}","data":"#).as_bytes());
        text.extend_from_slice(payload);
        if void {
            text.extend_from_slice(br#","action":{"type":"void"}"#);
        }
        text.push(b'}');
        let mut bytes = Vec::new();
        websocket::message(TEXT, &text, &mut bytes);
        let head = bytes.len() - text.len();
        Ok(Template {
            bytes,
            number_at: number_at.map(|at| head + at..head + at + UUID_BYTES),
        })
    }

    fn publish(&self, topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let data = super::topic_and_data(topic, payload);
        Ok(self.call("publish", &data, true)?.bytes)
    }

    /// A UUID whose last group is the number, and whose rest looks random.
    fn write_number(&self, number: u64, at: &mut [u8]) {
        let noise = scatter(self.seed ^ number);
        write_hex(noise, &mut at[..8]);
        at[8] = b'-';
        write_hex(noise >> 32, &mut at[9..13]);
        at[13] = b'-';
        write_hex(0x4000 | (noise >> 48) & 0xfff, &mut at[14..18]);
        at[18] = b'-';
        write_hex(0x8000 | self.seed & 0x3fff, &mut at[19..23]);
        at[23] = b'-';
        write_hex(number, &mut at[24..]);
    }

    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>> {
        Ok(websocket::parse(input)?.map(|message| {
            let heard = match message.opcode {
                TEXT => self.heard(message.body),
                PING => Heard::Ping(message.body),
                _ => Heard::Other(message.body),
            };
            (message.taken, heard)
        }))
    }

    fn answer(&self, reply_to: &[u8], payload: Option<&[u8]>, out: &mut Vec<u8>) {
        const START: &[u8] = br#"{"type":"invocationresult","invocation_id":""#;
        const MIDDLE: &[u8] = br#"","function_id":"bench::echo0""#;
        const RESULT: &[u8] = br#","result":"#;
        let result = payload.map_or(0, |payload| RESULT.len() + payload.len());
        let length = START.len() + reply_to.len() + MIDDLE.len() + result + 1;
        websocket::begin(TEXT, length, out);
        out.extend_from_slice(START);
        out.extend_from_slice(reply_to);
        out.extend_from_slice(MIDDLE);
        if let Some(payload) = payload {
            out.extend_from_slice(RESULT);
            out.extend_from_slice(payload);
        }
        out.push(b'}');
    }

    fn pong(&self, ping: &[u8], out: &mut Vec<u8>) {
        websocket::message(PONG, ping, out);
    }
}

/// The value at the beginning of `text`, found by its brackets.
pub(crate) fn value(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return &text[..at + depth],
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return &text[..at],
            b'"' => {
                at += 1;
                while let Some(found) = memchr2(b'"', b'\\', &text[at..]) {
                    at += found;
                    if text[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text
}

fn number(id: &[u8]) -> u64 {
    read_hex(id.get(24..).unwrap_or_default())
}

/// SplitMix64.
fn scatter(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_understood() {
        let dialect = Iii::new(7);
        let payload = br#"{"a":"} \" ]","b":[1,{}]}"#;
        let template = dialect.call("f", payload, false).unwrap();
        let mut bytes = Vec::new();
        dialect.write_call(&template, 0xf_1234_5678, &mut bytes);
        let text = &bytes[bytes.iter().position(|byte| *byte == b'{').unwrap()..];
        let Heard::Call {
            reply_to,
            payload: heard,
        } = dialect.heard(text)
        else {
            panic!("not a call: {}", String::from_utf8_lossy(text));
        };
        assert_eq!(heard, payload);
        assert_eq!(number(reply_to), 0xf_1234_5678);
        let mut answer = Vec::new();
        dialect.answer(reply_to, Some(payload), &mut answer);
        let text = &answer[answer.iter().position(|byte| *byte == b'{').unwrap()..];
        let Heard::Reply { number, good } = dialect.heard(text) else {
            panic!("not a reply: {}", String::from_utf8_lossy(text));
        };
        assert_eq!((number, good), (0xf_1234_5678, true));
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for (text, expect) in [
            (r#"{"a":1},"b":2}"#, r#"{"a":1}"#),
            (r#"{"a":1}}"#, r#"{"a":1}"#),
            (r#"12,"b":2}"#, "12"),
            ("12}", "12"),
            (r#""a}b"}"#, r#""a}b""#),
        ] {
            assert_eq!(value(text.as_bytes()), expect.as_bytes(), "{text}");
        }
    }
}
