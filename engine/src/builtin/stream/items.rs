//! Items in the store.
//!
//! An item's key is its stream, a zero byte, its group, a zero byte, its id: so a group is one
//! range, and streams and groups come sorted.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use agentos_sdk::{Code, Error};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::api::{EventKind, OneStream, Place};
use crate::{
    builtin::document::{self, Doc, OpError, ops::Step},
    storage::{self, Batch, Entry, Scan, Space, Storage},
};

const ITEMS: Space = Space::new("stream");

/// Ends a stream's and a group's name, which cannot contain it.
const END: u8 = 0;

/// Longest name of a stream, a group or an item, in bytes.
const NAME_BYTES_MAX: usize = 4096;

/// Items share this many locks; two that meet just wait for each other.
const TURNS: usize = 1024;

pub(super) struct Items {
    store: Arc<dyn Storage>,
    value_bytes_max: usize,
    list_bytes_max: usize,
    turns: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// A write of one item.
pub(super) enum Change {
    Set(Doc),
    Update(Vec<Step>),
    Delete,
}

/// What became of a write.
pub(super) struct Done {
    pub(super) old: Option<Doc>,
    pub(super) new: Option<Doc>,
    pub(super) errors: Vec<OpError>,
    /// `None` when nothing has changed.
    pub(super) kind: Option<EventKind>,
}

impl Done {
    pub(super) fn answer(&self) -> Result<Value, Error> {
        let unfit = |error: serde_json::Error| Error::engine(Code::Failed, error.to_string());
        let value = |doc: &Option<Doc>| {
            let value = doc.as_ref().map(Doc::value).transpose().map_err(unfit)?;
            Ok::<Value, Error>(value.unwrap_or_default())
        };
        let mut answer = json!({ "old_value": value(&self.old)?, "new_value": value(&self.new)? });
        if !self.errors.is_empty() {
            answer["errors"] = json!(self.errors);
        }
        Ok(answer)
    }
}

impl Items {
    pub(super) fn new(
        store: Arc<dyn Storage>,
        value_bytes_max: usize,
        list_bytes_max: usize,
    ) -> Self {
        Items {
            store,
            value_bytes_max,
            list_bytes_max,
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// # Errors
    /// `invalid_input` for names that cannot be stored.
    pub(super) fn check(&self, place: &Place) -> Result<(), Error> {
        let names = [
            ("stream_name", &place.stream),
            ("group_id", &place.group),
            ("item_id", &place.item),
        ];
        names
            .into_iter()
            .try_for_each(|(what, name)| named(what, name))
    }

    /// The right to write an item and to tell of it; others wait.
    pub(super) async fn turn(&self, place: &Place) -> MutexGuard<'_, ()> {
        let at = self.hasher.hash_one(place) as usize % TURNS;
        self.turns[at].lock().await
    }

    pub(super) async fn get(&self, place: &Place) -> Result<Option<Doc>, Error> {
        let record = self.store.get(ITEMS, &key(place)).await.map_err(failed)?;
        record.map(|record| doc(&record.value)).transpose()
    }

    /// Writes an item; the caller has its turn.
    pub(super) async fn write(&self, place: &Place, change: Change) -> Result<Done, Error> {
        let old = self.get(place).await?;
        let (new, errors) = match change {
            Change::Set(doc) => (Some(doc), Vec::new()),
            Change::Update(steps) => {
                let (doc, errors) = document::update(old.as_ref(), &steps)?;
                (Some(doc), errors)
            }
            Change::Delete => (None, Vec::new()),
        };
        let kind = match (&old, &new) {
            (None, Some(_)) => Some(EventKind::Create),
            (Some(_), Some(_)) => Some(EventKind::Update),
            (Some(_), None) => Some(EventKind::Delete),
            (None, None) => None,
        };
        let mut batch = Batch::new();
        match &new {
            Some(doc) if doc.text().len() > self.value_bytes_max => {
                let message = format!(
                    "the item has {} bytes; at most {} are possible",
                    doc.text().len(),
                    self.value_bytes_max
                );
                return Err(Error::caller(Code::PayloadTooLarge, message));
            }
            Some(doc) => {
                batch.put(ITEMS, key(place), doc.text().as_bytes().to_vec());
            }
            None if old.is_some() => {
                batch.delete(ITEMS, key(place));
            }
            None => {}
        }
        if !batch.is_empty() {
            self.store.commit(batch).await.map_err(failed)?;
        }
        Ok(Done {
            old,
            new,
            errors,
            kind,
        })
    }

    /// All items of a group, by id.
    pub(super) async fn list(&self, stream: &str, group: &str) -> Result<Vec<Doc>, Error> {
        named("stream_name", stream)?;
        named("group_id", group)?;
        let prefix = [stream.as_bytes(), &[END], group.as_bytes(), &[END]].concat();
        let mut scan = Scan::prefix(ITEMS, &prefix);
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            let page = self.store.scan(scan.clone()).await.map_err(failed)?;
            for entry in &page.entries {
                bytes += entry.record.value.len();
                items.push(doc(&entry.record.value)?);
            }
            if bytes > self.list_bytes_max {
                let message = format!("the group holds more than {} bytes", self.list_bytes_max);
                return Err(Error::caller(Code::PayloadTooLarge, message));
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(items),
            }
        }
    }

