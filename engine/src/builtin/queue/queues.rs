//! All queues there are: found by name, made when needed, read from disk at the start.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use agentos_sdk::{Code, Error};
use bytes::Bytes;
use dashmap::{DashMap, Entry};
use parking_lot::Mutex;

use super::{
    line::Line,
    name::{self, Name, Number},
    record::{DEAD, DUE, DeadLetter, HEADS, Head, PAUSED, due_key},
    retention,
    rules::Rules,
    shared::Shared,
};
use crate::storage::{self, Batch, Durability, Scan, Space};

pub(super) struct Queues {
    pub(super) shared: Arc<Shared>,
    /// By the prefix of their keys.
    lines: DashMap<Bytes, Arc<Line>>,
    /// Prefixes of queues, and of what waits in topics, that deliver nothing for now. A topic stands
    /// for all its subscribers.
    paused: Mutex<HashSet<Bytes>>,
}

impl Queues {
    /// Reads what an earlier life has left.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn load(shared: Arc<Shared>) -> Result<Self, storage::Error> {
        let queues = Queues {
            shared,
            lines: DashMap::new(),
            paused: Mutex::default(),
        };
        queues.load_paused().await?;
        queues.make_configured();
        // Of those that wait, only where they are; they come in when it is their turn.
        let mut delayed = Vec::new();
        let mut scan = Scan::all(HEADS);
        loop {
            let next = queues
                .read_page(scan.clone(), |line, number, value| {
                    let head = line.head(value)?;
                    line.shared.skip(number);
                    match head.due_ms {
                        0 => line.with(|machine| machine.inherit(number, &head)),
                        _ => delayed.push((Arc::clone(line), number, head)),
                    }
                    Ok(())
                })
                .await?;
            for (line, number, head) in delayed.drain(..) {
                inherit_delayed(&line, number, head).await?;
            }
            match next {
                Some(next) => scan = next,
                None => break,
            }
        }
        queues
            .read(DEAD, |line, death, value| {
                let head = DeadLetter::decode(value)?.head;
                line.shared.skip(death.max(head.body));
                line.with(|machine| machine.dead.insert(death, head));
                Ok(())
            })
            .await?;
        queues.shared.close_heritage();
        Ok(queues)
    }

    /// A queue for each that the settings name.
    fn make_configured(&self) {
        for (name, config) in &self.shared.config.get().queue_configs {
            let name = Name::Function(name.as_str().into());
            let line = Line::new(name, Rules::of_queue(config), &self.shared);
            let entry = self.lines.entry(line.prefix().clone());
            self.check_paused(&entry.or_insert(line));
        }
    }

    /// Goes by the settings as they are now. A queue that they name no more delivers what it has, by
    /// the usual rules.
    pub(super) fn reconfigure(&self) {
        self.make_configured();
        for line in self.all() {
            line.reconfigure();
            retention::apply(&line);
        }
    }

    async fn read(
        &self,
        space: Space,
        take: impl Fn(&Arc<Line>, u64, &[u8]) -> Result<(), storage::Error>,
    ) -> Result<(), storage::Error> {
        let mut scan = Scan::all(space);
        while let Some(next) = self.read_page(scan, &take).await? {
            scan = next;
        }
        Ok(())
    }

    /// Hands the records of one page to `take`, with the queue of each. Returns the next page.
    async fn read_page(
        &self,
        scan: Scan,
        mut take: impl FnMut(&Arc<Line>, u64, &[u8]) -> Result<(), storage::Error>,
    ) -> Result<Option<Scan>, storage::Error> {
        let mut line: Option<Arc<Line>> = None;
        let page = self.shared.store.scan(scan.clone()).await?;
        for entry in &page.entries {
            let (prefix, number) = name::parse_key(&entry.key)?;
            let current = match line.take() {
                Some(line) if &line.prefix()[..] == prefix => line,
                _ => self.found(prefix)?,
            };
            take(&current, number, &entry.record.value)?;
            line = Some(current);
        }
        let last = page.entries.last().filter(|_| page.more);
        Ok(last.map(|last| scan.after(&last.key)))
    }

    /// The queue whose records were found on disk. A function queue that the settings do not name
    /// any more delivers what it has, by the usual rules.
    fn found(&self, prefix: &[u8]) -> Result<Arc<Line>, storage::Error> {
        if let Some(line) = self.lines.get(prefix) {
            return Ok(Arc::clone(&line));
        }
        let name = Name::parse(prefix)?;
        let rules = match &name {
            Name::Function(name) => {
                tracing::warn!(queue = %name, "a queue that is not configured has messages; they are delivered by the usual rules");
                Rules::of_queue(&super::config::QueueConfig::default())
            }
            _ => Rules::of_topic(&self.shared.config.get().topics),
        };
        let line = Line::new(name, rules, &self.shared);
        self.lines.insert(line.prefix().clone(), Arc::clone(&line));
        self.check_paused(&line);
        Ok(line)
    }

    /// To be asked when `line` can be found: who pauses it from then on finds it, too.
    fn check_paused(&self, line: &Arc<Line>) {
        let paused = is_paused(&self.paused.lock(), line);
        line.set_paused(paused);
    }

    /// Lets everything go that may.
    pub(super) fn pump(&self) {
        for line in self.all() {
            retention::apply(&line);
            line.pump();
        }
    }

    /// The function queue `name`, if the settings name it.
    ///
    /// # Errors
    /// `not_found`, with the queues that there are.
    pub(super) fn function(&self, name: &str) -> Result<Arc<Line>, Error> {
        let config = self.shared.config.get();
        let configs = &config.queue_configs;
        let line = self.find(&Name::Function(name.into()));
        line.filter(|_| configs.contains_key(name)).ok_or_else(|| {
            let known: Vec<&str> = configs.keys().map(String::as_str).collect();
            let hint = match known.is_empty() {
                true => "no queues are configured".to_owned(),
                false => format!("known queues: {}", known.join(", ")),
            };
            // The words of iii, capital letter and all: people search for them.
            Error::caller(Code::NotFound, format!("Queue '{name}' not found; {hint}"))
        })
    }

    /// The queue of a topic, made if there is none.
    ///
    /// # Errors
    /// `overloaded` when there are too many.
    pub(super) fn of_topic(&self, name: Name) -> Result<Arc<Line>, Error> {
        let config = self.shared.config.get();
        let max = config.topics_max;
        let full = self.lines.len() >= max.saturating_add(config.queue_configs.len());
        match self.lines.entry(name.prefix()) {
            Entry::Occupied(line) => Ok(Arc::clone(line.get())),
            Entry::Vacant(_) if full => Err(Error::engine(
                Code::Overloaded,
                format!("there are {max} topics and subscribers already"),
            )),
            Entry::Vacant(vacant) => {
                let rules = Rules::of_topic(&config.topics);
                let line = Line::new(name, rules, &self.shared);
                let line = Arc::clone(&vacant.insert(line));
                self.check_paused(&line);
                Ok(line)
            }
        }
    }

    pub(super) fn find(&self, name: &Name) -> Option<Arc<Line>> {
        self.lines.get(&name.prefix()).map(|line| Arc::clone(&line))
    }

    /// Drops `line` if nothing is in it. Nobody may be about to put something in.
    pub(super) fn forget_empty(&self, line: &Arc<Line>) {
        let empty = |line: &Arc<Line>| line.with(|machine| machine.is_empty());
        self.lines.remove_if(line.prefix(), |_, found| {
            Arc::ptr_eq(found, line) && empty(found)
        });
    }

    /// The queues that `name` stands for: a function queue if one has the name, else all of the
    /// topic, else the one that is displayed so.
    pub(super) fn resolve(&self, name: &str) -> Vec<Arc<Line>> {
        if let Ok(line) = self.function(name) {
            return vec![line];
        }
        let mut found = self.all();
        found.retain(|line| line.name().topic().is_some_and(|topic| &**topic == name));
        if found.is_empty() {
            found = self.all();
            found.retain(|line| line.name().to_string() == name);
        }
        found
    }

    // ── Pausing ─────────────────────────────────────────────────────────────────────────────

    /// Has what `name` stands for deliver nothing, or again, and over restarts. False when there is
    /// nothing of the name.
    ///
    /// # Errors
    /// The store's; then everything is as before.
    pub(super) async fn pause(&self, name: &str, pause: bool) -> Result<bool, storage::Error> {
        let lines = self.resolve(name);
        let Some(first) = lines.first() else {
            return Ok(false);
        };
        // A topic is paused by its own prefix, for those who subscribe later, too.
        let topic = first.name().topic().filter(|topic| &***topic == name);
        let whole = topic.map(|topic| Name::Waiting(Arc::clone(topic)).prefix());
        let parts = lines.iter().map(|line| line.prefix().clone());
        let mut batch = Batch::new();
        let marks: Vec<Bytes> = match (pause, whole) {
            (true, Some(whole)) => vec![whole],
            (_, whole) => parts.chain(whole).collect(),
        };
        for mark in &marks {
            match pause {
                true => batch.put(PAUSED, mark.clone(), &b"\x01"[..]),
                false => batch.delete(PAUSED, mark.clone()),
            };
        }
        self.shared.store.commit(batch).await?;
        {
            let mut paused = self.paused.lock();
            for mark in marks {
                match pause {
                    true => paused.insert(mark),
                    false => paused.remove(&mark),
                };
            }
        }
        for line in self.resolve(name) {
            self.check_paused(&line);
        }
        Ok(true)
    }

    async fn load_paused(&self) -> Result<(), storage::Error> {
        let mut scan = Scan::all(PAUSED);
        loop {
            let page = self.shared.store.scan(scan.clone()).await?;
            let marks = page.entries.iter().map(|entry| entry.key.clone());
            self.paused.lock().extend(marks);
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(()),
            }
        }
    }

    /// Every queue under the name by which [`Queues::resolve`] finds it.
    pub(super) fn by_name(&self) -> BTreeMap<String, Vec<Arc<Line>>> {
        let mut names: BTreeMap<String, Vec<Arc<Line>>> = BTreeMap::new();
        for line in self.all() {
            let name = match line.name() {
                Name::Function(name) => name.to_string(),
                Name::Subscriber { topic, .. } | Name::Waiting(topic) => topic.to_string(),
            };
            names.entry(name).or_default().push(line);
        }
        names
    }

    pub(super) fn all(&self) -> Vec<Arc<Line>> {
        self.lines.iter().map(|line| Arc::clone(&line)).collect()
    }
}

/// Takes in a message with a due time. One that waited in memory is not found on disk by it: it waits
/// there again, or where there are too many, on disk from now on.
async fn inherit_delayed(
    line: &Arc<Line>,
    number: Number,
    head: Head,
) -> Result<(), storage::Error> {
    let store = &line.shared.store;
    let key = due_key(line.prefix(), head.due_ms, number);
    let mut is_found = store.get(DUE, &key).await?.is_some();
    if !is_found && line.with(|machine| machine.is_crowded()) {
        let mut batch = Batch::new();
        line.write_due(number, &head, &mut batch);
        batch.durability(Durability::Relaxed);
        // A store that cannot write now must be readable all the same.
        is_found = store.commit(batch).await.is_ok();
    }
    line.with(|machine| match is_found {
        true => machine.inherit(number, &head),
        false => machine.restore(number, head, true),
    });
    Ok(())
}

fn is_paused(paused: &HashSet<Bytes>, line: &Line) -> bool {
    let of_topic = |topic: &Arc<str>| Name::Waiting(Arc::clone(topic)).prefix();
    paused.contains(line.prefix())
        || line
            .name()
            .topic()
            .is_some_and(|topic| paused.contains(&of_topic(topic)))
}
