//! The enqueue action: a call that is to be made later becomes a message and a receipt.

use std::sync::Arc;

use agentos_sdk::{
    Code, Error, FunctionSpec, Handler, Invocation, Payload, Trace,
    protocol::{Call, Delivery},
};
use schemars::schema_for;
use uuid::Uuid;

use super::{
    api, error,
    line::{Storing, Terms},
    once::{self, Once},
    queues::Queues,
    record::{Body, Envelope},
    rules,
};
use crate::storage::Batch;

/// The queue of those who name none.
const QUEUE_DEFAULT: &str = "default";

/// Takes calls whose target is to run later, and plain calls that ask for the same.
pub(super) struct Entrance(pub(super) Arc<Queues>);

impl Handler for Entrance {
    /// Gives the message its place before it returns: who calls twice has the calls in order.
    fn start(&self, invocation: Invocation) {
        match self.accept(invocation.call()) {
            Ok(accepted) => {
                let queues = Arc::clone(&self.0);
                // Not to be given up half way, whoever waits for it.
                tokio::spawn(async move {
                    let (messages, id) = (vec![accepted.storing], accepted.id);
                    let stored = store(&queues, messages, id, accepted.once).await;
                    let reply = stored.and_then(|taken| receipt(id, taken));
                    invocation.reply(reply.map_err(enqueue_error));
                });
            }
            Err(error) => invocation.reply(Err(enqueue_error(error))),
        }
    }
}

/// A message that has its place.
struct Accepted {
    id: Uuid,
    storing: Storing,
    once: Option<Once>,
}

impl Entrance {
    /// What is offered under `id`.
    pub(super) fn spec(id: &str) -> FunctionSpec {
        FunctionSpec {
            description: Some(
                "Puts a call on a queue; durable when it answers with a receipt".to_owned(),
            ),
            input_schema: Some(schema_for!(api::Enqueue).to_value()),
            output_schema: Some(schema_for!(api::Receipt).to_value()),
            ..FunctionSpec::new(id)
        }
    }

    fn accept(&self, call: &Call) -> Result<Accepted, Error> {
        match &call.delivery {
            Delivery::Enqueue(queue) => {
                let envelope = Envelope {
                    function: Some(Arc::clone(&call.function)),
                    namespace: call.namespace.clone(),
                    metadata: call.metadata.clone(),
                    ..Envelope::default()
                };
                let body = Body::new(envelope.in_trace(&call.trace), call.payload.clone());
                self.put(queue, Uuid::new_v4(), body, Terms::default(), None)
            }
            _ => self.accept_asked(call),
        }
    }

    fn accept_asked(&self, call: &Call) -> Result<Accepted, Error> {
        let input: api::Enqueue = call.payload.decode().map_err(|error| {
            let message = format!("input of `{}`: {error}", call.function);
            Error::caller(Code::InvalidInput, message)
        })?;
        let id = match &input.message_receipt_id {
            None => Uuid::new_v4(),
            Some(id) => Uuid::parse_str(id)
                .map_err(|_| Error::caller(Code::InvalidInput, "messageReceiptId is not a UUID"))?,
        };
        let trace = Trace {
            parent: input
                .traceparent
                .map_or(call.trace.parent.clone(), |text| Some(text.into())),
            baggage: input
                .baggage
                .map_or(call.trace.baggage.clone(), |text| Some(text.into())),
        };
        let envelope = Envelope {
            function: Some(input.function_id.into()),
            namespace: input.namespace.map(Into::into),
            metadata: call.metadata.clone(),
            ..Envelope::default()
        };
        let payload = input
            .data
            .map_or(Payload::NULL, super::json::Json::into_payload);
        let body = Body::new(envelope.in_trace(&trace), payload);
        let queue = input.queue.as_deref().unwrap_or(QUEUE_DEFAULT);
        let terms = Terms {
            delay_ms: input.delay_ms.unwrap_or_default(),
            priority: input.priority,
        };
        self.put(queue, id, body, terms, input.deduplication_key.as_deref())
    }

    fn put(
        &self,
        queue: &str,
        id: Uuid,
        body: Body,
        terms: Terms,
        key: Option<&str>,
    ) -> Result<Accepted, Error> {
        let line = self.0.function(queue)?;
        let rules = line.rules();
        let digest = match (key, &rules.deduplication_field) {
            (Some(key), _) => Some(rules::digest(key)),
            (None, Some(field)) => rules::digest_of(&body.payload, field),
            (None, None) => None,
        };
        let once =
            digest.map(|digest| Once::new(line.prefix(), digest, rules.deduplication_window_ms));
        let storing = line.accept(id.as_u128(), body, terms)?;
        Ok(Accepted { id, storing, once })
    }
}

/// Writes messages that have their place; all or none. They are known as `id`; another id is
/// returned when theirs is a key that was taken before.
pub(super) async fn store(
    queues: &Queues,
    messages: Vec<Storing>,
    id: Uuid,
    once: Option<Once>,
) -> Result<Option<Uuid>, Error> {
    if let Some(once) = once {
        let taken = once::store(&queues.shared, messages, id.as_u128(), &once).await?;
        return Ok(taken.map(Uuid::from_u128));
    }
    let mut batch = batch(&messages);
    for message in &messages {
        message.write(&mut batch);
    }
    let committed = queues.shared.store.commit(batch).await;
    committed.map_err(error::from_storage)?;
    messages.into_iter().for_each(Storing::done);
    Ok(None)
}

/// An empty batch that outlives what the receipts of all `messages` must.
pub(super) fn batch(messages: &[Storing]) -> Batch {
    let mut batch = Batch::new();
    let asked = messages.iter().map(|message| message.line().durability());
    batch.durability(asked.max().unwrap_or_default());
    batch
}

fn receipt(id: Uuid, taken: Option<Uuid>) -> Result<Payload, Error> {
    let receipt = api::Receipt {
        message_receipt_id: taken.unwrap_or(id).to_string(),
        duplicate: taken.is_some(),
    };
    Payload::encode(&receipt).map_err(|error| Error::engine(Code::Internal, error.to_string()))
}

fn enqueue_error(error: Error) -> Error {
    error::named(error, error::ENQUEUE)
}
