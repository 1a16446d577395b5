//! Publishing to a durable topic.

use std::sync::Arc;

use agentos_sdk::{Code, Error, FunctionSpec, Handler, Invocation, Payload, protocol::Call};
use schemars::schema_for;
use uuid::Uuid;

use super::{
    api,
    enqueue::store,
    error,
    json::Json,
    line::{Line, Storing},
    name::Name,
    once::Once,
    record::{Body, Envelope},
    rules,
    topics::Topics,
};

pub(super) struct Publisher(pub(super) Arc<Topics>);

impl Handler for Publisher {
    /// Gives the copies their places before it returns: who publishes twice has both in order.
    fn start(&self, invocation: Invocation) {
        match self.accept(invocation.call()) {
            Ok(publication) => {
                let topics = Arc::clone(&self.0);
                // Not to be given up half way, whoever waits for it.
                tokio::spawn(async move {
                    let stored = keep(&topics, publication).await;
                    invocation.reply(stored.map(|()| Payload::NULL).map_err(named));
                });
            }
            Err(error) => invocation.reply(Err(named(error))),
        }
    }
}

impl Publisher {
    /// What is offered under `id`.
    pub(super) fn spec(id: &str) -> FunctionSpec {
        FunctionSpec {
            description: Some(
                "Gives a copy to every subscriber of a durable topic; on disk when it answers"
                    .to_owned(),
            ),
            input_schema: Some(schema_for!(api::Publish).to_value()),
            output_schema: Some(schema_for!(()).to_value()),
            ..FunctionSpec::new(id)
        }
    }

    fn accept(&self, call: &Call) -> Result<Publication, Error> {
        let input: Option<api::Publish> = call.payload.decode().map_err(|error| {
            let message = format!("input of `{}`: {error}", call.function);
            Error::caller(Code::InvalidInput, message)
        })?;
        let input = input.unwrap_or_default();
        let topic = error::required(input.topic.as_deref(), "topic", "topic_not_set")?;
        let payload = input.data.map_or(Payload::NULL, Json::into_payload);
        let body = Body::new(Envelope::default().in_trace(&call.trace), payload);
        let copies = self.0.publish(topic, &body)?;
        let once = input.deduplication_key.map(|key| {
            let prefix = Name::Waiting(topic.into()).prefix();
            let window_ms = self
                .0
                .queues
                .shared
                .config
                .get()
                .topics
                .deduplication_window_ms;
            Once::new(&prefix, rules::digest(&key), window_ms)
        });
        Ok(Publication { copies, once })
    }
}

struct Publication {
    copies: Vec<Storing>,
    once: Option<Once>,
}

async fn keep(topics: &Topics, publication: Publication) -> Result<(), Error> {
    let copies = publication.copies;
    let lines: Vec<Arc<Line>> = copies.iter().map(|copy| Arc::clone(copy.line())).collect();
    let stored = store(&topics.queues, copies, Uuid::new_v4(), publication.once).await;
    for line in lines {
        topics.published(&line);
    }
    stored.map(|_| ())
}

fn named(error: Error) -> Error {
    error::named(error, "publish_failed")
}
