//! What was acknowledged, what arrived, and what must not come again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

/// What kind of write, as figures name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    State,
    Counter,
    Stream,
    Queue,
    Topic,
    Poison,
    Cron,
}

/// Shared by the load, the functions that messages reach, and the checks.
#[derive(Clone)]
pub(super) struct Ledger {
    /// Writes count before they are made.
    pub(super) is_weak: bool,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    next: u64,
    /// Acknowledged writes by kind and round.
    written: BTreeMap<(Kind, u32), BTreeSet<u64>>,
    /// Increments of the counter that were tried.
    counter_tried: u64,
    /// How often each message reached its function.
    arrived: BTreeMap<Kind, HashMap<u64, u32>>,
    /// Messages whose end was on disk; they must not come again.
    settled: BTreeMap<Kind, BTreeSet<u64>>,
    doubled: BTreeMap<Kind, u64>,
}

impl Ledger {
    pub(super) fn new(is_weak: bool) -> Self {
        Ledger {
            is_weak,
            book: Arc::default(),
        }
    }

    /// A number that nothing had before.
    pub(super) fn number(&self) -> u64 {
        let mut book = self.book.lock();
        book.next += 1;
        book.next
    }

    pub(super) fn acknowledge(&self, kind: Kind, round: u32, number: u64) {
        let mut book = self.book.lock();
        book.written
            .entry((kind, round))
            .or_default()
            .insert(number);
    }

    pub(super) fn try_counting(&self) {
        self.book.lock().counter_tried += 1;
    }

    pub(super) fn counter_tried(&self) -> u64 {
        self.book.lock().counter_tried
    }

    /// A message or a run reached its function.
    pub(super) fn arrive(&self, kind: Kind, number: u64) {
        let mut book = self.book.lock();
        *book
            .arrived
            .entry(kind)
            .or_default()
            .entry(number)
            .or_default() += 1;
        if book
            .settled
            .get(&kind)
            .is_some_and(|settled| settled.contains(&number))
        {
            *book.doubled.entry(kind).or_default() += 1;
        }
    }

    /// Everything of `kind` up to `number` that arrived has ended, on disk.
    pub(super) fn settle(&self, kind: Kind, number: u64) {
        let mut book = self.book.lock();
        let arrived = book.arrived.entry(kind).or_default();
        let ended: Vec<u64> = arrived
            .keys()
            .copied()
            .filter(|one| *one <= number)
            .collect();
        book.settled.entry(kind).or_default().extend(ended);
    }

    pub(super) fn written(&self, kind: Kind, round: u32) -> BTreeSet<u64> {
        let book = self.book.lock();
        book.written
            .get(&(kind, round))
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn arrived(&self, kind: Kind) -> HashMap<u64, u32> {
        let book = self.book.lock();
        book.arrived.get(&kind).cloned().unwrap_or_default()
    }

    pub(super) fn doubled(&self) -> BTreeMap<Kind, u64> {
        self.book.lock().doubled.clone()
    }

    pub(super) fn rounds(&self) -> u32 {
        let book = self.book.lock();
        let rounds = book.written.keys().map(|(_, round)| round + 1);
        rounds.max().unwrap_or_default()
    }

    pub(super) fn acknowledged(&self) -> BTreeMap<Kind, u64> {
        let book = self.book.lock();
        let mut counts = BTreeMap::new();
        for ((kind, _), numbers) in &book.written {
            *counts.entry(*kind).or_default() += numbers.len() as u64;
        }
        counts.insert(
            Kind::Cron,
            book.arrived.get(&Kind::Cron).map_or(0, HashMap::len) as u64,
        );
        counts
    }
}
