//! What only a store on disk can be asked: the suite, reopening, foreign folders, `kill -9`.

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

use crate::storage::{Batch, Error, Scan, Space, Storage, fjall::open};

const SPACE: Space = Space::new("test");

fn fresh() -> (Arc<dyn Storage>, TempDir) {
    let folder = TempDir::new().unwrap();
    (open(&folder.path().join("store")).unwrap(), folder)
}

crate::storage::conformance::conforms!(fresh());

async fn put(store: &Arc<dyn Storage>, key: &str, value: &str) -> u64 {
    let mut batch = Batch::new();
    batch.put(SPACE, key.to_owned(), value.to_owned());
    store.commit(batch).await.unwrap().version(0)
}

#[tokio::test]
async fn records_and_versions_outlive_the_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let mut newest = 0;
    for round in 0..3 {
        let store = open(&path).unwrap();
        for old in 0..round {
            assert!(
                store
                    .get(SPACE, format!("{old}").as_bytes())
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        let version = put(&store, &round.to_string(), "value").await;
        assert!(version > newest, "{version} after {newest}");
        newest = version;
    }
}

#[tokio::test]
async fn a_second_process_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(Error::Locked { .. })));
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear Ada").unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Format { .. })));
    assert!(folder.path().join("letter.txt").exists());
}

#[test]
fn a_store_of_another_format_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    drop(open(&path).unwrap());
    fs::write(path.join("FORMAT"), "agentos-store 2\n").unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(
        error.contains("agentos-store 2") && error.contains("agentos-store 1"),
        "{error}"
    );
}

#[test]
fn a_half_made_store_is_made_again() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("store.new")).unwrap();
    fs::write(folder.path().join("store.new/0.jnl"), "half").unwrap();
    fs::create_dir(folder.path().join("store")).unwrap();
    open(&folder.path().join("store")).unwrap();
    assert!(!folder.path().join("store.new").exists());
}

// ── kill -9 ─────────────────────────────────────────────────────────────────────────────────────

/// Tells the test binary, run again, that it is the writer; value: the store's folder.
const WRITER_FOLDER: &str = "AGENTOS_TEST_WRITER_FOLDER";

/// With this set the writer says "acknowledged" too early, to see that the test would notice.
const WRITER_LIES: &str = "AGENTOS_TEST_WRITER_LIES";

const WRITERS: u32 = 8;

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
        let store = open(Path::new(&folder)).unwrap();
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
fn run_and_kill(folder: &Path, after: Duration, lies: bool) -> Vec<String> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "storage::fjall::tests::writer_process",
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(WRITER_FOLDER, folder)
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
async fn contents(folder: &Path) -> BTreeMap<String, String> {
    let store = open(folder).unwrap();
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

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let after = Duration::from_millis(random.u64(20..300));
        acknowledged.extend(run_and_kill(&path, after, false));
        let lost = lost(&acknowledged, &contents(&path).await);
        assert!(lost.is_empty(), "seed {seed} round {round}: lost {lost:?}");
    }
    assert!(
        acknowledged.len() > 100,
        "only {} writes: too few to tell",
        acknowledged.len()
    );
}

/// The control: a writer that speaks too early must be caught, or the test above proves nothing.
#[tokio::test]
async fn the_kill_test_notices_a_writer_that_lies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    for _ in 0..20 {
        let acknowledged = run_and_kill(&path, Duration::from_millis(150), true);
        if !lost(&acknowledged, &contents(&path).await).is_empty() {
            return;
        }
    }
    panic!("20 kills in mid-write, and nothing was lost");
}
