//! Requests and answers as the `http` trigger has them.

use std::collections::BTreeMap;

use agentos_sdk::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use crate::error::Failure;

/// What we read of an HTTP request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Request {
    pub(crate) path_params: BTreeMap<String, String>,
    pub(crate) query_params: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
    /// False where another key than the engine's token was shown, which is ours to judge.
    pub(crate) authenticated: Option<bool>,
    /// As it came; none where there was none, or where its type was not said to be JSON.
    #[schemars(with = "Value")]
    pub(crate) body: Option<Box<RawValue>>,
}

/// What is looked at of a body before it is known who reads it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Top {
    pub(crate) model: Option<Value>,
    pub(crate) stream: Option<Value>,
    pub(crate) n: Option<Value>,
    pub(crate) max_completion_tokens: Option<Value>,
    pub(crate) max_tokens: Option<Value>,
    pub(crate) max_output_tokens: Option<Value>,
}

impl Request {
    /// A parameter of the path, decoded.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.path_params.get(name).map_or("", String::as_str)
    }

    /// The body as an object.
    pub(crate) fn object(self) -> Result<Map<String, Value>, Failure> {
        fields(&self.text()?)
    }

    /// The text of an object.
    pub(crate) fn text(self) -> Result<Box<RawValue>, Failure> {
        match self.body {
            Some(text) if text.get().starts_with('{') => Ok(text),
            Some(_) => Err(Failure::bad_request("the body must be a JSON object")),
            None => Err(Failure::bad_request(
                "the request needs a JSON object as its body and the header content-type: application/json",
            )),
        }
    }
}

/// Reads an object.
///
/// # Errors
/// 400 for what its writer must correct.
pub(crate) fn fields<T: serde::de::DeserializeOwned>(text: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(text.get())
        .map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))
}

/// An HTTP answer that is sent as a whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    pub(crate) status_code: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// Goes to the client as it is.
    #[schemars(with = "Value")]
    pub(crate) body: Box<RawValue>,
}

impl Answer {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "answers are made where they are given"
    )]
    pub(crate) fn ok(body: Value) -> Self {
        Self::exact(to_raw_value(&body).expect("a value has a JSON form"))
    }

    /// With a body that somebody else has written.
    pub(crate) fn exact(body: Box<RawValue>) -> Self {
        let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
        Answer {
            status_code: 200,
            headers,
            body,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }
}

/// The head of a stream of server-sent events, as the first chunk.
pub(crate) fn stream_head(request_id: &str) -> Value {
    json!({
        "status_code": 200,
        "headers": {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "x-request-id": request_id,
            "request-id": request_id,
        },
    })
}
