//! Compares what came with what a scenario expects; see ../../README.md for the `$` words.

use std::collections::BTreeMap;

use serde_json::Value;

pub type Saved = BTreeMap<String, String>;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits(actual: &Value, expected: &Value, saved: &mut Saved) -> bool {
    expect(actual, expected, true, saved, "").is_ok()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An error unless `actual` fits; `loose` lets objects have more keys than expected.
pub fn expect(
    actual: &Value,
    expected: &Value,
    loose: bool,
    saved: &mut Saved,
    at: &str,
) -> Result<(), String> {
    let need = |fine: bool| {
        if fine {
            Ok(())
        } else {
            Err(format!(
                "{at} is {}, expected {}",
                shown(actual),
                shown(expected)
            ))
        }
    };
    match expected {
        Value::Object(fields) => {
            if let Some((word, operand)) = fields
                .iter()
                .next()
                .filter(|(word, _)| word.starts_with('$'))
            {
                let text = operand.as_str().unwrap_or_default();
                match word.as_str() {
                    "$type" => return need(kind(actual) == text),
                    "$saves" => {
                        need(actual.is_string())?;
                        saved.insert(
                            text.to_owned(),
                            actual.as_str().unwrap_or_default().to_owned(),
                        );
                        return Ok(());
                    }
                    "$starts" => {
                        return need(actual.as_str().is_some_and(|value| value.starts_with(text)));
                    }
                    "$mentions" => {
                        return need(
                            actual
                                .as_str()
                                .map_or_else(|| actual.to_string(), str::to_owned)
                                .contains(text),
                        );
                    }
                    "$has" => {
                        return need(
                            array(actual)
                                .iter()
                                .any(|value| fits(value, operand, saved)),
                        );
                    }
                    "$lacks" => {
                        return need(
                            actual.is_array()
                                && !array(actual)
                                    .iter()
                                    .any(|value| fits(value, operand, saved)),
                        );
                    }
                    "$not" => return need(!fits(actual, operand, saved)),
                    "$sorted" => {
                        let places: Option<Vec<usize>> = array(operand)
                            .iter()
                            .map(|value| array(actual).iter().position(|one| one == value))
                            .collect();
                        return need(places.is_some_and(|places| places.is_sorted()));
                    }
                    "$times" => return expect(actual, &times(operand), loose, saved, at),
                    "$same" => return same_members(actual, array(operand), true, saved, at),
                    _ => {}
                }
            }
            need(actual.is_object())?;
            for (key, value) in fields {
                let found = actual.get(key);
                if value.get("$missing").is_some() {
                    need(found.is_none())?;
                } else {
                    let Some(found) = found else {
                        return Err(format!("{at} has no {key}: {}", shown(actual)));
                    };
                    expect(found, value, loose, saved, &format!("{at}.{key}"))?;
                }
            }
            let extra = actual
                .as_object()
                .into_iter()
                .flatten()
                .find(|(key, _)| !fields.contains_key(*key));
            match extra {
                Some((key, _)) if !loose => Err(format!("{at} has {key} too: {}", shown(actual))),
                _ => Ok(()),
            }
        }
        Value::Array(items) => {
            need(actual.is_array() && array(actual).len() == items.len())?;
            for (place, item) in items.iter().enumerate() {
                expect(
                    &actual[place],
                    item,
                    loose,
                    saved,
                    &format!("{at}[{place}]"),
                )?;
            }
            Ok(())
        }
        // 5 and 5.0 are one number.
        Value::Number(number) => need(
            actual == expected
                || actual
                    .as_f64()
                    .is_some_and(|value| Some(value) == number.as_f64()),
        ),
        _ => need(actual == expected),
    }
}

pub fn times(operand: &Value) -> Value {
    Value::Array(vec![
        operand[1].clone();
        operand[0].as_u64().unwrap_or(0) as usize
    ])
}

pub fn same_members(
    actual: &Value,
    expected: &[Value],
    loose: bool,
    saved: &mut Saved,
    at: &str,
) -> Result<(), String> {
    let mut rest: Vec<&Value> = array(actual).iter().collect();
    for wanted in expected {
        let found = rest
            .iter()
            .position(|value| expect(value, wanted, loose, saved, at).is_ok());
        let Some(found) = found else {
            return Err(format!(
                "{at} is {}, nothing in it is {}",
                shown(actual),
                shown(wanted)
            ));
        };
        rest.remove(found);
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{at} is {}, expected {} only",
            shown(actual),
            expected.len()
        ))
    }
}
