//! Requests and answers as the `http` trigger has them.

use std::collections::BTreeMap;

use agentos_sdk::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// Parsed JSON; null when there was none, or when its type was not said to be JSON.
    pub(crate) body: Value,
}

impl Request {
    /// A parameter of the path, decoded.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.path_params.get(name).map_or("", String::as_str)
    }

    /// Headers, and the body as an object.
    pub(crate) fn parts(
        mut self,
    ) -> Result<(BTreeMap<String, String>, serde_json::Map<String, Value>), Failure> {
        Ok((std::mem::take(&mut self.headers), self.object()?))
    }

    /// The body as an object.
    pub(crate) fn object(self) -> Result<serde_json::Map<String, Value>, Failure> {
        match self.body {
            Value::Object(fields) => Ok(fields),
            Value::Null => Err(Failure::bad_request(
                "the request needs a JSON object as its body and the header content-type: application/json",
            )),
            _ => Err(Failure::bad_request("the body must be a JSON object")),
        }
    }
}

/// An HTTP answer that is sent as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    pub(crate) status_code: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
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
