//! Publishing to a durable topic.

use std::sync::Arc;

use agentos_sdk::{Code, Error, FunctionSpec, Handler, Invocation, Payload, protocol::Call};
use schemars::schema_for;

use super::{
    api,
    enqueue::store,
    error,
    json::Json,
    line::{Line, Storing},
    record::{Body, Envelope},
    topics::Topics,
};

pub(super) struct Publisher(pub(super) Arc<Topics>);

impl Handler for Publisher {
    /// Gives the copies their places before it returns: who publishes twice has both in order.
    fn start(&self, invocation: Invocation) {
        match self.accept(invocation.call()) {
            Ok(copies) => {
                let topics = Arc::clone(&self.0);
                // Not to be given up half way, whoever waits for it.
                tokio::spawn(async move {
                    let stored = keep(&topics, copies).await;
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

    fn accept(&self, call: &Call) -> Result<Vec<Storing>, Error> {
        let input: Option<api::Publish> = call.payload.decode().map_err(|error| {
            let message = format!("input of `{}`: {error}", call.function);
            Error::caller(Code::InvalidInput, message)
        })?;
        let input = input.unwrap_or_default();
        let topic = error::required(input.topic.as_deref(), "topic", "topic_not_set")?;
        let payload = input.data.map_or(Payload::NULL, Json::into_payload);
        let body = Body::new(Envelope::default().in_trace(&call.trace), payload);
        self.0.publish(topic, &body)
    }
}

async fn keep(topics: &Topics, copies: Vec<Storing>) -> Result<(), Error> {
    let lines: Vec<Arc<Line>> = copies.iter().map(|copy| Arc::clone(copy.line())).collect();
    store(&topics.queues, copies).await?;
    for line in lines {
        topics.published(&line);
    }
    Ok(())
}

fn named(error: Error) -> Error {
    error::named(error, "publish_failed")
}
