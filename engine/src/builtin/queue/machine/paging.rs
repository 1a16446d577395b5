//! Between memory and disk: which messages of a queue wait in memory, and when more are read.
//!
//! What waits in memory is always the next that can be leased; where that is not certain, nothing
//! is leased until a page was read. A queue that keeps groups needs all its messages in memory:
//! which of them may go depends on the others of their group, wherever those stand.

use super::{Fetch, Fetched, Grouping, Machine, Stage};
use crate::builtin::queue::{name::Number, record::Head};

impl Machine {
    /// Takes in a message that an earlier life has left on disk; one that has a due time must be
    /// found by it. They come in order of numbers.
    pub(in crate::builtin::queue) fn inherit(&mut self, number: Number, head: &Head) {
        self.backlog.inherit(number, head);
    }

    /// Whether a message with a due time should leave memory, or not come in: then it must be found
    /// on disk by it.
    pub(in crate::builtin::queue) fn is_crowded(&self) -> bool {
        !self.is_grouped() && self.delayed.len() >= self.window
    }

    /// As [`Machine::stored`], of one that can be found by its due time and waits on disk.
    pub(in crate::builtin::queue) fn stored_aside(&mut self, number: Number) {
        if self.stage(number) == Some(Stage::Storing)
            && let Some(head) = self.remove(number)
        {
            self.backlog.keep_delayed(&head);
        }
    }

    /// As [`Machine::retry`], of one that can be found by its due time and waits on disk.
    pub(in crate::builtin::queue) fn set_aside(&mut self, number: Number, head: &Head) {
        if self.end_lease(number).is_some() {
            self.remove(number);
            self.backlog.keep_delayed(head);
        }
    }

    /// Everything is in memory.
    pub(in crate::builtin::queue) fn is_whole(&self) -> bool {
        self.backlog.is_empty()
    }

    pub(in crate::builtin::queue) fn is_in_memory(&self, number: Number) -> bool {
        self.live.contains_key(&number)
    }

    /// How a message is that was found on disk; `None` when it is done with.
    pub(in crate::builtin::queue) fn recognize(
        &self,
        number: Number,
        head: Head,
    ) -> Option<(Head, Stage)> {
        match self.live.get(&number) {
            Some(message) => Some((message.head, message.stage)),
            None if self.backlog.has(number, &head) => Some((head, Stage::Waiting)),
            None => None,
        }
    }

    // ── Pages ───────────────────────────────────────────────────────────────────────────────

    /// The page that should be read now. One at a time; [`Machine::begin`] and [`Machine::end`] follow.
    pub(in crate::builtin::queue) fn wanted(&self, now_ms: u64) -> Option<Fetch> {
        if !self.open || self.backlog.fetch.is_some() {
            return None;
        }
        if self.is_grouped() {
            return self.any();
        }
        if self.lacks_due(now_ms) {
            return Some(Fetch::Due { upto_ms: now_ms });
        }
        let is_low = self.ready.len() <= self.window / 2;
        let page = self.backlog.ready_page()?;
        (is_low || self.lacks_first()).then_some(page)
    }

    /// Any page, for those who want all messages, whenever they are due.
    pub(in crate::builtin::queue) fn any(&self) -> Option<Fetch> {
        let due = || Fetch::Due { upto_ms: u64::MAX };
        let ready = self.backlog.ready_page();
        ready.or_else(|| self.backlog.first_due_ms().map(|_| due()))
    }

    pub(in crate::builtin::queue) fn begin(&mut self, fetch: Fetch) {
        self.backlog.begin(fetch);
    }

    /// The page was read. Those with numbers below `heirs_below` are from an earlier life.
    pub(in crate::builtin::queue) fn end(&mut self, fetched: Fetched, heirs_below: Number) {
        let live = &self.live;
        let coming = self
            .backlog
            .end(fetched, |number| live.contains_key(&number));
        for (number, head) in coming {
            self.insert(number, head, Stage::Waiting, number < heirs_below);
        }
    }

    /// The page cannot be read.
    pub(in crate::builtin::queue) fn give_up(&mut self) {
        self.backlog.fetch = None;
    }

    /// Whether the next one to be leased may be on disk.
    pub(super) fn lacks(&self, now_ms: u64) -> bool {
        match self.is_grouped() {
            true => !self.is_whole(),
            false => self.lacks_due(now_ms) || self.lacks_first(),
        }
    }

    /// Of more that are due at once than there is room for, those go first that were due first.
    fn lacks_due(&self, now_ms: u64) -> bool {
        let has_room = self.ready.len() < self.window;
        let first_due_ms = self.backlog.first_due_ms();
        has_room && first_due_ms.is_some_and(|due_ms| due_ms <= now_ms)
    }

    fn lacks_first(&self) -> bool {
        let (Some(on_disk), in_memory) = (self.backlog.first(), self.ready.first()) else {
            return false;
        };
        in_memory.is_none_or(|in_memory| on_disk < *in_memory)
    }

    // ── Inside ──────────────────────────────────────────────────────────────────────────────

    fn is_grouped(&self) -> bool {
        self.rules.grouping() != Grouping::None
    }

    /// Whether a message that is on disk comes into memory, too; else it is in the backlog now.
    pub(super) fn admits(&mut self, number: Number, head: &Head) -> bool {
        let full = self.ready.len() >= self.window;
        let whole = self.is_grouped();
        head.due_ms > 0 || self.backlog.admits(number, head, full, whole)
    }
}
