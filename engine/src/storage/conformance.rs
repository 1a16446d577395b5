//! The suite that every adapter passes: `conforms!(open)` makes one test per scenario, where
//! `open` yields a new, empty store and whatever must live as long.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{Batch, Committed, Error, KEY_BYTES_MAX, Page, Scan, Space, Storage, Version};

const LEFT: Space = Space::new("left");
const RIGHT: Space = Space::new("right");

macro_rules! conforms {
    ($open:expr) => {
        $crate::storage::conformance::conforms!(
            $open,
            missing_is_none,
            a_record_comes_back_with_its_version,
            versions_rise_and_never_repeat,
            the_last_operation_on_a_key_wins,
            a_batch_is_all_or_nothing,
            an_expectation_sees_the_newest_version,
            one_of_many_racing_writers_wins,
            no_update_is_lost,
            keys_are_ordered_as_bytes,
            a_scan_stays_in_its_range,
            a_scan_goes_on_page_by_page,
            a_page_is_bounded_in_bytes,
            spaces_are_apart,
            values_may_be_empty_and_large,
            keys_have_limits,
            behaves_like_a_map,
        );
    };
    ($open:expr, $($scenario:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let (store, _alive) = $open;
                $crate::storage::conformance::$scenario(store).await;
            }
        )+
    };
}
pub(super) use conforms;

type Store = Arc<dyn Storage>;

async fn put(store: &Store, key: &str, value: &str) -> Version {
    let mut batch = Batch::new();
    let place = batch.put(LEFT, key.to_owned(), value.to_owned());
    store.commit(batch).await.unwrap().version(place)
}

async fn put_if(
    store: &Store,
    key: &str,
    value: &str,
    version: Version,
) -> Result<Committed, Error> {
    let mut batch = Batch::new();
    batch.expect(LEFT, key.to_owned(), version);
    batch.put(LEFT, key.to_owned(), value.to_owned());
    store.commit(batch).await
}

async fn delete(store: &Store, key: &str) {
    let mut batch = Batch::new();
    batch.delete(LEFT, key.to_owned());
    store.commit(batch).await.unwrap();
}

async fn value(store: &Store, space: Space, key: &str) -> Option<Bytes> {
    store
        .get(space, key.as_bytes())
        .await
        .unwrap()
        .map(|record| record.value)
}

fn keys(page: &Page) -> Vec<&[u8]> {
    page.entries.iter().map(|entry| &entry.key[..]).collect()
}

pub(super) async fn missing_is_none(store: Store) {
    assert_eq!(store.get(LEFT, b"key").await, Ok(None));
    assert_eq!(store.scan(Scan::all(LEFT)).await, Ok(Page::default()));
    delete(&store, "key").await;
    assert_eq!(store.get(LEFT, b"key").await, Ok(None));
}

pub(super) async fn a_record_comes_back_with_its_version(store: Store) {
    let version = put(&store, "key", "value").await;
    let record = store.get(LEFT, b"key").await.unwrap().unwrap();
    assert_eq!(
        (record.version, &record.value[..]),
        (version, &b"value"[..])
    );
    let page = store.scan(Scan::all(LEFT)).await.unwrap();
    assert_eq!(page.entries[0].record, record);
}

pub(super) async fn versions_rise_and_never_repeat(store: Store) {
    let first = put(&store, "a", "1").await;
    let second = put(&store, "b", "1").await;
    delete(&store, "a").await;
    let third = put(&store, "a", "2").await;
    assert!(
        0 < first && first < second && second < third,
        "{first} {second} {third}"
    );
}

pub(super) async fn the_last_operation_on_a_key_wins(store: Store) {
    let mut batch = Batch::new();
    let places = ["1", "2", "3"].map(|value| batch.put(LEFT, "key", value));
    batch.put(LEFT, "gone", "1");
    batch.delete(LEFT, "gone");
    let committed = store.commit(batch).await.unwrap();
    let versions = places.map(|place| committed.version(place));
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let record = store.get(LEFT, b"key").await.unwrap().unwrap();
    assert_eq!(
        (record.version, &record.value[..]),
        (versions[2], &b"3"[..])
    );
    assert_eq!(value(&store, LEFT, "gone").await, None);
}

