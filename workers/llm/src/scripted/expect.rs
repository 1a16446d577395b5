//! Whether a request holds what a script expects of it.

use serde_json::Value;

/// What of `expect` is not in `actual`; `None` when all is.
///
/// A text must be part of some text of the request. An object must be in it, key by key; each
/// element of a list must match some element of the request's list; other values must be equal.
pub(super) fn missing(expect: &Value, actual: &Value) -> Option<String> {
    match expect {
        Value::String(text) if !has_text(text, actual) => Some(format!("the text {expect}")),
        Value::String(_) => None,
        _ => missing_at("", expect, actual),
    }
}

fn missing_at(path: &str, expect: &Value, actual: &Value) -> Option<String> {
    let absent = || Some(format!("{expect} at `{path}`"));
    match (expect, actual) {
        (Value::Object(expect), Value::Object(actual)) => expect.iter().find_map(|(key, value)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            missing_at(&path, value, actual.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(expect), Value::Array(actual)) => expect.iter().find_map(|element| {
            let found = actual
                .iter()
                .any(|candidate| missing_at(path, element, candidate).is_none());
            (!found).then(|| format!("{element} in `{path}`"))
        }),
        _ if expect == actual => None,
        _ => absent(),
    }
}

fn has_text(text: &str, value: &Value) -> bool {
    match value {
        Value::String(actual) => actual.contains(text),
        Value::Array(values) => values.iter().any(|value| has_text(text, value)),
        Value::Object(values) => values.values().any(|value| has_text(text, value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_of_a_request() {
        let request = json!({"model": "m", "messages": [{"role": "user", "content": "say \"hi\""}, {"role": "tool", "content": "7"}]});
        let check = |expect: Value, want: Option<&str>| {
            assert_eq!(missing(&expect, &request).as_deref(), want);
        };
        check(json!("say \"hi"), None);
        check(json!("bye"), Some("the text \"bye\""));
        check(json!({"model": "m"}), None);
        check(json!({"messages": [{"role": "tool"}]}), None);
        check(
            json!({"messages": [{"role": "tool", "content": "8"}]}),
            Some(r#"{"role":"tool","content":"8"} in `messages`"#),
        );
        check(json!({"tools": []}), Some("[] at `tools`"));
    }
}
