//! A memory as it is kept in the state, and the vector that belongs to it.

use agentos_contract::memory::{Memory, StoreRequest};
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
    pub(crate) fn new(request: StoreRequest, created_at: u64) -> Self {
        let memory = Memory {
            id: id(&request),
            content: request.content,
            role: request.role,
            session_id: request.session_id,
            scope: request.scope,
            metadata: request.metadata,
            created_at,
        };
        Record {
            memory,
            embedding: None,
        }
    }
}

/// The id of a memory comes from what makes it the same memory: the text and its drawer. So the
/// same text stored twice, even at once or by two instances, is one row of the state.
pub(crate) fn id(request: &StoreRequest) -> String {
    let mut hash = Sha256::new();
    hash.update(request.scope.as_deref().unwrap_or_default());
    hash.update([0]);
    hash.update(request.content.trim());
    let digest = hash.finalize();
    let (number, _) = digest
        .split_first_chunk::<16>()
        .expect("a digest has 32 bytes");
    format!("mem_{:032x}", u128::from_be_bytes(*number))
}

/// A vector of length one, and the model that made it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Vector {
    pub(crate) model: String,
    /// Base64 of little-endian 32-bit floats: a quarter of what they take as decimal text.
    #[serde(serialize_with = "write", deserialize_with = "read", rename = "vector")]
    values: Vec<f32>,
}

impl Vector {
    /// `None` for what has no direction: nothing, zeros, infinities.
    pub(crate) fn new(model: &str, mut values: Vec<f32>) -> Option<Self> {
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_normal() {
            return None;
        }
        for value in &mut values {
            *value /= length;
        }
        Some(Vector {
            model: model.to_owned(),
            values,
        })
    }

    /// `None` when the two cannot be compared.
    pub(crate) fn cosine(&self, other: &Vector) -> Option<f64> {
        let comparable = self.model == other.model && self.values.len() == other.values.len();
        comparable.then(|| {
            self.values
                .iter()
                .zip(&other.values)
                .map(|(a, b)| a * b)
                .sum::<f32>()
                .into()
        })
    }
}

fn write<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
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

    fn request(content: &str, scope: Option<&str>) -> StoreRequest {
        StoreRequest {
            content: content.into(),
            scope: scope.map(Into::into),
            ..StoreRequest::default()
        }
    }

    #[test]
    fn one_text_in_one_drawer_is_one_memory() {
        assert_eq!(id(&request("a", None)), id(&request(" a\n", None)));
        assert_ne!(id(&request("a", None)), id(&request("a", Some("s"))));
        assert_ne!(id(&request("a", None)), id(&request("b", None)));
    }

    #[test]
    fn a_record_comes_back_from_its_durable_form() {
        let mut record = Record::new(request("a", Some("s")), 7);
        record.embedding = Vector::new("m", vec![3.0, -4.0, 0.1]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn vectors_have_length_one_or_are_none() {
        let vector = |values: &[f32]| Vector::new("m", values.to_vec());
        let (a, b) = (vector(&[2.0, 0.0]).unwrap(), vector(&[3.0, 0.0]).unwrap());
        assert!((a.cosine(&b).unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(a.cosine(&vector(&[1.0, 0.0, 0.0]).unwrap()), None);
        assert_eq!(
            a.cosine(&Vector::new("other", vec![1.0, 0.0]).unwrap()),
            None
        );
        for bad in [
            &[][..],
            &[0.0, 0.0],
            &[f32::NAN, 1.0],
            &[f32::INFINITY, 1.0],
        ] {
            assert_eq!(vector(bad), None);
        }
    }
}
