//! Functions that are asked before the function of a route, and may answer in its place.

use std::sync::Arc;

use agentos_sdk::Payload;
use serde::Serialize;
use serde_json::{Value, json};

use super::request::Told;

/// What a middleware gets. It knows neither the body nor the channels of the request.
#[derive(Serialize)]
struct Asked<'a> {
    phase: &'static str,
    request: About<'a>,
    context: Value,
}

#[derive(Serialize)]
struct About<'a> {
    path_params: &'a std::collections::BTreeMap<String, String>,
    query_params: &'a std::collections::BTreeMap<String, String>,
    headers: &'a std::collections::BTreeMap<&'a str, String>,
    method: &'a str,
}

/// The payload of a middleware.
pub(super) fn payload(told: &Told<'_>) -> Result<Payload, serde_json::Error> {
    Payload::encode(&Asked {
        phase: "preHandler",
        request: About {
            path_params: told.path_params,
            query_params: &told.query_params,
            headers: &told.headers,
            method: told.method,
        },
        context: json!({}),
    })
}

/// The response with which a middleware ends the request; anything but
/// `{"action": "respond", "response": {..}}` lets it go on.
pub(super) fn response(result: &Payload) -> Option<Value> {
    let mut result: Value = result.decode().ok()?;
    if result.get("action").and_then(Value::as_str) != Some("respond") {
        return None;
    }
    Some(
        result
            .get_mut("response")
            .map(Value::take)
            .unwrap_or_default(),
    )
}

/// The middleware of the engine by priority, then that of the route.
pub(super) fn in_order<'a>(
    global: &'a [Arc<str>],
    route: &'a [Arc<str>],
) -> impl Iterator<Item = (&'a Arc<str>, bool)> {
    let global = global.iter().map(|function| (function, true));
    global.chain(route.iter().map(|function| (function, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_respond_ends_a_request() {
        let rows = [
            (json!({"action": "continue"}), None),
            (json!(null), None),
            (json!("respond"), None),
            (json!({"action": "RESPOND"}), None),
            (json!({"action": "respond"}), Some(json!(null))),
            (
                json!({"action": "respond", "response": {"status_code": 401}}),
                Some(json!({"status_code": 401})),
            ),
        ];
        for (result, expect) in rows {
            let payload = Payload::encode(&result).expect("JSON");
            assert_eq!(response(&payload), expect, "{result}");
        }
    }
}
