//! The header `baggage` (W3C Baggage): names and values that travel with a trace.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// Most entries that the standard asks a receiver to take, and a little more.
const ENTRIES_MAX: usize = 256;

/// Reads a header. What is no entry is left out; properties behind `;` mean nothing here.
pub(super) fn parse(header: Option<&str>) -> BTreeMap<String, String> {
    let entries = header.unwrap_or_default().split(',').take(ENTRIES_MAX);
    entries
        .filter_map(|entry| {
            let (entry, _) = entry.split_once(';').unwrap_or((entry, ""));
            let (key, value) = entry.split_once('=')?;
            let text = |text: &str| {
                percent_decode_str(text.trim())
                    .decode_utf8_lossy()
                    .into_owned()
            };
            let key = text(key);
            (!key.is_empty()).then(|| (key, text(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_the_standard_says() {
        let rows: [(Option<&str>, &[(&str, &str)]); 6] = [
            (None, &[]),
            (Some(""), &[]),
            (Some("user=ada"), &[("user", "ada")]),
            (
                Some(" user = ada ;meta=1;x, n=a%20b%2Cc,empty="),
                &[("user", "ada"), ("n", "a b,c"), ("empty", "")],
            ),
            (Some("no value,=no key,a=b=c"), &[("a", "b=c")]),
            (Some("k=%FF"), &[("k", "\u{fffd}")]),
        ];
        for (header, expected) in rows {
            let expected: BTreeMap<String, String> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(parse(header), expected, "{header:?}");
        }
    }
}
