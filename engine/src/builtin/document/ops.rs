//! Updates: steps applied in order to one document. Plain functions over JSON.
//!
//! A step that does not fit is skipped and reported; the others count.

use agentos_sdk::{Code, Error};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::step::{Op, OpKind, Path};

#[cfg(test)]
mod tests;

/// Limits that workers of iii know (`merge.*` and `{op}.path.*` codes).
const PATH_DEPTH_MAX: usize = 32;
const SEGMENT_BYTES_MAX: usize = 256;
const VALUE_DEPTH_MAX: usize = 16;
const VALUE_KEYS_MAX: usize = 1024;

/// Keys that would reach an object's prototype in a JavaScript worker.
const POLLUTING: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// Where each code is explained.
const DOC_URL: &str = "docs/errors/invalid_input.md#steps-of-stateupdate";

/// A step that was skipped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct OpError {
    pub op_index: usize,
    /// The step's type and what was wrong: `increment.not_number`.
    pub code: String,
    pub message: String,
    pub doc_url: &'static str,
}

/// A step whose shape was checked.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    kind: OpKind,
    /// Empty: the whole document. More than one key only in a merge.
    path: Vec<String>,
    /// The operand; for `increment` and `decrement` see `by`.
    value: Value,
    by: i128,
}

/// Why a step was skipped: the second half of its code, and a sentence.
type Fault = (&'static str, &'static str);

/// Checks the shape of `ops`.
///
/// # Errors
/// `invalid_input` naming the step: then nothing at all is applied.
pub(crate) fn check(ops: Vec<Op>) -> Result<Vec<Step>, Error> {
    let checked = ops.into_iter().enumerate().map(|(index, op)| {
        step(op).map_err(|why| Error::caller(Code::InvalidInput, format!("ops[{index}]: {why}")))
    });
    checked.collect()
}

fn step(op: Op) -> Result<Step, &'static str> {
    let merges = op.kind == OpKind::Merge;
    let path = match op.path {
        Some(Path::Key(key)) if key.is_empty() => Vec::new(),
        Some(Path::Key(key)) => vec![key],
        Some(Path::Keys(keys)) if merges => keys,
        Some(Path::Keys(_)) => {
            return Err("`path` must be one key, a string; only merge takes a list");
        }
        None if merges => Vec::new(),
        None => return Err("`path` is missing; \"\" means the whole document"),
    };
    let by = match op.kind {
        OpKind::Increment | OpKind::Decrement => {
            let by = op.by.or_else(|| op.value.as_ref().and_then(Value::as_i64));
            i128::from(by.ok_or("`by` must be given, as a whole number of 64 bits")?)
        }
        _ => 0,
    };
    let by = if op.kind == OpKind::Decrement {
        -by
    } else {
        by
    };
    Ok(Step {
        kind: op.kind,
        path,
        value: op.value.unwrap_or_default(),
        by,
    })
}

/// Applies `steps` to `document`; a missing one starts as `{}`.
pub(crate) fn apply(mut document: Option<Value>, steps: &[Step]) -> (Value, Vec<OpError>) {
    let mut errors = Vec::new();
    for (op_index, step) in steps.iter().enumerate() {
        if let Err((what, why)) = step.apply(&mut document) {
            let code = format!("{}.{what}", step.name());
            errors.push(OpError {
                op_index,
                code,
                message: why.to_owned(),
                doc_url: DOC_URL,
            });
        }
    }
    (
        document.unwrap_or_else(|| Value::Object(Map::new())),
        errors,
    )
}

impl Step {
    fn name(&self) -> &'static str {
        match self.kind {
            OpKind::Set => "set",
            OpKind::Merge => "merge",
            OpKind::Increment => "increment",
            OpKind::Decrement => "decrement",
            OpKind::Append => "append",
            OpKind::Remove => "remove",
        }
    }

    fn apply(&self, document: &mut Option<Value>) -> Result<(), Fault> {
        check_path(&self.path)?;
        match self.kind {
            OpKind::Set => self.edit(document, |_| Ok(Some(self.value.clone()))),
            OpKind::Increment | OpKind::Decrement => self.edit(document, |slot| add(slot, self.by)),
            OpKind::Append => self.edit(document, |slot| append(slot, &self.value)),
            OpKind::Remove => self.remove(document),
            OpKind::Merge => self.merge(document),
        }
    }

    /// Runs `change` on the value at the path. It edits in place, or returns a value to put there.
    fn edit(
        &self,
        document: &mut Option<Value>,
        change: impl FnOnce(Option<&mut Value>) -> Result<Option<Value>, Fault>,
    ) -> Result<(), Fault> {
        let Some(key) = self.path.first() else {
            if let Some(value) = change(document.as_mut())? {
                *document = Some(value);
            }
            return Ok(());
        };
        let object = object(document)?;
        if let Some(value) = change(object.get_mut(key))? {
            object.insert(key.clone(), value);
        }
        Ok(())
    }

    fn remove(&self, document: &mut Option<Value>) -> Result<(), Fault> {
        match self.path.first() {
            None => *document = Some(Value::Null),
            // Not swap_remove: the order of the other keys is the writer's.
            Some(key) => drop(object(document)?.shift_remove(key)),
        }
        Ok(())
    }

    fn merge(&self, document: &mut Option<Value>) -> Result<(), Fault> {
        let Value::Object(news) = &self.value else {
            return Err((
                "value.not_an_object",
                "the value to merge must be an object",
            ));
        };
        check_merged(&self.value, news)?;
        let document = document.get_or_insert_with(|| Value::Object(Map::new()));
        if self.path.is_empty() && !document.is_object() {
            // As iii has it: merging into something else than an object says and does nothing.
            return Ok(());
        }
        let target = self.path.iter().fold(entered(document), |object, key| {
            entered(object.entry(key.clone()).or_insert(Value::Null))
        });
        target.extend(news.clone());
        Ok(())
    }
}

