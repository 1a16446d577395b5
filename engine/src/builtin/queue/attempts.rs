//! Attempts that are under way: how long each may take, and how its handler asks for more.
//!
//! The bus gives a delivery the longest time there is; what ends it is the deadline here, which the
//! handler can move. The handler finds its attempt by the message's id, which travels in the baggage
//! of the call, and so in that of every call that it makes.

use std::{sync::Arc, time::Duration};

use agentos_sdk::Trace;
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// The longest that one attempt may take, however often more is asked for.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_hours(12);

/// The entry of the baggage that names the message.
const BAGGAGE_KEY: &str = "agentos.message";

/// One attempt.
pub(super) struct Attempt {
    began: Instant,
    /// What one asks for who does not say.
    pub(super) timeout: Duration,
    until: Mutex<Instant>,
    moved: Notify,
}

impl Attempt {
    /// Gives it `more` from now on, within [`ATTEMPT_MAX`]. Returns what it has.
    pub(super) fn extend(&self, more: Duration) -> Duration {
        let now = Instant::now();
        let until = (now + more.min(ATTEMPT_MAX)).min(self.began + ATTEMPT_MAX);
        *self.until.lock() = until;
        self.moved.notify_one();
        until.saturating_duration_since(now)
    }

    /// Returns when its time is over.
    pub(super) async fn passed(&self) {
        loop {
            let until = *self.until.lock();
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.moved.notified() => {}
            }
        }
    }
}

/// All that are under way, by the id of their message.
#[derive(Default)]
pub(super) struct Attempts(DashMap<u128, Arc<Attempt>>);

impl Attempts {
    pub(super) fn find(&self, id: u128) -> Option<Arc<Attempt>> {
        self.0.get(&id).map(|attempt| Arc::clone(&attempt))
    }

    /// An attempt at message `id`, which may take `timeout` unless it is given more.
    pub(super) fn begin(&self, id: u128, timeout: Duration) -> Running<'_> {
        let began = Instant::now();
        let attempt = Arc::new(Attempt {
            began,
            timeout,
            until: Mutex::new(began + timeout.min(ATTEMPT_MAX)),
            moved: Notify::new(),
        });
        self.0.insert(id, Arc::clone(&attempt));
        Running {
            attempts: self,
            id,
            attempt,
        }
    }
}

/// Ends the attempt when it is dropped.
pub(super) struct Running<'a> {
    attempts: &'a Attempts,
    id: u128,
    attempt: Arc<Attempt>,
}

impl Running<'_> {
    pub(super) async fn passed(&self) {
        self.attempt.passed().await;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Ids are chosen by those who enqueue: another attempt may go by the same one.
        let mine = |found: &Arc<Attempt>| Arc::ptr_eq(found, &self.attempt);
        self.attempts.0.remove_if(&self.id, |_, found| mine(found));
    }
}

/// `trace`, with the message's id in its baggage.
pub(super) fn naming(trace: Trace, id: u128) -> Trace {
    let entry = format!("{BAGGAGE_KEY}={}", Uuid::from_u128(id));
    let baggage = match trace.baggage.as_deref() {
        // A message that is enqueued while another is handled has the other's name in it.
        Some(others) if !others.is_empty() => {
            let others = others.split(',').filter(|other| name_in(other).is_none());
            others.chain([entry.as_str()]).collect::<Vec<_>>().join(",")
        }
        _ => entry,
    };
    Trace {
        baggage: Some(baggage.into()),
        ..trace
    }
}

/// The message that `baggage` names.
pub(super) fn named_in(baggage: Option<&str>) -> Option<u128> {
    baggage?.split(',').find_map(name_in)
}

fn name_in(entry: &str) -> Option<u128> {
    let (key, value) = entry.split_once('=')?;
    if key.trim() != BAGGAGE_KEY {
        return None;
    }
    let value = value.split(';').next().unwrap_or_default().trim();
    Uuid::parse_str(value).ok().map(|id| id.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: Option<&str>, after: &str) {
        let trace = Trace {
            parent: None,
            baggage: before.map(Into::into),
        };
        let named = naming(trace, 7);
        assert_eq!(named.baggage.as_deref(), Some(after));
        assert_eq!(named_in(named.baggage.as_deref()), Some(7));
    }

    #[test]
    fn a_message_is_named_once() {
        let own = "agentos.message=00000000-0000-0000-0000-000000000007";
        check(None, own);
        check(Some(""), own);
        check(Some("user=ada"), &format!("user=ada,{own}"));
        let other = "agentos.message=00000000-0000-0000-0000-000000000009;x=1";
        check(Some(&format!("{other},a=b")), &format!("a=b,{own}"));
        assert_eq!(named_in(Some("agentos.message=me")), None);
        assert_eq!(named_in(None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_can_be_extended_but_not_for_ever() {
        let attempts = Attempts::default();
        let running = attempts.begin(1, Duration::from_secs(10));
        let attempt = attempts.find(1).unwrap();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(
            attempt.extend(Duration::from_secs(60)),
            Duration::from_secs(60)
        );
        let waited = tokio::time::timeout(Duration::from_secs(59), running.passed()).await;
        assert!(waited.is_err());
        assert_eq!(
            attempt.extend(hours(24)),
            hours(12).saturating_sub(Duration::from_secs(59))
        );
        running.passed().await;
        drop(running);
        assert!(attempts.find(1).is_none());
    }
}