    /// Names of the groups that hold something, sorted. Jumps from group to group.
    pub(super) async fn groups(&self, stream: &str) -> Result<Vec<String>, Error> {
        named("stream_name", stream)?;
        let prefix = [stream.as_bytes(), &[END]].concat();
        let mut scan = Scan::prefix(ITEMS, &prefix).limit(1);
        let mut groups = Vec::new();
        while let Some(entry) = self.first(scan.clone()).await? {
            let (_, group) = names(&entry.key)?;
            let behind = [&prefix[..], group.as_bytes(), &[END + 1]].concat();
            scan = scan.starting_at(&behind);
            groups.push(group);
        }
        Ok(groups)
    }

    /// All streams that hold something, and their groups.
    pub(super) async fn all(&self) -> Result<Vec<OneStream>, Error> {
        let mut scan = Scan::all(ITEMS).limit(1);
        let mut streams = Vec::new();
        while let Some(entry) = self.first(scan.clone()).await? {
            let (id, _) = names(&entry.key)?;
            scan = scan.starting_at(&[id.as_bytes(), &[END + 1]].concat());
            let groups = self.groups(&id).await?;
            streams.push(OneStream { id, groups });
        }
        Ok(streams)
    }

    async fn first(&self, scan: Scan) -> Result<Option<Entry>, Error> {
        let page = self.store.scan(scan).await.map_err(failed)?;
        Ok(page.entries.into_iter().next())
    }
}

fn named(what: &str, name: &str) -> Result<(), Error> {
    let problem = if name.len() > NAME_BYTES_MAX {
        format!(
            "has {} bytes; at most {NAME_BYTES_MAX} are possible",
            name.len()
        )
    } else if name.as_bytes().contains(&END) {
        "contains a zero character".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::caller(
        Code::InvalidInput,
        format!("{what} {problem}"),
    ))
}

fn key(place: &Place) -> Bytes {
    let Place {
        stream,
        group,
        item,
    } = place;
    let parts = [
        stream.as_bytes(),
        &[END],
        group.as_bytes(),
        &[END],
        item.as_bytes(),
    ];
    parts.concat().into()
}

/// Stream and group of a key.
fn names(key: &Bytes) -> Result<(String, String), Error> {
    let mut parts = key.splitn(3, |byte| *byte == END);
    let mut next = || {
        parts
            .next()
            .and_then(|part| String::from_utf8(part.to_vec()).ok())
    };
    match (next(), next()) {
        (Some(stream), Some(group)) => Ok((stream, group)),
        _ => Err(Error::engine(
            Code::Internal,
            "a key of the streams cannot be read",
        )),
    }
}

fn doc(text: &[u8]) -> Result<Doc, Error> {
    let damaged =
        |error| Error::engine(Code::Internal, format!("a stored item is damaged: {error}"));
    Doc::parse(text).map_err(damaged)
}

fn failed(error: storage::Error) -> Error {
    let message = error.to_string();
    match error {
        storage::Error::KeySize { .. } => Error::caller(Code::InvalidInput, message),
        storage::Error::Unavailable(_) => Error::engine(Code::Unavailable, message),
        storage::Error::ReadOnly { .. } => Error {
            retryable: false,
            ..Error::engine(Code::Unavailable, message)
        },
        _ => Error::engine(Code::Internal, message),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn place(stream: &str, group: &str, item: &str) -> Place {
        Place {
            stream: stream.into(),
            group: group.into(),
            item: item.into(),
        }
    }

    fn text(value: &str) -> Doc {
        Doc::of(&Value::from(value)).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Action {
        Set(usize, String),
        Delete(usize),
    }

    const PLACES: [(&str, &str, &str); 6] = [
        ("a", "g", "1"),
        ("a", "g", "2"),
        ("a", "g!", "1"),
        ("a", "", ""),
        ("a!", "g", "1"),
        ("b", "ü", "1"),
    ];

    fn action() -> impl Strategy<Value = Action> {
        let at = 0..PLACES.len();
        prop_oneof![
            (at.clone(), "[a-z]{0,3}").prop_map(|(at, value)| Action::Set(at, value)),
            at.prop_map(Action::Delete),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn items_are_as_a_map_would_have_them(actions in prop::collection::vec(action(), 1..30)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let items = Items::new(storage::memory::open(), 1 << 20, 1 << 20);
                let mut model: BTreeMap<(&str, &str, &str), String> = BTreeMap::new();
                for action in actions {
                    let (at, change, new) = match action {
                        Action::Set(at, value) => (at, Change::Set(text(&value)), Some(value)),
                        Action::Delete(at) => (at, Change::Delete, None),
                    };
                    let at = PLACES[at];
                    let old = match &new {
                        Some(value) => model.insert(at, value.clone()),
                        None => model.remove(&at),
                    };
                    let done = items.write(&place(at.0, at.1, at.2), change).await.unwrap();
                    let expect = match (&old, &new) {
                        (None, None) => None,
                        (None, Some(_)) => Some(EventKind::Create),
                        (Some(_), Some(_)) => Some(EventKind::Update),
                        (Some(_), None) => Some(EventKind::Delete),
                    };
                    assert_eq!((done.old, done.kind), (old.map(|old| text(&old)), expect));
                }
                let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
                for (stream, group, _) in model.keys() {
                    let groups = all.entry(stream).or_default();
                    if groups.last().map(String::as_str) != Some(group) {
                        groups.push((*group).to_owned());
                    }
                }
                let found = items.all().await.unwrap();
                let found: Vec<_> = found.iter().map(|one| (one.id.as_str(), one.groups.clone())).collect();
                assert_eq!(found, all.into_iter().collect::<Vec<_>>());
                let group: Vec<Doc> = model
                    .iter()
                    .filter(|((stream, group, _), _)| (*stream, *group) == ("a", "g"))
                    .map(|(_, value)| text(value))
                    .collect();
                assert_eq!(items.list("a", "g").await.unwrap(), group);
            });
        }
    }

    #[tokio::test]
    async fn names_that_cannot_be_stored_are_refused() {
        let items = Items::new(storage::memory::open(), 8, 1 << 20);
        for (bad, what) in [
            (place("a\0", "g", "i"), "stream_name"),
            (place("a", &"g".repeat(5000), "i"), "group_id"),
            (place("a", "g", "\0"), "item_id"),
        ] {
            assert!(items.check(&bad).unwrap_err().message.starts_with(what));
        }
        let large = items
            .write(&place("a", "g", "i"), Change::Set(text("123456789")))
            .await;
        assert_eq!(large.err().unwrap().code, Code::PayloadTooLarge);
    }
}
