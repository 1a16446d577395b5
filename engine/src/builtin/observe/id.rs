//! Ids of traces and spans, and the header that carries them (W3C Trace Context, level 1).

use std::{fmt, sync::Arc};

use agentos_sdk::Trace;
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The id of a trace; never all zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TraceId([u8; 16]);

/// The id of a span; never all zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SpanId([u8; 8]);

/// Where in which trace something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// The trace is recorded by whoever takes part.
    pub(super) sampled: bool,
}

impl TraceId {
    pub(super) fn random() -> Self {
        TraceId((fastrand::u128(..) | 1).to_be_bytes())
    }

    /// Reads hex, as OTLP/JSON has it, or base64, as plain protobuf-to-JSON writers have it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        bytes(text).map(TraceId)
    }

    /// For a sampler: evenly spread over all traces.
    pub(super) fn spread(self) -> u64 {
        // The low half: the standard asks that at least this one be random.
        u128::from_be_bytes(self.0) as u64
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        SpanId((fastrand::u64(..) | 1).to_be_bytes())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        bytes(text).map(SpanId)
    }
}

impl Place {
    pub(super) fn random(sampled: bool) -> Self {
        Place {
            trace: TraceId::random(),
            span: SpanId::random(),
            sampled,
        }
    }

    /// Reads a `traceparent`; `None` when it is not one.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = version == "00";
        // Later versions may say more behind it.
        if version.len() != 2 || version == "ff" || (known && parts.next().is_some()) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let hex = |text: &str, len| (text.len() == len).then_some(());
        hex(trace, 32)?;
        hex(span, 16)?;
        Some(Place {
            trace: TraceId::parse(trace)?,
            span: SpanId::parse(span)?,
            sampled: flags & 1 == 1,
        })
    }

    pub(super) fn of(trace: &Trace) -> Option<Self> {
        trace.parent.as_deref().and_then(Place::parse)
    }

    /// The `traceparent` that says so.
    pub(super) fn header(self) -> Arc<str> {
        let mut text = [0; 55];
        text[..3].copy_from_slice(b"00-");
        hex(&self.trace.0, &mut text[3..35]);
        text[35] = b'-';
        hex(&self.span.0, &mut text[36..52]);
        text[52] = b'-';
        text[53] = b'0';
        text[54] = b'0' + u8::from(self.sampled);
        std::str::from_utf8(&text).unwrap_or_default().into()
    }

    pub(super) fn to_trace(self) -> Trace {
        Trace {
            parent: Some(self.header()),
            baggage: None,
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        hex(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex(bytes: &[u8], into: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(into.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() == 2 * N {
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
    } else if text.len() == N.div_ceil(3) * 4 {
        out = BASE64_STANDARD.decode(text).ok()?.try_into().ok()?;
    } else {
        return None;
    }
    out.iter().any(|byte| *byte != 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_read_as_the_standard_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let rows = [
            (good, true),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                true,
            ),
            (
                "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                true,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                false,
            ),
            (
                "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                false,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                false,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319z-b7ad6b7169203331-01",
                false,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
                false,
            ),
            ("00-abc-def-01", false),
            ("", false),
        ];
        for (header, readable) in rows {
            assert_eq!(Place::parse(header).is_some(), readable, "{header}");
        }
        let place = Place::parse(good).unwrap();
        assert!(place.sampled);
        assert_eq!(&*place.header(), good);
    }

    #[test]
    fn ids_are_read_in_both_spellings() {
        let id = TraceId::parse("0AF7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceId::parse("CvdlGRbNQ92ESOshHIAxnA=="), Some(id));
        assert_eq!(
            SpanId::parse("t61rcWkgMzE=").unwrap().to_string(),
            "b7ad6b7169203331"
        );
        assert_eq!(SpanId::parse("é7ad6b716920333"), None);
    }
}
