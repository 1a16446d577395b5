//! One timer for all queues: wakes at the earliest moment at which a message is due.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{line::Line, name::Number, shared::Shared};

/// Due times are of the wall clock, which may be set and does not stop when the machine sleeps;
/// a sleep longer than this is cut, to look at it again.
const SLEEP_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Alarm {
    /// By when, and by line, each of which has a number.
    lines: Mutex<BTreeMap<(u64, Number), Weak<Line>>>,
    sooner: Notify,
}

impl Alarm {
    /// Has `line` look for messages at `due_ms`.
    pub(super) fn set(&self, due_ms: u64, line: &Arc<Line>) {
        let mut lines = self.lines.lock();
        let key = (due_ms, line.number());
        lines.insert(key, Arc::downgrade(line));
        if lines
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            self.sooner.notify_one();
        }
    }

    /// Rings until the queues are halted.
    pub(super) async fn run(&self, shared: &Shared) {
        loop {
            let now_ms = shared.now_ms();
            for line in self.due(now_ms) {
                line.ring();
            }
            let first = self.lines.lock().first_key_value().map(|(key, _)| key.0);
            let sleep = async {
                match first {
                    Some(due_ms) => {
                        let wait = Duration::from_millis(due_ms.saturating_sub(now_ms));
                        tokio::time::sleep(wait.min(SLEEP_MAX)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.sooner.notified() => {}
                () = shared.halted.cancelled() => return,
            }
        }
    }

    fn due(&self, now_ms: u64) -> Vec<Arc<Line>> {
        let mut lines = self.lines.lock();
        let later = lines.split_off(&(now_ms.saturating_add(1), 0));
        let due = std::mem::replace(&mut *lines, later);
        due.into_values()
            .filter_map(|line| line.upgrade())
            .collect()
    }
}
