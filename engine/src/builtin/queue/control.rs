//! What people and handlers do to queues while they are at work: pausing, emptying, asking for time.

use std::{sync::Arc, time::Duration};

use agentos_sdk::{Code, Context, Error, Registrar};
use uuid::Uuid;

use super::{Queue, api, attempts, dead, error, purge, to_the_end};

impl Queue {
    pub(super) fn register_control(self: &Arc<Self>, to: &mut Registrar) {
        self.offer(to, api::PAUSE, "pause_failed", |queue, _, input| {
            queue.set_paused(input, true)
        })
        .describe("Delivers nothing of a queue or topic until it is resumed, over restarts");
        self.offer(to, api::RESUME, "resume_failed", |queue, _, input| {
            queue.set_paused(input, false)
        })
        .describe("Delivers again what was paused");
        self.offer(to, api::PURGE, "purge_failed", Self::purge)
            .describe("Throws away what waits in a queue or topic, or its dead letters");
        self.offer(to, api::EXTEND, "extend_failed", |queue, context, input| {
            std::future::ready(queue.extend(&context, &input))
        })
        .describe("Gives the handler of a message more time, from within it");
    }

    async fn set_paused(
        self: Arc<Self>,
        input: api::Queue,
        pause: bool,
    ) -> Result<api::Paused, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?.to_owned();
        to_the_end(async move {
            let found = self.queues.pause(&queue, pause).await;
            if !found.map_err(error::from_storage)? {
                return Err(error::no_queue(&queue));
            }
            let lines = self.queues.resolve(&queue);
            let paused = lines.iter().any(|line| line.look().paused);
            Ok(api::Paused { queue, paused })
        })
        .await
    }

    async fn purge(self: Arc<Self>, _: Context, input: api::Purge) -> Result<api::Purged, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?.to_owned();
        to_the_end(async move {
            let lines = self.queues.resolve(&queue);
            if lines.is_empty() {
                return Err(error::no_queue(&queue));
            }
            let mut purged = 0;
            for line in lines {
                purged += match input.dead {
                    true => dead::discard_all(&line).await?,
                    false => purge::waiting(&line).await?,
                };
            }
            Ok(api::Purged { queue, purged })
        })
        .await
    }

    fn extend(&self, context: &Context, input: &api::Extend) -> Result<api::Extended, Error> {
        let id = match &input.message_id {
            Some(id) => Uuid::parse_str(id).ok().map(|id| id.as_u128()),
            None => attempts::named_in(context.trace().baggage.as_deref()),
        };
        let id = id.ok_or_else(|| {
            let message = "which message? call this from its handler, with the context of the call, \
                or give its `message_id`";
            Error::caller(Code::InvalidInput, message).reason("message_id_not_set")
        })?;
        let message_id = Uuid::from_u128(id).to_string();
        let attempt = self.queues.shared.attempts.find(id).ok_or_else(|| {
            let message = format!(
                "no attempt at message {message_id} is under way: it has ended, or took too long \
                and will be made again"
            );
            Error::caller(Code::NotFound, message)
        })?;
        let more = input
            .timeout_ms
            .map_or(attempt.timeout, Duration::from_millis);
        if more.is_zero() {
            let message = "timeout_ms is 0; at least 1 is possible";
            return Err(Error::caller(Code::InvalidInput, message));
        }
        let left = attempt.extend(more);
        Ok(api::Extended {
            message_id,
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
