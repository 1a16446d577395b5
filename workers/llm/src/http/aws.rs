//! AWS's binary event stream (`application/vnd.amazon.eventstream`) out of bytes split anywhere.
//!
//! A message is: length (4 bytes), length of its headers (4), checksum of these eight (4), headers,
//! payload, checksum of all before (4); numbers are big-endian, checksums CRC-32. What comes out is
//! one JSON object per message with the event's name as its only key, so that the codec above
//! reads it like any other.

use std::collections::VecDeque;

use super::{framing::Broken, sse::EVENT_BYTES_MAX};

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Collects bytes until a message is whole.
#[derive(Default)]
pub(crate) struct Parser {
    bytes: Vec<u8>,
}

impl Parser {
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        events: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), Broken> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = whole(&self.bytes[at..])? {
            let message = &self.bytes[at..at + length];
            events.push_back(event(message).ok_or(Broken::Damaged)?);
            at += length;
        }
        self.bytes.drain(..at);
        Ok(())
    }
}

/// The length of the message that `bytes` begins with, when all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let Some(prelude) = bytes.get(..PRELUDE) else {
        return Ok(None);
    };
    if crc32fast::hash(&prelude[..8]) != number(&prelude[8..]) {
        return Err(Broken::Damaged);
    }
    let length = number(prelude) as usize;
    if length > EVENT_BYTES_MAX {
        return Err(Broken::TooLarge);
    }
    if length < PRELUDE + CHECKSUM {
        return Err(Broken::Damaged);
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// The message as `{"name": payload}`.
fn event(message: &[u8]) -> Option<Vec<u8>> {
    let (body, checksum) = message.split_at(message.len() - CHECKSUM);
    if crc32fast::hash(body) != number(checksum) {
        return None;
    }
    let headers = number(&body[4..]) as usize;
    let payload = body.get(PRELUDE + headers..)?;
    let mut headers = body.get(PRELUDE..PRELUDE + headers)?;
    let (mut name, mut failure): (Option<&[u8]>, Option<&[u8]>) = (None, None);
    while !headers.is_empty() {
        let (key, value) = header(&mut headers)?;
        match key {
            b":event-type" | b":exception-type" => name = value,
            b":error-code" => name = Some(value?),
            b":error-message" => failure = value,
            _ => {}
        }
    }
    let name = serde_json::to_vec(std::str::from_utf8(name?).ok()?).ok()?;
    let payload = match failure {
        Some(text) => {
            serde_json::to_vec(&serde_json::json!({ "message": std::str::from_utf8(text).ok()? }))
                .ok()?
        }
        None if payload.is_empty() => b"{}".to_vec(),
        None => payload.to_vec(),
    };
    Some([&b"{"[..], &name, b":", &payload, b"}"].concat())
}

/// Takes the next header: its name, and its value if that is a text.
fn header<'b>(bytes: &mut &'b [u8]) -> Option<(&'b [u8], Option<&'b [u8]>)> {
    let length = usize::from(*take(bytes, 1)?.first()?);
    let name = take(bytes, length)?;
    let value = match take(bytes, 1)?.first()? {
        // True and false say it all.
        0 | 1 => None,
        2 => take(bytes, 1).map(|_| None)?,
        3 => take(bytes, 2).map(|_| None)?,
        4 => take(bytes, 4).map(|_| None)?,
        5 | 8 => take(bytes, 8).map(|_| None)?,
        9 => take(bytes, 16).map(|_| None)?,
        kind @ (6 | 7) => {
            let length = take(bytes, 2)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            Some(take(bytes, length)?).filter(|_| *kind == 7)
        }
        _ => return None,
    };
    Some((name, value))
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

/// The first four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As AWS writes a message whose headers are all texts.
    fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let headers: Vec<u8> = headers
            .iter()
            .flat_map(|(name, value)| {
                let length = (value.len() as u16).to_be_bytes();
                [
                    &[name.len() as u8][..],
                    name.as_bytes(),
                    &[7],
                    &length,
                    value.as_bytes(),
                ]
                .concat()
            })
            .collect();
        let length = (PRELUDE + headers.len() + payload.len() + CHECKSUM) as u32;
        let mut bytes = [length.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn stream() -> Vec<u8> {
        [
            message(
                &[(":message-type", "event"), (":event-type", "messageStart")],
                b"{\"role\":\"assistant\"}",
            ),
            message(
                &[
                    (":event-type", "messageStop"),
                    (":content-type", "application/json"),
                ],
                b"",
            ),
            message(
                &[
                    (":message-type", "error"),
                    (":error-code", "Oops"),
                    (":error-message", "no\""),
                ],
                b"",
            ),
            message(
                &[
                    (":message-type", "exception"),
                    (":exception-type", "throttlingException"),
                ],
                b"{\"message\":\"slow\"}",
            ),
        ]
        .concat()
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, Broken> {
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        for piece in pieces {
            parser.push(piece, &mut events)?;
        }
        Ok(events
            .into_iter()
            .map(|event| String::from_utf8(event).unwrap())
            .collect())
    }

    #[test]
    fn events_exceptions_and_errors_get_their_names() {
        let expect = [
            r#"{"messageStart":{"role":"assistant"}}"#,
            r#"{"messageStop":{}}"#,
            r#"{"Oops":{"message":"no\""}}"#,
            r#"{"throttlingException":{"message":"slow"}}"#,
        ];
        assert_eq!(read(&[&stream()]).unwrap(), expect);
    }

    #[test]
    fn damage_is_seen() {
        let good = stream();
        for at in 0..message(
            &[(":message-type", "event"), (":event-type", "messageStart")],
            b"{\"role\":\"assistant\"}",
        )
        .len()
        {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(read(&[&bad]).is_err(), "{at}");
        }
        let huge = [[0xff; 4], [0; 4]].concat();
        let huge = [huge.clone(), crc32fast::hash(&huge).to_be_bytes().to_vec()].concat();
        assert_eq!(read(&[&huge]), Err(Broken::TooLarge));
    }

    proptest! {
        #[test]
        fn splits_change_nothing(at in prop::collection::vec(0usize..400, 0..6)) {
            let bytes = stream();
            let mut cuts: Vec<_> = at.into_iter().map(|at| at.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[&bytes]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(&[&bytes]);
        }
    }
}
