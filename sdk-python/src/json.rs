//! JSON text to Python values and back, for what JSON and Python agree on.
//!
//! Everything else is left to Python's own `json`: what is not done here gives `None`, and Python
//! then decides, with its own errors.

use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Deeper values are left to Python, which knows the depth of its stack.
const DEPTH_MAX: usize = 100;

/// Shorter numbers fit 64 bits.
const DIGITS_MIN: usize = 19;

/// The value's text. `None` when it has something in it that is no plain string, number, list,
/// tuple or dictionary, or that only Python can say.
pub(crate) fn dumps(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    write(value, &mut out, DEPTH_MAX)?;
    Some(out)
}

fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(text, out);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        out.push(b'{');
        for (index, (key, item)) in dict.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(key.cast_exact::<PyString>().ok()?, out)?;
            out.push(b':');
            write(&item, out, depth)?;
        }
        out.push(b'}');
        return Some(());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return write_items(list.iter(), out, depth);
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return write_items(tuple.iter(), out, depth);
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(bool) = value.cast_exact::<PyBool>() {
        let word: &[u8] = if bool.is_true() { b"true" } else { b"false" };
        out.extend_from_slice(word);
    } else if value.is_exact_instance_of::<PyInt>() {
        serde_json::to_writer(out, &value.extract::<i64>().ok()?).ok()?;
    } else if value.is_exact_instance_of::<PyFloat>() {
        let number = value.extract::<f64>().ok().filter(|it| it.is_finite())?;
        serde_json::to_writer(out, &number).ok()?;
    } else {
        return None;
    }
    Some(())
}

fn write_text(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> Option<()> {
    // No text for half a surrogate pair.
    serde_json::to_writer(out, text.to_str().ok()?).ok()
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Option<()> {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(&item, out, depth)?;
    }
    out.push(b']');
    Some(())
}

/// The value that `text` says; `None` when it is not JSON, or has a number that needs Python.
pub(crate) fn loads<'py>(py: Python<'py>, text: &[u8]) -> Option<Bound<'py, PyAny>> {
    if has_long_number(text) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Value(py).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// Whether so many digits stand in a row that they could be an integer above 64 bits.
fn has_long_number(text: &[u8]) -> bool {
    let mut end = DIGITS_MIN;
    while let Some(window) = end.checked_sub(DIGITS_MIN).and_then(|at| text.get(at..end)) {
        // From behind: one other character rules out all windows that it is in.
        match window.iter().rposition(|byte| !byte.is_ascii_digit()) {
            Some(other) => end += other + 1,
            None => return true,
        }
    }
    false
}

#[derive(Clone, Copy)]
struct Value<'py>(Python<'py>);

impl<'py> Value<'py> {
    fn of<E: Error>(made: PyResult<Bound<'py, PyAny>>) -> Result<Bound<'py, PyAny>, E> {
        made.map_err(E::custom)
    }
}

impl<'de, 'py> DeserializeSeed<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.0.None().into_bound(self.0))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::of(value.into_bound_py_any(self.0))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::of(value.into_bound_py_any(self.0))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::of(value.into_bound_py_any(self.0))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        if value == 0.0 && value.is_sign_negative() {
            return Err(E::custom("`-0` is an integer to Python"));
        }
        Ok(PyFloat::new(self.0, value).into_any())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(PyString::new(self.0, value).into_any())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let list = PyList::empty(self.0);
        while let Some(item) = items.next_element_seed(self)? {
            list.append(item).map_err(A::Error::custom)?;
        }
        Ok(list.into_any())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let dict = PyDict::new(self.0);
        while let Some(key) = entries.next_key_seed(self)? {
            let item = entries.next_value_seed(self)?;
            dict.set_item(key, item).map_err(A::Error::custom)?;
        }
        Ok(dict.into_any())
    }
}
