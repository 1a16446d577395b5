//! What of a queue lies on disk only: some numbers that say where, whatever the count.
//!
//! Messages that could be leased at once are a lane per priority, by number: its head is in memory,
//! and everything from a certain number on is on disk. Messages that wait for a moment are found on
//! disk by their due time (`record::DUE`), which is written when they leave memory.

use std::collections::{BTreeMap, BTreeSet};

use super::Rank;
use crate::builtin::queue::{name::Number, record::Head};

/// Messages that wait in memory, of those that are ready and of those that are delayed: enough for
/// the most that a queue has in work at once while the next page is read.
pub(super) const WINDOW: usize = 4096;

/// A page to be read from disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::builtin::queue) enum Fetch {
    /// Ready messages of one priority, from and to these numbers, both included.
    Ready {
        priority: u8,
        from: Number,
        upto: Number,
    },
    /// Messages that are due at `upto_ms` or before.
    Due { upto_ms: u64 },
}

/// What a page was.
#[derive(Clone, Debug, Default)]
pub(in crate::builtin::queue) struct Fetched {
    pub(in crate::builtin::queue) found: Vec<(Number, Head)>,
    /// Where the next one begins: a number, or a due time. `None` when the range has ended.
    pub(in crate::builtin::queue) next: Option<u64>,
}

/// Messages of one queue that are on disk only.
#[derive(Default)]
pub(super) struct Backlog {
    /// By 255 less the priority. One without messages remembers what has passed through memory.
    lanes: BTreeMap<u8, Lane>,
    due: Due,
    /// The page that is being read, and how many its lane had when that began.
    pub(super) fetch: Option<(Fetch, usize)>,
}

#[derive(Default)]
struct Lane {
    count: usize,
    /// There may be more on disk than was counted: the last page did not come to the end.
    unsure: bool,
    /// Those at or behind it are on disk only, those before are in memory or gone.
    from: Number,
    last: Number,
    /// The highest number that has been in memory.
    highest: Number,
    /// Not before that the first one came.
    born_ms: u64,
    /// At or behind `from`, and yet in memory or gone: overtook others on their way to the disk.
    ahead: BTreeSet<Number>,
}

#[derive(Default)]
struct Due {
    count: usize,
    /// As [`Lane::unsure`].
    unsure: bool,
    /// None is due before.
    first_ms: u64,
    /// As `first_ms`, of those that came while a page was being read.
    late_ms: Option<u64>,
    born_ms: u64,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.count == 0 && !self.unsure
    }

    fn push(&mut self, number: Number, born_ms: u64) {
        if self.is_empty() {
            (self.from, self.last, self.born_ms) = (number, number, born_ms);
        }
        self.count += 1;
        self.last = self.last.max(number);
    }

    /// `number` is in memory from now on.
    fn enter(&mut self, number: Number) {
        self.highest = self.highest.max(number);
        if !self.is_empty() && number >= self.from {
            self.ahead.insert(number);
        }
    }

    fn has(&self, number: Number) -> bool {
        !self.is_empty() && number >= self.from && !self.ahead.contains(&number)
    }
}

