//! Settings of the queues: which function queues there are, defaults of topics, and bounds.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::name::NAME_BYTES_MAX;
use crate::storage::Durability;

/// Settings of `queue`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The function queues by name. One, `default`, when nothing is said.
    pub queue_configs: BTreeMap<String, QueueConfig>,
    /// For durable topics whose triggers say nothing else.
    pub topics: TopicConfig,
    /// Messages that one queue holds, dead letters among them; more are `overloaded`.
    pub messages_per_queue_max: usize,
    /// Topics and their subscribers together; more are `overloaded`.
    pub topics_max: usize,
    /// How long a subscriber that has gone still gets its copies: a restart loses nothing.
    pub subscriber_memory_ms: u64,
    /// After a start, how long a missing function is no failed attempt for messages of an
    /// earlier life: its worker is still on the way back.
    pub missing_function_grace_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            queue_configs: BTreeMap::from([("default".to_owned(), QueueConfig::default())]),
            topics: TopicConfig::default(),
            messages_per_queue_max: 1_000_000,
            topics_max: 10_000,
            subscriber_memory_ms: 10 * 60 * 1000,
            missing_function_grace_ms: 30_000,
        }
    }
}

/// One function queue.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Attempts in all, the first among them; the name is that of iii.
    pub max_retries: u32,
    /// Messages in work at the same time; of a `fifo` queue, groups.
    pub concurrency: usize,
    pub r#type: QueueType,
    /// The key of `data` by which a `fifo` queue keeps order, or `group_concurrency` counts.
    pub message_group_field: Option<String>,
    /// Messages of one group in work at the same time.
    pub group_concurrency: Option<usize>,
    /// The key of `data` under which a message is taken once, unless the call names a key.
    pub deduplication_field: Option<String>,
    /// How long a key is remembered.
    pub deduplication_window_ms: u64,
    /// Before the second attempt; doubles with each one.
    pub backoff_ms: u64,
    /// Taken for the sake of files written for iii. Nothing polls here.
    pub poll_interval_ms: u64,
    /// How long one attempt may take.
    pub visibility_timeout_ms: u64,
    /// What a receipt outlives.
    pub durability: Durability,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            max_retries: 3,
            concurrency: 10,
            r#type: QueueType::Standard,
            message_group_field: None,
            group_concurrency: None,
            deduplication_field: None,
            deduplication_window_ms: DEDUPLICATION_WINDOW_MS,
            backoff_ms: 1000,
            poll_interval_ms: 100,
            visibility_timeout_ms: VISIBILITY_TIMEOUT_MS,
            durability: Durability::Durable,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    #[default]
    Standard,
    Fifo,
}

/// Defaults of topic queues: the keys of iii's builtin adapter.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicConfig {
    pub max_attempts: u32,
    pub backoff_ms: u64,
    pub concurrency: usize,
    /// Taken, and without meaning, as [`QueueConfig::poll_interval_ms`].
    pub poll_interval_ms: u64,
    pub mode: TopicMode,
    pub visibility_timeout_ms: u64,
    /// How long the key of a publication is remembered.
    pub deduplication_window_ms: u64,
    /// How long a topic without subscribers keeps a message.
    pub retention_ms: u64,
    /// How many it keeps; of more the oldest go.
    pub retention_messages: usize,
    /// What the answer to a publication outlives.
    pub durability: Durability,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            max_attempts: 3,
            backoff_ms: 1000,
            concurrency: 10,
            poll_interval_ms: 100,
            mode: TopicMode::Concurrent,
            visibility_timeout_ms: VISIBILITY_TIMEOUT_MS,
            deduplication_window_ms: DEDUPLICATION_WINDOW_MS,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_messages: 100_000,
            durability: Durability::Durable,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicMode {
    #[default]
    Concurrent,
    Fifo,
}

/// Queues are for slow work, and a handler of iii cannot be told to stop: an attempt given up too
/// early runs twice. Lost workers are noticed long before.
const VISIBILITY_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// Longer than any client tries again.
const DEDUPLICATION_WINDOW_MS: u64 = 5 * 60 * 1000;

/// Keys are kept on disk, and counted by nobody.
const DEDUPLICATION_WINDOW_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// Attempts of one queue in flight; above, the bus would refuse calls of other queues.
const CONCURRENCY_MAX: usize = 10_000;

