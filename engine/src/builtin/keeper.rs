//! The functions `engine::storage::*`: a copy of everything that is stored, and whether it is intact.

use std::{collections::BTreeMap, sync::Arc};

use agentos_sdk::{Code, Context, Error, Payload, Registrar, Sink, Worker, async_trait};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::storage::{self, Storage, backup::Encoder};

pub const BACKUP: &str = "engine::storage::backup";
pub const VERIFY: &str = "engine::storage::verify";

/// Bytes per chunk of a backup: large enough to be few, far below the limit of a message.
const CHUNK_BYTES: usize = 256 << 10;

/// Damaged records that are named; more are only counted.
const NAMED_MAX: usize = 100;

/// The built-in worker `storage`.
pub(crate) struct Keeper(pub(crate) Arc<dyn Storage>);

/// Input of both: nothing.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Nothing {}

/// Output of [`BACKUP`], whose chunks are the file.
#[derive(Serialize, JsonSchema)]
pub struct BackedUp {
    pub records: u64,
    pub bytes: u64,
}

/// Output of [`VERIFY`].
#[derive(Serialize, Deserialize, JsonSchema, Default)]
pub struct Verified {
    pub adapter: String,
    pub records: u64,
    pub bytes: u64,
    /// Records by space.
    pub spaces: BTreeMap<String, u64>,
    /// How many are not what was written.
    pub damaged: u64,
    /// Which, up to a hundred.
    pub damages: Vec<String>,
}

#[async_trait]
impl Worker for Keeper {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        let store = Arc::clone(&self.0);
        to.streaming(
            BACKUP,
            move |_: Context, _: Option<Nothing>, sink: Arc<Mutex<Sink>>| {
                let store = Arc::clone(&store);
                async move { backup(&*store, &sink).await }
            },
        )
        .describe("Streams a copy of everything that is stored, of one moment");
        let store = Arc::clone(&self.0);
        to.function(VERIFY, move |_: Context, _: Option<Nothing>| {
            let store = Arc::clone(&store);
            async move { verify(&*store).await.map_err(from_storage) }
        })
        .describe("Reads everything that is stored and compares the checksums")
        .idempotent();
    }
}

async fn backup(store: &dyn Storage, sink: &Mutex<Sink>) -> Result<BackedUp, Error> {
    let mut encoder = Encoder::default();
    let mut bytes = 0;
    let mut snapshot = store.snapshot().await.map_err(from_storage)?;
    while let Some(page) = snapshot.next().await {
        for copied in page.map_err(from_storage)? {
            let record = copied.record.map_err(from_storage)?;
            encoder.push(&copied.space, &copied.key, &record);
            if encoder.waiting() >= CHUNK_BYTES {
                bytes += send(sink, encoder.take()).await?;
            }
        }
    }
    let (rest, records) = encoder.finish();
    bytes += send(sink, rest).await?;
    Ok(BackedUp { records, bytes })
}

async fn send(sink: &Mutex<Sink>, chunk: bytes::Bytes) -> Result<u64, Error> {
    let bytes = chunk.len() as u64;
    sink.lock()
        .await
        .send_payload(Payload::binary(chunk))
        .await?;
    Ok(bytes)
}

/// Reads everything in `store`.
///
/// # Errors
/// When it cannot be read on; a record that is damaged is counted.
pub async fn verify(store: &dyn Storage) -> Result<Verified, storage::Error> {
    let mut found = Verified {
        adapter: store.health().adapter.to_owned(),
        ..Verified::default()
    };
    let mut snapshot = store.snapshot().await?;
    while let Some(page) = snapshot.next().await {
        for copied in page? {
            found.records += 1;
            *found.spaces.entry(copied.space.to_string()).or_default() += 1;
            match copied.record {
                Ok(record) => found.bytes += (copied.key.len() + record.value.len()) as u64,
                Err(error) => {
                    found.damaged += 1;
                    if found.damages.len() < NAMED_MAX {
                        found.damages.push(error.to_string());
                    }
                }
            }
        }
    }
    Ok(found)
}

fn from_storage(error: storage::Error) -> Error {
    let code = match error {
        storage::Error::Unavailable(_) => Code::Unavailable,
        _ => Code::Internal,
    };
    Error::engine(code, error.to_string())
}
