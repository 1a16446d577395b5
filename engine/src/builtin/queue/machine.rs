//! What happens to the messages of one queue: who is next, who waits, who is dead.
//!
//! Pure: times and chance come in as numbers, and nothing is written here. Whoever owns a machine
//! writes to the store what it says, before or after as the durability of each step asks.
//!
//! A message is stored, waits, is leased for an attempt, and waits again or dies; acknowledged, it
//! is gone. Of those that can be leased the one with the highest priority goes first, and among
//! equals the oldest. With [`Grouping::InOrder`] only the oldest message of a group can be leased, so
//! one that waits for its next attempt holds up its group and no other; with [`Grouping::AtMost`]
//! those of a group that has enough leases are parked until one of them ends.
//!
//! Only the next messages are in memory; the rest are on disk, and `paging` says when they come in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

mod backlog;
mod dead;
mod paging;
#[cfg(test)]
mod tests;

pub(super) use backlog::{Fetch, Fetched};
pub(super) use dead::Dead;

use backlog::{Backlog, WINDOW};

use super::{
    name::Number,
    record::Head,
    rules::{Grouping, Rules},
};

/// Workers that may be lost over a message before each more counts as a failed attempt: a worker
/// that is restarted often must not cost messages their attempts, one that kills workers must end.
pub(super) const LOSSES_MAX: u8 = 10;

/// The messages of one queue, without their bodies.
pub(super) struct Machine {
    rules: Rules,
    /// Those that are not in `live`.
    backlog: Backlog,
    /// How many wait in memory, ready and delayed ones each.
    window: usize,
    messages_max: usize,
    /// Whether anything may be leased now.
    open: bool,
    live: BTreeMap<Number, Message>,
    /// Empty with [`Grouping::None`].
    groups: HashMap<u128, Group>,
    /// Could be leased at once.
    ready: BTreeSet<Rank>,
    /// Could be leased when they are due.
    delayed: BTreeSet<(u64, Number)>,
    leased: usize,
    pub(super) dead: Dead,
}

struct Message {
    head: Head,
    stage: Stage,
    /// Left by an earlier life of the engine.
    inherited: bool,
}

/// By what the next one is chosen: 255 less the priority, then age.
type Rank = (u8, Number);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// On its way to the disk.
    Storing,
    Waiting,
    Leased,
}

#[derive(Default)]
struct Group {
    /// All of it, with [`Grouping::InOrder`].
    order: BTreeSet<Number>,
    /// Could be leased but for the others of the group, with [`Grouping::AtMost`].
    parked: BTreeSet<Rank>,
    leased: usize,
}

impl Group {
    fn is_idle(&self) -> bool {
        self.order.is_empty() && self.parked.is_empty() && self.leased == 0
    }
}

/// The queue holds as many messages as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// A message to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) number: Number,
    pub(super) head: Head,
    pub(super) inherited: bool,
}

/// Whether an attempt that failed is the message's own fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    Counted,
    /// The worker went away in the middle. It may have been the message, so this does not go on
    /// for ever.
    Lost,
    /// The engine had no room, or the worker is not back yet.
    Uncounted,
}

/// What becomes of a message whose attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Retry(Head),
    Bury(Head),
}

/// How many messages are where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Everything that is to be delivered, whatever its stage.
    pub(super) depth: usize,
    pub(super) leased: usize,
    pub(super) delayed: usize,
    pub(super) dead: usize,
}

impl Machine {
    /// An empty queue. A closed one keeps messages and leases none.
    pub(super) fn new(rules: Rules, messages_max: usize, open: bool) -> Self {
        Machine {
            rules,
            backlog: Backlog::default(),
            window: WINDOW,
            messages_max,
            open,
            live: BTreeMap::new(),
            groups: HashMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leased: 0,
            dead: Dead::default(),
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn set_rules(&mut self, rules: Rules) {
        let before = std::mem::replace(&mut self.rules, rules).grouping();
        if before != self.rules.grouping() {
            self.rearrange();
        }
    }

    /// What is in it already stays.
    pub(super) fn resize(&mut self, messages_max: usize) {
        self.messages_max = messages_max;
    }

    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            depth: self.live.len() + self.backlog.len(),
            leased: self.leased,
            delayed: self.delayed.len() + self.backlog.delayed(),
            dead: self.dead.len(),
        }
    }

