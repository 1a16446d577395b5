//! How much is where: the functions that only look.

use std::sync::Arc;

use agentos_sdk::Error;
use serde_json::{Value, json};

use super::{Queue, api, error, line::Line, name::Name, rules::Rules};

impl Queue {
    #[expect(clippy::unnecessary_wraps, reason = "as everything that is called")]
    pub(super) fn list_topics(&self, _: Option<api::Nothing>) -> Result<Vec<api::Topic>, Error> {
        let names = self.queues.by_name().into_iter();
        let topics = names.map(|(name, lines)| api::Topic {
            name,
            broker_type: api::BROKER_TYPE,
            subscriber_count: consumers(&lines),
        });
        Ok(topics.collect())
    }

    pub(super) fn topic_stats(&self, input: api::TopicName) -> Result<api::TopicStats, Error> {
        let topic = error::required(input.topic.as_deref(), "topic", "topic_required")?;
        let lines = self.queues.resolve(topic);
        let counts = lines.iter().map(|line| line.counts());
        let (depth, dlq_depth) = counts.fold((0, 0), |(depth, dead), counts| {
            (depth + counts.depth, dead + counts.dead)
        });
        Ok(api::TopicStats {
            depth,
            consumer_count: consumers(&lines),
            dlq_depth,
            config: self.rules_of(&lines),
        })
    }

    /// The rules of one queue; of a topic, those of its first subscriber, or the usual ones.
    fn rules_of(&self, lines: &[Arc<Line>]) -> Value {
        let bound = lines.iter().find(|line| is_consumed(line));
        let rules = bound.map_or_else(
            || Rules::of_topic(&self.queues.shared.config.get().topics),
            |line| line.rules(),
        );
        json!(rules)
    }

    pub(super) fn stats(&self, input: api::Queue) -> Result<api::Stats, Error> {
        let queue = error::required(input.queue.as_deref(), "queue", "queue_not_set")?.to_owned();
        let lines = self.queues.resolve(&queue);
        Ok(self.stats_of(queue, &lines))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as everything that is called")]
    pub(super) fn list(&self, _: Option<api::Nothing>) -> Result<api::List, Error> {
        let names = self.queues.by_name().into_iter();
        let queues = names.map(|(name, lines)| self.stats_of(name, &lines));
        Ok(api::List {
            queues: queues.collect(),
        })
    }

    fn stats_of(&self, queue: String, lines: &[Arc<Line>]) -> api::Stats {
        let now_ms = self.queues.shared.now_ms();
        let is_topic = lines.iter().any(|line| line.name().topic().is_some());
        let mut stats = api::Stats {
            queue,
            kind: if is_topic { "topic" } else { "function" },
            depth: 0,
            in_flight: 0,
            delayed: 0,
            dead: 0,
            consumers: consumers(lines),
            paused: false,
            oldest_ms: None,
            totals: api::Totals::default(),
            rates: api::Rates::default(),
        };
        for look in lines.iter().map(|line| line.look()) {
            let (counts, paces) = (look.counts, look.paces);
            stats.depth += counts.depth;
            stats.in_flight += counts.leased;
            stats.delayed += counts.delayed;
            stats.dead += counts.dead;
            stats.paused |= look.paused;
            let age = look.oldest_ms.map(|born_ms| now_ms.saturating_sub(born_ms));
            stats.oldest_ms = stats.oldest_ms.max(age);
            stats.totals.enqueued += paces.enqueued.total;
            stats.totals.acknowledged += paces.acknowledged.total;
            stats.totals.failed += paces.failed.total;
            stats.totals.died += paces.buried.total;
            stats.rates.enqueued += paces.enqueued.per_second(now_ms);
            stats.rates.acknowledged += paces.acknowledged.per_second(now_ms);
            stats.rates.failed += paces.failed.per_second(now_ms);
            stats.rates.died += paces.buried.per_second(now_ms);
        }
        stats
    }

    #[expect(clippy::unnecessary_wraps, reason = "as everything that is called")]
    pub(super) fn dlq_topics(&self, _: Option<api::Nothing>) -> Result<Vec<api::DeadTopic>, Error> {
        let names = self.queues.by_name().into_iter();
        let topics = names.map(|(topic, lines)| api::DeadTopic {
            topic,
            broker_type: api::BROKER_TYPE,
            message_count: lines.iter().map(|line| line.counts().dead).sum(),
        });
        Ok(topics.filter(|topic| topic.message_count > 0).collect())
    }
}

/// Whether anything in `line` would be delivered.
fn is_consumed(line: &Line) -> bool {
    matches!(line.name(), Name::Function(_)) || line.has_subscriber()
}

fn consumers(lines: &[Arc<Line>]) -> usize {
    lines.iter().filter(|line| is_consumed(line)).count()
}
