//! A call's body: opaque bytes with one bit of knowledge about them.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// How a payload's bytes are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encoding {
    /// UTF-8 JSON text.
    #[default]
    Json,
    /// Bytes without meaning to the bus, for instance a piece of an HTTP body.
    Binary,
}

/// The body of a call, a result or one piece of a stream. Cheap to clone: the bytes are shared.
///
/// The bus never looks inside. `Encoding::Json` is a promise of the sender; the JSON dialect,
/// which must embed the text in its own, is where the promise is checked.
#[derive(Clone, Debug)]
pub struct Payload {
    pub bytes: Bytes,
    pub encoding: Encoding,
    /// The promise is known to be kept, so nobody has to check again.
    pub(crate) checked: bool,
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.encoding == other.encoding && self.bytes == other.bytes
    }
}

impl Eq for Payload {}

impl Payload {
    /// JSON `null`.
    pub const NULL: Payload = Payload {
        bytes: Bytes::from_static(b"null"),
        encoding: Encoding::Json,
        checked: true,
    };

    /// Bytes that the caller says are JSON text.
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Payload {
            bytes: bytes.into(),
            encoding: Encoding::Json,
            checked: false,
        }
    }

    /// Bytes that have been read as JSON already.
    pub fn checked_json(bytes: impl Into<Bytes>) -> Self {
        Payload {
            checked: true,
            ..Payload::json(bytes)
        }
    }

    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Payload {
            bytes: bytes.into(),
            encoding: Encoding::Binary,
            checked: false,
        }
    }

    /// Serialises `value` as JSON.
    ///
    /// # Errors
    /// When `value` has no JSON form, for instance a map with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Payload::checked_json(serde_json::to_vec(value)?))
    }

    /// Reads the payload as `T`. An empty payload reads as JSON `null`.
    ///
    /// # Errors
    /// When the bytes are not JSON or not of the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.text())
    }

    /// The JSON text, `null` when empty.
    pub fn text(&self) -> &[u8] {
        if self.bytes.is_empty() {
            b"null"
        } else {
            &self.bytes
        }
    }

    /// True for JSON `null` and for nothing at all.
    pub fn is_null(&self) -> bool {
        self.encoding == Encoding::Json && matches!(&self.bytes[..], b"" | b"null")
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Default for Payload {
    fn default() -> Self {
        Payload::NULL
    }
}
