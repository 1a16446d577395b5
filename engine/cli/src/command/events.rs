//! `agentos events`: what happens on the bus, until it is interrupted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    args::{Common, Events},
    client,
    failure::Failure,
    screen::{DIM, GREEN, RED, Screen, YELLOW, plain, styled},
};

/// The longest deadline that the engine gives.
const TIMEOUT: Duration = Duration::from_hours(24);

pub(crate) async fn run(events: Events, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let wanted = (!events.only.is_empty()).then_some(events.only);
    let call = client.bus().call("engine::events").timeout(TIMEOUT);
    let mut stream = call.stream(&json!({ "events": wanted }))?;
    if screen.is_terminal() && !screen.json {
        screen.remark(styled(DIM, "listening; stop with Ctrl-C"));
    }
    while let Some(chunk) = stream.next().await {
        match chunk.decode::<Value>() {
            Ok(event) if screen.json => screen.value(&event),
            Ok(event) => screen.line(line(&event)),
            Err(error) => screen.remark(format!("an event that is no JSON: {error}")),
        }
    }
    stream.finish().await?;
    Ok(())
}

/// Time, name, and the rest as `key=value`.
fn line(event: &Value) -> String {
    let name = plain(&event["event"]);
    let style = match name.as_str() {
        "trigger_refused" | "registration_refused" | "void_call_failed" => RED,
        "gap" | "trigger_parked" | "worker_disconnected" | "functions_unregistered" => YELLOW,
        _ => GREEN,
    };
    let mut text = format!(
        "{} {}",
        styled(DIM, clock(&event["at_ms"])),
        styled(style, &name)
    );
    for (key, value) in event.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "event" | "at_ms") && !value.is_null() {
            let value = match (key.as_str(), value) {
                ("error", error) => format!("{:?}", plain(&error["message"])),
                (_, Value::Array(many)) => many.iter().map(plain).collect::<Vec<_>>().join(","),
                (_, value) => plain(value),
            };
            text.push(' ');
            text.push_str(&styled(DIM, format!("{key}=")));
            text.push_str(&value);
        }
    }
    text
}

/// The time of day in UTC, to the millisecond.
fn clock(at_ms: &Value) -> String {
    let ms = at_ms.as_u64().unwrap_or_default();
    let seconds = ms / 1_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:03}",
        seconds % 60,
        ms % 1_000
    )
}