    /// When the oldest message came.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let in_memory = self.live.values().next();
        let in_memory = in_memory.map(|message| message.head.born_ms);
        in_memory.into_iter().chain(self.backlog.oldest_ms()).min()
    }

    /// Messages in memory by age, from the `offset`th on.
    pub(super) fn page(&self, offset: usize, limit: usize) -> impl Iterator<Item = (Head, Stage)> {
        let messages = self.live.values().skip(offset).take(limit);
        messages.map(|message| (message.head, message.stage))
    }

    /// Nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.is_whole() && self.dead.len() == 0
    }

    // ── Coming ──────────────────────────────────────────────────────────────────────────────

    /// Gives a new message its place. It is not leased before [`Machine::stored`].
    pub(super) fn accept(&mut self, number: Number, head: Head) -> Result<(), Full> {
        if self.live.len() + self.backlog.len() + self.dead.len() >= self.messages_max {
            return Err(Full);
        }
        self.insert(number, head, Stage::Storing, false);
        Ok(())
    }

    /// The message is on disk.
    pub(super) fn stored(&mut self, number: Number) {
        let message = self.live.get(&number);
        let Some(message) = message.filter(|message| message.stage == Stage::Storing) else {
            return;
        };
        let head = message.head;
        if !self.admits(number, &head) {
            self.remove(number);
        } else if let Some(message) = self.live.get_mut(&number) {
            message.stage = Stage::Waiting;
            self.place(number);
        }
    }

    /// The message could not be stored: it was never there.
    pub(super) fn unstored(&mut self, number: Number) {
        if self.stage(number) == Some(Stage::Storing) {
            self.remove(number);
        }
    }

    /// Takes in a message that is on disk already.
    pub(super) fn restore(&mut self, number: Number, head: Head, inherited: bool) {
        if self.admits(number, &head) {
            self.insert(number, head, Stage::Waiting, inherited);
        }
    }

    // ── Attempts ────────────────────────────────────────────────────────────────────────────

    /// The next message to deliver, if one may be delivered now.
    pub(super) fn lease(&mut self, now_ms: u64) -> Option<Lease> {
        if !self.open || self.leased >= self.rules.concurrency {
            return None;
        }
        self.wake(now_ms);
        if self.lacks(now_ms) {
            return None;
        }
        let number = self.next_ready()?;
        let message = self.live.get_mut(&number)?;
        message.stage = Stage::Leased;
        let (head, inherited) = (message.head, message.inherited);
        self.leased += 1;
        if self.rules.grouping() != Grouping::None {
            self.groups.entry(head.group).or_default().leased += 1;
        }
        Some(Lease {
            number,
            head,
            inherited,
        })
    }

    /// The first that is ready and whose group lets it go; those before it are parked.
    fn next_ready(&mut self) -> Option<Number> {
        loop {
            let rank = self.ready.pop_first()?;
            let Grouping::AtMost(most) = self.rules.grouping() else {
                return Some(rank.1);
            };
            let group = self.live.get(&rank.1)?.head.group;
            let group = self.groups.entry(group).or_default();
            if group.leased < most {
                return Some(rank.1);
            }
            group.parked.insert(rank);
        }
    }

    /// When [`Machine::lease`] will have something, if nothing else happens before. What is due
    /// already waits for a page, or for room.
    pub(super) fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let may = self.open && self.leased < self.rules.concurrency;
        let in_memory = self.delayed.first().map(|(due_ms, _)| *due_ms);
        let on_disk = self.backlog.first_due_ms();
        let due = in_memory.into_iter().chain(on_disk);
        due.filter(|due_ms| may && *due_ms > now_ms).min()
    }

    /// The attempt succeeded; the message is gone.
    pub(super) fn ack(&mut self, number: Number) {
        if self.end_lease(number).is_some() {
            self.remove(number);
        }
    }

    /// What must become of a leased message whose attempt failed. Changes nothing: the store is
    /// told first, then [`Machine::retry`] or [`Machine::bury`].
    pub(super) fn verdict(
        &self,
        number: Number,
        now_ms: u64,
        failure: Failure,
        jitter: u64,
    ) -> Option<Verdict> {
        let message = self.live.get(&number)?;
        let failure = match failure {
            Failure::Lost if message.head.losses >= LOSSES_MAX => Failure::Counted,
            other => other,
        };
        if failure == Failure::Lost {
            return Some(Verdict::Retry(Head {
                losses: message.head.losses + 1,
                due_ms: 0,
                ..message.head
            }));
        }
        let counted = u32::from(failure == Failure::Counted);
        let attempts = message.head.attempts.saturating_add(counted);
        let wait_ms = self.rules.backoff_ms(attempts.max(1), jitter);
        let head = Head {
            attempts,
            due_ms: now_ms.saturating_add(wait_ms),
            ..message.head
        };
        Some(match failure {
            Failure::Counted if attempts >= self.rules.max_retries => Verdict::Bury(head),
            _ => Verdict::Retry(head),
        })
    }

    /// Ends the lease; the message waits until `head` says.
    pub(super) fn retry(&mut self, number: Number, head: Head) {
        let Some(message) = self.end_lease(number) else {
            return;
        };
        message.head = head;
        message.stage = Stage::Waiting;
        if head.due_ms == 0 {
            self.backlog.reenter(number, &head);
        }
        self.place_next(number, head.group);
    }

    /// Ends the lease as if it had never been.
    pub(super) fn release(&mut self, number: Number) {
        if let Some(head) = self.live.get(&number).map(|message| message.head) {
            self.retry(number, head);
        }
    }

    /// Ends the lease; the message is dead, the `death`th.
    pub(super) fn bury(&mut self, number: Number, death: Number, head: Head) {
        if self.end_lease(number).is_some() {
            self.remove(number);
            self.dead.insert(death, head);
        }
    }

    // ── Moving ──────────────────────────────────────────────────────────────────────────────

    /// Takes out up to `max` messages that wait, oldest first: they go to another queue.
    pub(super) fn take_waiting(&mut self, max: usize) -> Vec<(Number, Head)> {
        let waiting = self
            .live
            .iter()
            .filter(|(_, message)| message.stage == Stage::Waiting);
        let numbers = waiting.map(|(number, _)| *number).take(max).collect();
        self.take(numbers)
    }

    /// Takes out messages that wait: the `surplus` oldest, and after them all that came before
    /// `too_old_ms`.
    pub(super) fn take_oldest(&mut self, too_old_ms: u64, surplus: usize) -> Vec<(Number, Head)> {
        let waiting = self
            .live
            .iter()
            .filter(|(_, message)| message.stage == Stage::Waiting)
            .enumerate();
        let goes =
            |place: usize, message: &Message| place < surplus || message.head.born_ms < too_old_ms;
        let numbers: Vec<Number> = waiting
            .take_while(|(place, (_, message))| goes(*place, message))
            .map(|(_, (number, _))| *number)
            .collect();
        self.take(numbers)
    }

    fn take(&mut self, numbers: Vec<Number>) -> Vec<(Number, Head)> {
        let taken = numbers.into_iter();
        taken
            .filter_map(|number| self.remove(number).map(|head| (number, head)))
            .collect()
    }

    // ── Inside ──────────────────────────────────────────────────────────────────────────────

    fn stage(&self, number: Number) -> Option<Stage> {
        self.live.get(&number).map(|message| message.stage)
    }

    fn insert(&mut self, number: Number, head: Head, stage: Stage, inherited: bool) {
        if self.rules.grouping() == Grouping::InOrder {
            let group = self.groups.entry(head.group).or_default();
            let former = group.order.first().copied();
            group.order.insert(number);
            // Moved from elsewhere, and older than all: who was first is not any more.
            if let Some(former) = former.filter(|former| number < *former) {
                self.unplace(former);
            }
        }
        let message = Message {
            head,
            stage,
            inherited,
        };
        self.live.insert(number, message);
        self.place(number);
    }

    fn remove(&mut self, number: Number) -> Option<Head> {
        self.unplace(number);
        let head = self.live.remove(&number)?.head;
        if let Some(group) = self.groups.get_mut(&head.group) {
            group.order.remove(&number);
            // One that was ready may have been in front of those that are parked.
            self.ready.extend(group.parked.pop_first());
            match group.order.first().copied() {
                Some(next) => self.place(next),
                None if group.is_idle() => drop(self.groups.remove(&head.group)),
                None => {}
            }
        }
        Some(head)
    }

    /// Ends a lease, if there is one. The caller says what comes next.
    fn end_lease(&mut self, number: Number) -> Option<&mut Message> {
        let message = self.live.get_mut(&number)?;
        if message.stage != Stage::Leased {
            return None;
        }
        self.leased -= 1;
        if let Some(group) = self.groups.get_mut(&message.head.group) {
            group.leased = group.leased.saturating_sub(1);
            self.ready.extend(group.parked.pop_first());
            if group.is_idle() {
                self.groups.remove(&message.head.group);
            }
        }
        Some(message)
    }

    /// After a lease of `number` ended: finds out who in its group may be leased now.
    fn place_next(&mut self, number: Number, group: u128) {
        let first = self
            .groups
            .get(&group)
            .and_then(|group| group.order.first());
        self.place(first.copied().unwrap_or(number));
    }

    /// Lets `number` be leased when it is due, if nothing but time stands against it.
    fn place(&mut self, number: Number) {
        let Some(message) = self.live.get(&number) else {
            return;
        };
        if message.stage != Stage::Waiting || !self.is_its_turn(number, message.head.group) {
            return;
        }
        match message.head.due_ms {
            0 => self.ready.insert(rank(&message.head, number)),
            due_ms => self.delayed.insert((due_ms, number)),
        };
    }

    fn unplace(&mut self, number: Number) {
        if let Some(message) = self.live.get(&number) {
            let rank = rank(&message.head, number);
            self.ready.remove(&rank);
            self.delayed.remove(&(message.head.due_ms, number));
            if let Some(group) = self.groups.get_mut(&message.head.group) {
                group.parked.remove(&rank);
            }
        }
    }

    fn is_its_turn(&self, number: Number, group: u128) -> bool {
        match self.groups.get(&group) {
            Some(group) if self.rules.grouping() == Grouping::InOrder => {
                group.leased == 0 && group.order.first() == Some(&number)
            }
            _ => true,
        }
    }

    /// Those that are due could be leased at once.
    fn wake(&mut self, now_ms: u64) {
        while let Some(&(due_ms, number)) = self.delayed.first()
            && due_ms <= now_ms
        {
            self.delayed.pop_first();
            if let Some(message) = self.live.get(&number) {
                self.ready.insert(rank(&message.head, number));
            }
        }
    }

    /// The order is another one: everything finds its place anew.
    fn rearrange(&mut self) {
        self.ready.clear();
        self.delayed.clear();
        self.groups.clear();
        let grouping = self.rules.grouping();
        for (number, message) in &self.live {
            let leased = usize::from(message.stage == Stage::Leased);
            match grouping {
                Grouping::InOrder => {
                    let group = self.groups.entry(message.head.group).or_default();
                    group.order.insert(*number);
                    group.leased += leased;
                }
                Grouping::AtMost(_) if leased > 0 => {
                    self.groups.entry(message.head.group).or_default().leased += leased;
                }
                _ => {}
            }
        }
        let numbers: Vec<Number> = self.live.keys().copied().collect();
        for number in numbers {
            self.place(number);
        }
    }
}

fn rank(head: &Head, number: Number) -> Rank {
    (u8::MAX - head.priority, number)
}
