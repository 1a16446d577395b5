//! JSON lines out of a byte stream that is split anywhere.

use std::collections::VecDeque;

use super::{framing::Broken, sse::EVENT_BYTES_MAX};

/// Collects bytes until a line is whole.
#[derive(Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
}

impl Parser {
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        events: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), Broken> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.check()?;
            events.extend(std::mem::take(self).finish());
        }
        self.line.extend_from_slice(bytes);
        self.check()
    }

    /// What the end of the stream leaves: some servers do not end their last line.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.line.trim_ascii().is_empty()).then_some(self.line)
    }

    fn check(&self) -> Result<(), Broken> {
        if self.line.len() > EVENT_BYTES_MAX {
            Err(Broken::TooLarge)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn splits_change_nothing(lines in prop::collection::vec("[a-zé\r ]{0,5}", 0..8), sizes in prop::collection::vec(0usize..4, 0..40)) {
            let stream = lines.join("\n").into_bytes();
            let (mut parser, mut events, mut rest) = (Parser::default(), VecDeque::new(), stream.as_slice());
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                parser.push(piece, &mut events).unwrap();
                rest = after;
            }
            parser.push(rest, &mut events).unwrap();
            events.extend(parser.finish());
            let expect: Vec<_> = lines.into_iter().filter(|line| !line.as_bytes().trim_ascii().is_empty()).map(String::into_bytes).collect();
            prop_assert_eq!(Vec::from(events), expect);
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        let piece = vec![b'x'; EVENT_BYTES_MAX];
        assert_eq!(parser.push(&piece, &mut events), Ok(()));
        assert_eq!(parser.push(b"x", &mut events), Err(Broken::TooLarge));
    }
}
