//! A stream of server-sent events to one client: head, chunks, pings, end.

use std::time::Duration;

use agentos_sdk::{Error, Payload, Sink};
use serde_json::Value;

use crate::{error::Failure, http::stream_head};

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
    pub(crate) async fn send(&mut self, event: &Value) -> Result<(), Error> {
        self.write(format!("data: {event}\n\n")).await
    }

    /// A comment, which clients ignore and proxies see.
    pub(crate) async fn ping(&mut self) -> Result<(), Error> {
        self.write(": ping\n\n".to_owned()).await
    }

    /// The whole answer was sent.
    pub(crate) async fn done(&mut self) -> Result<(), Error> {
        self.write("data: [DONE]\n\n".to_owned()).await
    }

    /// The answer broke off. No `[DONE]` comes after this.
    pub(crate) async fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        self.send(&failure.body()).await
    }

    async fn write(&mut self, text: String) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            self.sink.send(&stream_head(self.request_id)).await?;
        }
        self.sink.send_payload(Payload::binary(text)).await
    }
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
