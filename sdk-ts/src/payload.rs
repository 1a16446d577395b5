//! Payloads and errors as they cross the border: JSON text as a string, bytes as a `Buffer`.

use agentos_sdk::{Encoding, Error, Payload};
use napi::bindgen_prelude::{Buffer, Either, Uint8Array};

/// A payload on its way to JavaScript.
pub(crate) fn outward(payload: Payload) -> Either<String, Buffer> {
    let bytes = Vec::from(payload.bytes);
    match payload.encoding {
        Encoding::Json => Either::A(text(bytes)),
        Encoding::Binary => Either::B(bytes.into()),
    }
}

/// The sender promised UTF-8; a broken promise shows as replacement characters, not as a lost call.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A payload from JavaScript; copied out, because JavaScript may go on writing to its array.
pub(crate) fn inward(value: Either<String, Uint8Array>) -> Payload {
    match value {
        Either::A(text) => Payload::json(text),
        Either::B(bytes) => Payload::binary(bytes.to_vec()),
    }
}

/// An error as JSON text; rare enough that nothing better is needed.
pub(crate) fn error_text(error: &Error) -> String {
    serde_json::to_string(error).expect("an error body has string keys only")
}

/// An error to throw; its message is the error's JSON text.
pub(crate) fn thrown(error: Error) -> napi::Error {
    napi::Error::from_reason(error_text(&error))
}

/// Reads what [`error_text`] or its JavaScript twin wrote.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> napi::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        thrown(Error::caller(
            agentos_sdk::Code::InvalidInput,
            error.to_string(),
        ))
    })
}