pub(super) async fn a_batch_is_all_or_nothing(store: Store) {
    let version = put(&store, "guard", "1").await;
    let write = |expected| {
        let mut batch = Batch::new();
        batch.put(LEFT, "a", "new");
        batch.put(RIGHT, "b", "new");
        batch.expect(LEFT, "guard", expected);
        batch
    };
    let refused = store.commit(write(version + 1)).await;
    assert_eq!(
        refused,
        Err(Error::Conflict {
            expected: version + 1,
            actual: version
        })
    );
    assert_eq!(value(&store, LEFT, "a").await, None);
    assert_eq!(value(&store, RIGHT, "b").await, None);
    store.commit(write(version)).await.unwrap();
    assert_eq!(value(&store, LEFT, "a").await.as_deref(), Some(&b"new"[..]));
    assert_eq!(
        value(&store, RIGHT, "b").await.as_deref(),
        Some(&b"new"[..])
    );
}

pub(super) async fn an_expectation_sees_the_newest_version(store: Store) {
    let conflict = |expected, actual| Err(Error::Conflict { expected, actual });
    assert_eq!(put_if(&store, "key", "1", 9).await, conflict(9, 0));
    let first = put_if(&store, "key", "1", 0).await.unwrap().version(0);
    assert_eq!(put_if(&store, "key", "2", 0).await, conflict(0, first));
    let second = put_if(&store, "key", "2", first).await.unwrap().version(0);
    assert_eq!(
        put_if(&store, "key", "3", first).await,
        conflict(first, second)
    );
    delete(&store, "key").await;
    assert_eq!(
        put_if(&store, "key", "3", second).await,
        conflict(second, 0)
    );
    put_if(&store, "key", "3", 0).await.unwrap();
}

pub(super) async fn one_of_many_racing_writers_wins(store: Store) {
    let version = put(&store, "key", "0").await;
    let racers: Vec<_> = (0..64)
        .map(|racer: u32| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put_if(&store, "key", &racer.to_string(), version).await })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap().is_ok());
    }
    assert_eq!(winners, 1);
}

