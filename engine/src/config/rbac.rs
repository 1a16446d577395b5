//! Who may do what through one listener, as it is written: names of the functions that decide, and
//! filters of what is shown. What they mean is the policy's business.

use std::collections::BTreeMap;

use agentos_core::policy::{Exposure, MetadataRule};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, place::Place};

/// The `rbac` block of a listener. Without one, everything is allowed there.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Rbac {
    /// Asked once per connection, with headers, query and address; its result is the session.
    pub auth_function_id: Option<String>,
    /// What may be called besides what the session allows.
    pub expose_functions: Vec<ExposeFilter>,
    pub on_function_registration_function_id: Option<String>,
    pub on_trigger_registration_function_id: Option<String>,
    pub on_trigger_type_registration_function_id: Option<String>,
}

/// Matches functions of which everything that is named here holds.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ExposeFilter {
    /// A glob on the id; `*` is any text.
    pub pattern: Option<String>,
    pub namespace: Option<String>,
    /// On the metadata that the function was registered with.
    pub metadata: BTreeMap<String, MetadataMatch>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataMatch {
    Exact(Value),
    /// A glob on a text.
    Glob(String),
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Written {
    auth_function_id: Option<String>,
    expose_functions: Vec<Value>,
    on_function_registration_function_id: Option<String>,
    on_trigger_registration_function_id: Option<String>,
    on_trigger_type_registration_function_id: Option<String>,
}

impl Rbac {
    /// The block at `place`; `None` when there is no such key.
    pub(super) fn read(place: &Place<'_>) -> Result<Option<Rbac>, Error> {
        if !place.is_there() {
            return Ok(None);
        }
        let written: Written = place.read()?;
        let filters = written.expose_functions.iter().enumerate();
        let expose_functions = filters
            .map(|(index, filter)| {
                ExposeFilter::parse(filter)
                    .map_err(|message| place.at("expose_functions").item(index).error(message))
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Rbac {
            auth_function_id: written.auth_function_id,
            expose_functions,
            on_function_registration_function_id: written.on_function_registration_function_id,
            on_trigger_registration_function_id: written.on_trigger_registration_function_id,
            on_trigger_type_registration_function_id: written
                .on_trigger_type_registration_function_id,
        }))
    }
}

/// How a filter may be written.
const FORMS: &str = "expected match(\"glob\"), { match: \"glob\", namespace: name }, or { metadata: { key: value } } with values that may be match(\"glob\")";

impl ExposeFilter {
    fn parse(written: &Value) -> Result<Self, String> {
        match written {
            Value::String(text) => match glob_of(text) {
                Some(glob) => Ok(ExposeFilter {
                    pattern: Some(glob.to_owned()),
                    ..Self::default()
                }),
                None => Err(format!(
                    "`{text}` is no filter; {FORMS}; match(\"{text}\") is this one function"
                )),
            },
            Value::Object(keys) => Self::of_keys(keys),
            _ => Err(FORMS.to_owned()),
        }
    }

    fn of_keys(keys: &Map<String, Value>) -> Result<Self, String> {
        let mut filter = ExposeFilter::default();
        for (key, value) in keys {
            match (key.as_str(), value) {
                ("match", Value::String(glob)) => {
                    filter.pattern = Some(glob_of(glob).unwrap_or(glob).to_owned());
                }
                ("namespace", Value::String(name)) => filter.namespace = Some(name.clone()),
                ("metadata", Value::Object(wanted)) => {
                    filter.metadata = wanted.iter().map(wanted_of).collect();
                }
                ("match" | "namespace", _) => return Err(format!("`{key}` is a text; {FORMS}")),
                ("metadata", _) => return Err(format!("`metadata` has keys with values; {FORMS}")),
                _ => {
                    return Err(format!(
                        "unknown field `{key}`, expected one of `match`, `namespace`, `metadata`"
                    ));
                }
            }
        }
        // It would expose everything, which nobody writes by leaving something out.
        if filter.pattern.is_none() && filter.metadata.is_empty() {
            return Err(format!("a filter that names no functions; {FORMS}"));
        }
        Ok(filter)
    }

    /// The filter in the policy's words.
    pub fn exposure(&self) -> Exposure {
        let rule = |wanted: &MetadataMatch| match wanted {
            MetadataMatch::Exact(value) => MetadataRule::Is(value.clone()),
            MetadataMatch::Glob(glob) => MetadataRule::Like(glob.clone()),
        };
        Exposure {
            pattern: self.pattern.clone(),
            namespace: self.namespace.clone(),
            metadata: self
                .metadata
                .iter()
                .map(|(key, wanted)| (key.clone(), rule(wanted)))
                .collect(),
        }
    }
}

fn wanted_of((key, value): (&String, &Value)) -> (String, MetadataMatch) {
    let wanted = match value.as_str().and_then(glob_of) {
        Some(glob) => MetadataMatch::Glob(glob.to_owned()),
        None => MetadataMatch::Exact(value.clone()),
    };
    (key.clone(), wanted)
}

/// What stands between the quotes of `match("…")`.
fn glob_of(text: &str) -> Option<&str> {
    let inside = text
        .trim()
        .strip_prefix("match(")?
        .strip_suffix(')')?
        .trim();
    let quoted = |quote| inside.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\''))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_filters() {
        let check = |written: Value, pattern: Option<&str>, namespace: Option<&str>| {
            let filter = ExposeFilter::parse(&written).unwrap();
            assert_eq!(filter.pattern.as_deref(), pattern, "{written}");
            assert_eq!(filter.namespace.as_deref(), namespace, "{written}");
        };
        check(json!("match(\"api::*\")"), Some("api::*"), None);
        check(json!("match('*::public')"), Some("*::public"), None);
        check(
            json!({"match": "a::*", "namespace": "eu"}),
            Some("a::*"),
            Some("eu"),
        );
        check(json!({"match": "match(\"a\")"}), Some("a"), None);

        let filter = ExposeFilter::parse(
            &json!({"metadata": {"public": true, "tier": "match(\"g*\")", "name": "x"}}),
        );
        let expect = [
            ("name", MetadataMatch::Exact(json!("x"))),
            ("public", MetadataMatch::Exact(json!(true))),
            ("tier", MetadataMatch::Glob("g*".into())),
        ];
        assert_eq!(
            filter.unwrap().metadata,
            expect.map(|(key, value)| (key.to_owned(), value)).into()
        );
    }

    #[test]
    fn refuses_what_would_expose_by_mistake() {
        for (written, part) in [
            (json!("api::*"), "match(\"api::*\") is this one function"),
            (json!({}), "names no functions"),
            (json!({"metadata": {}}), "names no functions"),
            (json!({"namespace": "eu"}), "names no functions"),
            (json!({"macth": "a"}), "unknown field `macth`"),
            (json!({"match": 1}), "`match` is a text"),
            (json!(1), "expected match("),
        ] {
            let error = ExposeFilter::parse(&written).unwrap_err();
            assert!(error.contains(part), "{written}: {error}");
        }
    }
}
