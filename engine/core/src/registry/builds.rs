//! Which builds of workers have been seen, in the order in which they came.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use super::{Hasher, namespace::key};

/// Builds remembered; beyond that the oldest is forgotten, and is new if it comes back.
const BUILDS_MAX: usize = 4_096;

/// Numbers builds as they first come. One that comes back has its number again, so that a restarted
/// worker does not look newer than its successor.
#[derive(Default)]
pub(crate) struct Builds {
    numbers: DashMap<String, u64, Hasher>,
    next: AtomicU64,
}

impl Builds {
    /// The number of the build of the worker; 0 when it has not said which it is.
    pub(crate) fn number(&self, worker: &str, build: Option<&str>) -> u64 {
        let Some(build) = build else { return 0 };
        let key = key(Some(worker), build).into_owned();
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        if self.numbers.len() >= BUILDS_MAX {
            let oldest = self.numbers.iter().min_by_key(|row| *row.value());
            let oldest = oldest.map(|row| row.key().clone());
            oldest.map(|key| self.numbers.remove(&key));
        }
        let next = || self.next.fetch_add(1, Ordering::Relaxed) + 1;
        *self.numbers.entry(key).or_insert_with(next)
    }
}
