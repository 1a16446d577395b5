//! Dead letters: looking at them, and giving them another chance or none.

use std::sync::Arc;

use agentos_sdk::Error;
use uuid::Uuid;

use super::{
    api, error,
    json::Json,
    line::Line,
    name::Number,
    record::{BODIES, Body, DEAD, DeadLetter, HEADS, Head, body_key},
};
use crate::storage::{self, Batch};

/// Dead letters per page, unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 1000;

/// A page ends early when its payloads have so many bytes: it travels in one message.
pub(super) const PAGE_BYTES_MAX: u64 = 8 << 20;

/// Letters revived by one commit.
const TOGETHER: usize = 256;

/// How many a page holds when `asked` was asked for.
pub(super) fn page_limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX)
}

/// One page of the dead letters of `lines`, by when they died.
pub(super) async fn page(
    lines: &[Arc<Line>],
    offset: usize,
    limit: Option<usize>,
) -> Result<Vec<api::DeadMessage>, Error> {
    let limit = page_limit(limit);
    let end = offset.saturating_add(limit);
    let mut deaths: Vec<(Number, &Arc<Line>)> = Vec::new();
    for line in lines {
        let of_line: Vec<Number> = line.with(|machine| machine.dead.deaths().take(end).collect());
        deaths.extend(of_line.into_iter().map(|death| (death, line)));
    }
    deaths.sort_unstable_by_key(|(death, _)| *death);
    let mut page = Vec::new();
    let mut bytes = 0;
    for (death, line) in deaths.into_iter().skip(offset).take(limit) {
        // One that was revived meanwhile is not there any more.
        let read = read(line, death).await.map_err(error::from_storage)?;
        if let Some(message) = read {
            bytes += message.size_bytes;
            page.push(message);
        }
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(page)
}

async fn read(line: &Line, death: Number) -> Result<Option<api::DeadMessage>, storage::Error> {
    let store = &line.shared.store;
    let Some(record) = store.get(DEAD, &line.key(death)).await? else {
        return Ok(None);
    };
    let letter = DeadLetter::decode(&record.value)?;
    let Some(record) = store.get(BODIES, &body_key(letter.head.body)).await? else {
        return Ok(None);
    };
    let payload = Body::decode(&record.value)?.payload;
    let payload = Json::of(&payload).map_err(|_| storage::Error::Damaged {
        what: "a payload is not the JSON it was".into(),
    })?;
    Ok(Some(api::DeadMessage {
        id: Uuid::from_u128(letter.head.id).to_string(),
        payload,
        error: letter.error,
        failed_at: letter.failed_at,
        retries: letter.head.attempts,
        size_bytes: letter.head.payload_bytes,
    }))
}

/// Puts all dead letters of `line` back, behind what is there, with all attempts ahead of them.
/// Those that die again meanwhile stay dead.
pub(super) async fn revive_all(line: &Arc<Line>) -> Result<u64, Error> {
    let before = line.shared.number();
    let mut revived = 0;
    loop {
        let lifted = line.with(|machine| machine.dead.lift(before, TOGETHER));
        if lifted.is_empty() {
            return Ok(revived);
        }
        revived += lifted.len() as u64;
        revive(line, lifted).await?;
    }
}

/// As [`revive_all`], the letter `id`. False when `line` has none such.
pub(super) async fn revive_one(line: &Arc<Line>, id: u128) -> Result<bool, Error> {
    match line.with(|machine| machine.dead.lift_one(id)) {
        Some(letter) => revive(line, vec![letter]).await.map(|()| true),
        None => Ok(false),
    }
}

async fn revive(line: &Arc<Line>, letters: Vec<(Number, Head)>) -> Result<(), Error> {
    let lifted = Lifted::new(line, letters);
    let mut batch = Batch::new();
    let mut alive = Vec::with_capacity(lifted.letters.len());
    for (death, head) in &lifted.letters {
        let head = Head {
            attempts: 0,
            due_ms: 0,
            born_ms: line.shared.now_ms(),
            losses: 0,
            ..*head
        };
        let number = line.shared.number();
        batch.delete(DEAD, line.key(*death));
        batch.put(HEADS, line.key(number), head.encode());
        alive.push((number, head));
    }
    lifted.commit(batch).await?;
    line.with(|machine| {
        for (number, head) in alive {
            machine.restore(number, head, false);
        }
    });
    line.pump();
    Ok(())
}

/// Throws the letter `id` away. False when `line` has none such.
pub(super) async fn discard(line: &Arc<Line>, id: u128) -> Result<bool, Error> {
    match line.with(|machine| machine.dead.lift_one(id)) {
        Some(letter) => throw(line, vec![letter]).await.map(|()| true),
        None => Ok(false),
    }
}

/// Throws all letters away that are there now.
pub(super) async fn discard_all(line: &Arc<Line>) -> Result<u64, Error> {
    let before = line.shared.number();
    let mut discarded = 0;
    loop {
        let lifted = line.with(|machine| machine.dead.lift(before, TOGETHER));
        if lifted.is_empty() {
            return Ok(discarded);
        }
        discarded += lifted.len() as u64;
        throw(line, lifted).await?;
    }
}

async fn throw(line: &Arc<Line>, letters: Vec<(Number, Head)>) -> Result<(), Error> {
    let mut batch = Batch::new();
    for (death, head) in &letters {
        batch.delete(DEAD, line.key(*death));
        batch.delete(BODIES, body_key(head.body));
    }
    Lifted::new(line, letters).commit(batch).await
}

/// Letters taken out of a queue; put back unless the store has let them go.
struct Lifted {
    line: Arc<Line>,
    letters: Vec<(Number, Head)>,
}

impl Lifted {
    fn new(line: &Arc<Line>, letters: Vec<(Number, Head)>) -> Self {
        Lifted {
            line: Arc::clone(line),
            letters,
        }
    }

    async fn commit(mut self, batch: Batch) -> Result<(), Error> {
        let committed = self.line.shared.store.commit(batch).await;
        committed.map_err(error::from_storage)?;
        let letters = std::mem::take(&mut self.letters).len();
        self.line.with(|machine| machine.dead.settle(letters));
        Ok(())
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        let letters = std::mem::take(&mut self.letters);
        if !letters.is_empty() {
            self.line.with(|machine| machine.dead.put_back(letters));
        }
    }
}
