//! Streams whose storage somebody else provides, as functions `stream::VERB(NAME)`.

use agentos_sdk::{Bus, Code, Error};
use serde::Serialize;
use serde_json::Value;

use crate::builtin::document::Doc;

pub(super) fn id(verb: &str, stream: &str) -> String {
    format!("stream::{verb}({stream})")
}

/// Calls the provider with the input as it came.
///
/// # Errors
/// The provider's.
pub(super) async fn ask(
    bus: &Bus,
    verb: &str,
    stream: &str,
    input: &(impl Serialize + Sync),
) -> Result<Value, Error> {
    bus.trigger(&id(verb, stream), input).await
}

/// # Errors
/// `failed` for a value that nests too deeply.
pub(super) fn doc(value: &Value) -> Result<Doc, Error> {
    Doc::of(value).map_err(|error| Error::worker(Code::Failed, error.to_string()))
}
