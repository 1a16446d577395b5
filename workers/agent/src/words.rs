//! Tool calls that a model writes as text, because it has not learnt better.
//!
//! Only a reply that is nothing but calls counts: the same text in a quote, in an explanation or
//! behind other words is what somebody says. Names that no tool has make it no call either.

use serde_json::{Map, Value};

/// A call that was written out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// JSON text.
    pub(crate) arguments: String,
}

/// What stands before and behind calls written as JSON.
const FRAMES: [(&str, &str); 10] = [
    ("<tool_call>", "</tool_call>"),
    ("<function_call>", "</function_call>"),
    ("<tool_use>", "</tool_use>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("<|python_tag|>", ""),
    ("[TOOL_CALLS]", ""),
    ("functools", ""),
    ("```tool_call", "```"),
    ("```tool_code", "```"),
    ("", ""),
];

/// What a call may begin with.
const STARTS: [&str; 13] = [
    "<tool_call>",
    "<function_call>",
    "<tool_use>",
    "<|tool_call|>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "functools",
    "```tool_call",
    "```tool_code",
    "<function=",
    "<invoke ",
    "Action:",
    "{\"",
];

/// Whether a reply that begins like this may be nothing but calls.
pub(crate) fn may_be_call(text: &str) -> bool {
    let text = text.trim_start();
    STARTS
        .iter()
        .any(|start| text.starts_with(start) || start.starts_with(text))
}

/// The calls that `text` is, if it is nothing else and `known` has all their names.
pub(crate) fn read(text: &str, known: impl Fn(&str) -> bool) -> Option<Vec<Written>> {
    let text = text.trim();
    let calls = framed(text)
        .or_else(|| functions(text))
        .or_else(|| invokes(text))
        .or_else(|| action(text))?;
    let good = !calls.is_empty() && calls.iter().all(|call| known(&call.name));
    good.then_some(calls)
}

/// One frame after the other with JSON in each.
fn framed(text: &str) -> Option<Vec<Written>> {
    let (open, close) = FRAMES.iter().find(|(open, _)| text.starts_with(open))?;
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inside = rest.strip_prefix(open)?;
        let (inside, after) = if close.is_empty() {
            (inside, "")
        } else {
            inside.split_once(close)?
        };
        let inside = inside.trim();
        match serde_json::from_str(inside) {
            Ok(value) => calls.extend(json_calls(value)?),
            Err(_) => calls.extend(functions(inside)?),
        }
        rest = after.trim_start();
    }
    Some(calls)
}

/// One call, or a list of them, in any of the shapes that models have been taught.
fn json_calls(value: Value) -> Option<Vec<Written>> {
    match value {
        Value::Array(calls) => {
            let calls: Option<Vec<_>> = calls.into_iter().map(json_calls).collect();
            Some(calls?.into_iter().flatten().collect())
        }
        Value::Object(mut call) => {
            for list in ["tool_calls", "function_call", "function", "tool_call"] {
                if call
                    .get(list)
                    .is_some_and(|inner| inner.is_object() || inner.is_array())
                {
                    return json_calls(call.remove(list)?);
                }
            }
            Some(vec![json_call(call)?])
        }
        _ => None,
    }
}

fn json_call(mut call: Map<String, Value>) -> Option<Written> {
    let name = ["name", "tool", "tool_name", "function"]
        .iter()
        .find_map(|key| call.get(*key)?.as_str().map(str::to_owned))?;
    let arguments = ["arguments", "parameters", "args", "input"]
        .iter()
        .find_map(|key| call.remove(*key))?;
    let arguments = match arguments {
        Value::String(text) if serde_json::from_str::<Map<String, Value>>(&text).is_ok() => text,
        arguments @ Value::Object(_) => arguments.to_string(),
        _ => return None,
    };
    Some(Written { name, arguments })
}

/// `<function=NAME>{..}</function>`, or with `<parameter=KEY>value</parameter>` inside.
fn functions(text: &str) -> Option<Vec<Written>> {
    elements(
        text,
        "<function=",
        "</function>",
        "<parameter=",
        "</parameter>",
    )
}

/// `<invoke name="NAME"><parameter name="KEY">value</parameter></invoke>`
fn invokes(text: &str) -> Option<Vec<Written>> {
    let text = text
        .strip_prefix("<function_calls>")
        .and_then(|text| text.strip_suffix("</function_calls>"))
        .unwrap_or(text)
        .trim();
    elements(
        text,
        "<invoke name=",
        "</invoke>",
        "<parameter name=",
        "</parameter>",
    )
}

