//! Listens to bytes that pass by: whole events go on as they came, and usage is read where it is
//! named. Nothing else is parsed.

use agentos_contract::llm::Usage;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde_json::Value;

use crate::http::sse::EVENT_BYTES_MAX;

/// Largest answer in one piece that is listened to.
const BODY_BYTES_MAX: usize = 32 << 20;

/// See the module.
pub(super) struct Tap {
    /// The beginning of an event, or a whole body that is no stream.
    held: BytesMut,
    /// The usage was asked for by us; the client must not see it.
    hide: bool,
    /// It is no stream.
    whole: bool,
    full: bool,
    seen: Seen,
}

/// Counts as the dialects name them. Those that come later replace those before.
#[derive(Default)]
struct Seen {
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
    /// Anthropic counts cached input apart, both what was read and what was written.
    beside: u64,
    reasoning: Option<u64>,
}

impl Tap {
    pub(super) fn new(hide: bool) -> Self {
        Tap {
            held: BytesMut::new(),
            hide,
            whole: false,
            full: false,
            seen: Seen::default(),
        }
    }

    /// Takes the next bytes of a stream, and gives the whole events that may go on.
    pub(super) fn push(&mut self, bytes: Bytes) -> Option<Bytes> {
        // Most reads are whole events that say nothing of usage: those are not even copied.
        if self.held.is_empty() && bytes.ends_with(b"\n\n") && !names_usage(&bytes) {
            return Some(bytes);
        }
        self.held.extend_from_slice(&bytes);
        let end = last_end(&self.held);
        let events = self.held.split_to(end).freeze();
        self.full |= self.held.len() > EVENT_BYTES_MAX;
        (!events.is_empty()).then(|| self.listen(events))?
    }

    /// Takes the next bytes of a body that is no stream.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.whole = true;
        self.held.extend_from_slice(bytes);
        self.full |= self.held.len() > BODY_BYTES_MAX;
    }

    /// The end: what is left of a stream goes on as it is.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let rest = self.held.split().freeze();
        if self.whole {
            // The whole body has gone on already.
            if let Some(at) = memmem::rfind(&rest, b"\"usage\"") {
                self.read_value(&rest[at + 7..]);
            }
            return None;
        }
        (!rest.is_empty()).then(|| self.listen(rest))?
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        let Seen { input, output, .. } = self.seen;
        if input.is_none() && output.is_none() {
            return None;
        }
        Some(Usage {
            cached_tokens: self.seen.cached,
            reasoning_tokens: self.seen.reasoning,
            ..Usage::new(input.unwrap_or(0) + self.seen.beside, output.unwrap_or(0))
        })
    }

    fn listen(&mut self, events: Bytes) -> Option<Bytes> {
        if !names_usage(&events) {
            return Some(events);
        }
        let mut kept = BytesMut::new();
        let mut rest = &events[..];
        let mut hidden = false;
        while !rest.is_empty() {
            let (event, after) = rest.split_at(first_end(rest));
            if names_usage(event) && self.read_event(event) {
                hidden = true;
            } else {
                kept.extend_from_slice(event);
            }
            rest = after;
        }
        match (hidden, kept.is_empty()) {
            (false, _) => Some(events),
            (true, true) => None,
            (true, false) => Some(kept.freeze()),
        }
    }

    /// Reads the usage of one event. True when the client must not see the event.
    fn read_event(&mut self, event: &[u8]) -> bool {
        let Some(at) = memmem::find(event, b"data:") else {
            return false;
        };
        let Ok(data) = serde_json::from_slice::<Value>(event[at + 5..].trim_ascii()) else {
            return false;
        };
        for place in [
            "/usage",
            "/message/usage",
            "/response/usage",
            "/x_groq/usage",
        ] {
            if let Some(usage) = data.pointer(place).filter(|usage| usage.is_object()) {
                self.seen.update(usage);
            }
        }
        self.hide
            && data["choices"].as_array().is_some_and(Vec::is_empty)
            && data["usage"].is_object()
    }

    /// Reads `: {…}` and what follows.
    fn read_value(&mut self, text: &[u8]) {
        let text = text.trim_ascii_start();
        let Some(text) = text.strip_prefix(b":") else {
            return;
        };
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
        if let Some(Ok(usage)) = values.next() {
            self.seen.update(&usage);
        }
    }
}

