//! Answers to requests that are exactly the same, for those who have asked for it in the settings.
//! Bounded in bytes and in time; the oldest answers go first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use agentos_contract::llm::{CompleteRequest, Event};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config;

/// What an answer costs beside its text.
const OVERHEAD_BYTES: usize = 256;

/// See the module.
pub(crate) struct Cache {
    ttl: Duration,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Arc<str>, Answer>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

struct Answer {
    events: Arc<[Event]>,
    bytes: usize,
    until: Instant,
}

impl Cache {
    pub(crate) fn new(settings: &config::Cache) -> Self {
        Cache {
            ttl: Duration::from_millis(settings.ttl_ms),
            bytes_max: settings.bytes_max,
            kept: Mutex::default(),
        }
    }

    /// What makes two requests the same: all of them, and the key that they are charged to, so that
    /// nobody learns what others have asked.
    pub(crate) fn key(request: &CompleteRequest, model: &str) -> Option<Arc<str>> {
        let mut same = request.clone();
        model.clone_into(&mut same.model);
        same.provider = None;
        same.account.agent = None;
        same.fallbacks.clear();
        same.cache = None;
        Some(serde_json::to_string(&same).ok()?.into())
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<[Event]>> {
        let kept = self.kept.lock();
        let answer = kept.answers.get(key)?;
        (answer.until > Instant::now()).then(|| Arc::clone(&answer.events))
    }

    pub(crate) fn put(&self, key: Arc<str>, events: Vec<Event>) {
        let bytes = key.len() + OVERHEAD_BYTES + events.iter().map(size).sum::<usize>();
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.kept.lock();
        let answer = Answer {
            events: events.into(),
            bytes,
            until: Instant::now() + self.ttl,
        };
        if let Some(old) = kept.answers.insert(Arc::clone(&key), answer) {
            kept.bytes -= old.bytes;
            kept.order.retain(|known| *known != key);
        }
        kept.order.push_back(key);
        kept.bytes += bytes;
        let now = Instant::now();
        while let Some(oldest) = kept.order.front().cloned() {
            let expired = kept
                .answers
                .get(&oldest)
                .is_none_or(|answer| answer.until <= now);
            if !expired && kept.bytes <= self.bytes_max {
                break;
            }
            kept.order.pop_front();
            if let Some(gone) = kept.answers.remove(&oldest) {
                kept.bytes -= gone.bytes;
            }
        }
    }
}

fn size(event: &Event) -> usize {
    OVERHEAD_BYTES
        + match event {
            Event::Text { text } | Event::Reasoning { text } => text.len(),
            Event::ToolCallArguments { piece, .. } => piece.len(),
            Event::ReasoningDetail { detail } => detail.to_string().len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<Event> {
        vec![Event::Text { text: text.into() }]
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_by_age_and_by_room() {
        let cache = Cache::new(&config::Cache {
            ttl_ms: 1_000,
            bytes_max: 1_200,
        });
        cache.put("a".into(), text("1"));
        cache.put("b".into(), text("2"));
        assert_eq!(cache.get("a").unwrap()[..], text("1"));
        cache.put("c".into(), text("3"));
        assert!(cache.get("a").is_none() && cache.get("b").is_some() && cache.get("c").is_some());
        cache.put("d".into(), text(&"x".repeat(2_000)));
        assert!(cache.get("d").is_none() && cache.get("c").is_some());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert!(cache.get("c").is_none());
        cache.put("e".into(), text("5"));
        assert_eq!(cache.kept.lock().answers.len(), 1);
    }

    #[test]
    fn who_pays_is_part_of_the_question() {
        let mut request = CompleteRequest::default();
        let key = |request: &CompleteRequest| Cache::key(request, "p/m").unwrap();
        let first = key(&request);
        request.account.agent = Some("ada".into());
        request.fallbacks = vec!["x".into()];
        assert_eq!(key(&request), first);
        request.account.key = Some("k1".into());
        assert_ne!(key(&request), first);
    }
}
