//! One queue at work: its machine, and everything that moves it.
//!
//! Whoever changes something looks at once whether a message can go (`pump`), so nothing polls.
//! No lock is held while a store or the bus is asked.

use std::sync::Arc;

use agentos_sdk::{Code, Error, Payload};
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    config::QueueConfig,
    machine::{Counts, Fetch, Full, Lease, Machine},
    name::{self, Name, Number},
    pace::{Pace, Paces},
    record::{BODIES, Body, HEADS, Head, body_key},
    retention,
    rules::{self, Order, Rules, TriggerRules},
    shared::Shared,
};
use crate::{
    builtin::firing::Target,
    storage::{self, Batch, Durability},
};

pub(super) struct Line {
    name: Name,
    prefix: Bytes,
    /// Tells it from other lines; a name may come back.
    number: Number,
    pub(super) shared: Arc<Shared>,
    /// Held by who reads a page of messages from disk.
    pub(super) pages: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Machine,
    /// Somebody reads pages while the machine wants them.
    loading: bool,
    /// Triggers of the function, for a topic's subscriber. They share the queue; the newest says
    /// how it is called.
    targets: Vec<Arc<Target>>,
    /// What the newest trigger says of the rules.
    asked: TriggerRules,
    /// Delivers though nobody subscribes: a function queue.
    always: bool,
    /// Somebody wants it to deliver nothing for now.
    paused: bool,
    /// Reasons to keep a subscriber's queue closed for a while.
    holds: usize,
    paces: Paces,
    /// When the alarm rings for this line.
    armed_ms: Option<u64>,
}

impl Line {
    pub(super) fn new(name: Name, rules: Rules, shared: &Arc<Shared>) -> Arc<Self> {
        let open = matches!(name, Name::Function(_));
        let machine = Machine::new(rules, shared.config.get().messages_per_queue_max, open);
        Arc::new(Line {
            prefix: name.prefix(),
            name,
            number: shared.number(),
            shared: Arc::clone(shared),
            pages: tokio::sync::Mutex::default(),
            inner: Mutex::new(Inner {
                machine,
                loading: false,
                targets: Vec::new(),
                asked: TriggerRules::default(),
                always: open,
                paused: false,
                holds: 0,
                paces: Paces::default(),
                armed_ms: None,
            }),
        })
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    pub(super) fn number(&self) -> Number {
        self.number
    }

    pub(super) fn counts(&self) -> Counts {
        self.inner.lock().machine.counts()
    }

    /// What is written about its messages outlives as much as their receipts.
    pub(super) fn durability(&self) -> Durability {
        self.inner.lock().machine.rules().durability
    }

    /// An empty batch about its messages.
    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        batch.durability(self.durability());
        batch
    }

    pub(super) fn rules(&self) -> Rules {
        self.inner.lock().machine.rules().clone()
    }

