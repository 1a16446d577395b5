//! Who is subscribed to what.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use super::{events::Event, row::Place, subscription::Subscription};

/// Subscriptions by stream, then by group.
#[derive(Default)]
pub(super) struct Hub(RwLock<HashMap<String, HashMap<String, Group>>>);

/// Those who hear of a group: of all of it, or of one item.
#[derive(Default)]
struct Group {
    whole: Subscribers,
    items: HashMap<String, Subscribers>,
}

type Subscribers = HashMap<Key, Arc<Subscription>>;

/// Where a subscription is in memory: unique while somebody holds it.
type Key = usize;

fn key(subscription: &Arc<Subscription>) -> Key {
    Arc::as_ptr(subscription) as usize
}

impl Hub {
    pub(super) fn add(&self, subscription: &Arc<Subscription>) {
        let place = subscription.place();
        let mut streams = self.0.write();
        let groups = streams.entry(place.stream.to_owned()).or_default();
        let group = groups.entry(place.group.to_owned()).or_default();
        let subscribers = match place.item {
            None => &mut group.whole,
            Some(item) => group.items.entry(item.to_owned()).or_default(),
        };
        subscribers.insert(key(subscription), Arc::clone(subscription));
    }

    pub(super) fn remove(&self, subscription: &Arc<Subscription>) {
        let place = subscription.place();
        let mut streams = self.0.write();
        let Some(groups) = streams.get_mut(place.stream) else {
            return;
        };
        if let Some(group) = groups.get_mut(place.group) {
            group.remove(place.item, key(subscription));
            if group.is_empty() {
                groups.remove(place.group);
            }
        }
        if groups.is_empty() {
            streams.remove(place.stream);
        }
    }

    pub(super) fn has_subscribers(&self, place: Place<'_>) -> bool {
        let streams = self.0.read();
        let group = streams.get(place.stream).and_then(|of| of.get(place.group));
        group.is_some_and(|group| group.matching(place).next().is_some())
    }

    /// Hands `event` to everybody who wants it. Mailboxes never wait, so nobody is held up.
    pub(super) fn publish(&self, place: Place<'_>, event: &Arc<Event>) {
        let streams = self.0.read();
        let group = streams.get(place.stream).and_then(|of| of.get(place.group));
        for subscription in group.into_iter().flat_map(|group| group.matching(place)) {
            subscription.deliver(event);
        }
    }
}

impl Group {
    fn matching<'a>(&'a self, place: Place<'_>) -> impl Iterator<Item = &'a Arc<Subscription>> {
        let item = place.item.and_then(|item| self.items.get(item));
        let item = item.into_iter().flat_map(HashMap::values);
        self.whole.values().chain(item)
    }

    fn remove(&mut self, item: Option<&str>, key: Key) {
        let Some(item) = item else {
            self.whole.remove(&key);
            return;
        };
        if let Some(subscribers) = self.items.get_mut(item) {
            subscribers.remove(&key);
            if subscribers.is_empty() {
                self.items.remove(item);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::stream::{frame::Join, mailbox::Mailbox, subscription::Seen};

    fn subscribe(hub: &Hub, group: &str, item: Option<&str>) -> (Arc<Subscription>, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(10, 1000));
        let wish = Join {
            subscription_id: "same".into(),
            stream_name: "s".into(),
            group_id: group.into(),
            id: item.map(str::to_owned),
            ..Join::default()
        };
        let subscription = Arc::new(Subscription::new(wish, Arc::clone(&mailbox), 10));
        subscription.go_live(None, Seen::new(), Vec::new);
        hub.add(&subscription);
        (subscription, mailbox)
    }

    /// Publishes, and expects this many events for each.
    fn check(
        hub: &Hub,
        group: &str,
        item: Option<&str>,
        expect: &[(&(Arc<Subscription>, Arc<Mailbox>), usize)],
    ) {
        let place = Place {
            stream: "s",
            group,
            item,
        };
        let event = Event {
            item: item.map(str::to_owned),
            version: None,
            text: "event".into(),
            numbered: None,
        };
        let wanted = expect.iter().any(|(_, times)| *times > 0);
        assert_eq!(hub.has_subscribers(place), wanted, "{place:?}");
        hub.publish(place, &Arc::new(event));
        for ((subscription, mailbox), times) in expect {
            let heard = std::iter::from_fn(|| mailbox.take()).count();
            assert_eq!(heard, *times, "{:?} {place:?}", subscription.place());
        }
    }

    #[test]
    fn groups_items_and_those_who_leave() {
        let hub = Hub::default();
        let whole = subscribe(&hub, "g", None);
        let item = subscribe(&hub, "g", Some("i"));
        let same = subscribe(&hub, "g", Some("i"));
        check(&hub, "g", Some("i"), &[(&whole, 1), (&item, 1), (&same, 1)]);
        check(&hub, "g", Some("j"), &[(&whole, 1), (&item, 0), (&same, 0)]);
        check(&hub, "g", None, &[(&whole, 1), (&item, 0), (&same, 0)]);
        check(&hub, "h", Some("i"), &[(&whole, 0), (&item, 0), (&same, 0)]);
        hub.remove(&item.0);
        hub.remove(&item.0);
        check(&hub, "g", Some("i"), &[(&whole, 1), (&item, 0), (&same, 1)]);
        hub.remove(&whole.0);
        hub.remove(&same.0);
        assert!(hub.0.read().is_empty());
    }
}
