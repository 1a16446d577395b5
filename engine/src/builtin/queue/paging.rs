//! Reads the messages of a queue that wait on disk, page by page, when their turn comes.

use std::{sync::Arc, time::Duration};

use super::{
    line::Line,
    machine::{Fetch, Fetched, Machine, Stage},
    name::{self, Number},
    record::{DUE, HEADS, Head, due_key, parse_due_key},
};
use crate::storage::{self, Batch, Durability, Scan};

/// Messages of one page: what a queue delivers in a moment.
const PAGE: usize = 1024;

/// Before a page is tried again that could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

impl Line {
    /// Reads pages while the queue wants one, and delivers what they bring.
    pub(super) async fn load(self: Arc<Self>) {
        loop {
            let _alone = self.pages.lock().await;
            let Some(fetch) = self.begin_wanted() else {
                break;
            };
            if !self.bring(fetch).await {
                return;
            }
            self.pump();
        }
    }

    /// Takes out up to `max` messages that wait, oldest first of those in memory, then those on disk.
    /// None when there are none, or the engine stops.
    pub(super) async fn take_waiting(self: &Arc<Self>, max: usize) -> Vec<(Number, Head)> {
        loop {
            let taken = self.with(|machine| machine.take_waiting(max));
            if !taken.is_empty() || !self.load_any().await {
                return taken;
            }
        }
    }

    /// Reads a page, whatever it holds. False when all is in memory, or the engine stops.
    pub(super) async fn load_any(self: &Arc<Self>) -> bool {
        if self.with(|machine| machine.is_whole()) {
            return false;
        }
        let _alone = self.pages.lock().await;
        let fetch = self.with(|machine| machine.any().inspect(|fetch| machine.begin(*fetch)));
        match fetch {
            Some(fetch) => self.bring(fetch).await,
            // Somebody else has just read the last one.
            None => true,
        }
    }

    /// Reads the page, however long it takes. False when the engine stops before.
    async fn bring(&self, fetch: Fetch) -> bool {
        loop {
            match self.read(fetch).await {
                Ok(fetched) => {
                    let heirs_below = self.shared.heirs_below();
                    self.with(|machine| machine.end(fetched, heirs_below));
                    return true;
                }
                Err(error) => {
                    tracing::error!(queue = %self.name(), %error, "messages cannot be read; tried again");
                }
            }
            let pause = tokio::time::sleep(READ_PAUSE);
            if (self.shared.stopped.run_until_cancelled(pause).await).is_none() {
                self.with(Machine::give_up);
                return false;
            }
        }
    }

    async fn read(&self, fetch: Fetch) -> Result<Fetched, storage::Error> {
        match fetch {
            Fetch::Ready {
                priority,
                from,
                upto,
            } => self.read_ready(priority, from, upto).await,
            Fetch::Due { upto_ms } => self.read_due(upto_ms).await,
        }
    }

    async fn read_ready(
        &self,
        priority: u8,
        from: Number,
        upto: Number,
    ) -> Result<Fetched, storage::Error> {
        let mut fetched = Fetched::default();
        let mut scan = Scan::prefix(HEADS, self.prefix())
            .starting_at(&self.key(from))
            .before(&self.key(upto.saturating_add(1)))
            .limit(PAGE);
        loop {
            let page = self.shared.store.scan(scan.clone()).await?;
            for entry in &page.entries {
                let (_, number) = name::parse_key(&entry.key)?;
                let head = self.head(&entry.record.value)?;
                fetched.next = Some(number + 1);
                if head.priority == priority && head.due_ms == 0 {
                    fetched.found.push((number, head));
                }
            }
            match page.entries.last() {
                Some(last) if page.more && fetched.found.len() < PAGE => {
                    scan = scan.after(&last.key);
                }
                _ if page.more => return Ok(fetched),
                _ => {
                    return Ok(Fetched {
                        next: None,
                        ..fetched
                    });
                }
            }
        }
    }

    /// What is read is found by its due time no more: it is in memory, and what is in memory at a
    /// crash is found by number.
    async fn read_due(&self, upto_ms: u64) -> Result<Fetched, storage::Error> {
        let scan = Scan::prefix(DUE, self.prefix()).limit(PAGE);
        let page = self.shared.store.scan(scan).await?;
        let (mut fetched, mut batch) = (Fetched::default(), Batch::new());
        for entry in &page.entries {
            let (due_ms, number) = parse_due_key(self.prefix(), &entry.key)?;
            if due_ms > upto_ms {
                fetched.next = Some(due_ms);
                break;
            }
            if page.more {
                fetched.next = Some(due_ms);
            }
            // On its way out of memory: not here yet.
            if self.with(|machine| machine.is_in_memory(number)) {
                continue;
            }
            batch.delete(DUE, entry.key.clone());
            if let Some(record) = self.shared.store.get(HEADS, &self.key(number)).await? {
                let head = self.head(&record.value)?;
                if head.due_ms == due_ms {
                    fetched.found.push((number, head));
                }
            }
        }
        if !batch.is_empty() {
            batch.durability(Durability::Relaxed);
            self.shared.store.commit(batch).await?;
        }
        Ok(fetched)
    }

    // ── Looking ─────────────────────────────────────────────────────────────────────────────

    /// Messages by age, from the `offset`th on, wherever they are.
    pub(super) async fn page(
        &self,
        mut offset: usize,
        limit: usize,
    ) -> Result<Vec<(Head, Stage)>, storage::Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let in_memory = self.with(|machine| {
            let all = || machine.page(offset, limit).collect();
            machine.is_whole().then(all)
        });
        if let Some(found) = in_memory {
            return Ok(found);
        }
        let mut found = Vec::new();
        let mut scan = Scan::prefix(HEADS, self.prefix());
        loop {
            let page = self.shared.store.scan(scan.clone()).await?;
            for entry in &page.entries {
                let (_, number) = name::parse_key(&entry.key)?;
                let head = self.head(&entry.record.value)?;
                match self.with(|machine| machine.recognize(number, head)) {
                    Some(_) if offset > 0 => offset -= 1,
                    Some(message) => found.push(message),
                    None => {}
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(found),
            }
        }
    }

    /// Writes that a message is found by its due time.
    pub(super) fn write_due(&self, number: Number, head: &Head, to: &mut Batch) {
        to.put(
            DUE,
            due_key(self.prefix(), head.due_ms, number),
            bytes::Bytes::new(),
        );
    }
}
