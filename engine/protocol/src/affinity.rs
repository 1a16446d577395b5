//! Which calls belong together, said beside the payload where a dialect has no field for it.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    affinity: Option<&'a RawValue>,
}

/// The key that the JSON text of a call's metadata names as `affinity`: a text, or anything else as it
/// is written.
pub fn affinity(metadata: &str) -> Option<&str> {
    // Nearly all say nothing of the kind, and are not read for it.
    if !metadata.trim_start().starts_with('{') || !metadata.contains("\"affinity\"") {
        return None;
    }
    let said: Said<'_> = serde_json::from_str(metadata).ok()?;
    let key = said.affinity?.get();
    let text = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
    Some(text.unwrap_or(key)).filter(|key| !key.is_empty() && *key != "null")
}

#[cfg(test)]
mod tests {
    use super::affinity;

    #[test]
    fn a_key_is_a_text_or_what_stands_there() {
        let check = |metadata, expect| assert_eq!(affinity(metadata), expect, "{metadata}");
        check(r#"{"affinity":"ada","team":1}"#, Some("ada"));
        check(r#"{ "affinity" : 7 }"#, Some("7"));
        check(r#"{"affinity":null}"#, None);
        check(r#"{"affinity":""}"#, None);
        check(r#"{"other":"affinity"}"#, None);
        check(r#"["affinity"]"#, None);
        check("7", None);
        check(r#"{"affinity":"#, None);
    }
}
