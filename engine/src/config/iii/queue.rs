//! `iii-queue`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::adapter::{Adapter, Choice, StoreMethod, Written};
use crate::config::{Error, place::Place};

/// What `iii-queue` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Queue {
    pub adapter: Adapter,
    /// Queues by name, for `enqueue`.
    pub queues: BTreeMap<String, NamedQueue>,
    /// What the queues of topics start from.
    pub topics: TopicQueues,
}

/// `queue_configs.<name>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamedQueue {
    /// Attempts in all.
    pub max_retries: u32,
    pub concurrency: u32,
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The field of the payload that orders the messages of a fifo queue.
    pub message_group_field: Option<String>,
    pub backoff_ms: u64,
    /// Accepted: a message that is ready is delivered at once.
    pub poll_interval_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    #[default]
    Standard,
    Fifo,
}

/// Defaults of the queues that `durable:subscriber` makes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TopicQueues {
    pub max_attempts: u32,
    pub backoff_ms: u64,
    pub concurrency: u32,
    pub poll_interval_ms: u64,
    pub mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Concurrent,
    Fifo,
}

impl Default for NamedQueue {
    fn default() -> Self {
        NamedQueue {
            max_retries: 3,
            concurrency: 10,
            kind: QueueKind::Standard,
            message_group_field: None,
            backoff_ms: 1000,
            poll_interval_ms: 100,
        }
    }
}

impl Default for TopicQueues {
    fn default() -> Self {
        TopicQueues {
            max_attempts: 3,
            backoff_ms: 1000,
            concurrency: 10,
            poll_interval_ms: 100,
            mode: Mode::Concurrent,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
    queue_configs: BTreeMap<String, NamedQueue>,
}

/// Configuration of the adapter `builtin`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Builtin {
    store_method: Option<StoreMethod>,
    #[serde(rename = "file_path")]
    _file_path: Option<String>,
    #[serde(rename = "save_interval_ms")]
    _save_interval_ms: Option<u64>,
    max_attempts: u32,
    backoff_ms: u64,
    concurrency: u32,
    poll_interval_ms: u64,
    mode: Mode,
}

impl Default for Builtin {
    fn default() -> Self {
        let topics = TopicQueues::default();
        Builtin {
            store_method: None,
            _file_path: None,
            _save_interval_ms: None,
            max_attempts: topics.max_attempts,
            backoff_ms: topics.backoff_ms,
            concurrency: topics.concurrency,
            poll_interval_ms: topics.poll_interval_ms,
            mode: topics.mode,
        }
    }
}

const ADAPTERS: Choice = Choice {
    rooms: &["queue"],
    own: "builtin",
    bridge: true,
    instead: "the engine keeps queues on its own disk",
};

/// A day; a message that waits longer is waited for by nobody.
const BACKOFF_MS_MAX: u64 = 86_400_000;

pub(super) fn read(place: &Place<'_>) -> Result<Queue, Error> {
    let keys: Keys = place.read()?;
    for (name, queue) in &keys.queue_configs {
        check(&place.at("queue_configs").at(name), queue)?;
    }
    let (adapter, topics) = match ADAPTERS.read(place)? {
        Written::Own(config) => builtin(&config)?,
        Written::Bridge { url } => (Adapter::Bridge { url }, TopicQueues::default()),
    };
    Ok(Queue {
        adapter,
        queues: keys.queue_configs,
        topics,
    })
}

fn check(place: &Place<'_>, queue: &NamedQueue) -> Result<(), Error> {
    place.within("max_retries", queue.max_retries.into(), 1..=1000)?;
    place.within("concurrency", queue.concurrency.into(), 1..=10_000)?;
    place.within("backoff_ms", queue.backoff_ms, 0..=BACKOFF_MS_MAX)?;
    if queue.kind == QueueKind::Fifo && queue.message_group_field.is_none() {
        return Err(place.error(
            "a fifo queue needs `message_group_field`, the field of the payload whose value orders messages",
        ));
    }
    Ok(())
}

fn builtin(config: &Place<'_>) -> Result<(Adapter, TopicQueues), Error> {
    let keys: Builtin = config.read()?;
    config.within("max_attempts", keys.max_attempts.into(), 1..=1000)?;
    config.within("concurrency", keys.concurrency.into(), 1..=10_000)?;
    config.within("backoff_ms", keys.backoff_ms, 0..=BACKOFF_MS_MAX)?;
    let topics = TopicQueues {
        max_attempts: keys.max_attempts,
        backoff_ms: keys.backoff_ms,
        concurrency: keys.concurrency,
        poll_interval_ms: keys.poll_interval_ms,
        mode: keys.mode,
    };
    Ok((
        Adapter::Local(StoreMethod::store(keys.store_method)),
        topics,
    ))
}
