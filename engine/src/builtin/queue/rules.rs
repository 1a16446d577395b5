//! What one queue promises: order, attempts, pace.

use std::{sync::Arc, time::Duration};

use agentos_sdk::Payload;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::config::{QueueConfig, QueueType, TopicConfig, TopicMode};
use crate::storage::Durability;

/// The longest wait between two attempts, however often they double.
const BACKOFF_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Retries that failed together come back up to so many thousandths later than they must.
pub(super) const JITTER_PERMILLE_MAX: u64 = 100;

/// The rules of one queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Rules {
    #[serde(rename = "type")]
    pub(super) order: Order,
    pub(super) max_retries: u32,
    /// Messages in work at the same time; with [`Order::Fifo`], groups.
    pub(super) concurrency: usize,
    pub(super) backoff_type: Backoff,
    pub(super) backoff_ms: u64,
    /// From arrival to the first attempt.
    pub(super) delay_ms: u64,
    pub(super) visibility_timeout_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_group_field: Option<Arc<str>>,
    /// Messages of one group in work at the same time; with [`Order::Fifo`] it is always one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group_concurrency: Option<usize>,
    /// The key of `data` under which a message is taken once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deduplication_field: Option<Arc<str>>,
    /// How long a key is remembered.
    pub(super) deduplication_window_ms: u64,
    #[serde(skip_serializing_if = "is_durable")]
    pub(super) durability: Durability,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_durable(durability: &Durability) -> bool {
    *durability == Durability::Durable
}

/// What messages of one group mean to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grouping {
    /// Nothing.
    None,
    /// One after the other.
    InOrder,
    /// So many at a time.
    AtMost(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    Standard,
    /// Within a group, one after the other.
    Fifo,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Backoff {
    #[default]
    Exponential,
    Fixed,
}

/// `queue_config` of a trigger; what is absent is as [`TopicConfig`] says.
#[derive(Clone, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TriggerRules {
    pub(super) r#type: Option<QueueTypeName>,
    pub(super) max_retries: Option<u32>,
    pub(super) concurrency: Option<usize>,
    /// Seconds.
    pub(super) visibility_timeout: Option<u64>,
    pub(super) delay_seconds: Option<u64>,
    pub(super) backoff_type: Option<Backoff>,
    pub(super) backoff_delay_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum QueueTypeName {
    #[serde(alias = "concurrent")]
    Standard,
    Fifo,
}

impl Rules {
    pub(super) fn of_queue(config: &QueueConfig) -> Self {
        Rules {
            order: match config.r#type {
                QueueType::Standard => Order::Standard,
                QueueType::Fifo => Order::Fifo,
            },
            max_retries: config.max_retries.max(1),
            concurrency: config.concurrency.max(1),
            backoff_type: Backoff::Exponential,
            backoff_ms: config.backoff_ms,
            delay_ms: 0,
            visibility_timeout_ms: config.visibility_timeout_ms,
            message_group_field: match config.r#type {
                // Files for iii name one that nothing asks for.
                QueueType::Standard if config.group_concurrency.is_none() => None,
                _ => config.message_group_field.as_deref().map(Into::into),
            },
            group_concurrency: config.group_concurrency,
            deduplication_field: config.deduplication_field.as_deref().map(Into::into),
            deduplication_window_ms: config.deduplication_window_ms,
            durability: config.durability,
        }
    }

    pub(super) fn of_topic(config: &TopicConfig) -> Self {
        Rules {
            order: match config.mode {
                TopicMode::Concurrent => Order::Standard,
                TopicMode::Fifo => Order::Fifo,
            },
            max_retries: config.max_attempts.max(1),
            concurrency: config.concurrency.max(1),
            backoff_type: Backoff::Exponential,
            backoff_ms: config.backoff_ms,
            delay_ms: 0,
            visibility_timeout_ms: config.visibility_timeout_ms,
            message_group_field: None,
            group_concurrency: None,
            deduplication_field: None,
            deduplication_window_ms: config.deduplication_window_ms,
            durability: config.durability,
        }
    }

    pub(super) fn grouping(&self) -> Grouping {
        match (self.order, self.group_concurrency) {
            (Order::Fifo, _) => Grouping::InOrder,
            (Order::Standard, Some(most)) => Grouping::AtMost(most.max(1)),
            (Order::Standard, None) => Grouping::None,
        }
    }

    /// These rules, but for what `trigger` says. Zeros that would stop everything count as one.
    pub(super) fn amended(mut self, trigger: &TriggerRules) -> Self {
        match trigger.r#type {
            Some(QueueTypeName::Standard) => self.order = Order::Standard,
            Some(QueueTypeName::Fifo) => self.order = Order::Fifo,
            None => {}
        }
        let seconds = |seconds: u64| seconds.saturating_mul(1000);
        self.max_retries = trigger.max_retries.unwrap_or(self.max_retries).max(1);
        self.concurrency = trigger.concurrency.unwrap_or(self.concurrency).max(1);
        self.backoff_type = trigger.backoff_type.unwrap_or(self.backoff_type);
        self.backoff_ms = trigger.backoff_delay_ms.unwrap_or(self.backoff_ms);
        self.delay_ms = trigger.delay_seconds.map_or(self.delay_ms, seconds);
        if let Some(timeout @ 1..) = trigger.visibility_timeout {
            self.visibility_timeout_ms = seconds(timeout);
        }
        self
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.visibility_timeout_ms)
    }

    /// How long to wait after `attempts` failed ones, at least 1. `jitter` is 0 to
    /// [`JITTER_PERMILLE_MAX`].
    pub(super) fn backoff_ms(&self, attempts: u32, jitter: u64) -> u64 {
        let doublings = match self.backoff_type {
            Backoff::Exponential => attempts.saturating_sub(1).min(63),
            Backoff::Fixed => 0,
        };
        let factor = 1_u64 << doublings;
        let plain = self.backoff_ms.saturating_mul(factor).min(BACKOFF_MS_MAX);
        plain + plain * jitter / 1000
    }
}

