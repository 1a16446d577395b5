//! Who follows what, and what waits for each client. Each event is written as text once, however
//! many follow.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_sdk::{Code, Error, Payload};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::api::{EventKind, Place};
use crate::builtin::document::Doc;

/// Something that happened in a group.
pub(super) struct Happening {
    pub(super) stream: String,
    pub(super) group: String,
    pub(super) item: Option<String>,
    pub(super) text: Utf8Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapper<'a> {
    r#type: &'static str,
    timestamp: u64,
    stream_name: &'a str,
    group_id: &'a str,
    id: Option<&'a str>,
    event: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    r#type: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Sent<'a>>,
}

#[derive(Serialize)]
struct Sent<'a> {
    r#type: &'a str,
    data: &'a Doc,
}

/// An event as clients and triggers see it.
pub(super) fn told(
    stream: &str,
    group: &str,
    item: Option<&str>,
    kind: EventKind,
    data: Option<&RawValue>,
) -> Result<Utf8Bytes, Error> {
    let event = Told {
        r#type: kind,
        data,
        event: None,
    };
    written(stream, group, item, event)
}

fn written(
    stream: &str,
    group: &str,
    item: Option<&str>,
    event: Told<'_>,
) -> Result<Utf8Bytes, Error> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let wrapper = Wrapper {
        r#type: "stream",
        timestamp: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        stream_name: stream,
        group_id: group,
        id: item,
        event,
    };
    let text = serde_json::to_string(&wrapper)
        .map_err(|error| Error::engine(Code::Internal, error.to_string()))?;
    Ok(text.into())
}

impl Happening {
    pub(super) fn changed(
        place: &Place,
        kind: EventKind,
        data: Option<&Doc>,
    ) -> Result<Self, Error> {
        let (stream, group, item) = (&place.stream, &place.group, &place.item);
        Ok(Happening {
            text: told(stream, group, Some(item), kind, data.map(Doc::raw))?,
            stream: stream.clone(),
            group: group.clone(),
            item: Some(item.clone()),
        })
    }

    pub(super) fn sent(
        stream: &str,
        group: &str,
        item: Option<&str>,
        kind: &str,
        data: &Doc,
    ) -> Result<Self, Error> {
        let sent = Sent { r#type: kind, data };
        let event = Told {
            r#type: EventKind::Event,
            data: None,
            event: Some(sent),
        };
        Ok(Happening {
            text: written(stream, group, item, event)?,
            stream: stream.to_owned(),
            group: group.to_owned(),
            item: item.map(str::to_owned),
        })
    }

    pub(super) fn payload(&self) -> Payload {
        Payload::json(self.text.as_bytes().to_vec())
    }
}

/// Events on their way to one client.
pub(super) struct Mailbox {
    waiting: Mutex<VecDeque<Utf8Bytes>>,
    max: usize,
    more: Notify,
}

impl Mailbox {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Mailbox {
            waiting: Mutex::default(),
            max: max.max(1),
            more: Notify::new(),
        })
    }

    /// A client that is too slow loses its oldest events, and delays nobody.
    pub(super) fn put(&self, text: Utf8Bytes) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.max {
                waiting.pop_front();
            }
            waiting.push_back(text);
        }
        self.more.notify_one();
    }

    pub(super) async fn next(&self) -> Utf8Bytes {
        loop {
            let next = self.waiting.lock().pop_front();
            match next {
                Some(text) => return text,
                None => self.more.notified().await,
            }
        }
    }
}

/// One subscription of a client.
pub(super) struct Subscription {
    pub(super) id: String,
    /// `None`: the whole group.
    pub(super) item: Option<String>,
    pub(super) mailbox: Arc<Mailbox>,
}

/// Subscriptions by stream and group.
#[derive(Default)]
pub(super) struct Feed(RwLock<HashMap<String, HashMap<String, Vec<Arc<Subscription>>>>>);

impl Feed {
    pub(super) fn add(&self, stream: &str, group: &str, subscription: &Arc<Subscription>) {
        let mut streams = self.0.write();
        let groups = streams.entry(stream.to_owned()).or_default();
        let followers = groups.entry(group.to_owned()).or_default();
        followers.push(Arc::clone(subscription));
    }

    pub(super) fn remove(&self, stream: &str, group: &str, subscription: &Arc<Subscription>) {
        let mut streams = self.0.write();
        let Some(groups) = streams.get_mut(stream) else {
            return;
        };
        if let Some(followers) = groups.get_mut(group) {
            followers.retain(|follower| !Arc::ptr_eq(follower, subscription));
            if followers.is_empty() {
                groups.remove(group);
            }
        }
        if groups.is_empty() {
            streams.remove(stream);
        }
    }

    pub(super) fn publish(&self, event: &Happening) {
        let streams = self.0.read();
        let groups = streams.get(&event.stream);
        let followers = groups.and_then(|groups| groups.get(&event.group));
        for follower in followers.into_iter().flatten() {
            let wants = follower.item.is_none() || follower.item == event.item;
            if wants {
                follower.mailbox.put(event.text.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place(item: &str) -> Place {
        Place {
            stream: "board".into(),
            group: "g1".into(),
            item: item.into(),
        }
    }

    #[tokio::test]
    async fn followers_get_what_they_follow_and_the_slow_lose_the_oldest() {
        let feed = Feed::default();
        let follow = |item: Option<&str>, max: usize| {
            let subscription = Arc::new(Subscription {
                id: "s".into(),
                item: item.map(str::to_owned),
                mailbox: Mailbox::new(max),
            });
            feed.add("board", "g1", &subscription);
            subscription
        };
        let (group, item, other) = (follow(None, 2), follow(Some("3"), 9), follow(Some("x"), 9));
        for n in 1..=3 {
            let data = Doc::of(&json!({ "n": n })).unwrap();
            let event = Happening::changed(&place(&n.to_string()), EventKind::Create, Some(&data));
            feed.publish(&event.unwrap());
        }
        let n = |text: Utf8Bytes| {
            let event: Value = serde_json::from_str(&text).unwrap();
            event["event"]["data"]["n"].as_u64()
        };
        assert_eq!(n(group.mailbox.next().await), Some(2));
        assert_eq!(n(group.mailbox.next().await), Some(3));
        assert_eq!(n(item.mailbox.next().await), Some(3));
        assert!(other.mailbox.waiting.lock().is_empty());
        for subscription in [&group, &item, &other] {
            feed.remove("board", "g1", subscription);
        }
        assert!(feed.0.read().is_empty());
    }

    #[test]
    fn events_look_as_clients_know_them() {
        let data = Doc::of(&json!({ "by": "ann" })).unwrap();
        let sent = Happening::sent("board", "g1", None, "typing", &data).unwrap();
        let mut sent: Value = serde_json::from_str(&sent.text).unwrap();
        assert!(sent["timestamp"].as_u64() > Some(1_600_000_000_000));
        sent["timestamp"] = 0.into();
        assert_eq!(
            sent,
            json!({ "type": "stream", "timestamp": 0, "streamName": "board", "groupId": "g1", "id": null,
                "event": { "type": "event", "event": { "type": "typing", "data": { "by": "ann" } } } })
        );
    }
}
