//! One subscription of one client: holds back what happens until the client knows how things are.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{events::Event, frame::Join, history::Number, mailbox::Mailbox, row::Place};
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
    /// The same, but the history remembers.
    Waiting,
    /// The client does not know yet how things are.
    Held(VecDeque<Arc<Event>>),
    /// It does. What it has seen of some items is told only now, and must not be told again.
    Live(Seen),
}

impl Subscription {
    /// `held_max` events may come until it is live; the oldest makes room for the newest.
    pub(super) fn new(wish: Join, mailbox: Arc<Mailbox>, held_max: usize) -> Self {
        let inbox = match wish.is_numbered() {
            true => Inbox::Waiting,
            false => Inbox::Held(VecDeque::new()),
        };
        Subscription {
            wish,
            mailbox,
            inbox: Mutex::new(inbox),
            held_max,
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        self.wish.place()
    }

    pub(super) fn deliver(&self, event: &Arc<Event>) {
        match &mut *self.inbox.lock() {
            Inbox::Held(events) => {
                if events.len() == self.held_max {
                    events.pop_front();
                }
                events.push_back(Arc::clone(event));
            }
            Inbox::Live(late) if is_news(event, late) => {
                if let (Some(item), false) = (&event.item, late.is_empty()) {
                    late.remove(item);
                }
                self.mailbox.push(self.frame(event));
            }
            Inbox::Live(_) | Inbox::Waiting => {}
        }
    }

    fn frame(&self, event: &Event) -> Utf8Bytes {
        match &event.numbered {
            Some((_, text)) if self.wish.is_numbered() => text.clone(),
            _ => event.text.clone(),
        }
    }

    /// Whether an event of the group is for this subscription.
    fn wants(&self, event: &Event) -> bool {
        self.wish.id.is_none() || self.wish.id == event.item
    }

    /// Tells the client that it goes on, and what it has missed. Nothing may be told meanwhile.
    pub(super) fn go_on(&self, resumed: Utf8Bytes, missed: &[Arc<Event>]) {
        let mut inbox = self.inbox.lock();
        self.mailbox.keep(resumed);
        for event in missed.iter().filter(|event| self.wants(event)) {
            self.mailbox.keep(self.frame(event));
        }
        *inbox = Inbox::Live(Seen::new());
    }

    /// As [`Subscription::go_live`], for one that may come back: `told` is everything since before
    /// it looked, up to `last`, and `number` gives a frame its offset. An offset stands for what
    /// was seen, too, so that who comes back is not told of it again.
    pub(super) fn go_live_numbered(
        &self,
        sync: &str,
        mut seen: Seen,
        under_way: impl FnOnce() -> Vec<String>,
        (told, last): (&[Arc<Event>], Number),
        number: impl Fn(&str, Number) -> Utf8Bytes,
    ) {
        let mut inbox = self.inbox.lock();
        let mut text = sync;
        let news = told.iter().filter(|event| self.wants(event));
        for event in news.filter(|event| is_news(event, &seen)) {
            let before = event.number().unwrap_or(last).saturating_sub(1);
            self.mailbox.keep(number(text, before));
            text = &event.text;
        }
        self.mailbox.keep(number(text, last));
        // Asked while nothing can be told: what is no longer under way was told.
        let late = under_way().into_iter();
        let late = late.filter_map(|item| seen.remove_entry(&item));
        *inbox = Inbox::Live(late.collect());
    }

    /// Shows the client how things were when it had `seen`, then everything since. `under_way`
    /// says which items were perhaps seen before they were told.
    pub(super) fn go_live(
        &self,
        sync: Option<Utf8Bytes>,
        mut seen: Seen,
        under_way: impl FnOnce() -> Vec<String>,
    ) {
        let mut inbox = self.inbox.lock();
        if let Some(sync) = sync {
            self.mailbox.keep(sync);
        }
        if let Inbox::Held(events) = &*inbox {
            for event in events.iter().filter(|event| is_news(event, &seen)) {
                self.mailbox.push(event.text.clone());
            }
        }
        // Asked while nothing can be delivered: what is no longer under way was held.
        let late = under_way().into_iter();
        let late = late.filter_map(|item| seen.remove_entry(&item));
        *inbox = Inbox::Live(late.collect());
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
            numbered: None,
        })
    }

    fn subscription(held_max: usize) -> (Subscription, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(1000, usize::MAX));
        let wish = Join {
            subscription_id: "s-1".into(),
            stream_name: "s".into(),
            group_id: "g".into(),
            ..Join::default()
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
        subscription.go_live(Some("sync".into()), seen, || vec!["b".into()]);
        // What was seen of it is told only now.
        subscription.deliver(&event("b", 4));
        for version in [7, 8] {
            subscription.deliver(&event("b", version));
        }
        subscription.deliver(&event("a", 9));
        let expect = ["sync", "a 5", "c 6", "b 7", "b 8", "a 9"];
        assert_eq!(drain(&mailbox), expect);
    }

    #[test]
    fn offsets_stand_for_what_was_seen() {
        let mailbox = Arc::new(Mailbox::new(10, 1000));
        let wish = Join {
            offsets: true,
            ..Join::default()
        };
        let subscription = Subscription::new(wish, Arc::clone(&mailbox), 10);
        let told: Vec<Arc<Event>> = [(11, "a", 5), (12, "b", 6), (13, "c", 7), (14, "b", 8)]
            .map(|(number, item, version)| {
                Arc::new(Event {
                    item: Some(item.into()),
                    version: Some(version),
                    text: format!("{item}{version}").into(),
                    numbered: Some((number, "".into())),
                })
            })
            .to_vec();
        let seen = Seen::from([("a".into(), 5), ("c".into(), 7)]);
        let number = |text: &str, number: Number| Utf8Bytes::from(format!("{text}@{number}"));
        subscription.go_live_numbered("sync", seen, Vec::new, (&told, 15), number);
        assert_eq!(drain(&mailbox), ["sync@11", "b6@13", "b8@15"]);
    }

    #[test]
    fn without_a_sync_everything_is_news() {
        let (subscription, mailbox) = subscription(2);
        for version in 1..=3 {
            subscription.deliver(&event("a", version));
        }
        subscription.go_live(None, Seen::new(), Vec::new);
        assert_eq!(drain(&mailbox), ["a 2", "a 3"]);
    }

    /// What happens to the items, one after the other.
    #[derive(Clone, Debug)]
    enum Step {
        /// An item is written, or deleted; whoever reads it now sees it.
        Commit { item: u8, deletes: bool },
        /// The oldest write of an item that was not told yet is told.
        Tell { item: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_u8, any::<bool>()).prop_map(|(item, deletes)| Step::Commit { item, deletes }),
            (0..3_u8).prop_map(|item| Step::Tell { item }),
        ]
    }

    /// Versions of deletions are odd.
    fn is_there(version: Version) -> bool {
        version.is_multiple_of(2)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whenever one joins, and whenever it is shown how things are, it ends up knowing how
        /// they are, and never goes back in time or hears what it knows.
        #[test]
        fn who_joins_ends_up_with_what_is_there(
            steps in prop::collection::vec(step(), 0..60),
            times in prop::array::uniform3(0..60_usize),
        ) {
            let (subscription, mailbox) = subscription(1000);
            let mut times = times;
            times.sort_unstable();
            let [joined, read, shown] = times;
            let mut truth: BTreeMap<String, Version> = BTreeMap::new();
            let mut known: BTreeMap<String, Version> = BTreeMap::new();
            let mut untold: BTreeMap<String, VecDeque<Version>> = BTreeMap::new();
            let mut seen = Seen::new();
            for number in 0..=steps.len().max(shown) {
                if number == read {
                    let there = truth.iter().filter(|(_, version)| is_there(**version));
                    seen = there.map(|(item, version)| (item.clone(), *version)).collect();
                }
                if number == shown {
                    known.extend(seen.clone());
                    let under_way = untold.iter().filter(|(_, versions)| !versions.is_empty());
                    let under_way = under_way.map(|(item, _)| item.clone()).collect();
                    subscription.go_live(None, seen.clone(), || under_way);
                }
                let tell = |item: &str, untold: &mut VecDeque<Version>| {
                    if let Some(version) = untold.pop_front()
                        && number >= joined
                    {
                        subscription.deliver(&event(item, version));
                    }
                };
                match steps.get(number) {
                    None => for (item, untold) in &mut untold {
                        while !untold.is_empty() {
                            tell(item, untold);
                        }
                    },
                    Some(Step::Commit { item, deletes }) => {
                        let version = 2 * (number as Version + 1) + Version::from(*deletes);
                        truth.insert(item.to_string(), version);
                        untold.entry(item.to_string()).or_default().push_back(version);
                    }
                    Some(Step::Tell { item }) => {
                        let item = item.to_string();
                        tell(&item, untold.entry(item.clone()).or_default());
                    }
                }
                for text in drain(&mailbox) {
                    let (item, version) = text.split_once(' ').unwrap();
                    let version = version.parse().unwrap();
                    let before = known.insert(item.to_owned(), version);
                    prop_assert!(before.is_none_or(|before| before < version), "{} is late", text);
                }
            }
            known.retain(|_, version| is_there(*version));
            truth.retain(|_, version| is_there(*version));
            prop_assert_eq!(known, truth);
        }
    }
}