/// What `field` of a message's data says, as a digest, so that a long text costs no memory. `None`
/// when the field is missing or null.
pub(super) fn digest_of(payload: &Payload, field: &str) -> Option<u128> {
    let object: std::collections::HashMap<String, &RawValue> =
        serde_json::from_slice(payload.text()).ok()?;
    // Read and written again: the same text may have been escaped differently.
    let value: Value = serde_json::from_str(object.get(field)?.get()).ok()?;
    if value.is_null() {
        return None;
    }
    Some(digest(&value.to_string()))
}

pub(super) fn digest(text: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let (first, _) = digest
        .split_first_chunk()
        .expect("half of a digest is shorter than it");
    u128::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn waits_double_and_end() {
        let rules = Rules::of_queue(&QueueConfig::default());
        let waits = [1, 2, 3, 4, 90].map(|attempts| rules.backoff_ms(attempts, 0));
        assert_eq!(waits, [1000, 2000, 4000, 8000, BACKOFF_MS_MAX]);
        assert_eq!(rules.backoff_ms(1, JITTER_PERMILLE_MAX), 1100);
        let trigger = serde_json::from_value(json!({"backoffType": "fixed", "backoffDelayMs": 7}));
        let fixed = rules.amended(&trigger.unwrap());
        assert_eq!(
            [1, 2, 3].map(|attempts| fixed.backoff_ms(attempts, 0)),
            [7; 3]
        );
    }

    #[test]
    fn a_trigger_says_what_differs() {
        let plain = Rules::of_topic(&TopicConfig::default());
        let nothing: TriggerRules = serde_json::from_value(json!({})).unwrap();
        assert_eq!(plain.clone().amended(&nothing), plain);
        let trigger = json!({"type": "fifo", "maxRetries": 5, "concurrency": 4, "visibilityTimeout": 30,
            "delaySeconds": 2, "backoffType": "exponential", "backoffDelayMs": 500, "unheardOf": 1});
        let trigger: TriggerRules = serde_json::from_value(trigger).unwrap();
        let expected = Rules {
            order: Order::Fifo,
            max_retries: 5,
            concurrency: 4,
            backoff_type: Backoff::Exponential,
            backoff_ms: 500,
            delay_ms: 2000,
            visibility_timeout_ms: 30_000,
            ..plain.clone()
        };
        assert_eq!(plain.amended(&trigger), expected);
    }

    #[test]
    fn groups_are_what_the_field_says() {
        let of = |text: &str| digest_of(&Payload::json(text.to_owned()), "k");
        assert_eq!(of(r#"{"k":"a"}"#), of(r#"{"x":[1],"k":"\u0061"}"#));
        assert_ne!(of(r#"{"k":"1"}"#), of(r#"{"k":1}"#));
        assert!(of(r#"{"k":false}"#).is_some());
        for without in ["", "null", "[]", r#""k""#, "{}", r#"{"k":null}"#, "{"] {
            assert_eq!(of(without), None, "{without}");
        }
    }
}
