//! What was told of late in groups whose clients ask for offsets, so that one that was away hears
//! the rest. In memory, bounded, and gone with the engine: who cannot be told the rest is shown how
//! things are instead, so nothing depends on it.
//!
//! Numbers rise over all groups and are never given twice. Telling and joining take turns under one
//! lock: between what a client has missed and what it hears from then on there is no gap.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Clock, config::Config, events::Event, row::Place};
use crate::builtin::live::Live;

/// How often it is looked for groups that nobody watches any more.
const SWEEP_MS: u64 = 10_000;

pub(super) type Number = u64;

pub(super) struct History {
    /// This life of the engine: offsets of others mean nothing.
    epoch: u64,
    config: Live<Config>,
    clock: Clock,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    last: Number,
    streams: HashMap<String, HashMap<String, Group>>,
    swept_ms: u64,
}

struct Group {
    told: VecDeque<Told>,
    bytes: usize,
    /// Everything after this number is in `told`.
    floor: Number,
    watchers: usize,
    /// Since when nobody watches.
    idle_ms: u64,
}

struct Told {
    at_ms: u64,
    event: Arc<Event>,
}

impl History {
    pub(super) fn new(config: Live<Config>, clock: Clock) -> Self {
        History {
            epoch: fastrand::u64(..),
            config,
            clock,
            book: Mutex::default(),
        }
    }

    /// Keeps what is told of the place's group from now on, until [`History::unwatch`] and a while
    /// longer. Returns the number of what was told last.
    pub(super) fn watch(&self, place: Place<'_>) -> Number {
        let now_ms = (self.clock)();
        let mut book = self.book.lock();
        book.sweep(now_ms, self.config.get().history_ms_max);
        // A new group knows nothing of what was told before, whatever number came last.
        book.last += 1;
        let last = book.last;
        let groups = book.streams.entry(place.stream.to_owned()).or_default();
        let group = groups.entry(place.group.to_owned());
        group.or_insert_with(|| Group::new(last)).watchers += 1;
        last
    }

    /// The number of what was told last.
    pub(super) fn last(&self) -> Number {
        self.book.lock().last
    }

    pub(super) fn unwatch(&self, place: Place<'_>) {
        let now_ms = (self.clock)();
        if let Some(group) = self.book.lock().group(place) {
            group.watchers = group.watchers.saturating_sub(1);
            group.idle_ms = now_ms;
        }
    }

    pub(super) fn keeps(&self, place: Place<'_>) -> bool {
        self.book.lock().group(place).is_some()
    }

    /// Numbers the event if its group is kept, and has `tell` tell it before anybody joins.
    pub(super) fn tell(&self, place: Place<'_>, mut event: Event, tell: impl FnOnce(&Arc<Event>)) {
        let now_ms = (self.clock)();
        let config = self.config.get();
        let mut book = self.book.lock();
        let number = book.last + 1;
        let Some(group) = book.group(place) else {
            drop(book);
            return tell(&Arc::new(event));
        };
        event.numbered = Some((number, self.numbered(&event.text, number)));
        let event = Arc::new(event);
        group.push(now_ms, Arc::clone(&event), &config);
        book.last = number;
        tell(&event);
    }

    /// Has `join` join with everything that was told after `after`, and the last number; nothing is
    /// told meanwhile. `None` when not everything is known any more.
    pub(super) fn since<T>(
        &self,
        place: Place<'_>,
        after: Number,
        join: impl FnOnce(&[Arc<Event>], Number) -> T,
    ) -> Option<T> {
        let now_ms = (self.clock)();
        let config = self.config.get();
        let mut book = self.book.lock();
        let last = book.last;
        let group = book.group(place)?;
        group.forget(now_ms, &config);
        if after < group.floor || after > last {
            return None;
        }
        let told = group.told.iter().map(|told| &told.event);
        let missed: Vec<Arc<Event>> = told
            .filter(|event| event.number().is_some_and(|number| number > after))
            .cloned()
            .collect();
        Some(join(&missed, last))
    }

    /// What a client was told last, if that was in this life of the engine.
    pub(super) fn read(&self, offset: &str) -> Option<Number> {
        let (epoch, number) = offset.split_once('-')?;
        let is_ours = u64::from_str_radix(epoch, 16).ok()? == self.epoch;
        let number = u64::from_str_radix(number, 16).ok()?;
        is_ours.then_some(number)
    }

    /// A frame with an offset: who was told it knows everything up to `number`.
    pub(super) fn numbered(&self, frame: &str, number: Number) -> Utf8Bytes {
        let rest = frame.strip_prefix('{').unwrap_or(frame);
        format!("{{\"offset\":\"{:x}-{number:x}\",{rest}", self.epoch).into()
    }
}

impl Book {
    fn group(&mut self, place: Place<'_>) -> Option<&mut Group> {
        self.streams.get_mut(place.stream)?.get_mut(place.group)
    }

    /// Forgets groups that nobody has watched for long.
    fn sweep(&mut self, now_ms: u64, kept_ms: u64) {
        if now_ms < self.swept_ms.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept_ms = now_ms;
        self.streams.retain(|_, groups| {
            groups.retain(|_, group| {
                group.watchers > 0 || now_ms < group.idle_ms.saturating_add(kept_ms)
            });
            !groups.is_empty()
        });
    }
}

impl Group {
    fn new(floor: Number) -> Self {
        Group {
            told: VecDeque::new(),
            bytes: 0,
            floor,
            watchers: 0,
            idle_ms: 0,
        }
    }

    fn push(&mut self, at_ms: u64, event: Arc<Event>, config: &Config) {
        self.bytes += event.text.len();
        self.told.push_back(Told { at_ms, event });
        self.forget(at_ms, config);
    }

    /// Lets go of what is too old or too much.
    fn forget(&mut self, now_ms: u64, config: &Config) {
        while let Some(oldest) = self.told.front()
            && (self.told.len() > config.history_events_max
                || self.bytes > config.history_bytes_max
                || oldest.at_ms.saturating_add(config.history_ms_max) <= now_ms)
        {
            self.bytes -= oldest.event.text.len();
            self.floor = oldest.event.number().unwrap_or(self.floor);
            self.told.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
