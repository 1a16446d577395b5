//! Server-sent events out of a byte stream that is split anywhere.
//!
//! Byte-exact and bounded. Knows lines and fields; what the data means is for the codecs. Of the
//! fields only `data` is kept: both wire families name their events inside it.

use std::collections::VecDeque;

/// Largest event, in bytes. A model's piece has hundreds; an upstream that never ends its event
/// must not take the memory.
pub(crate) const EVENT_BYTES_MAX: usize = 1 << 20;

/// An event grew past [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooLarge;

/// Collects bytes until an event is whole.
#[derive(Default)]
pub(crate) struct Parser {
    /// Data lines of the event so far, each followed by a line feed.
    data: Vec<u8>,
    /// The line so far, when a read ended in its middle.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed next belongs to the same line end.
    after_cr: bool,
    /// Something was read, so a byte order mark can no longer come.
    begun: bool,
}

impl Parser {
    /// Takes the next bytes and appends the data of every event they complete.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        events: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), TooLarge> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(end);
            self.end_line(line, events)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.line.extend_from_slice(bytes);
        self.check()
    }

    /// The event that the end of the stream leaves unfinished. Strictly it should be dropped, but
    /// some servers do not send the last blank line.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        let mut events = VecDeque::new();
        self.end_line(b"", &mut events).ok()?;
        self.end_line(b"", &mut events).ok()?;
        events.pop_front()
    }

    fn end_line(&mut self, tail: &[u8], events: &mut VecDeque<Vec<u8>>) -> Result<(), TooLarge> {
        if self.line.is_empty() {
            self.take_line(tail, events);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(tail);
            self.take_line(&line, events);
            line.clear();
            self.line = line;
        }
        self.check()
    }

    fn take_line(&mut self, line: &[u8], events: &mut VecDeque<Vec<u8>>) {
        let line = if self.begun {
            line
        } else {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        };
        self.begun = true;
        if line.is_empty() {
            self.dispatch(events);
        } else if let Some(value) = data_of(line) {
            self.data.extend_from_slice(value);
            self.data.push(b'\n');
        }
    }

    fn dispatch(&mut self, events: &mut VecDeque<Vec<u8>>) {
        // The line feed after the last data line is not part of the data.
        if self.data.pop().is_some() {
            events.push_back(std::mem::take(&mut self.data));
        }
    }

    fn check(&self) -> Result<(), TooLarge> {
        if self.data.len() + self.line.len() > EVENT_BYTES_MAX {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }
}

/// The value of a `data` line; `None` for other fields and comments.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pushes `stream` in pieces of the given sizes, then the rest.
    fn read(stream: &[u8], sizes: &[usize]) -> Vec<String> {
        let (mut parser, mut events, mut rest) = (Parser::default(), VecDeque::new(), stream);
        for size in sizes {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            parser.push(piece, &mut events).unwrap();
            rest = after;
        }
        parser.push(rest, &mut events).unwrap();
        events.extend(parser.finish());
        events
            .into_iter()
            .map(|data| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn fields_comments_and_line_ends() {
        let check = |stream: &str, expect: &[&str]| {
            assert_eq!(read(stream.as_bytes(), &[]), expect, "{stream:?}");
        };
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
        check("data:a\n\ndata:  b\n\n", &["a", " b"]);
        check(": ping\n\nevent: x\nid: 1\nretry: 2\ndata: a\n\n", &["a"]);
        check("data: a\ndata: b\ndata\n\n", &["a\nb\n"]);
        check("data\n\n", &[""]);
        check("database: no\n\n", &[]);
        check("\u{feff}data: a\n\n", &["a"]);
        check("data: a\n\ndata: [DONE]", &["a", "[DONE]"]);
        check("data: \u{2028}é\n\n", &["\u{2028}é"]);
        check("", &[]);
    }

    #[test]
    fn an_endless_event_is_refused_early() {
        let piece = vec![b'x'; 64 << 10];
        for start in ["data: ", ": comment "] {
            let (mut parser, mut events, mut pushed) = (Parser::default(), VecDeque::new(), 0);
            parser.push(start.as_bytes(), &mut events).unwrap();
            while parser.push(&piece, &mut events).is_ok() {
                pushed += piece.len();
                assert!(pushed <= EVENT_BYTES_MAX);
            }
        }
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert!((0..32).any(|_| parser.push(&line, &mut events).is_err()));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = "(data: ?|data|: |event: )?[a-zé\u{2028}😀]{0,4}";
        let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
        prop::collection::vec((line, end), 0..24).prop_map(|lines| {
            lines
                .into_iter()
                .flat_map(|(line, end)| (line + end).into_bytes())
                .collect()
        })
    }

    proptest! {
        #[test]
        fn splits_change_nothing(stream in stream(), sizes in prop::collection::vec(0usize..5, 0..200)) {
            prop_assert_eq!(read(&stream, &sizes), read(&stream, &[]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let (mut parser, mut events) = (Parser::default(), VecDeque::new());
            parser.push(&bytes, &mut events).unwrap();
            parser.finish();
        }
    }
}
