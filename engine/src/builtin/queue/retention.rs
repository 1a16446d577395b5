//! How long, and how many, messages wait in a topic that nobody subscribes to.

use std::sync::Arc;

use super::{
    line::Line,
    name::{Name, Number},
    purge,
    record::Head,
};

/// Messages that go in one commit.
const TOGETHER: usize = 512;

/// Has what is too old, or too much, go from `line`, if it is a topic's; and looks again when the
/// next message will be too old. What cannot be deleted now is met again then, or at the next
/// publication.
pub(super) fn apply(line: &Arc<Line>) {
    if !matches!(line.name(), Name::Waiting(_)) {
        return;
    }
    let topics = &line.shared.config.get().topics;
    let too_old_ms = line.shared.now_ms().saturating_sub(topics.retention_ms);
    let gone = line.with(|machine| {
        let surplus = machine
            .counts()
            .depth
            .saturating_sub(topics.retention_messages);
        machine.take_oldest(too_old_ms, surplus)
    });
    if let Some(born_ms) = line.look().oldest_ms {
        let due_ms = born_ms
            .saturating_add(topics.retention_ms)
            .saturating_add(1);
        line.ring_at(due_ms);
    }
    if !gone.is_empty() {
        tracing::warn!(topic = %line.name(), messages = gone.len(), "messages that nobody has subscribed to were kept long enough");
        tokio::spawn(throw_away(Arc::clone(line), gone));
    }
}

async fn throw_away(line: Arc<Line>, mut gone: Vec<(Number, Head)>) {
    while !gone.is_empty() {
        let rest = gone.split_off(gone.len().min(TOGETHER));
        if let Err(error) = purge::throw(&line, gone).await {
            tracing::warn!(topic = %line.name(), %error, "messages that were kept long enough cannot be deleted");
        }
        gone = rest;
    }
}
