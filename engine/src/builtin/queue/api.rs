//! Function ids and shapes of the queues: the contract with every worker, of iii and of ours.
//!
//! Unknown keys are tolerated everywhere: SDKs add their own. What an SDK may leave out is
//! optional here, because its absence has an error code of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::Json;

/// Stands in for the target of an enqueue action; can be called, too.
pub const ENQUEUE: &str = "engine::queue::enqueue";
pub const PUBLISH: &str = "iii::durable::publish";
pub const REDRIVE: &str = "iii::queue::redrive";
pub const REDRIVE_MESSAGE: &str = "iii::queue::redrive_message";
pub const DISCARD_MESSAGE: &str = "iii::queue::discard_message";
pub const LIST_TOPICS: &str = "engine::queue::list_topics";
pub const TOPIC_STATS: &str = "engine::queue::topic_stats";
pub const DLQ_TOPICS: &str = "engine::queue::dlq_topics";
pub const DLQ_MESSAGES: &str = "engine::queue::dlq_messages";

/// The same for people.
pub const OUR_ENQUEUE: &str = "queue::enqueue";
pub const OUR_PUBLISH: &str = "queue::publish";
pub const OUR_REDRIVE: &str = "queue::redrive";
pub const OUR_STATS: &str = "queue::stats";
pub const OUR_DEAD: &str = "queue::dead";

/// The trigger type, and the name it had before.
pub const TRIGGER_TYPE: &str = "durable:subscriber";
pub const TRIGGER_TYPE_ALIAS: &str = "queue";

/// Where messages are kept, in listings.
pub const BROKER_TYPE: &str = "builtin";

/// Input of [`ENQUEUE`] when it is called rather than stood in for.
#[derive(Deserialize, JsonSchema)]
pub struct Enqueue {
    /// `default` unless given.
    #[serde(default)]
    pub queue: Option<String>,
    pub function_id: String,
    #[serde(default)]
    pub data: Option<Json>,
    /// A UUID; made when absent.
    #[serde(default, rename = "messageReceiptId")]
    pub message_receipt_id: Option<String>,
    #[serde(default)]
    pub traceparent: Option<String>,
    #[serde(default)]
    pub baggage: Option<String>,
    /// Of the function.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Not before so many milliseconds have passed.
    #[serde(default)]
    pub delay_ms: Option<u64>,
}

/// Output of [`ENQUEUE`]: the message is on disk.
#[derive(Serialize, JsonSchema)]
pub struct Receipt {
    #[serde(rename = "messageReceiptId")]
    pub message_receipt_id: String,
}

/// Input of [`PUBLISH`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Publish {
    pub topic: Option<String>,
    pub data: Option<Json>,
}

/// Input of [`REDRIVE`] and `queue::stats`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Queue {
    /// A function queue, or else a durable topic.
    #[serde(alias = "topic")]
    pub queue: Option<String>,
}

/// Output of [`REDRIVE`].
#[derive(Serialize, JsonSchema)]
pub struct Redriven {
    pub queue: String,
    pub redriven: u64,
}

/// Input of [`REDRIVE_MESSAGE`] and [`DISCARD_MESSAGE`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Message {
    pub queue: Option<String>,
    pub message_id: Option<String>,
}

/// Output of [`REDRIVE_MESSAGE`] and [`DISCARD_MESSAGE`].
#[derive(Serialize, JsonSchema)]
pub struct MessageMoved {
    pub queue: String,
    pub message_id: String,
    /// 1, or 0 when it was discarded.
    pub redriven: u64,
}

/// Input of functions that take nothing.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Nothing {}

/// One of [`LIST_TOPICS`].
#[derive(Serialize, JsonSchema)]
pub struct Topic {
    pub name: String,
    pub broker_type: &'static str,
    pub subscriber_count: usize,
}

/// Input of [`TOPIC_STATS`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct TopicName {
    pub topic: Option<String>,
}

/// Output of [`TOPIC_STATS`].
#[derive(Serialize, JsonSchema)]
pub struct TopicStats {
    /// Messages that are to be delivered, those in work among them.
    pub depth: usize,
    pub consumer_count: usize,
    pub dlq_depth: usize,
    /// The rules in force.
    pub config: Value,
}

/// Output of `queue::stats`.
#[derive(Serialize, JsonSchema)]
pub struct Stats {
    pub queue: String,
    /// Messages that are to be delivered, those in work among them.
    pub depth: usize,
    pub in_flight: usize,
    /// Waiting for their first attempt, or the next.
    pub delayed: usize,
    pub dead: usize,
    pub consumers: usize,
}

/// One of [`DLQ_TOPICS`].
#[derive(Serialize, JsonSchema)]
pub struct DeadTopic {
    pub topic: String,
    pub broker_type: &'static str,
    pub message_count: usize,
}

/// Input of [`DLQ_MESSAGES`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct DeadPage {
    #[serde(alias = "queue")]
    pub topic: Option<String>,
    pub offset: Option<usize>,
    /// 50 unless given, at most 1000.
    pub limit: Option<usize>,
}

/// One of [`DLQ_MESSAGES`], in the order in which they died.
#[derive(Serialize, JsonSchema)]
pub struct DeadMessage {
    pub id: String,
    pub payload: Json,
    pub error: String,
    /// Seconds since 1970.
    pub failed_at: u64,
    /// Attempts made.
    pub retries: u32,
    /// Of the payload.
    pub size_bytes: u64,
}

/// `config` of a trigger of type [`TRIGGER_TYPE`], for people and models.
#[derive(Deserialize, JsonSchema)]
pub struct TriggerConfig {
    pub topic: String,
    /// Asked first with the same payload; the answer `false` acknowledges without a call.
    #[serde(default)]
    pub condition_function_id: Option<String>,
    /// `type` (`standard`, `fifo`), `maxRetries`, `concurrency`, `visibilityTimeout` and
    /// `delaySeconds` in seconds, `backoffType` (`exponential`, `fixed`), `backoffDelayMs`.
    #[serde(default)]
    pub queue_config: Option<Value>,
}