impl Seen {
    fn update(&mut self, usage: &Value) {
        let count = |names: &[&str]| names.iter().find_map(|name| usage.pointer(name)?.as_u64());
        let input = count(&["/prompt_tokens", "/input_tokens"]);
        self.input = input.or(self.input);
        self.output = count(&["/completion_tokens", "/output_tokens"]).or(self.output);
        let within = count(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
        ]);
        let read = count(&["/cache_read_input_tokens"]);
        let written = count(&["/cache_creation_input_tokens"]);
        self.cached = within.or(read).or(self.cached);
        if read.is_some() || written.is_some() {
            self.beside = read.unwrap_or(0) + written.unwrap_or(0);
        }
        self.reasoning = count(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ])
        .or(self.reasoning);
    }
}

/// Whether there is a `"usage"` that is an object.
fn names_usage(bytes: &[u8]) -> bool {
    memmem::find_iter(bytes, b"\"usage\"").any(|at| {
        let after = bytes[at + 7..].trim_ascii_start();
        after
            .strip_prefix(b":")
            .is_some_and(|value| value.trim_ascii_start().first() == Some(&b'{'))
    })
}

/// Where the last whole event ends.
fn last_end(bytes: &[u8]) -> usize {
    let end = |line: &[u8]| memmem::rfind(bytes, line).map_or(0, |at| at + line.len());
    end(b"\n\n").max(end(b"\r\n\r\n"))
}

/// Where the first event ends.
fn first_end(bytes: &[u8]) -> usize {
    let end = |line: &[u8]| memmem::find(bytes, line).map_or(bytes.len(), |at| at + line.len());
    end(b"\n\n").min(end(b"\r\n\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\" é\"}}],\"usage\":null}\n\n\
        : ping\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn passed(hide: bool, pieces: &[&[u8]]) -> (String, Option<Usage>) {
        let mut tap = Tap::new(hide);
        let mut out = Vec::new();
        for piece in pieces {
            let bytes = tap.push(Bytes::copy_from_slice(piece));
            out.extend(bytes.into_iter().flatten());
        }
        out.extend(tap.rest().into_iter().flatten());
        (String::from_utf8(out).unwrap(), tap.usage())
    }

    proptest! {
        #[test]
        fn bytes_pass_exactly_however_they_are_split(hide: bool, at in prop::collection::vec(0usize..500, 0..8)) {
            let whole = [STREAM, USAGE, DONE].concat();
            let mut cuts: Vec<_> = at.into_iter().map(|at| at.min(whole.len())).chain([0, whole.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &whole.as_bytes()[cut[0]..cut[1]]).collect();
            let (text, usage) = passed(hide, &pieces);
            let expect = if hide { [STREAM, DONE].concat() } else { whole.clone() };
            prop_assert_eq!(text, expect);
            prop_assert_eq!(usage, Some(Usage { cached_tokens: Some(2), ..Usage::new(3, 4) }));
        }
    }

    #[test]
    fn anthropic_counts_in_two_places() {
        let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n\
            event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\n";
        let (text, usage) = passed(false, &[stream.as_bytes()]);
        assert_eq!(text, stream);
        assert_eq!(
            usage,
            Some(Usage {
                cached_tokens: Some(5),
                ..Usage::new(15, 7)
            })
        );
    }

    #[test]
    fn whole_bodies_are_read_at_their_end() {
        let mut tap = Tap::new(false);
        tap.keep(b"{\"x\": \"\\\"usage\\\": 1\", \"usage\" : {\"input_tokens\": 1, ");
        tap.keep(b"\"output_tokens\": 2}, \"z\": 1}");
        assert_eq!((tap.rest(), tap.usage()), (None, Some(Usage::new(1, 2))));
    }

    #[test]
    fn an_endless_event_is_noticed() {
        let mut tap = Tap::new(false);
        assert!(tap.push(vec![b'x'; EVENT_BYTES_MAX + 1].into()).is_none() && tap.is_full());
    }
}