impl Due {
    fn is_empty(&self) -> bool {
        self.count == 0 && !self.unsure
    }
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.lanes.values().map(|lane| lane.count).sum::<usize>() + self.due.count
    }

    /// Nothing is on disk only.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.lanes.values().all(Lane::is_empty)
    }

    pub(super) fn delayed(&self) -> usize {
        self.due.count
    }

    /// When the oldest message came, or a moment before.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let lanes = self.lanes.values().filter(|lane| lane.count > 0);
        let due = (self.due.count > 0).then_some(self.due.born_ms);
        lanes.map(|lane| lane.born_ms).chain(due).min()
    }

    /// Where the first one stands among those that are ready.
    pub(super) fn first(&self) -> Option<Rank> {
        let mut lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        lanes.next().map(|(turn, lane)| (*turn, lane.from))
    }

    /// When the first of those that wait for a moment may be due.
    pub(super) fn first_due_ms(&self) -> Option<u64> {
        (!self.due.is_empty()).then_some(self.due.first_ms)
    }

    /// Whether a message that is on disk, but not in memory, waits here.
    pub(super) fn has(&self, number: Number, head: &Head) -> bool {
        match head.due_ms {
            0 => (self.lanes.get(&turn(head))).is_some_and(|lane| lane.has(number)),
            _ => !self.due.is_empty(),
        }
    }

    // ── Coming ──────────────────────────────────────────────────────────────────────────────

    /// A message that an earlier life has left, in order of numbers.
    pub(super) fn inherit(&mut self, number: Number, head: &Head) {
        match head.due_ms {
            0 => {
                let lane = self.lanes.entry(turn(head)).or_default();
                lane.push(number, head.born_ms);
            }
            _ => self.keep_delayed(head),
        }
    }

    /// Where a message goes that is on disk and ready: true is into memory. `full` says that nothing
    /// more should; a queue that keeps groups needs all of it there (`whole`).
    pub(super) fn admits(&mut self, number: Number, head: &Head, full: bool, whole: bool) -> bool {
        let reading_upto = match self.fetch {
            Some((Fetch::Ready { priority, upto, .. }, _)) if priority == head.priority => upto,
            _ => 0,
        };
        let lane = self.lanes.entry(turn(head)).or_default();
        let stays = match lane.is_empty() {
            true => !full || number <= lane.highest,
            // The page that is being read may have passed its place already.
            false => !lane.has(number) || number <= reading_upto,
        };
        match stays || whole {
            true => lane.enter(number),
            false => lane.push(number, head.born_ms),
        }
        stays || whole
    }

    /// A message is ready in memory again, and its head on disk says so.
    pub(super) fn reenter(&mut self, number: Number, head: &Head) {
        self.lanes.entry(turn(head)).or_default().enter(number);
    }

    /// Takes a message over whose due time is on disk.
    pub(super) fn keep_delayed(&mut self, head: &Head) {
        let due = &mut self.due;
        if due.is_empty() {
            (due.first_ms, due.born_ms) = (head.due_ms, head.born_ms);
        }
        due.count += 1;
        due.first_ms = due.first_ms.min(head.due_ms);
        due.born_ms = due.born_ms.min(head.born_ms);
        let late_ms = due.late_ms.unwrap_or(u64::MAX).min(head.due_ms);
        due.late_ms = Some(late_ms);
    }

    // ── Pages ───────────────────────────────────────────────────────────────────────────────

    /// The first page of those that are ready.
    pub(super) fn ready_page(&self) -> Option<Fetch> {
        let (turn, from) = self.first()?;
        Some(Fetch::Ready {
            priority: u8::MAX - turn,
            from,
            upto: self.lanes.get(&turn)?.last,
        })
    }

    pub(super) fn begin(&mut self, fetch: Fetch) {
        let count = match fetch {
            Fetch::Ready { priority, .. } => {
                let lane = self.lanes.get(&(u8::MAX - priority));
                lane.map_or(0, |lane| lane.count)
            }
            Fetch::Due { .. } => {
                self.due.late_ms = None;
                self.due.count
            }
        };
        self.fetch = Some((fetch, count));
    }

    /// The page was read: what of it comes into memory. `is_known` are those that are there already.
    pub(super) fn end(
        &mut self,
        fetched: Fetched,
        is_known: impl Fn(Number) -> bool,
    ) -> Vec<(Number, Head)> {
        let Some((fetch, count)) = self.fetch.take() else {
            return Vec::new();
        };
        let Fetched { mut found, next } = fetched;
        match fetch {
            Fetch::Ready { priority, upto, .. } => {
                let lane = self.lanes.entry(u8::MAX - priority).or_default();
                found.retain(|(number, _)| !is_known(*number) && !lane.ahead.contains(number));
                (lane.count, lane.unsure) = left(lane.count, found.len(), count, next);
                lane.from = next.unwrap_or(upto + 1);
                lane.ahead = match lane.is_empty() {
                    true => BTreeSet::new(),
                    false => lane.ahead.split_off(&lane.from),
                };
                if let Some((number, head)) = found.last() {
                    lane.highest = lane.highest.max(*number);
                    lane.born_ms = head.born_ms;
                }
            }
            Fetch::Due { .. } => {
                found.retain(|(number, _)| !is_known(*number));
                let due = &mut self.due;
                (due.count, due.unsure) = left(due.count, found.len(), count, next);
                let ends = [next, due.late_ms];
                due.first_ms = ends.into_iter().flatten().min().unwrap_or_default();
            }
        }
        found
    }
}

/// How many are left of `now` when a page has taken `found`, and whether there may be more; there
/// were `before` when it began. A range that has ended holds none of those any more, whatever was
/// counted.
fn left(now: usize, found: usize, before: usize, next: Option<u64>) -> (usize, bool) {
    match next {
        Some(_) => (now.saturating_sub(found), true),
        None => (now.saturating_sub(before), false),
    }
}

fn turn(head: &Head) -> u8 {
    u8::MAX - head.priority
}
