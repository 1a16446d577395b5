//! Queues: calls that are made later, and durable topics. At least once, on disk before the
//! receipt.
//!
//! This file is the rim: decode, call the thinking, encode. What happens to messages is decided in
//! `machine`, by the rules in `rules`; `line` is one queue at work, `delivery` one attempt,
//! `topics` knows who subscribes, `queues` knows them all, `record` how they lie on disk.

use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_sdk::{
    Bus, Code, Context, Error, FunctionBuilder, Registrar, Stop, TriggerTypeSpec, Worker,
    async_trait,
};
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::storage::Storage;

mod acks;
mod alarm;
pub mod api;
mod attempts;
mod config;
mod control;
mod dead;
mod delivery;
mod enqueue;
mod error;
mod json;
mod line;
mod listing;
mod machine;
mod name;
mod once;
mod pace;
mod paging;
mod peek;
mod publish;
mod purge;
mod queues;
mod record;
mod retention;
mod rules;
mod seen;
mod shared;
#[cfg(test)]
mod tests;
mod topics;

pub use config::{Config, QueueConfig, QueueType, TopicConfig, TopicMode};
pub use json::Json;

use enqueue::Entrance;
use publish::Publisher;
use queues::Queues;
use shared::Shared;
use topics::Topics;

/// Milliseconds since 1970: due times must outlive the engine.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The built-in worker `queue`.
pub struct Queue {
    queues: Arc<Queues>,
    topics: Arc<Topics>,
}

impl Queue {
    /// Queues kept in `store`, with everything that an earlier life has left in them.
    ///
    /// # Errors
    /// `invalid_input` when the settings cannot work, else the store's.
    pub async fn open(store: Arc<dyn Storage>, config: Config) -> Result<Arc<Queue>, Error> {
        Self::with_clock(store, config, Arc::new(wall_clock_ms)).await
    }

    async fn with_clock(
        store: Arc<dyn Storage>,
        config: Config,
        clock: Clock,
    ) -> Result<Arc<Queue>, Error> {
        let config = complete(config);
        config
            .check()
            .map_err(|problem| Error::caller(Code::InvalidInput, problem))?;
        let shared = Shared::new(store, config, clock);
        let queues = Arc::new(Queues::load(shared).await.map_err(error::from_storage)?);
        let topics = Topics::load(Arc::clone(&queues)).await;
        let topics = Arc::new(topics.map_err(error::from_storage)?);
        Ok(Arc::new(Queue { queues, topics }))
    }

    /// Goes by `config`, which was checked, from now on. Deliveries under way have the time that they
    /// had when they began.
    pub fn reconfigure(&self, config: Config) {
        self.queues.shared.config.set(complete(config));
        self.queues.reconfigure();
    }

    /// Starts no more deliveries. Those under way may succeed; if they fail, they have not been.
    /// To be called before sessions are closed, or the end of the engine would count as a failed
    /// attempt of every message in work.
    pub fn halt(&self) {
        self.queues.shared.halted.cancel();
    }

    async fn redrive(
        self: Arc<Self>,
        _: Context,
        input: api::Queue,
    ) -> Result<api::Redriven, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?.to_owned();
        to_the_end(async move {
            let mut redriven = 0;
            for line in self.queues.resolve(&queue) {
                redriven += dead::revive_all(&line).await?;
            }
            Ok(api::Redriven { queue, redriven })
        })
        .await
    }

    async fn redrive_message(
        self: Arc<Self>,
        _: Context,
        input: api::Message,
    ) -> Result<api::MessageMoved, Error> {
        self.move_message(input, true).await
    }

    async fn discard_message(
        self: Arc<Self>,
        _: Context,
        input: api::Message,
    ) -> Result<api::MessageMoved, Error> {
        self.move_message(input, false).await
    }

    async fn move_message(
        self: Arc<Self>,
        input: api::Message,
        revive: bool,
    ) -> Result<api::MessageMoved, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?.to_owned();
        let id = input.message_id.as_deref();
        let message_id = error::required(id, "message_id", "message_id_not_set")?.to_owned();
        to_the_end(async move {
            // What is no UUID is the id of no message.
            let id = Uuid::parse_str(&message_id).map(|id| id.as_u128());
            for line in self.queues.resolve(&queue) {
                let Ok(id) = id else { break };
                let found = match revive {
                    true => dead::revive_one(&line, id).await?,
                    false => dead::discard(&line, id).await?,
                };
                if found {
                    let redriven = u64::from(revive);
                    return Ok(api::MessageMoved {
                        queue,
                        message_id,
                        redriven,
                    });
                }
            }
            let message = format!("queue '{queue}' has no dead letter `{message_id}`");
            Err(Error::caller(Code::NotFound, message))
        })
        .await
    }

    async fn dlq_messages(
        self: Arc<Self>,
        _: Context,
        input: api::DeadPage,
    ) -> Result<Vec<api::DeadMessage>, Error> {
        let topic = error::required(input.topic.as_deref(), "topic", "topic_required")?;
        let lines = self.queues.resolve(topic);
        dead::page(&lines, input.offset.unwrap_or_default(), input.limit).await
    }

    fn offer<'a, I, O, F, Fut>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        reason: &'static str,
        run: F,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<Self>, Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let queue = Arc::clone(self);
        to.function(id, move |context: Context, input: I| {
            let work = run(Arc::clone(&queue), context, input);
            async move { work.await.map_err(|error| error::named(error, reason)) }
        })
    }
}

