//! The body of a request, from which one field after the other is taken.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Failure;

/// The body, from which one field after the other is taken.
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// Takes a field; absent and null are the same.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        match self.0.shift_remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_path_to_error::deserialize(value)
                .map(Some)
                .map_err(|error| {
                    let path = match error.path().to_string().as_str() {
                        "." => name.to_owned(),
                        path if path.starts_with('[') => format!("{name}{path}"),
                        path => format!("{name}.{path}"),
                    };
                    Failure::invalid(&path, format!("{path}: {}", error.inner()))
                }),
        }
    }

    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        let missing = || Failure::invalid(name, format!("the required field `{name}` is missing"));
        self.take(name)?.ok_or_else(missing)
    }

    pub(crate) fn within(
        &mut self,
        name: &str,
        min: f64,
        max: f64,
    ) -> Result<Option<f64>, Failure> {
        match self.take::<f64>(name)? {
            Some(value) if !(min..=max).contains(&value) => Err(Failure::invalid(
                name,
                format!("{name} is {value}, not between {min} and {max}"),
            )),
            value => Ok(value),
        }
    }

    /// What nobody took and says something, for whoever knows it.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.0
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect()
    }
}

/// A model must be named.
pub(crate) fn model(fields: &mut Fields) -> Result<String, Failure> {
    let model: String = fields.required("model")?;
    if model.trim().is_empty() {
        return Err(Failure::invalid("model", "you must provide a model"));
    }
    Ok(model)
}
