//! Whether an answer is as expected.

use std::fmt::Display;

use agentos_sdk::{Encoding, Error, Payload};
use serde_json::{Map, Value, json};

use crate::data::bytes;

/// Why an answer is not as expected.
pub(crate) type Mismatch = String;

/// Compares a payload with `answers` or `like` of a step.
pub(crate) fn answer(found: &Payload, step: &Value) -> Result<(), Mismatch> {
    let wanted = [("answers", false), ("like", true)];
    for (key, loose) in wanted {
        if let Some(wanted) = step.get(key) {
            payload(found, wanted, loose, ".")?;
        }
    }
    Ok(())
}

pub(crate) fn payload(
    found: &Payload,
    wanted: &Value,
    loose: bool,
    path: &str,
) -> Result<(), Mismatch> {
    if let Some(wanted) = bytes(wanted) {
        let same = found.encoding == Encoding::Binary && found.bytes == wanted;
        return fine(
            same,
            path,
            &shown(found),
            &format!("{} bytes", wanted.len()),
        );
    }
    if found.encoding == Encoding::Binary {
        return fine(false, path, &shown(found), wanted);
    }
    let value: Value = found
        .decode()
        .map_err(|error| format!("{path} is no JSON: {error}"))?;
    expect(&value, wanted, loose, path)
}

fn shown(found: &Payload) -> String {
    let some = &found.bytes[..found.len().min(60)];
    format!(
        "{} bytes of {:?}: {}…",
        found.len(),
        found.encoding,
        String::from_utf8_lossy(some)
    )
}

/// `loose`: an object may have more keys.
pub(crate) fn expect(
    found: &Value,
    wanted: &Value,
    loose: bool,
    path: &str,
) -> Result<(), Mismatch> {
    match (found, wanted) {
        (_, Value::Object(words))
            if words.keys().next().is_some_and(|key| key.starts_with('$')) =>
        {
            special(found, words, path)
        }
        (Value::Object(found), Value::Object(wanted)) => {
            if !loose {
                let keys = |object: &Map<String, Value>| {
                    let mut keys: Vec<String> = object.keys().cloned().collect();
                    keys.sort();
                    json!(keys)
                };
                fine(
                    keys(found) == keys(wanted),
                    &format!("{path} keys"),
                    &keys(found),
                    &keys(wanted),
                )?;
            }
            for (key, wanted) in wanted {
                let found = found.get(key).unwrap_or(&Value::Null);
                expect(found, wanted, loose, &format!("{path}.{key}"))?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                expect(found, wanted, loose, &format!("{path}[{at}]"))?;
            }
            Ok(())
        }
        // 1.0 is 1 in some languages.
        (Value::Number(one), Value::Number(other)) => {
            let same =
                one == other || (one.is_f64() != other.is_f64() && one.as_f64() == other.as_f64());
            fine(same, path, found, wanted)
        }
        _ => fine(found == wanted, path, found, wanted),
    }
}

fn special(found: &Value, words: &Map<String, Value>, path: &str) -> Result<(), Mismatch> {
    let (word, operand) = words.iter().next().ok_or("no word")?;
    let holds = match word.as_str() {
        "$type" => match operand.as_str() {
            Some("string") => found.is_string(),
            Some("number") => found.is_number(),
            _ => return Err(format!("no such type: {operand}")),
        },
        "$between" => found.as_f64().is_some_and(|number| {
            operand[0].as_f64().is_some_and(|least| least <= number)
                && operand[1].as_f64().is_some_and(|most| number <= most)
        }),
        "$has" => found
            .as_array()
            .is_some_and(|items| items.contains(operand)),
        "$contains" => found
            .as_str()
            .is_some_and(|text| operand.as_str().is_some_and(|part| text.contains(part))),
        _ => return Err(format!("no such word: {word}")),
    };
    fine(holds, path, found, &json!(words))
}

fn fine(
    holds: bool,
    path: &str,
    found: &impl Display,
    wanted: &impl Display,
) -> Result<(), Mismatch> {
    if holds {
        return Ok(());
    }
    let short = |text: String| text.chars().take(300).collect::<String>();
    Err(format!(
        "{path} is {}, expected {}",
        short(found.to_string()),
        short(wanted.to_string())
    ))
}

/// Compares an error with `fails` of a step.
pub(crate) fn error(found: &Error, wanted: &Value) -> Result<(), Mismatch> {
    let said = serde_json::to_value(found).map_err(|error| error.to_string())?;
    for key in ["code", "origin", "retryable", "reason", "details"] {
        if let Some(wanted) = wanted.get(key) {
            expect(said.get(key).unwrap_or(&Value::Null), wanted, true, key)?;
        }
    }
    if let Some(text) = wanted["says"].as_str() {
        fine(
            found.message.contains(text),
            "the error's message",
            &found.message,
            &text,
        )?;
    }
    match wanted.get("field") {
        Some(field) => expect(&said["details"]["field"], field, false, "field"),
        None => Ok(()),
    }
}