    /// Looks at the machine, or changes it. What changed may let messages go: see [`Line::pump`].
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Machine) -> T) -> T {
        look(&mut self.inner.lock().machine)
    }

    /// Its counts, the age of its oldest message, and what has happened.
    pub(super) fn look(&self) -> Look {
        let inner = self.inner.lock();
        Look {
            counts: inner.machine.counts(),
            oldest_ms: inner.machine.oldest_ms(),
            paces: inner.paces,
            paused: inner.paused,
        }
    }

    pub(super) fn count(&self, which: impl FnOnce(&mut Paces) -> &mut Pace) {
        let now_ms = self.shared.now_ms();
        which(&mut self.inner.lock().paces).count(now_ms);
    }

    /// Delivers nothing while it is paused; what is in work goes on.
    pub(super) fn set_paused(self: &Arc<Self>, paused: bool) {
        let mut inner = self.inner.lock();
        if inner.paused == paused {
            return;
        }
        inner.paused = paused;
        inner.review();
        drop(inner);
        self.pump();
    }

    /// Reads a head. One that an older build wrote says not when its message came: it came now.
    pub(super) fn head(&self, bytes: &[u8]) -> Result<Head, storage::Error> {
        let mut head = Head::decode(bytes)?;
        if head.born_ms == 0 {
            head.born_ms = self.shared.opened_ms;
        }
        Ok(head)
    }

    pub(super) fn key(&self, number: Number) -> Bytes {
        name::key(&self.prefix, number)
    }

    // ── Subscribers of topics ───────────────────────────────────────────────────────────────

    /// Delivers to `target` from now on.
    pub(super) fn subscribe(self: &Arc<Self>, target: Arc<Target>, asked: TriggerRules) {
        let rules = Rules::of_topic(&self.shared.config.get().topics).amended(&asked);
        let mut inner = self.inner.lock();
        inner.asked = asked;
        inner.targets.retain(|old| old.id() != target.id());
        inner.targets.push(target);
        inner.machine.set_rules(rules);
        inner.review();
        drop(inner);
        self.pump();
    }

    /// Goes by the settings as they are now.
    pub(super) fn reconfigure(self: &Arc<Self>) {
        let config = self.shared.config.get();
        let mut inner = self.inner.lock();
        let rules = match &self.name {
            Name::Function(name) => match config.queue_configs.get(&**name) {
                Some(queue) => Rules::of_queue(queue),
                None => Rules::of_queue(&QueueConfig::default()),
            },
            _ => Rules::of_topic(&config.topics).amended(&inner.asked),
        };
        inner.machine.set_rules(rules);
        inner.machine.resize(config.messages_per_queue_max);
        drop(inner);
        self.pump();
    }

    /// Forgets a trigger. Without any the queue keeps its messages.
    pub(super) fn unsubscribe(&self, trigger: &str) {
        let mut inner = self.inner.lock();
        inner.targets.retain(|target| &**target.id() != trigger);
        inner.review();
    }

    pub(super) fn has_subscriber(&self) -> bool {
        !self.inner.lock().targets.is_empty()
    }

    pub(super) fn target(&self) -> Option<Arc<Target>> {
        self.inner.lock().targets.last().cloned()
    }

    /// Delivers nothing until the hold is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut inner = self.inner.lock();
        inner.holds += 1;
        inner.review();
        Hold(Arc::clone(self))
    }

    // ── Messages ────────────────────────────────────────────────────────────────────────────

    /// Gives a message its place, by order of arrival. It counts when [`Storing::done`] is said.
    ///
    /// # Errors
    /// `overloaded` when the queue is full, `invalid_input` when the message names no group and
    /// the queue keeps order by group.
    pub(super) fn accept(
        self: &Arc<Self>,
        id: u128,
        body: Body,
        terms: Terms,
    ) -> Result<Storing, Error> {
        let rules = self.rules();
        let group = self.group_of(&rules, &body.payload)?;
        let born_ms = self.shared.now_ms();
        let due_ms = match terms.delay_ms.max(rules.delay_ms) {
            0 => 0,
            delay_ms => born_ms.saturating_add(delay_ms),
        };
        let mut inner = self.inner.lock();
        // Under the lock: the order of numbers is the order of arrival.
        let number = self.shared.number();
        let head = Head {
            id,
            body: number,
            payload_bytes: body.payload.len() as u64,
            group,
            attempts: 0,
            due_ms,
            born_ms,
            priority: terms.priority,
            losses: 0,
        };
        let aside = due_ms > 0 && inner.machine.is_crowded();
        inner.machine.accept(number, head).map_err(|Full| {
            let max = self.shared.config.get().messages_per_queue_max;
            let message = format!(
                "queue '{}' holds {max} messages, dead letters among them",
                self.name
            );
            Error::engine(Code::Overloaded, message)
        })?;
        Ok(Storing {
            line: Arc::clone(self),
            number,
            head,
            body,
            aside,
            done: false,
        })
    }

    fn group_of(&self, rules: &Rules, payload: &Payload) -> Result<u128, Error> {
        let Some(field) = &rules.message_group_field else {
            return Ok(0);
        };
        match (rules::digest_of(payload, field), rules.order) {
            (Some(group), _) => Ok(group),
            // Those of no group are one.
            (None, Order::Standard) => Ok(0),
            (None, Order::Fifo) => {
                let message = format!("queue '{}' is fifo and needs `{field}` in data", self.name);
                Err(Error::caller(Code::InvalidInput, message))
            }
        }
    }

    /// Starts every delivery that may start now, and sets the alarm for the next.
    pub(super) fn pump(self: &Arc<Self>) {
        if !self.shared.may_deliver() {
            return;
        }
        let now_ms = self.shared.now_ms();
        let mut leases: Vec<Lease> = Vec::new();
        let mut inner = self.inner.lock();
        while let Some(lease) = inner.machine.lease(now_ms) {
            leases.push(lease);
        }
        let next_due_ms = inner.machine.next_due_ms(now_ms);
        let load = !inner.loading && inner.machine.wanted(now_ms).is_some();
        inner.loading |= load;
        drop(inner);
        if load {
            tokio::spawn(Arc::clone(self).load());
        }
        if let Some(due_ms) = next_due_ms {
            self.ring_at(due_ms);
        }
        for lease in leases {
            tokio::spawn(Arc::clone(self).deliver(lease));
        }
    }

    /// Begins the page that the machine wants; without one, nobody reads any more.
    pub(super) fn begin_wanted(&self) -> Option<Fetch> {
        let mut inner = self.inner.lock();
        let fetch = inner.machine.wanted(self.shared.now_ms());
        match fetch {
            Some(fetch) => inner.machine.begin(fetch),
            None => inner.loading = false,
        }
        fetch
    }

    /// Has the alarm ring at `due_ms`, unless it will ring before.
    pub(super) fn ring_at(self: &Arc<Self>, due_ms: u64) {
        let mut inner = self.inner.lock();
        if inner.armed_ms.is_none_or(|armed_ms| due_ms < armed_ms) {
            inner.armed_ms = Some(due_ms);
            self.shared.alarm.set(due_ms, self);
        }
    }

    /// The alarm that was set has come.
    pub(super) fn ring(self: &Arc<Self>) {
        self.inner.lock().armed_ms = None;
        retention::apply(self);
        self.pump();
    }
}

