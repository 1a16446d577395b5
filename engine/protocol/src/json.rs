//! Where a JSON value ends, and whether it is one: RFC 8259, without making anything of it.
//!
//! The JSON dialect embeds payloads in its own text, so each is checked once on its way in. Parsing
//! with `serde_json` costs several times as much as routing a small call does; this only walks.

/// Deepest nesting that [`skip`] follows. Deeper values are nobody's payload.
const DEPTH_MAX: u32 = 128;

/// The end of the value that begins at `at`, when a whole one begins there.
///
/// `text` has to be UTF-8, which is not looked at again. `None` also for values nested deeper than
/// 128: a caller that wants to know better asks `serde_json`.
pub fn skip(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => skip_nested(text, at),
        _ => skip_scalar(text, at),
    }
}

/// The first byte at or after `at` that is no white space.
#[inline]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Whether `text` is one JSON value and nothing else but white space.
pub fn is_valid(text: &[u8]) -> bool {
    skip(text, skip_space(text, 0)).is_some_and(|end| skip_space(text, end) == text.len())
}

fn skip_nested(text: &[u8], at: usize) -> Option<usize> {
    // One bit a level: whether it is an object.
    let mut objects: u128 = 0;
    let mut depth = 0;
    let mut at = at;
    loop {
        // A value begins here.
        at = match *text.get(at)? {
            open @ (b'{' | b'[') => {
                if depth == DEPTH_MAX {
                    return None;
                }
                depth += 1;
                objects = objects << 1 | u128::from(open == b'{');
                let inside = skip_space(text, at + 1);
                if text.get(inside) == Some(&(open + 2)) {
                    depth -= 1;
                    objects >>= 1;
                    inside + 1
                } else {
                    at = if open == b'{' {
                        skip_key(text, inside)?
                    } else {
                        inside
                    };
                    continue;
                }
            }
            b'"' => skip_string(text, at)?,
            _ => skip_scalar(text, at)?,
        };
        // A value has ended here.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = skip_space(text, at);
            let in_object = objects & 1 == 1;
            match *text.get(at)? {
                b',' => {
                    at = skip_space(text, at + 1);
                    if in_object {
                        at = skip_key(text, at)?;
                    }
                    break;
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ => return None,
            }
            at += 1;
            depth -= 1;
            objects >>= 1;
        }
    }
}

/// Over `"key" :` to the value.
fn skip_key(text: &[u8], at: usize) -> Option<usize> {
    let colon = skip_space(text, skip_string(text, at)?);
    (*text.get(colon)? == b':').then(|| skip_space(text, colon + 1))
}

/// Over a string without escapes, its quotes included.
pub fn skip_plain(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let end = plain_until(text, at + 1);
    (*text.get(end)? == b'"').then_some(end + 1)
}

/// Over a string, its quotes included.
fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let mut at = at + 1;
    loop {
        at = plain_until(text, at);
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += match *text.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                    _ => return None,
                };
            }
            _ => return None,
        }
    }
}

/// The first quote, backslash or control character at or after `at`.
#[inline]
fn plain_until(text: &[u8], mut at: usize) -> usize {
    // Most texts end soon; those that do not are long.
    let mut long_from = at + 4 * size_of::<u64>();
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        if let Some(stop) = first_stop(*word) {
            return at + stop;
        }
        at += size_of::<u64>();
        if at >= long_from {
            at = plain_pieces(text, at);
            long_from = usize::MAX;
        }
    }
    let rest = text.get(at..).unwrap_or_default();
    let stop = rest.iter().position(|byte| is_stop(*byte));
    stop.map_or(text.len(), |stop| at + stop)
}

fn is_stop(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}

/// The first of eight bytes that is a quote, a backslash or a control character: "is any byte zero"
/// after making the wanted ones zero, and "is any byte less than n" (Bit Twiddling Hacks,
/// "Determine if a word has a zero byte", "… less than n").
fn first_stop(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(bytes);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let found = has_zero(word ^ (ONES * u64::from(b'"')))
        | has_zero(word ^ (ONES * u64::from(b'\\')))
        | (word.wrapping_sub(ONES * 0x20) & !word & HIGH);
    // Bytes above the lowest hit may be false hits; the lowest never is.
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Over whole pieces without any of them. The loop has no branches, so that it becomes vector
/// instructions.
fn plain_pieces(text: &[u8], mut at: usize) -> usize {
    while let Some(piece) = text.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
        let mut stops = 0;
        for byte in piece {
            stops |= u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(*byte < 0x20);
        }
        if stops != 0 {
            break;
        }
        at += piece.len();
    }
    at
}

fn skip_scalar(text: &[u8], at: usize) -> Option<usize> {
    let word = |word: &[u8]| text[at..].starts_with(word).then_some(at + word.len());
    match *text.get(at)? {
        b't' => word(b"true"),
        b'f' => word(b"false"),
        b'n' => word(b"null"),
        _ => skip_number(text, at),
    }
}

fn skip_number(text: &[u8], at: usize) -> Option<usize> {
    let digits = |at: usize| {
        let count = text[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (count > 0).then_some(at + count)
    };
    let mut at = at + usize::from(text.get(at) == Some(&b'-'));
    at = match *text.get(at)? {
        b'0' => at + 1,
        _ => digits(at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = digits(at + 1 + usize::from(sign))?;
    }
    Some(at)
}

/// Whether `text` can stand between quotes as it is.
pub fn is_plain(text: &str) -> bool {
    plain_until(text.as_bytes(), 0) == text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn agrees(text: &str) {
        let ours = is_valid(text.as_bytes());
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(
            text.trim_matches([' ', '\n', '\r', '\t']),
        )
        .is_ok();
        assert_eq!(ours, theirs, "{text:?}");
    }

    #[test]
    fn corners() {
        for text in [
            "",
            " ",
            "null",
            "nul",
            "nullx",
            "true",
            "false",
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e+",
            "1e+5",
            "1E-05",
            "-1.25e3",
            "\"\"",
            "\"",
            "\"a\\\"b\"",
            "\"\\u12\"",
            "\"\\u12aF\"",
            "\"\\x\"",
            "\"\t\"",
            "[]",
            "[ ]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "{}",
            "{ }",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "[}",
            "{]",
            "[[[]]]",
            "[[[]]",
            "{\"a\":[{\"b\":null}]} ",
            "{} {}",
            "\u{feff}{}",
            "\"é\u{1f600}\"",
            "\"\u{7f}\"",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn as_deep_as_it_goes() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_valid(nested(128).as_bytes()));
        assert!(!is_valid(nested(129).as_bytes()));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_valid(value in values(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert!(is_valid(text.as_bytes()), "{}", text);
        }

        #[test]
        fn broken_values_are_as_serde_says(value in values(), at: prop::sample::Index, by in "[\\[\\]{},:\"\\\\0-9.eE+ -]|") {
            let text = value.to_string();
            let mut cut: Vec<char> = text.chars().collect();
            let at = at.index(cut.len());
            match by.chars().next() {
                Some(other) => cut[at] = other,
                None => { cut.remove(at); }
            }
            agrees(&cut.into_iter().collect::<String>());
        }
    }
}