impl Queue {
    /// As `offer`, for what answers without waiting.
    fn look<'a, I, O>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        reason: &'static str,
        run: fn(&Self, I) -> Result<O, Error>,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
    {
        self.offer(to, id, reason, move |queue, _, input| {
            std::future::ready(run(&queue, input))
        })
    }
}

#[async_trait]
impl Worker for Queue {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        for id in [api::ENQUEUE, api::OUR_ENQUEUE] {
            let entrance = Entrance(Arc::clone(&self.queues));
            to.handler(Entrance::spec(id), Arc::new(entrance));
        }
        for id in [api::PUBLISH, api::OUR_PUBLISH] {
            let publisher = Publisher(Arc::clone(&self.topics));
            to.handler(Publisher::spec(id), Arc::new(publisher));
        }
        for id in [api::REDRIVE, api::OUR_REDRIVE] {
            self.offer(to, id, "redrive_failed", Self::redrive)
                .describe("Gives all dead letters of a queue or topic another chance");
        }
        for id in [api::REDRIVE_MESSAGE, api::OUR_REDRIVE_MESSAGE] {
            self.offer(to, id, "redrive_message_failed", Self::redrive_message)
                .describe("Gives one dead letter another chance");
        }
        for id in [api::DISCARD_MESSAGE, api::OUR_DISCARD_MESSAGE] {
            self.offer(to, id, "discard_message_failed", Self::discard_message)
                .describe("Throws one dead letter away");
        }
        self.register_control(to);
        self.look(
            to,
            api::LIST_TOPICS,
            "list_topics_failed",
            Self::list_topics,
        )
        .describe("All queues and durable topics")
        .idempotent();
        self.look(
            to,
            api::TOPIC_STATS,
            "topic_stats_failed",
            Self::topic_stats,
        )
        .describe("How much waits in a queue or topic, and by which rules")
        .idempotent();
        self.look(to, api::OUR_STATS, "stats_failed", Self::stats)
            .describe("How many messages of a queue or topic wait, run and are dead, and how fast they come and go")
            .idempotent();
        self.look(to, api::LIST, "list_failed", Self::list)
            .describe("All queues and topics, and how each is")
            .idempotent();
        self.offer(to, api::PEEK, "peek_failed", Self::peek)
            .describe("What waits or runs in a queue or topic, oldest first, page by page")
            .idempotent();
        self.look(to, api::DLQ_TOPICS, "dlq_topics_failed", Self::dlq_topics)
            .describe("All queues and topics with dead letters")
            .idempotent();
        for id in [api::DLQ_MESSAGES, api::OUR_DEAD] {
            self.offer(to, id, "dlq_messages_failed", Self::dlq_messages)
                .describe("Dead letters of a queue or topic, page by page")
                .idempotent();
        }
        for id in [api::TRIGGER_TYPE, api::TRIGGER_TYPE_ALIAS] {
            to.trigger_type(trigger_type(id), Arc::clone(&self.topics) as _);
        }
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let shared = &self.queues.shared;
        shared.set_bus(Some(bus.detached()));
        self.queues.pump();
        let end = async {
            stop.cancelled().await;
            shared.halted.cancel();
            shared.stopped.cancel();
        };
        tokio::join!(
            shared.alarm.run(shared),
            shared.acks.run(shared),
            once::run(shared),
            end
        );
        // The bus knows the handlers, and they the queues: a circle, unless it is cut.
        shared.set_bus(None);
        Ok(())
    }
}

fn trigger_type(id: &str) -> TriggerTypeSpec {
    TriggerTypeSpec {
        id: id.into(),
        description: "Calls a function with every message of a durable topic until it succeeds"
            .to_owned(),
        config_schema: Some(schema_for!(api::TriggerConfig).to_value()),
        payload_schema: None,
    }
}

/// With the queue there is when none is named.
fn complete(mut config: Config) -> Config {
    if config.queue_configs.is_empty() {
        config.queue_configs = Config::default().queue_configs;
    }
    config
}

/// Runs `work` to its end, also when the caller gives up: half of it must not be done.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let gone = |_| Err(Error::engine(Code::Internal, "the work was given up"));
    tokio::spawn(work).await.unwrap_or_else(gone)
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
