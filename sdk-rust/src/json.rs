//! Values to payloads. Refuses numbers that JSON cannot say, which `serde_json` writes as `null`.

mod finite;

use agentos_protocol::Payload;
use memchr::memmem;
use serde::Serialize;

/// `value` as JSON, or why it has no JSON form.
pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<Payload, String> {
    let payload = Payload::encode(value).map_err(|error| error.to_string())?;
    // Most texts have no `null` in them that could have been a number.
    if memmem::find(payload.text(), b"null").is_some() {
        finite::check(value)?;
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;

    use super::encode;

    #[derive(Serialize)]
    struct Reading {
        place: Option<&'static str>,
        worth: Worth,
    }

    #[derive(Serialize)]
    enum Worth {
        One(f64),
        Pair(f32, f32),
        Named { values: BTreeMap<String, Vec<f64>> },
        Nothing,
    }

    fn reading(worth: Worth) -> Reading {
        Reading { place: None, worth }
    }

    #[test]
    fn numbers_that_are_none_are_refused_wherever_they_stand() {
        let named = |values| Worth::Named {
            values: BTreeMap::from([("a".to_owned(), values)]),
        };
        let fine = [
            reading(Worth::One(1.5)),
            reading(Worth::Pair(0.0, -0.0)),
            reading(named(vec![f64::MAX, f64::MIN_POSITIVE])),
            reading(Worth::Nothing),
        ];
        for value in &fine {
            assert!(encode(value).is_ok());
        }
        let wrong = [
            reading(Worth::One(f64::NAN)),
            reading(Worth::Pair(1.0, f32::INFINITY)),
            reading(named(vec![1.0, f64::NEG_INFINITY])),
        ];
        for value in &wrong {
            let why = encode(value).expect_err("it has no JSON form");
            assert!(
                ["NaN", "inf", "-inf"].iter().any(|it| why.starts_with(it)),
                "{why}"
            );
        }
    }

    #[test]
    fn a_null_that_is_meant_is_written() {
        let values = [json!(null), json!({ "null": [null, "null", 1.5] })];
        for value in &values {
            assert_eq!(
                encode(value)
                    .expect("JSON")
                    .decode::<serde_json::Value>()
                    .expect("JSON"),
                *value
            );
        }
    }
}
