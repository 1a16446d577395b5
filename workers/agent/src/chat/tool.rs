//! One tool call on the bus.

use std::time::{Duration, Instant};

use agentos_sdk::{Bus, Context, Encoding, Error, Payload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::turn::{Action, Planned, Ran};

/// Travels beside the call of a tool, which may be another agent.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aside {
    /// Agents above this one.
    #[serde(default)]
    agent_depth: u32,
}

/// How many agents called each other to get here.
pub(super) fn depth(context: &Context) -> u32 {
    let aside = context
        .metadata()
        .and_then(|text| serde_json::from_str::<Aside>(text).ok());
    aside.unwrap_or_default().agent_depth
}

/// Does what was planned for a call. After `timeout` it is cancelled.
pub(super) async fn run(bus: &Bus, planned: Planned, timeout: Duration, depth: u32) -> Ran {
    let began = Instant::now();
    let outcome = match planned.action {
        Action::Refuse(why) => Err(why),
        Action::Run(input) => call(bus, &planned.function, &input, timeout, depth)
            .await
            .map_err(|error| told(&error)),
    };
    let duration_ms = began.elapsed().as_millis() as u64;
    match outcome {
        Ok(result) => Ran {
            ok: true,
            text: text(&result),
            duration_ms,
        },
        Err(text) => Ran {
            ok: false,
            text,
            duration_ms,
        },
    }
}

async fn call(
    bus: &Bus,
    function: &str,
    input: &Value,
    timeout: Duration,
    depth: u32,
) -> Result<Payload, Error> {
    let aside = serde_json::to_string(&Aside {
        agent_depth: depth + 1,
    })
    .unwrap_or_default();
    let payload = Payload::json(input.to_string());
    bus.call(function)
        .timeout(timeout)
        .metadata(aside)
        .send_payload(payload)
        .await
}

/// A result as the model reads it: text as it is, anything else as JSON.
fn text(result: &Payload) -> String {
    match result.encoding {
        Encoding::Binary => format!("[{} bytes of binary data]", result.len()),
        Encoding::Json => match result.decode() {
            Ok(Value::String(text)) => text,
            _ => String::from_utf8_lossy(result.text()).into_owned(),
        },
    }
}

fn told(error: &Error) -> String {
    format!("error: {}: {}", error.code, error.message)
}
