//! One acknowledged write, and one read, of each embedded store.

use std::sync::Arc;

use agentos_engine::storage::{Adapter, Batch, Space, Storage, memory};
use divan::{Bencher, black_box};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const SPACE: Space = Space::new("bench");
const KEY: &[u8] = b"scope/key";
const VALUE: &[u8] = &[b'x'; 256];

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads can be started")
}

fn in_memory() -> (Arc<dyn Storage>, Option<TempDir>) {
    (memory::open(), None)
}

fn on_disk(adapter: Adapter) -> (Arc<dyn Storage>, Option<TempDir>) {
    let folder = TempDir::new().expect("a folder can be made");
    let store = adapter.open(&folder.path().join("store"));
    (store.expect("it is new"), Some(folder))
}

async fn put(store: &Arc<dyn Storage>) {
    let mut batch = Batch::new();
    batch.put(SPACE, KEY, VALUE);
    store.commit(batch).await.expect("it is written");
}

type Open = fn() -> (Arc<dyn Storage>, Option<TempDir>);

const STORES: [(&str, Open); 4] = [
    ("memory", in_memory),
    ("fjall", || on_disk(Adapter::Fjall)),
    ("sqlite", || on_disk(Adapter::Sqlite)),
    ("sled", || on_disk(Adapter::Sled)),
];

fn opened(name: &str) -> (Arc<dyn Storage>, Option<TempDir>) {
    STORES
        .iter()
        .find_map(|(known, open)| (*known == name).then(open))
        .expect("it is in the list")
}

#[divan::bench(args = ["memory", "fjall", "sqlite", "sled"])]
fn get(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = runtime();
    let (store, _folder) = runtime.block_on(async { opened(name) });
    runtime.block_on(put(&store));
    bencher.bench_local(|| black_box(runtime.block_on(store.get(SPACE, KEY))));
}

#[divan::bench(args = ["memory", "fjall", "sqlite", "sled"])]
fn put_alone(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = runtime();
    let (store, _folder) = runtime.block_on(async { opened(name) });
    bencher.bench_local(|| runtime.block_on(put(&store)));
}

/// 64 writers share trips to the disk.
#[divan::bench(args = ["memory", "fjall", "sqlite", "sled"])]
fn put_by_64(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = runtime();
    let (store, _folder) = runtime.block_on(async { opened(name) });
    bencher.bench_local(|| {
        runtime.block_on(async {
            let writers = (0..64).map(|_| put(&store));
            futures_util::future::join_all(writers).await
        })
    });
}