impl Config {
    /// The queues whose receipts a power cut may make untrue; `topics` are all topics.
    pub fn relaxed(&self) -> Vec<String> {
        let is_relaxed = |durability: Durability| durability == Durability::Relaxed;
        let queues = self.queue_configs.iter();
        let queues = queues.filter(|(_, queue)| is_relaxed(queue.durability));
        let topics = is_relaxed(self.topics.durability).then(|| "topics".to_owned());
        queues.map(|(name, _)| name.clone()).chain(topics).collect()
    }

    /// Finds what cannot work, in words for the one who wrote it.
    ///
    /// # Errors
    /// The first thing found: which key, and what is possible.
    pub fn check(&self) -> Result<(), String> {
        for (name, queue) in &self.queue_configs {
            queue
                .check(name)
                .map_err(|problem| format!("queue_configs.{name}: {problem}"))?;
        }
        let topics = &self.topics;
        check_numbers(
            topics.concurrency,
            topics.max_attempts,
            topics.visibility_timeout_ms,
        )
        .and_then(|()| check_window(topics.deduplication_window_ms))
        .and_then(|()| topics.check_retention())
        .map_err(|problem| format!("topics: {problem}"))
    }
}

impl TopicConfig {
    fn check_retention(&self) -> Result<(), String> {
        if self.retention_ms == 0 || self.retention_messages == 0 {
            return Err(
                "retention_ms and retention_messages are at least 1: nothing would wait for a subscriber"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl QueueConfig {
    fn check(&self, name: &str) -> Result<(), String> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(format!(
                "a name has 1 to {NAME_BYTES_MAX} bytes and no zero character"
            ));
        }
        if self.r#type == QueueType::Fifo && self.message_group_field.is_none() {
            return Err("a fifo queue needs message_group_field".to_owned());
        }
        match self.group_concurrency {
            Some(0) => return Err("group_concurrency is 0; at least 1 is possible".to_owned()),
            Some(2..) if self.r#type == QueueType::Fifo => {
                return Err("a group of a fifo queue has one message in work at a time".to_owned());
            }
            Some(_) if self.message_group_field.is_none() => {
                return Err("group_concurrency needs message_group_field".to_owned());
            }
            _ => {}
        }
        check_window(self.deduplication_window_ms)?;
        check_numbers(
            self.concurrency,
            self.max_retries,
            self.visibility_timeout_ms,
        )
    }
}

fn check_window(window_ms: u64) -> Result<(), String> {
    if !(1..=DEDUPLICATION_WINDOW_MS_MAX).contains(&window_ms) {
        return Err(format!(
            "deduplication_window_ms is {window_ms}; 1 to {DEDUPLICATION_WINDOW_MS_MAX}, a week, are possible"
        ));
    }
    Ok(())
}

fn check_numbers(concurrency: usize, attempts: u32, timeout_ms: u64) -> Result<(), String> {
    if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
        return Err(format!(
            "concurrency is {concurrency}; 1 to {CONCURRENCY_MAX} are possible"
        ));
    }
    if attempts == 0 {
        return Err("there must be at least one attempt".to_owned());
    }
    if timeout_ms == 0 {
        return Err("visibility_timeout_ms is 0; at least 1 is possible".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value, problem: &str) {
        let config: Config = serde_json::from_value(json).unwrap();
        assert_eq!(config.check().err().unwrap_or_default(), problem);
    }

    #[test]
    fn what_cannot_work_is_named() {
        use serde_json::json;
        check(json!({}), "");
        check(json!({"queue_configs": {"a": {"concurrency": 1}}}), "");
        check(
            json!({"queue_configs": {"a": {"type": "fifo"}}}),
            "queue_configs.a: a fifo queue needs message_group_field",
        );
        check(
            json!({"queue_configs": {"a": {"concurrency": 0}}}),
            "queue_configs.a: concurrency is 0; 1 to 10000 are possible",
        );
        check(
            json!({"queue_configs": {"a": {"group_concurrency": 2}}}),
            "queue_configs.a: group_concurrency needs message_group_field",
        );
        check(
            json!({"queue_configs": {"a": {"type": "fifo", "message_group_field": "k", "group_concurrency": 2}}}),
            "queue_configs.a: a group of a fifo queue has one message in work at a time",
        );
        check(
            json!({"queue_configs": {"a": {"deduplication_window_ms": 0}}}),
            "queue_configs.a: deduplication_window_ms is 0; 1 to 604800000, a week, are possible",
        );
        check(
            json!({"topics": {"retention_ms": 0}}),
            "topics: retention_ms and retention_messages are at least 1: nothing would wait for a subscriber",
        );
        check(
            json!({"topics": {"max_attempts": 0}}),
            "topics: there must be at least one attempt",
        );
    }
}