impl Inner {
    /// A subscriber's queue is open while somebody is there and nothing is being moved.
    fn review(&mut self) {
        let is_there = self.always || !self.targets.is_empty();
        self.machine
            .set_open(is_there && self.holds == 0 && !self.paused);
    }
}

/// How a message wants to be delivered.
#[derive(Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) delay_ms: u64,
    pub(super) priority: u8,
}

/// What there is to see of a queue.
pub(super) struct Look {
    pub(super) counts: Counts,
    /// When the oldest message came.
    pub(super) oldest_ms: Option<u64>,
    pub(super) paces: Paces,
    pub(super) paused: bool,
}

/// Keeps a line closed.
pub(super) struct Hold(Arc<Line>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.holds -= 1;
        inner.review();
        drop(inner);
        self.0.pump();
    }
}

/// A message that has its place and is on its way to the disk. Dropped, it was never there.
pub(super) struct Storing {
    line: Arc<Line>,
    number: Number,
    head: Head,
    body: Body,
    /// It waits on disk until it is due.
    aside: bool,
    done: bool,
}

impl Storing {
    /// Adds what is to be written.
    pub(super) fn write(&self, to: &mut Batch) {
        to.put(HEADS, self.line.key(self.number), self.head.encode());
        to.put(BODIES, body_key(self.head.body), self.body.encode());
        if self.aside {
            self.line.write_due(self.number, &self.head, to);
        }
    }

    /// The message is on disk, and may be delivered.
    pub(super) fn done(mut self) {
        self.done = true;
        self.line.with(|machine| match self.aside {
            true => machine.stored_aside(self.number),
            false => machine.stored(self.number),
        });
        self.line.count(|paces| &mut paces.enqueued);
        self.line.pump();
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        if !self.done {
            self.line.with(|machine| machine.unstored(self.number));
            // In a queue that keeps order, somebody may have waited behind it.
            self.line.pump();
        }
    }
}
