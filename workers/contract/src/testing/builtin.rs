//! The built-ins of the test bus: `state::*` in a map, and `engine::functions::list`.

use std::{collections::BTreeMap, sync::Arc};

use agentos_sdk::{Code, Error, Registrar, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Hub, Inner};

/// `state::*` in memory. Outlives the workers that use it, as the real one does.
#[derive(Default)]
pub struct State {
    rows: Mutex<BTreeMap<(String, String), Value>>,
}

impl State {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All values of `scope`, by key.
    pub fn scope(&self, scope: &str) -> Vec<(String, Value)> {
        let rows = self.rows.lock();
        rows.iter()
            .filter(|((of, _), _)| of == scope)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    fn set(&self, input: &Value) -> Result<Value, Error> {
        let value = input.get("value").cloned().unwrap_or_default();
        let old = self.rows.lock().insert(row(input)?, value.clone());
        Ok(json!({ "old_value": old, "new_value": value }))
    }

    /// The steps that our workers use: `merge` into the whole, `set` and `increment` of a key.
    fn update(&self, input: &Value) -> Result<Value, Error> {
        let mut rows = self.rows.lock();
        let value = rows.entry(row(input)?).or_insert_with(|| json!({}));
        for op in input["ops"].as_array().into_iter().flatten() {
            let path = op["path"].as_str().unwrap_or_default();
            match (op["type"].as_str(), op["value"].as_object()) {
                (Some("merge"), Some(fields)) => {
                    for (name, field) in fields {
                        value[name] = field.clone();
                    }
                }
                (Some("set"), _) => value[path] = op["value"].clone(),
                (Some("increment"), _) => {
                    let sum = value[path].as_i64().unwrap_or(0) + op["by"].as_i64().unwrap_or(0);
                    value[path] = sum.into();
                }
                _ => {
                    let message = format!("the test bus knows no step {op}");
                    return Err(Error::caller(Code::InvalidInput, message));
                }
            }
        }
        Ok(json!({ "new_value": value }))
    }

    fn entries(&self, input: &Value) -> Result<Value, Error> {
        let prefix = input["prefix"].as_str().unwrap_or_default();
        let after = input["cursor"].as_str();
        let limit = input["limit"].as_u64().unwrap_or(100) as usize;
        let mut found: Vec<_> = self
            .scope(text(input, "scope")?)
            .into_iter()
            .filter(|(key, _)| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            })
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| more).map(|(key, _)| key.clone());
        let entries: Vec<_> = found
            .into_iter()
            .map(|(key, value)| json!({ "key": key, "value": value, "version": 1 }))
            .collect();
        Ok(json!({ "entries": entries, "cursor": cursor }))
    }
}

fn text<'a>(input: &'a Value, field: &str) -> Result<&'a str, Error> {
    input[field]
        .as_str()
        .ok_or_else(|| Error::caller(Code::InvalidInput, format!("{field} is missing")))
}

fn row(input: &Value) -> Result<(String, String), Error> {
    Ok((
        text(input, "scope")?.to_owned(),
        text(input, "key")?.to_owned(),
    ))
}

impl Worker for State {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let state = Arc::clone(&self);
        registrar.function("state::set", move |_, input: Value| {
            let state = Arc::clone(&state);
            async move { state.set(&input) }
        });
        let state = Arc::clone(&self);
        registrar.function("state::get", move |_, input: Value| {
            let state = Arc::clone(&state);
            async move {
                Ok(state
                    .rows
                    .lock()
                    .get(&row(&input)?)
                    .cloned()
                    .unwrap_or_default())
            }
        });
        let state = Arc::clone(&self);
        registrar.function("state::update", move |_, input: Value| {
            let state = Arc::clone(&state);
            async move { state.update(&input) }
        });
        let state = Arc::clone(&self);
        registrar.function("state::delete", move |_, input: Value| {
            let state = Arc::clone(&state);
            async move { Ok(state.rows.lock().remove(&row(&input)?).unwrap_or_default()) }
        });
        let state = Arc::clone(&self);
        registrar.function("state::list", move |_, input: Value| {
            let state = Arc::clone(&state);
            async move {
                let rows = state.scope(text(&input, "scope")?);
                Ok(Value::Array(
                    rows.into_iter().map(|(_, value)| value).collect(),
                ))
            }
        });
        registrar.function("state::entries", move |_, input: Value| {
            let state = Arc::clone(&self);
            async move { state.entries(&input) }
        });
    }
}

/// `engine::functions::list`.
pub(super) struct Admin(std::sync::Weak<Inner>);

impl Admin {
    pub(super) fn new(hub: &Hub) -> Arc<Self> {
        Arc::new(Admin(Arc::downgrade(&hub.0)))
    }

    fn list(&self) -> Value {
        let specs = self
            .0
            .upgrade()
            .map(|inner| Hub(inner).functions())
            .unwrap_or_default();
        let rows: Vec<_> = specs
            .into_iter()
            .filter(|spec| !spec.id.starts_with("engine::"))
            .map(|spec| {
                json!({
                    "function_id": spec.id,
                    "description": spec.description,
                    "request_format": spec.input_schema,
                    "response_format": spec.output_schema,
                    "metadata": spec.metadata,
                })
            })
            .collect();
        json!({ "functions": rows })
    }
}

impl Worker for Admin {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.function("engine::functions::list", move |_, _: Value| {
            let list = self.list();
            async move { Ok(list) }
        });
    }
}
