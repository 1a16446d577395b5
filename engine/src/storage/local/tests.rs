//! What only a store on disk can be asked: the suite, reopening, foreign folders, `kill -9`. Every
//! adapter of this machine is asked all of it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;

use crate::storage::{Adapter, Batch, Durability, Error, Scan, Space, Storage};

const SPACE: Space = Space::new("test");

/// Those with files.
const ADAPTERS: [Adapter; 3] = [Adapter::Fjall, Adapter::Sqlite, Adapter::Sled];

fn fresh(adapter: Adapter) -> (Arc<dyn Storage>, TempDir) {
    let folder = TempDir::new().unwrap();
    (adapter.open(&folder.path().join("store")).unwrap(), folder)
}

mod fjall {
    crate::storage::conformance::conforms!(super::fresh(crate::storage::Adapter::Fjall));
}

mod sqlite {
    crate::storage::conformance::conforms!(super::fresh(crate::storage::Adapter::Sqlite));
}

mod sled {
    crate::storage::conformance::conforms!(super::fresh(crate::storage::Adapter::Sled));
}

async fn put(store: &Arc<dyn Storage>, key: &str, value: &str) -> u64 {
    let mut batch = Batch::new();
    batch.put(SPACE, key.to_owned(), value.to_owned());
    store.commit(batch).await.unwrap().version(0)
}

#[tokio::test]
async fn records_and_versions_outlive_the_process() {
    for adapter in ADAPTERS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let mut newest = 0;
        for round in 0..3 {
            let store = adapter.open(&path).unwrap();
            for old in 0..round {
                let record = store.get(SPACE, format!("{old}").as_bytes()).await;
                assert!(record.unwrap().is_some(), "{adapter:?} {old}");
            }
            let version = put(&store, &round.to_string(), "value").await;
            assert!(version > newest, "{adapter:?}: {version} after {newest}");
            newest = version;
        }
    }
}

#[tokio::test]
async fn relaxed_writes_are_seen_at_once_and_outlive_the_store() {
    for adapter in ADAPTERS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let store = adapter.open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(SPACE, "key", "value");
        batch.durability(Durability::Relaxed);
        store.commit(batch).await.unwrap();
        assert!(store.get(SPACE, b"key").await.unwrap().is_some());
        drop(store);
        let store = adapter.open(&path).unwrap();
        let record = store.get(SPACE, b"key").await;
        assert!(record.unwrap().is_some(), "{adapter:?}");
    }
}

/// A chunked value leaves nothing of a longer one before it.
#[tokio::test]
async fn values_grow_and_shrink() {
    for adapter in ADAPTERS {
        let (store, _folder) = fresh(adapter);
        for kib in [1, 300, 65, 64, 0, 130] {
            let value = "v".repeat(kib << 10);
            put(&store, "key", &value).await;
            let record = store.get(SPACE, b"key").await.unwrap().unwrap();
            assert!(record.value == value, "{adapter:?}: {kib} KiB");
        }
        let mut batch = Batch::new();
        batch.delete(SPACE, "key");
        store.commit(batch).await.unwrap();
        assert_eq!(store.get(SPACE, b"key").await, Ok(None));
        assert!(
            store
                .scan(Scan::all(SPACE))
                .await
                .unwrap()
                .entries
                .is_empty()
        );
    }
}

#[tokio::test]
async fn a_second_process_is_told() {
    for adapter in ADAPTERS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let _first = adapter.open(&path).unwrap();
        let second = adapter.open(&path);
        assert!(matches!(second, Err(Error::Locked { .. })), "{adapter:?}");
    }
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear Ada").unwrap();
    let opened = Adapter::Fjall.open(folder.path());
    assert!(matches!(opened, Err(Error::Format { .. })));
    assert!(folder.path().join("letter.txt").exists());
}

#[test]
fn a_store_of_another_format_or_adapter_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    drop(Adapter::Fjall.open(&path).unwrap());
    let error = Adapter::Sqlite.open(&path).err().unwrap().to_string();
    assert!(
        error.contains("`fjall`") && error.contains("`sqlite`"),
        "{error}"
    );
    fs::write(path.join("FORMAT"), "agentos-store 3\nfjall\n").unwrap();
    let error = Adapter::Fjall.open(&path).err().unwrap().to_string();
    assert!(
        error.contains("agentos-store 3") && error.contains("agentos-store 2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_of_the_first_format_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    put(&Adapter::Fjall.open(&path).unwrap(), "key", "value").await;
    fs::write(path.join("FORMAT"), "agentos-store 1\n").unwrap();
    for _ in 0..2 {
        let store = Adapter::Fjall.open(&path).unwrap();
        assert!(store.get(SPACE, b"key").await.unwrap().is_some());
    }
    let marker = fs::read_to_string(path.join("FORMAT")).unwrap();
    assert_eq!(marker, "agentos-store 2\nfjall\n");
}

#[test]
fn a_half_made_store_is_made_again() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("store.new")).unwrap();
    fs::write(folder.path().join("store.new/0.jnl"), "half").unwrap();
    fs::create_dir(folder.path().join("store")).unwrap();
    Adapter::Fjall.open(&folder.path().join("store")).unwrap();
    assert!(!folder.path().join("store.new").exists());
}