pub(super) async fn no_update_is_lost(store: Store) {
    const TASKS: u32 = 8;
    const STEPS: u32 = 10;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..STEPS {
                    while !increment(&store).await {}
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let total = (TASKS * STEPS).to_string();
    assert_eq!(value(&store, LEFT, "count").await.unwrap(), total);
}

/// Reads, adds one, writes back; false when somebody came between.
async fn increment(store: &Store) -> bool {
    let record = store.get(LEFT, b"count").await.unwrap();
    let text = record
        .as_ref()
        .map_or("0", |record| str::from_utf8(&record.value).unwrap());
    let next = (text.parse::<u32>().unwrap() + 1).to_string();
    put_if(
        store,
        "count",
        &next,
        record.map_or(0, |record| record.version),
    )
    .await
    .is_ok()
}

pub(super) async fn keys_are_ordered_as_bytes(store: Store) {
    let ordered: [&[u8]; 6] = [b"\0", b"A", b"a", b"a\0", b"ab", b"\xff\xff"];
    let mut batch = Batch::new();
    for key in [3, 0, 5, 2, 4, 1] {
        batch.put(LEFT, ordered[key], "");
    }
    store.commit(batch).await.unwrap();
    let page = store.scan(Scan::all(LEFT)).await.unwrap();
    assert_eq!((keys(&page), page.more), (ordered.to_vec(), false));
}

pub(super) async fn a_scan_stays_in_its_range(store: Store) {
    let mut batch = Batch::new();
    let all: [&[u8]; 7] = [b"a", b"b", b"b\0", b"bz", b"c", b"\xff", b"\xff\xffz"];
    for key in all {
        batch.put(LEFT, key, "");
    }
    store.commit(batch).await.unwrap();
    let cases = [
        (Scan::prefix(LEFT, b"b"), &all[1..4]),
        (Scan::prefix(LEFT, b""), &all[..]),
        (Scan::prefix(LEFT, b"\xff"), &all[5..]),
        (Scan::prefix(LEFT, b"x"), &all[..0]),
        (Scan::prefix(LEFT, b"b").after(b"b"), &all[2..4]),
        (Scan::prefix(LEFT, b"b").after(b"a"), &all[1..4]),
        (Scan::prefix(LEFT, b"b").after(b"c"), &all[..0]),
        (Scan::prefix(LEFT, b"b").starting_at(b"b\0"), &all[2..4]),
        (Scan::all(LEFT).before(b"b"), &all[..1]),
        (Scan::prefix(LEFT, b"b").before(b"zz"), &all[1..4]),
    ];
    for (scan, expected) in cases {
        let page = store.scan(scan.clone()).await.unwrap();
        assert_eq!(
            (keys(&page), page.more),
            (expected.to_vec(), false),
            "{scan:?}"
        );
    }
}

pub(super) async fn a_scan_goes_on_page_by_page(store: Store) {
    let mut batch = Batch::new();
    for number in 0..25 {
        batch.put(LEFT, format!("key-{number:02}"), number.to_string());
    }
    store.commit(batch).await.unwrap();
    let mut seen = Vec::new();
    let mut scan = Scan::prefix(LEFT, b"key-").limit(10);
    loop {
        let page = store.scan(scan.clone()).await.unwrap();
        seen.push(page.entries.len());
        if !page.more {
            break;
        }
        scan = scan.after(&page.entries.last().unwrap().key);
    }
    assert_eq!(seen, [10, 10, 5]);
}

pub(super) async fn a_page_is_bounded_in_bytes(store: Store) {
    for number in 0..6 {
        put(&store, &number.to_string(), &"x".repeat(1 << 20)).await;
    }
    let page = store.scan(Scan::all(LEFT)).await.unwrap();
    assert!(
        (1..6).contains(&page.entries.len()) && page.more,
        "{}",
        page.entries.len()
    );
}

pub(super) async fn spaces_are_apart(store: Store) {
    put(&store, "key", "left").await;
    assert_eq!(value(&store, RIGHT, "key").await, None);
    let mut batch = Batch::new();
    batch.put(RIGHT, "key", "right");
    batch.delete(LEFT, "key");
    store.commit(batch).await.unwrap();
    assert_eq!(value(&store, LEFT, "key").await, None);
    assert_eq!(value(&store, RIGHT, "key").await.unwrap(), "right");
}

pub(super) async fn values_may_be_empty_and_large(store: Store) {
    let large = "0123456789abcdef".repeat(1 << 19);
    put(&store, "empty", "").await;
    put(&store, "large", &large).await;
    assert_eq!(value(&store, LEFT, "empty").await.unwrap(), "");
    assert_eq!(value(&store, LEFT, "large").await.unwrap(), large);
}

pub(super) async fn keys_have_limits(store: Store) {
    let longest = "k".repeat(KEY_BYTES_MAX);
    put(&store, &longest, "value").await;
    assert_eq!(value(&store, LEFT, &longest).await.unwrap(), "value");
    for bytes in [0, KEY_BYTES_MAX + 1] {
        let mut batch = Batch::new();
        batch.put(LEFT, "fine", "value");
        batch.put(LEFT, "k".repeat(bytes), "value");
        assert_eq!(store.commit(batch).await, Err(Error::KeySize { bytes }));
        assert_eq!(value(&store, LEFT, "fine").await, None);
    }
}

/// Random batches against a map that cannot be wrong.
pub(super) async fn behaves_like_a_map(store: Store) {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model: BTreeMap<Vec<u8>, (Version, Vec<u8>)> = BTreeMap::new();
    for step in 0..300 {
        let mut batch = Batch::new();
        let mut writes = Vec::new();
        let guard = vec![random.u8(..8)];
        let newest = model.get(&guard).map_or(0, |(version, _)| *version);
        let expected = if random.u8(..4) == 0 {
            newest + 1
        } else {
            newest
        };
        batch.expect(LEFT, guard, expected);
        for _ in 0..random.usize(1..4) {
            let key = vec![random.u8(..8); random.usize(1..3)];
            if random.bool() {
                let value = vec![random.u8(..); random.usize(..9)];
                writes.push((
                    batch.put(LEFT, key.clone(), value.clone()),
                    key,
                    Some(value),
                ));
            } else {
                writes.push((batch.delete(LEFT, key.clone()), key, None));
            }
        }
        match store.commit(batch).await {
            Ok(committed) => {
                assert_eq!(expected, newest, "seed {seed} step {step}");
                for (place, key, value) in writes {
                    match value {
                        Some(value) => model.insert(key, (committed.version(place), value)),
                        None => model.remove(&key),
                    };
                }
            }
            Err(error) => {
                let conflict = Error::Conflict {
                    expected,
                    actual: newest,
                };
                assert_eq!(
                    (error, expected != newest),
                    (conflict, true),
                    "seed {seed} step {step}"
                );
            }
        }
        let page = store.scan(Scan::all(LEFT)).await.unwrap();
        let stored = page.entries.into_iter().map(|entry| {
            (
                entry.key.to_vec(),
                (entry.record.version, entry.record.value.to_vec()),
            )
        });
        assert!(stored.eq(model.clone()), "seed {seed} step {step}");
    }
}