/// The document as an object.
fn object(document: &mut Option<Value>) -> Result<&mut Map<String, Value>, Fault> {
    let document = document.get_or_insert_with(|| Value::Object(Map::new()));
    document.as_object_mut().ok_or((
        "target_not_object",
        "the document is not an object and has no keys",
    ))
}

/// `value` as an object; anything else is replaced by an empty one.
fn entered(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object above")
}

fn add(slot: Option<&mut Value>, by: i128) -> Result<Option<Value>, Fault> {
    const NOT_NUMBER: Fault = (
        "not_number",
        "the value is not a number, or leaves the range of 64 bits",
    );
    let sum = match slot.as_deref() {
        None => whole(by),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(old), _, _) => whole(i128::from(old) + by),
            (_, Some(old), _) => whole(i128::from(old) + by),
            (_, _, Some(old)) => serde_json::Number::from_f64(old + by as f64).map(Value::Number),
            _ => None,
        },
        Some(_) => None,
    };
    sum.map(Some).ok_or(NOT_NUMBER)
}

fn whole(number: i128) -> Option<Value> {
    let signed = i64::try_from(number).map(Value::from);
    signed
        .or_else(|_| u64::try_from(number).map(Value::from))
        .ok()
}

fn append(slot: Option<&mut Value>, value: &Value) -> Result<Option<Value>, Fault> {
    match (slot, value) {
        (None | Some(Value::Null), Value::String(_)) => return Ok(Some(value.clone())),
        (None | Some(Value::Null), _) => return Ok(Some(Value::Array(vec![value.clone()]))),
        (Some(Value::Array(items)), _) => items.push(value.clone()),
        (Some(Value::String(text)), Value::String(more)) => text.push_str(more),
        _ => {
            return Err((
                "type_mismatch",
                "only arrays, and strings with strings, can be appended to",
            ));
        }
    }
    Ok(None)
}

fn check_path(path: &[String]) -> Result<(), Fault> {
    if path.len() > PATH_DEPTH_MAX {
        return Err(("path.too_deep", "the path has more than 32 segments"));
    }
    if path.iter().any(String::is_empty) {
        return Err(("path.empty_segment", "a segment of the path is empty"));
    }
    if path.iter().any(|segment| segment.len() > SEGMENT_BYTES_MAX) {
        return Err((
            "path.segment_too_long",
            "a segment of the path has more than 256 bytes",
        ));
    }
    if path.iter().any(|segment| pollutes(segment)) {
        return Err((
            "path.proto_polluted",
            "the path names __proto__, constructor or prototype",
        ));
    }
    Ok(())
}

fn check_merged(value: &Value, keys: &Map<String, Value>) -> Result<(), Fault> {
    if keys.len() > VALUE_KEYS_MAX {
        return Err((
            "value.too_many_keys",
            "the value to merge has more than 1024 keys",
        ));
    }
    if is_deeper(value, VALUE_DEPTH_MAX) {
        return Err((
            "value.too_deep",
            "the value to merge is nested more than 16 levels deep",
        ));
    }
    if holds_polluting_key(value) {
        return Err((
            "value.proto_polluted",
            "the value names __proto__, constructor or prototype",
        ));
    }
    Ok(())
}

fn pollutes(key: &str) -> bool {
    POLLUTING.contains(&key)
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) if levels == 0 => true,
        Value::Object(object) => object.values().any(|inner| is_deeper(inner, levels - 1)),
        Value::Array(items) => items.iter().any(|inner| is_deeper(inner, levels - 1)),
        _ => false,
    }
}

/// Recursion is bounded: [`is_deeper`] was asked before.
fn holds_polluting_key(value: &Value) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .any(|(key, inner)| pollutes(key) || holds_polluting_key(inner)),
        Value::Array(items) => items.iter().any(holds_polluting_key),
        _ => false,
    }
}
