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

/// After a store could not delete.
const TRY_AGAIN_MS: u64 = 60_000;

/// Has what is too old, or too much, go from `line`, if it is a topic's; and looks again when the
/// next message will be too old. What cannot be deleted now is met again later.
pub(super) fn apply(line: &Arc<Line>) {
    if !matches!(line.name(), Name::Waiting(_)) {
        return;
    }
    let gone = take(line);
    match gone.is_empty() && !is_deeper(line) {
        true => ring_when_due(line),
        false => drop(tokio::spawn(throw_away(Arc::clone(line), gone))),
    }
}

fn ring_when_due(line: &Arc<Line>) {
    let retention_ms = line.shared.config.get().topics.retention_ms;
    if let Some(born_ms) = line.look().oldest_ms {
        let due_ms = born_ms.saturating_add(retention_ms).saturating_add(1);
        line.ring_at(due_ms);
    }
}

/// Takes out what goes of the messages in memory, oldest first.
fn take(line: &Arc<Line>) -> Vec<(Number, Head)> {
    let (too_old_ms, messages_max) = bounds(line);
    let gone = line.with(|machine| {
        let surplus = machine.counts().depth.saturating_sub(messages_max);
        machine.take_oldest(too_old_ms, surplus)
    });
    if !gone.is_empty() {
        tracing::warn!(topic = %line.name(), messages = gone.len(), "messages that nobody has subscribed to were kept long enough");
    }
    gone
}

/// Whether what must go is on disk only.
fn is_deeper(line: &Arc<Line>) -> bool {
    let (too_old_ms, messages_max) = bounds(line);
    line.with(|machine| {
        let is_old = machine
            .oldest_ms()
            .is_some_and(|born_ms| born_ms < too_old_ms);
        !machine.is_whole() && (is_old || machine.counts().depth > messages_max)
    })
}

/// What came before the first goes, and the oldest of more than the second.
fn bounds(line: &Line) -> (u64, usize) {
    let topics = &line.shared.config.get().topics;
    let too_old_ms = line.shared.now_ms().saturating_sub(topics.retention_ms);
    (too_old_ms, topics.retention_messages)
}

async fn throw_away(line: Arc<Line>, mut gone: Vec<(Number, Head)>) {
    loop {
        while !gone.is_empty() {
            let rest = gone.split_off(gone.len().min(TOGETHER));
            if let Err(error) = purge::throw(&line, gone).await {
                tracing::warn!(topic = %line.name(), %error, "messages that were kept long enough cannot be deleted");
                return line.ring_at(line.shared.now_ms().saturating_add(TRY_AGAIN_MS));
            }
            gone = rest;
        }
        if !is_deeper(&line) || !line.load_any().await {
            return ring_when_due(&line);
        }
        gone = take(&line);
    }
}
