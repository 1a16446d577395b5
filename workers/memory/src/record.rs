//! A memory as it is kept in the state, and the vector that belongs to it.

use std::sync::Arc;

use agentos_contract::memory::{Memory, NewMemory};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest, Sha256};

/// A memory and, once it is embedded, its vector. The durable form.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) memory: Memory,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) embedding: Option<Vector>,
}

impl Record {
    pub(crate) fn new(new: NewMemory, created_at: u64) -> Self {
        let memory = Memory {
            id: id(&new),
            content: new.content,
            role: new.role,
            session_id: new.session_id,
            scope: new.scope,
            metadata: new.metadata,
            created_at,
            ..Memory::default()
        };
        Record {
            memory,
            embedding: None,
        }
    }
}

/// The id of a memory comes from what makes it the same memory: the text and its drawer. So the
/// same text stored twice, even at once or by two instances, is one row of the state.
pub(crate) fn id(new: &NewMemory) -> String {
    let mut hash = Sha256::new();
    hash.update(new.scope.as_deref().unwrap_or_default());
    hash.update([0]);
    hash.update(new.content.trim());
    let digest = hash.finalize();
    let (number, _) = digest
        .split_first_chunk::<16>()
        .expect("a digest has 32 bytes");
    format!("mem_{:032x}", u128::from_be_bytes(*number))
}

/// A vector of length one, and the model that made it. Cheap to clone: the index shares it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Vector {
    pub(crate) model: Arc<str>,
    /// Base64 of little-endian 32-bit floats: a quarter of what they take as decimal text.
    #[serde(serialize_with = "write", deserialize_with = "read", rename = "vector")]
    pub(crate) values: Arc<[f32]>,
}

impl Vector {
    /// `None` for what has no direction: nothing, zeros, infinities.
    pub(crate) fn new(model: &Arc<str>, mut values: Vec<f32>) -> Option<Self> {
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_normal() {
            return None;
        }
        for value in &mut values {
            *value /= length;
        }
        Some(Vector {
            model: Arc::clone(model),
            values: values.into(),
        })
    }

    /// `None` when the two cannot be compared.
    pub(crate) fn cosine(&self, other: &Vector) -> Option<f64> {
        let comparable = self.model == other.model && self.values.len() == other.values.len();
        comparable.then(|| dot(&self.values, &other.values).into())
    }
}

/// The cosine of two vectors of length one. Eight sums side by side, so that the compiler takes
/// vector instructions, which it may not for one sum: the order of additions of floats matters.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn write<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[f32]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = BASE64_STANDARD.decode(text).map_err(D::Error::custom)?;
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(D::Error::custom(
            "a vector's bytes are not a multiple of four",
        ));
    }
    Ok(floats
        .iter()
        .map(|float| f32::from_le_bytes(*float))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(content: &str, scope: Option<&str>) -> NewMemory {
        NewMemory {
            content: content.into(),
            scope: scope.map(Into::into),
            ..NewMemory::default()
        }
    }

    #[test]
    fn one_text_in_one_drawer_is_one_memory() {
        assert_eq!(id(&new("a", None)), id(&new(" a\n", None)));
        assert_ne!(id(&new("a", None)), id(&new("a", Some("s"))));
        assert_ne!(id(&new("a", None)), id(&new("b", None)));
    }

    #[test]
    fn a_record_comes_back_from_its_durable_form() {
        let mut record = Record::new(new("a", Some("s")), 7);
        record.embedding = Vector::new(&"m".into(), vec![3.0, -4.0, 0.1]);
        record.memory.used_at = Some(9);
        record.memory.merged = 2;
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_record_of_before_there_were_uses_is_read() {
        let text = r#"{"id":"mem_1","content":"tea","createdAt":7,"embedding":{"model":"m","vector":"AACAPw=="}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!((record.memory.used_at, record.memory.merged), (None, 0));
        assert!((record.embedding.unwrap().values[0] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn vectors_have_length_one_or_are_none() {
        let vector = |values: &[f32]| Vector::new(&"m".into(), values.to_vec());
        let (a, b) = (vector(&[2.0, 0.0]).unwrap(), vector(&[3.0, 0.0]).unwrap());
        assert!((a.cosine(&b).unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(a.cosine(&vector(&[1.0, 0.0, 0.0]).unwrap()), None);
        let other = Vector::new(&"other".into(), vec![1.0, 0.0]).unwrap();
        assert_eq!(a.cosine(&other), None);
        for bad in [
            &[][..],
            &[0.0, 0.0],
            &[f32::NAN, 1.0],
            &[f32::INFINITY, 1.0],
        ] {
            assert_eq!(vector(bad), None);
        }
    }

    #[test]
    fn a_dot_product_counts_what_fills_no_block() {
        let ones = [1.0_f32; 19];
        assert!((dot(&ones, &ones) - 19.0).abs() < 1e-6);
    }
}
