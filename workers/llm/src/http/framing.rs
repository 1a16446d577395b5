//! How a body is cut into events: by the type that its head names.

use std::collections::VecDeque;

use super::{aws, lines, sse};

/// An event grew past [`sse::EVENT_BYTES_MAX`], or is not framed as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    TooLarge,
    /// A checksum or a length that does not fit.
    Damaged,
}

/// A way of cutting, and what was not cut yet.
pub(crate) enum Framing {
    Sse(sse::Parser),
    Lines(lines::Parser),
    Aws(aws::Parser),
    /// One answer in one piece.
    Whole,
}

impl Framing {
    pub(crate) fn of(content_type: &str) -> Self {
        let kind = content_type.trim_start().to_ascii_lowercase();
        let is = |prefix: &str| kind.starts_with(prefix);
        if is("text/event-stream") {
            Framing::Sse(sse::Parser::default())
        } else if is("application/x-ndjson") || is("application/jsonl") {
            Framing::Lines(lines::Parser::default())
        } else if is("application/vnd.amazon.eventstream") {
            Framing::Aws(aws::Parser::default())
        } else {
            Framing::Whole
        }
    }

    /// Takes the next bytes and appends the data of every event they complete.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        events: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), Broken> {
        match self {
            Framing::Sse(parser) => parser
                .push(bytes, events)
                .map_err(|sse::TooLarge| Broken::TooLarge),
            Framing::Lines(parser) => parser.push(bytes, events),
            Framing::Aws(parser) => parser.push(bytes, events),
            Framing::Whole => Ok(()),
        }
    }

    /// The event that the end of the stream leaves unfinished, where the framing allows that.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        match self {
            Framing::Sse(parser) => std::mem::take(parser).finish(),
            Framing::Lines(parser) => std::mem::take(parser).finish(),
            Framing::Aws(_) | Framing::Whole => None,
        }
    }
}
