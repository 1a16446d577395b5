//! The shop under traffic, whatever it is written in.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    load::{Asked, Served},
    shop::{Shop, record_beside},
};

/// The shop, whatever it is written in.
pub(super) struct Numbered {
    record: PathBuf,
    /// iii's messages know no streams.
    streams: bool,
}

/// Chunks of a stream, and milliseconds between them: it goes on for a while after a change.
const CHUNKS: u64 = 20;
const CHUNK_MS: u64 = 20;

impl Numbered {
    pub(super) fn of(shop: &Shop, streams: bool) -> Arc<Self> {
        let record = record_beside(&shop.folder);
        Arc::new(Numbered { record, streams })
    }
}

impl Served for Numbered {
    fn call(&self, number: u64) -> Asked {
        // Some take a moment, so that some run whenever the build changes.
        let ms = if number.is_multiple_of(200) { 50 } else { 0 };
        ("shop::record", json!({ "n": number, "ms": ms }))
    }

    fn stream(&self) -> Option<Asked> {
        let asked = ("shop::count", json!({ "to": CHUNKS, "ms": CHUNK_MS }));
        self.streams.then_some(asked)
    }

    fn said(&self) -> String {
        (0..CHUNKS).map(|number| format!("{number} ")).collect()
    }

    fn says(&self, chunk: &Value) -> String {
        format!("{chunk} ")
    }

    fn recorded(&self) -> Result<Vec<u64>> {
        let text = fs::read_to_string(&self.record)?;
        let numbers = text.lines().map(str::parse).collect::<Result<_, _>>();
        numbers.context("each line is a number")
    }
}
