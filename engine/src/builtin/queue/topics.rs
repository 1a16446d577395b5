//! Durable topics: who subscribes, and what each publication becomes.
//!
//! A publication is copied into one queue per subscribed function. A subscriber that has gone is
//! remembered for a while, over a restart of the engine too, and gets its copies meanwhile. When
//! nobody is known, the topic itself keeps the messages, for the first that comes.

use std::{collections::HashMap, sync::Arc};

use agentos_sdk::{Code, Error, TriggerProvider, TriggerSpec};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    error,
    line::{Line, Storing, Terms},
    name::{self, Name},
    queues::Queues,
    record::{Body, HEADS, SUBSCRIBERS},
    retention,
    rules::TriggerRules,
};
use crate::{
    builtin::firing::Target,
    storage::{self, Batch, Scan},
};

/// Messages moved by one commit.
const MOVED_TOGETHER: usize = 256;

pub(super) struct Topics {
    pub(super) queues: Arc<Queues>,
    /// Locked while something gets its place in a queue of a topic, so that queues can be dropped.
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    /// The subscribers of a topic.
    topics: HashMap<Arc<str>, Vec<Subscriber>>,
    /// The queue that a trigger belongs to.
    triggers: HashMap<Arc<str>, Arc<Line>>,
}

struct Subscriber {
    line: Arc<Line>,
    /// Since when it has no trigger.
    gone_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Config {
    topic: String,
    #[serde(default)]
    condition_function_id: Option<String>,
    #[serde(default)]
    queue_config: Option<TriggerRules>,
}

impl Topics {
    /// Remembers the subscribers of an earlier life, as if they had gone now.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn load(queues: Arc<Queues>) -> Result<Self, storage::Error> {
        let mut book = Book::default();
        let mut scan = Scan::all(SUBSCRIBERS);
        let gone_ms = Some(queues.shared.now_ms());
        loop {
            let page = queues.shared.store.scan(scan.clone()).await?;
            for entry in &page.entries {
                let name = Name::parse(&entry.key)?;
                // Over the limit of today: not remembered, but its messages are.
                if let (Some(topic), Ok(line)) = (name.topic(), queues.of_topic(name.clone())) {
                    let subscribers = book.topics.entry(Arc::clone(topic)).or_default();
                    subscribers.push(Subscriber { line, gone_ms });
                }
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => break,
            }
        }
        let book = Arc::new(Mutex::new(book));
        Ok(Topics { queues, book })
    }

    /// Gives a publication its place in the queue of each subscriber.
    ///
    /// # Errors
    /// `overloaded` when one of them, or the topic, is full: then nobody gets it.
    pub(super) fn publish(&self, topic: &str, body: &Body) -> Result<Vec<Storing>, Error> {
        name::check("a topic", topic)?;
        let mut book = self.book.lock();
        self.forget_old(&mut book, topic);
        let subscribers = book.topics.get_mut(topic);
        let mut copies = Vec::new();
        let mut given_up = Vec::new();
        for subscriber in subscribers.into_iter().flatten() {
            let id = uuid::Uuid::new_v4().as_u128();
            match subscriber.line.accept(id, body.clone(), Terms::default()) {
                Ok(copy) => copies.push(copy),
                // Nobody is there to empty it.
                Err(_) if subscriber.gone_ms.is_some() => {
                    given_up.push(Arc::clone(&subscriber.line));
                }
                Err(error) => return Err(error),
            }
        }
        for line in given_up {
            tracing::warn!(queue = %line.name(), "a subscriber that has gone gets no more copies: its queue is full");
            self.forget(&mut book, topic, &line);
        }
        if copies.is_empty() {
            let line = self.queues.of_topic(Name::Waiting(topic.into()))?;
            let id = uuid::Uuid::new_v4().as_u128();
            copies.push(line.accept(id, body.clone(), Terms::default())?);
        }
        Ok(copies)
    }

    /// Must follow when copies were stored in `line`: somebody may have subscribed meanwhile.
    pub(super) fn published(&self, line: &Arc<Line>) {
        if let Name::Waiting(topic) = line.name() {
            retention::apply(line);
            self.move_waiting(&self.book.lock(), topic);
        }
    }

    /// Forgets those who have been gone for too long.
    fn forget_old(&self, book: &mut Book, topic: &str) {
        let shared = &self.queues.shared;
        let now_ms = shared.now_ms();
        let subscribers = book.topics.get(topic).into_iter().flatten();
        let is_old = |subscriber: &&Subscriber| {
            let until =
                |gone_ms: u64| gone_ms.saturating_add(shared.config.get().subscriber_memory_ms);
            subscriber
                .gone_ms
                .is_some_and(|gone_ms| until(gone_ms) <= now_ms)
        };
        let old: Vec<_> = subscribers
            .filter(is_old)
            .map(|old| Arc::clone(&old.line))
            .collect();
        for line in old {
            self.forget(book, topic, &line);
        }
    }

