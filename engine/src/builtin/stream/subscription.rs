//! One subscription of one client: holds back what happens until the client knows how things are.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{events::Event, frame::Join, mailbox::Mailbox, row::Place};
use crate::storage::Version;

/// Items that a client was shown, and which write of each.
pub(super) type Seen = HashMap<String, Version>;

pub(super) struct Subscription {
    /// What, in the client's words.
    pub(super) wish: Join,
    mailbox: Arc<Mailbox>,
    inbox: Mutex<Inbox>,
    held_max: usize,
}

enum Inbox {
    /// The client does not know yet how things are.
    Held(VecDeque<Arc<Event>>),
    Live,
}

impl Subscription {
    /// `held_max` events may come until it is live; the oldest makes room for the newest.
    pub(super) fn new(wish: Join, mailbox: Arc<Mailbox>, held_max: usize) -> Self {
        Subscription {
            wish,
            mailbox,
            inbox: Mutex::new(Inbox::Held(VecDeque::new())),
            held_max,
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        self.wish.place()
    }

    pub(super) fn deliver(&self, event: &Arc<Event>) {
        match &mut *self.inbox.lock() {
            Inbox::Live => self.mailbox.push(event.text.clone()),
            Inbox::Held(events) => {
                if events.len() == self.held_max {
                    events.pop_front();
                }
                events.push_back(Arc::clone(event));
            }
        }
    }

    /// Shows the client how things were when it had `seen`, then everything since.
    pub(super) fn go_live(&self, sync: Option<Utf8Bytes>, seen: &Seen) {
        let mut inbox = self.inbox.lock();
        if let Some(sync) = sync {
            self.mailbox.keep(sync);
        }
        if let Inbox::Held(events) = std::mem::replace(&mut *inbox, Inbox::Live) {
            for event in events.iter().filter(|event| is_news(event, seen)) {
                self.mailbox.push(event.text.clone());
            }
        }
    }
}

/// Is the event later than what was seen of its item? What cannot be known counts as news: an event
/// heard twice does less harm than one not heard.
fn is_news(event: &Event, seen: &Seen) -> bool {
    let item = event.item.as_ref();
    match (event.version, item.and_then(|item| seen.get(item))) {
        (Some(version), Some(seen)) => version > *seen,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn event(item: &str, version: Version) -> Arc<Event> {
        Arc::new(Event {
            item: Some(item.to_owned()),
            version: Some(version),
            text: format!("{item} {version}").into(),
        })
    }

    fn subscription(held_max: usize) -> (Subscription, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(1000, usize::MAX));
        let wish = Join {
            subscription_id: "s-1".into(),
            stream_name: "s".into(),
            group_id: "g".into(),
            id: None,
        };
        let subscription = Subscription::new(wish, Arc::clone(&mailbox), held_max);
        (subscription, mailbox)
    }

    fn drain(mailbox: &Mailbox) -> Vec<String> {
        std::iter::from_fn(|| mailbox.take())
            .map(|text| text.to_string())
            .collect()
    }

    #[test]
    fn sync_comes_first_and_nothing_twice() {
        let (subscription, mailbox) = subscription(10);
        for (item, version) in [("a", 3), ("b", 4), ("a", 5), ("c", 6)] {
            subscription.deliver(&event(item, version));
        }
        assert!(mailbox.take().is_none());
        let seen = Seen::from([("a".into(), 3), ("b".into(), 4)]);
        subscription.go_live(Some("sync".into()), &seen);
        subscription.deliver(&event("a", 7));
        assert_eq!(drain(&mailbox), ["sync", "a 5", "c 6", "a 7"]);
    }

    #[test]
    fn without_a_sync_everything_is_news() {
        let (subscription, mailbox) = subscription(2);
        for version in 1..=3 {
            subscription.deliver(&event("a", version));
        }
        subscription.go_live(None, &Seen::new());
        assert_eq!(drain(&mailbox), ["a 2", "a 3"]);
    }

    proptest! {
        /// Whenever one joins, and whenever it is shown how things are, it ends up knowing how
        /// they are, and never goes back in time.
        #[test]
        fn who_joins_ends_up_with_what_is_there(
            writes in prop::collection::vec((0..3_u8, any::<bool>()), 0..40),
            times in (0..40_usize, 0..40_usize, 0..40_usize),
        ) {
            let (subscription, mailbox) = subscription(1000);
            let mut times = [times.0, times.1, times.2];
            times.sort_unstable();
            let [joined, read, shown] = times;
            let mut truth: BTreeMap<String, Version> = BTreeMap::new();
            let mut known: BTreeMap<String, Version> = BTreeMap::new();
            let mut seen = Seen::new();
            let hear = |known: &mut BTreeMap<String, Version>| {
                for text in drain(&mailbox) {
                    let mut words = text.split(' ');
                    let item = words.next().unwrap().to_owned();
                    let version: Version = words.next().unwrap().parse().unwrap();
                    assert!(known.get(&item).is_none_or(|before| *before < version), "{text} is late");
                    known.insert(item, version);
                }
            };
            for step in 0..=writes.len().max(shown) {
                if step == read {
                    // Odd versions are of deletions.
                    seen = truth.iter().filter(|(_, version)| *version % 2 == 0)
                        .map(|(item, version)| (item.clone(), *version)).collect();
                }
                if step == shown {
                    known.extend(seen.clone());
                    subscription.go_live(None, &seen);
                    hear(&mut known);
                }
                if let Some((item, deletes)) = writes.get(step) {
                    let version = 2 * (step as Version + 1) + Version::from(*deletes);
                    truth.insert(item.to_string(), version);
                    if step >= joined {
                        subscription.deliver(&event(&item.to_string(), version));
                    }
                }
            }
            hear(&mut known);
            let there = |map: BTreeMap<String, Version>| {
                map.into_iter().filter(|(_, version)| version % 2 == 0).collect::<Vec<_>>()
            };
            prop_assert_eq!(there(known), there(truth));
        }
    }
}
