//! Does a value fit its schema, and what is it once its variables are replaced. Knows no bus.

use agentos_sdk::Error;
use jsonschema::Validator;
use serde_json::{Number, Value};

use super::error;
use crate::config::{Env, expand};

/// Refuses ids that iii would refuse.
pub(super) fn check_id(id: &str) -> Result<(), Error> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    match (1..=64).contains(&id.len()) && id.bytes().all(fits) {
        true => Ok(()),
        false => Err(error::invalid(format!(
            "`{id}` is no id of a configuration; 1 to 64 of a-z, 0-9, _ and - are possible"
        ))),
    }
}

pub(super) fn check_size(value: &Value, bytes_max: usize) -> Result<(), Error> {
    sized("value", value, bytes_max)
}

fn sized(what: &str, value: &Value, bytes_max: usize) -> Result<(), Error> {
    match value.to_string().len() {
        bytes if bytes > bytes_max => Err(error::too_large(what, bytes, bytes_max)),
        _ => Ok(()),
    }
}

/// A schema that has been found to be one.
pub(super) struct Schema(Validator);

impl Schema {
    pub(super) fn compile(schema: &Value, bytes_max: usize) -> Result<Self, Error> {
        sized("schema", schema, bytes_max)?;
        // A schema comes from a worker: it must not make the engine open files or addresses.
        let validator = jsonschema::options().offline().build(schema);
        validator
            .map(Schema)
            .map_err(|error| error::invalid(format!("the schema is none: {error}")))
    }

    /// `value` with its variables replaced, if it fits then.
    ///
    /// A text that is one variable and nothing else becomes the number or the truth value it looks
    /// like, where the schema takes that: an environment has only texts.
    pub(super) fn expanded(&self, value: &Value, env: &dyn Env) -> Result<Value, Error> {
        let typed = replaced(value, env, true).map_err(error::invalid)?;
        if self.0.is_valid(&typed) {
            return Ok(typed);
        }
        let text = replaced(value, env, false).map_err(error::invalid)?;
        match self.0.validate(&text) {
            Ok(()) => Ok(text),
            Err(fault) => {
                let place = fault.instance_path().to_string();
                let at = match place.as_str() {
                    "" => String::new(),
                    place => format!(" at {place}"),
                };
                // The value may be a secret.
                let fault = fault.masked();
                Err(error::invalid(format!(
                    "the value does not fit the schema{at}: {fault}"
                )))
            }
        }
    }
}

fn replaced(value: &Value, env: &dyn Env, typed: bool) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match expand(text, env)? {
            None => value.clone(),
            Some(new) if typed && is_one_variable(text) => scalar(new),
            Some(new) => Value::String(new),
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| replaced(item, env, typed));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(keys) => {
            let keys = keys
                .iter()
                .map(|(key, value)| Ok((key.clone(), replaced(value, env, typed)?)));
            Value::Object(keys.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn is_one_variable(text: &str) -> bool {
    let inside = text
        .strip_prefix("${")
        .and_then(|text| text.strip_suffix('}'));
    inside.is_some_and(|inside| !inside.contains('}'))
}

fn scalar(text: String) -> Value {
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number => number
            .parse::<Number>()
            .map_or_else(|_| Value::String(text), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn expanded(schema: Value, value: Value) -> Result<Value, String> {
        let env: BTreeMap<String, String> = [("PORT", "5000"), ("NAME", "x"), ("ON", "true")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let schema = Schema::compile(&schema, 10_000).unwrap();
        schema.expanded(&value, &env).map_err(|error| error.message)
    }

    #[test]
    fn variables_take_the_type_that_fits() {
        let check = |schema: Value, value: Value, expect: Value| {
            assert_eq!(expanded(schema, value.clone()), Ok(expect), "{value}");
        };
        check(json!({"type": "integer"}), json!("${PORT}"), json!(5000));
        check(json!({"type": "string"}), json!("${PORT}"), json!("5000"));
        check(json!({"type": "boolean"}), json!("${ON}"), json!(true));
        check(json!({"type": "string"}), json!("a${PORT}"), json!("a5000"));
        check(
            json!({"type": "object", "properties": {"port": {"type": "integer"}, "names": {"type": "array", "items": {"type": "string"}}}}),
            json!({"port": "${OTHER:7}", "names": ["${NAME}", "$${NAME}"]}),
            json!({"port": 7, "names": ["x", "${NAME}"]}),
        );
        check(json!(true), json!("${OTHER:01}"), json!("01"));
    }

    #[test]
    fn what_does_not_fit_is_named_but_not_told() {
        let check = |schema: Value, value: Value, expect: &str| {
            assert_eq!(expanded(schema, value).unwrap_err(), expect);
        };
        check(
            json!({"properties": {"port": {"type": "integer"}}}),
            json!({"port": "secret"}),
            "the value does not fit the schema at /port: value is not of type \"integer\"",
        );
        check(
            json!(true),
            json!("${MISSING}"),
            "the environment variable MISSING is not set; set it, or give a default: ${MISSING:default}",
        );
    }

    #[test]
    fn schemas_reach_nothing_outside() {
        for reference in ["http://127.0.0.1:1/a.json", "file:///etc/passwd"] {
            let schema = Schema::compile(&json!({"$ref": reference}), 10_000);
            assert!(schema.is_err(), "{reference}");
        }
        assert!(Schema::compile(&json!({"type": "nonsense"}), 10_000).is_err());
        assert!(Schema::compile(&json!({"title": "x".repeat(100)}), 50).is_err());
    }

    #[test]
    fn ids_are_short_and_plain() {
        for right in ["a", "billing-eu_2"] {
            assert!(check_id(right).is_ok(), "{right}");
        }
        for wrong in ["", "A", "a b", "ä", &"a".repeat(65)] {
            assert!(check_id(wrong).is_err(), "{wrong}");
        }
    }
}