    /// Gives `line` no more copies. Messages in it stay, for the case that it comes back.
    fn forget(&self, book: &mut Book, topic: &str, line: &Arc<Line>) {
        if let Some(subscribers) = book.topics.get_mut(topic) {
            subscribers.retain(|subscriber| !Arc::ptr_eq(&subscriber.line, line));
            if subscribers.is_empty() {
                book.topics.remove(topic);
            }
        }
        self.queues.forget_empty(line);
        let mut batch = Batch::new();
        batch.delete(SUBSCRIBERS, line.prefix().clone());
        self.write_later(batch);
    }

    fn remember(&self, line: &Arc<Line>) {
        let mut batch = Batch::new();
        batch.put(SUBSCRIBERS, line.prefix().clone(), &b"\x01"[..]);
        self.write_later(batch);
    }

    /// Who subscribes is a help against restarts, not a promise; nobody waits for it.
    fn write_later(&self, batch: Batch) {
        let store = Arc::clone(&self.queues.shared.store);
        tokio::spawn(async move {
            if let Err(error) = store.commit(batch).await {
                tracing::warn!(%error, "a subscription cannot be written");
            }
        });
    }

    /// Hands what waits in `topic` to its first subscriber that is there.
    fn move_waiting(&self, book: &Book, topic: &str) {
        let Some(waiting) = self.queues.find(&Name::Waiting(topic.into())) else {
            return;
        };
        let mut subscribers = book.topics.get(topic).into_iter().flatten();
        let first = subscribers.find(|subscriber| subscriber.gone_ms.is_none());
        match first {
            Some(subscriber) if waiting.counts().depth > 0 => {
                retention::apply(&waiting);
                // Held before anything younger can arrive: the order stays.
                let hold = subscriber.line.hold();
                let to = Arc::clone(&subscriber.line);
                let (queues, book) = (Arc::clone(&self.queues), Arc::clone(&self.book));
                tokio::spawn(async move {
                    move_all(&waiting, &to).await;
                    drop(hold);
                    let _book = book.lock();
                    queues.forget_empty(&waiting);
                });
            }
            _ => self.queues.forget_empty(&waiting),
        }
    }

    fn unbind_in(&self, book: &mut Book, id: &str) {
        let Some(line) = book.triggers.remove(id) else {
            return;
        };
        line.unsubscribe(id);
        if line.has_subscriber() {
            return;
        }
        let now_ms = self.queues.shared.now_ms();
        let subscribers = line
            .name()
            .topic()
            .and_then(|topic| book.topics.get_mut(topic));
        for subscriber in subscribers.into_iter().flatten() {
            if Arc::ptr_eq(&subscriber.line, &line) {
                subscriber.gone_ms = Some(now_ms);
            }
        }
    }
}

async fn move_all(from: &Arc<Line>, to: &Arc<Line>) {
    loop {
        let moved = from.take_waiting(MOVED_TOGETHER).await;
        if moved.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        for (number, head) in &moved {
            batch.delete(HEADS, from.key(*number));
            batch.put(HEADS, to.key(*number), head.encode());
        }
        if !from.shared.persist(batch).await {
            return;
        }
        to.with(|machine| {
            for (number, head) in moved {
                machine.restore(number, head, false);
            }
        });
    }
}

impl TriggerProvider for Topics {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let config: Config = serde_json::from_value(trigger.config.clone()).map_err(|error| {
            let message = format!("config of a durable:subscriber trigger: {error}");
            Error::caller(Code::InvalidInput, message)
        })?;
        let topic: Arc<str> =
            error::required(Some(&config.topic), "topic", "topic_not_set")?.into();
        name::check("a topic", &topic)?;
        name::check("a function id", &trigger.function)?;
        name::check(
            "a namespace",
            trigger.namespace.as_deref().unwrap_or_default(),
        )?;
        let name = Name::Subscriber {
            topic: Arc::clone(&topic),
            function: Arc::clone(&trigger.function),
            namespace: trigger
                .namespace
                .clone()
                .filter(|namespace| !namespace.is_empty()),
        };

        let mut book = self.book.lock();
        let line = self.queues.of_topic(name)?;
        if book
            .triggers
            .get(&trigger.id)
            .is_some_and(|old| !Arc::ptr_eq(old, &line))
        {
            self.unbind_in(&mut book, &trigger.id);
        }
        // Nothing ever waits for the condition here: a message is asked about when its turn comes.
        let target = Target::new(&trigger, config.condition_function_id, 0);
        book.triggers.insert(trigger.id, Arc::clone(&line));
        let subscribers = book.topics.entry(Arc::clone(&topic)).or_default();
        let known = subscribers
            .iter_mut()
            .find(|known| Arc::ptr_eq(&known.line, &line));
        match known {
            Some(known) => known.gone_ms = None,
            None => {
                subscribers.push(Subscriber {
                    line: Arc::clone(&line),
                    gone_ms: None,
                });
                self.remember(&line);
            }
        }
        let hold = line.hold();
        line.subscribe(target, config.queue_config.unwrap_or_default());
        self.move_waiting(&book, &topic);
        drop(hold);
        Ok(())
    }

    fn unbind(&self, id: &str) {
        self.unbind_in(&mut self.book.lock(), id);
    }
}
