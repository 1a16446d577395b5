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
pub const LIST: &str = "queue::list";
pub const PEEK: &str = "queue::peek";
pub const PAUSE: &str = "queue::pause";
pub const RESUME: &str = "queue::resume";
pub const PURGE: &str = "queue::purge";
pub const EXTEND: &str = "queue::extend";
pub const OUR_REDRIVE_MESSAGE: &str = "queue::redrive_message";
pub const OUR_DISCARD_MESSAGE: &str = "queue::discard_message";

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
    /// 0 unless given, to 255; higher ones go first.
    #[serde(default)]
    pub priority: u8,
    /// Within the queue's window the same key is the same message.
    #[serde(default, alias = "idempotency_key")]
    pub deduplication_key: Option<String>,
}

/// Output of [`ENQUEUE`]: the message is on disk.
#[derive(Serialize, JsonSchema)]
pub struct Receipt {
    #[serde(rename = "messageReceiptId")]
    pub message_receipt_id: String,
    /// The key was taken already: the receipt is that of the message that took it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Input of [`PUBLISH`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Publish {
    pub topic: Option<String>,
    pub data: Option<Json>,
    /// Within the window of topics the same key is the same publication.
    #[serde(alias = "idempotency_key")]
    pub deduplication_key: Option<String>,
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

/// Output of `queue::stats`, and one of [`LIST`].
#[derive(Serialize, JsonSchema)]
pub struct Stats {
    pub queue: String,
    /// `function` or `topic`.
    pub kind: &'static str,
    /// Messages that are to be delivered, those in work among them.
    pub depth: usize,
    pub in_flight: usize,
    /// Waiting for their first attempt, or the next.
    pub delayed: usize,
    pub dead: usize,
    pub consumers: usize,
    /// Whether nothing of it is delivered for now.
    pub paused: bool,
    /// Age of the oldest message that is to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Since the engine started.
    pub totals: Totals,
    /// Per second, over the last minute.
    pub rates: Rates,
}

/// How many of each there were.
#[derive(Serialize, JsonSchema, Default)]
pub struct Totals {
    pub enqueued: u64,
    pub acknowledged: u64,
    /// Attempts.
    pub failed: u64,
    /// Messages that became dead letters.
    pub died: u64,
}

/// How many of each there are in a second.
#[derive(Serialize, JsonSchema, Default)]
pub struct Rates {
    pub enqueued: f64,
    pub acknowledged: f64,
    /// Attempts.
    pub failed: f64,
    /// Messages that became dead letters.
    pub died: f64,
}

/// Output of [`LIST`].
#[derive(Serialize, JsonSchema)]
pub struct List {
    pub queues: Vec<Stats>,
}

/// Input of [`PEEK`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Page {
    #[serde(alias = "topic")]
    pub queue: Option<String>,
    pub offset: Option<usize>,
    /// 50 unless given, at most 1000.
    pub limit: Option<usize>,
}

/// Output of [`PEEK`].
#[derive(Serialize, JsonSchema)]
pub struct Messages {
    pub messages: Vec<LiveMessage>,
}

/// A message that is to be delivered.
#[derive(Serialize, JsonSchema)]
pub struct LiveMessage {
    pub id: String,
    /// Whom it is for; a copy of a topic is for the subscriber.
    pub function: String,
    pub payload: Json,
    /// `ready`, `delayed` or `in_flight`.
    pub state: &'static str,
    /// Attempts that have failed.
    pub attempts: u32,
    pub priority: u8,
    pub age_ms: u64,
    /// Until it may be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_in_ms: Option<u64>,
    /// Of the payload.
    pub size_bytes: u64,
}

/// Output of [`PAUSE`] and [`RESUME`].
#[derive(Serialize, JsonSchema)]
pub struct Paused {
    pub queue: String,
    /// Whether nothing of it is delivered now: the topic of a subscriber may be paused by itself.
    pub paused: bool,
}

/// Input of [`PURGE`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Purge {
    #[serde(alias = "topic")]
    pub queue: Option<String>,
    /// The dead letters rather than what waits.
    pub dead: bool,
}

/// Output of [`PURGE`].
#[derive(Serialize, JsonSchema)]
pub struct Purged {
    pub queue: String,
    pub purged: u64,
}

/// Input of [`EXTEND`].
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Extend {
    /// The message whose handler calls, unless given.
    #[serde(alias = "messageReceiptId")]
    pub message_id: Option<String>,
    /// From now on; the queue's visibility timeout unless given.
    pub timeout_ms: Option<u64>,
}

/// Output of [`EXTEND`].
#[derive(Serialize, JsonSchema)]
pub struct Extended {
    pub message_id: String,
    /// What the attempt has from now on; 12 hours in all are possible.
    pub timeout_ms: u64,
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