// ── kill -9 ─────────────────────────────────────────────────────────────────────────────────────

/// Tells the test binary, run again, that it is the writer; value: the store's folder.
const WRITER_FOLDER: &str = "AGENTOS_TEST_WRITER_FOLDER";

/// With this set the writer says "acknowledged" too early, to see that the test would notice.
const WRITER_LIES: &str = "AGENTOS_TEST_WRITER_LIES";

/// Which adapter the writer uses.
const WRITER_ADAPTER: &str = "AGENTOS_TEST_WRITER_ADAPTER";

const WRITERS: u32 = 8;

fn named(adapter: &str) -> Adapter {
    serde_json::from_value(adapter.into()).unwrap()
}

fn name(adapter: Adapter) -> String {
    let name = serde_json::to_value(adapter).unwrap();
    name.as_str().unwrap().to_owned()
}

/// Not a test of its own: what `kill -9` hits. Writes until killed and prints each acknowledged
/// key with its version.
#[test]
#[ignore = "run by the kill test in a process of its own"]
fn writer_process() {
    let Some(folder) = env::var_os(WRITER_FOLDER) else {
        return;
    };
    let lies = env::var_os(WRITER_LIES).is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let adapter = named(&env::var(WRITER_ADAPTER).unwrap());
        let store = adapter.open(Path::new(&folder)).unwrap();
        let run = std::process::id();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                tokio::spawn(write_for_ever(
                    Arc::clone(&store),
                    format!("{run}-{writer}"),
                    lies,
                ))
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write_for_ever(store: Arc<dyn Storage>, name: String, lies: bool) {
    for number in 0_u64.. {
        let key = format!("{name}-{number}");
        if lies {
            acknowledge(&key);
        }
        put(&store, &key, &key.repeat(1 + number as usize % 40)).await;
        if !lies {
            acknowledge(&key);
        }
    }
}

/// One write of one line: a line is either there or not.
fn acknowledge(key: &str) {
    std::io::stdout()
        .lock()
        .write_all(format!("ack {key}\n").as_bytes())
        .unwrap();
}

/// Runs the writer for a while, kills it, and returns what it said was on disk.
fn run_and_kill(adapter: Adapter, folder: &Path, after: Duration, lies: bool) -> Vec<String> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "storage::local::tests::writer_process",
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(WRITER_FOLDER, folder)
        .env(WRITER_ADAPTER, name(adapter))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if lies {
        command.env(WRITER_LIES, "1");
    }
    let mut writer = command.spawn().unwrap();
    let output = BufReader::new(writer.stdout.take().unwrap());
    let reader = std::thread::spawn(move || -> Vec<String> {
        let lines = output.split(b'\n').map_while(Result::ok);
        let text = lines.filter_map(|line| String::from_utf8(line).ok());
        text.filter_map(|line| line.strip_prefix("ack ").map(str::to_owned))
            .collect()
    });
    std::thread::sleep(after);
    writer.kill().unwrap();
    writer.wait().unwrap();
    reader.join().unwrap()
}

/// Everything stored, by key.
async fn contents(adapter: Adapter, folder: &Path) -> BTreeMap<String, String> {
    let store = adapter.open(folder).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = BTreeMap::new();
    let mut scan = Scan::all(SPACE);
    loop {
        let page = store.scan(scan.clone()).await.unwrap();
        all.extend(
            page.entries
                .iter()
                .map(|entry| (text(&entry.key), text(&entry.record.value))),
        );
        if !page.more {
            return all;
        }
        scan = scan.after(&page.entries.last().unwrap().key);
    }
}

/// Keys of `acknowledged` that are not there, or not as they were written.
fn lost(acknowledged: &[String], stored: &BTreeMap<String, String>) -> Vec<String> {
    let intact = |key: &String| {
        let number: usize = key.rsplit('-').next().unwrap().parse().unwrap();
        stored.get(key) == Some(&key.repeat(1 + number % 40))
    };
    acknowledged
        .iter()
        .filter(|key| !intact(key))
        .cloned()
        .collect()
}

/// Rounds per adapter. `cargo xtask crash` plays more, through the built binary.
const ROUNDS: u32 = 4;

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    for adapter in ADAPTERS {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let mut acknowledged = Vec::new();
        for round in 0..ROUNDS {
            let after = Duration::from_millis(random.u64(50..300));
            acknowledged.extend(run_and_kill(adapter, &path, after, false));
            let lost = lost(&acknowledged, &contents(adapter, &path).await);
            assert!(
                lost.is_empty(),
                "{adapter:?} seed {seed} round {round}: lost {lost:?}"
            );
        }
        let count = acknowledged.len();
        assert!(
            count > 20,
            "{adapter:?}: only {count} writes: too few to tell"
        );
    }
}

/// The control: a writer that speaks too early must be caught, or the test above proves nothing.
#[tokio::test]
async fn the_kill_test_notices_a_writer_that_lies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let adapter = Adapter::Fjall;
    for _ in 0..20 {
        let acknowledged = run_and_kill(adapter, &path, Duration::from_millis(150), true);
        if !lost(&acknowledged, &contents(adapter, &path).await).is_empty() {
            return;
        }
    }
    panic!("20 kills in mid-write, and nothing was lost");
}
