//! Settings of the queues: which function queues there are, defaults of topics, and bounds.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::name::NAME_BYTES_MAX;

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
    /// The key of `data` by which a `fifo` queue keeps order.
    pub message_group_field: Option<String>,
    /// Before the second attempt; doubles with each one.
    pub backoff_ms: u64,
    /// Taken for the sake of files written for iii. Nothing polls here.
    pub poll_interval_ms: u64,
    /// How long one attempt may take.
    pub visibility_timeout_ms: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            max_retries: 3,
            concurrency: 10,
            r#type: QueueType::Standard,
            message_group_field: None,
            backoff_ms: 1000,
            poll_interval_ms: 100,
            visibility_timeout_ms: VISIBILITY_TIMEOUT_MS,
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

/// Attempts of one queue in flight; above, the bus would refuse calls of other queues.
const CONCURRENCY_MAX: usize = 10_000;

impl Config {
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
        .map_err(|problem| format!("topics: {problem}"))
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
        check_numbers(
            self.concurrency,
            self.max_retries,
            self.visibility_timeout_ms,
        )
    }
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
            json!({"topics": {"max_attempts": 0}}),
            "topics: there must be at least one attempt",
        );
    }
}
