//! Looking at messages before they are delivered.

use std::sync::Arc;

use agentos_sdk::{Context, Error};
use uuid::Uuid;

use super::{
    Queue, api,
    dead::{PAGE_BYTES_MAX, page_limit},
    error,
    json::Json,
    line::Line,
    machine::Stage,
    name::Name,
    record::{BODIES, Body, Head, body_key},
};
use crate::storage;

impl Queue {
    pub(super) async fn peek(
        self: Arc<Self>,
        _: Context,
        input: api::Page,
    ) -> Result<api::Messages, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?;
        let lines = self.queues.resolve(queue);
        if lines.is_empty() {
            return Err(error::no_queue(queue));
        }
        let limit = page_limit(input.limit);
        let mut offset = input.offset.unwrap_or_default();
        let mut messages = Vec::new();
        let mut bytes = 0;
        for line in lines {
            let wanted = limit - messages.len();
            let found = line.page(offset, wanted).await;
            let found = found.map_err(error::from_storage)?;
            offset = offset.saturating_sub(line.counts().depth);
            for (head, stage) in found {
                if bytes >= PAGE_BYTES_MAX {
                    break;
                }
                // One that was delivered meanwhile is not there any more.
                let read = read(&line, &head, stage).await;
                if let Some(message) = read.map_err(error::from_storage)? {
                    bytes += message.size_bytes;
                    messages.push(message);
                }
            }
        }
        Ok(api::Messages { messages })
    }
}

async fn read(
    line: &Line,
    head: &Head,
    stage: Stage,
) -> Result<Option<api::LiveMessage>, storage::Error> {
    let now_ms = line.shared.now_ms();
    let due_in_ms = head.due_ms.checked_sub(now_ms).filter(|ms| *ms > 0);
    let state = match stage {
        Stage::Storing => return Ok(None),
        Stage::Leased => "in_flight",
        Stage::Waiting if due_in_ms.is_some() => "delayed",
        Stage::Waiting => "ready",
    };
    let store = &line.shared.store;
    let Some(record) = store.get(BODIES, &body_key(head.body)).await? else {
        return Ok(None);
    };
    let body = Body::decode(&record.value)?;
    let function = match (body.envelope.function, line.name()) {
        (Some(function), _) => function.to_string(),
        (None, Name::Subscriber { function, .. }) => function.to_string(),
        (None, _) => String::new(),
    };
    Ok(Some(api::LiveMessage {
        id: Uuid::from_u128(head.id).to_string(),
        function,
        payload: Json::of(&body.payload).map_err(|_| storage::Error::Damaged {
            what: "a payload is not the JSON it was".into(),
        })?,
        state,
        attempts: head.attempts,
        priority: head.priority,
        age_ms: now_ms.saturating_sub(head.born_ms),
        due_in_ms: due_in_ms.filter(|_| state == "delayed"),
        size_bytes: head.payload_bytes,
    }))
}
