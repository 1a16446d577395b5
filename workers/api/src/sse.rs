//! A stream of server-sent events to one client: its head, and one write for each event.

use std::time::Duration;

use agentos_sdk::{Error, Payload, Sink};
use serde_json::Value;

use crate::http::stream_head;

/// Events on their way out. Nothing is sent before the first one, so that until then the answer
/// may still be a plain HTTP error.
pub(crate) struct Events<'a> {
    sink: &'a mut Sink,
    request_id: &'a str,
    pub(crate) begun: bool,
}

impl<'a> Events<'a> {
    pub(crate) fn new(sink: &'a mut Sink, request_id: &'a str) -> Self {
        Events {
            sink,
            request_id,
            begun: false,
        }
    }

    /// One event; the head goes before the first.
    pub(crate) async fn write(&mut self, event: String) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            self.sink.send(&stream_head(self.request_id)).await?;
        }
        self.sink.send_payload(Payload::binary(event)).await
    }
}

/// An event without a name.
pub(crate) fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

/// An event named by its `type`.
pub(crate) fn named(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or("error");
    format!("event: {name}\ndata: {event}\n\n")
}

/// How long to wait for the next word of the model.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head_wait: Duration,
    pub(crate) ping: Duration,
}

impl Patience {
    pub(crate) fn now(self, begun: bool) -> Duration {
        if begun { self.ping } else { self.head_wait }
    }
}