fn elements(
    text: &str,
    open: &str,
    close: &str,
    parameter: &str,
    parameter_close: &str,
) -> Option<Vec<Written>> {
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, inside) = rest.strip_prefix(open)?.split_once('>')?;
        let (inside, after) = inside.split_once(close)?;
        let inside = inside.trim();
        let arguments = if inside.starts_with('{') {
            serde_json::from_str::<Map<String, Value>>(inside).ok()?
        } else {
            parameters(inside, parameter, parameter_close)?
        };
        calls.push(Written {
            name: name.trim_matches('"').to_owned(),
            arguments: Value::Object(arguments).to_string(),
        });
        rest = after.trim_start();
    }
    Some(calls)
}

fn parameters(text: &str, open: &str, close: &str) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, inside) = rest.strip_prefix(open)?.split_once('>')?;
        let (value, after) = inside.split_once(close)?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        found.insert(key.trim_matches('"').to_owned(), value);
        rest = after.trim_start();
    }
    Some(found)
}

/// `Action: NAME` and `Action Input: {..}` on the next line.
fn action(text: &str) -> Option<Vec<Written>> {
    let (name, rest) = text.strip_prefix("Action:")?.split_once('\n')?;
    let arguments = rest.trim_start().strip_prefix("Action Input:")?.trim();
    let arguments: Map<String, Value> = serde_json::from_str(arguments).ok()?;
    Some(vec![Written {
        name: name.trim().to_owned(),
        arguments: Value::Object(arguments).to_string(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(text: &str) -> Option<Vec<(String, String)>> {
        let calls = read(text, |name| name == "file__read" || name == "f")?;
        Some(
            calls
                .into_iter()
                .map(|call| (call.name, call.arguments))
                .collect(),
        )
    }

    #[test]
    fn every_way_of_writing_a_call_is_read() {
        for text in [
            r#"<tool_call>{"name": "f", "arguments": {"a":1}}</tool_call>"#,
            "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>",
            r#"<function_call>{"name": "f", "parameters": {"a":1}}</function_call>"#,
            r#"<tool_use>{"tool": "f", "input": {"a":1}}</tool_use>"#,
            r#"<|tool_call|>[{"name": "f", "arguments": {"a":1}}]<|/tool_call|>"#,
            r#"<|python_tag|>{"name": "f", "parameters": {"a":1}}"#,
            r#"[TOOL_CALLS][{"name": "f", "arguments": {"a":1}}]"#,
            r#"functools[{"name": "f", "arguments": {"a":1}}]"#,
            "```tool_call\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n```",
            "```tool_code\n{\"name\": \"f\", \"args\": {\"a\":1}}\n```",
            r#"{"name": "f", "arguments": {"a":1}}"#,
            r#"{"function": {"name": "f", "arguments": "{\"a\":1}"}}"#,
            r#"{"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a":1}}}]}"#,
            r#"<function=f>{"a":1}</function>"#,
            r#"<invoke name="f"><parameter name="a">1</parameter></invoke>"#,
            "Action: f\nAction Input: {\"a\":1}",
        ] {
            let expect = Some(vec![("f".to_owned(), r#"{"a":1}"#.to_owned())]);
            assert_eq!(calls(text), expect, "{text}");
            assert!(may_be_call(text) && may_be_call(&text[..3]), "{text}");
        }
        let two = r#"<tool_call>{"name":"f","arguments":{}}</tool_call>
<tool_call>{"name":"file__read","arguments":{"path":"x"}}</tool_call>"#;
        assert_eq!(calls(two).unwrap().len(), 2);
    }

    #[test]
    fn what_is_only_talked_about_is_no_call() {
        for text in [
            "",
            "Use it like this: <tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call> is how one calls it.",
            "> <tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
            "```json\n{\"name\": \"f\", \"arguments\": {}}\n```",
            r#"<tool_call>{"name": "rm", "arguments": {}}</tool_call>"#,
            r#"{"name": "f", "age": 7}"#,
            r#"{"name": "f", "arguments": "not json"}"#,
            "<function=f>{oops</function>",
            "Action: f\nThen more",
            "[1, 2]",
        ] {
            assert_eq!(calls(text), None, "{text}");
        }
        assert!(!may_be_call("Hello") && !may_be_call("<b>bold"));
    }
}
