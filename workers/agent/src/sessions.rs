//! Conversations that are kept: appended to as they grow, so that a crash loses at most what was
//! being said.
//!
//! A row of `sessions:<agentId>` under `<sessionId>/<number>` holds the messages of one step.
//! What a crash left half said is put in order when the conversation is read.

use std::{collections::HashMap, sync::Arc};

use agentos_contract::{
    chat::{Message, Role},
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Error};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::roster::{invalid, now_ms};

const PAGE: u32 = 500;
const DELETES_MAX: usize = 32;

/// One turn at a time per conversation.
#[derive(Default)]
pub(crate) struct Sessions {
    turns: Mutex<HashMap<(String, String), Turn>>,
}

/// Held by whoever may add to a conversation.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// A conversation that this turn may read and add to. Others wait until it is dropped.
pub(crate) struct Session {
    scope: String,
    id: String,
    rows: u64,
    pub(crate) messages: Vec<Message>,
    _turn: OwnedMutexGuard<()>,
}

/// The beginning of a conversation, in short.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many of its messages are told in it.
    pub(crate) covers: usize,
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize)]
struct Row {
    at: u64,
    messages: Vec<Message>,
}

impl Sessions {
    /// Waits for its turn and reads what was said so far.
    pub(crate) async fn open(&self, bus: &Bus, agent_id: &str, id: &str) -> Result<Session, Error> {
        if id.is_empty() || id.len() > 128 || id.chars().any(|c| c == '/' || c.is_control()) {
            return Err(invalid(
                "sessionId",
                "1 to 128 bytes without `/` and control characters",
            ));
        }
        let turn = self.turn(agent_id, id).lock_owned().await;
        let (messages, rows) = read(bus, agent_id, id).await?;
        Ok(Session {
            scope: scope(agent_id),
            id: id.to_owned(),
            rows,
            messages,
            _turn: turn,
        })
    }

    fn turn(&self, agent_id: &str, id: &str) -> Turn {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(
            turns
                .entry((agent_id.to_owned(), id.to_owned()))
                .or_default(),
        )
    }
}

/// What was said so far, and the number of the next row.
pub(crate) async fn read(
    bus: &Bus,
    agent_id: &str,
    id: &str,
) -> Result<(Vec<Message>, u64), Error> {
    let prefix = format!("{id}/");
    let mut request = ListEntries {
        scope: scope(agent_id),
        prefix: Some(prefix.clone()),
        limit: Some(PAGE),
        cursor: None,
    };
    let (mut messages, mut rows) = (Vec::new(), 0);
    loop {
        let page: Entries<Row> = bus.trigger(state::ENTRIES, &request).await?;
        for row in page.entries {
            let number = row
                .key
                .strip_prefix(&prefix)
                .and_then(|number| number.parse().ok());
            rows = number.map_or(rows, |number: u64| number + 1);
            messages.extend(row.value.messages);
        }
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            return Ok((messages, rows));
        }
    }
}

impl Session {
    /// What was told in short of this conversation.
    pub(crate) async fn summary(&self, bus: &Bus) -> Result<Summary, Error> {
        let kept: Option<Summary> = bus.trigger(state::GET, &self.summary_key()).await?;
        Ok(kept.unwrap_or_default())
    }

    pub(crate) async fn keep_summary(&self, bus: &Bus, summary: &Summary) -> Result<(), Error> {
        let state::Key { scope, key } = self.summary_key();
        let set = state::Set {
            scope,
            key,
            value: summary,
        };
        bus.trigger::<Value>(state::SET, &set).await.map(drop)
    }

    /// No row of a conversation has such a key.
    fn summary_key(&self) -> state::Key {
        state::Key {
            scope: self.scope.clone(),
            key: format!("{}#summary", self.id),
        }
    }

    /// Keeps what was said; on disk when this returns. Instructions are not part of it.
    pub(crate) async fn append(&mut self, bus: &Bus, messages: &[Message]) -> Result<(), Error> {
        let spoken = |message: &&Message| !matches!(message.role, Role::System | Role::Developer);
        let messages: Vec<Message> = messages.iter().filter(spoken).cloned().collect();
        if messages.is_empty() {
            return Ok(());
        }
        let key = format!("{}/{:010}", self.id, self.rows);
        let set = state::Set {
            scope: self.scope.clone(),
            key,
            value: Row {
                at: now_ms(),
                messages,
            },
        };
        bus.trigger::<Value>(state::SET, &set).await?;
        self.rows += 1;
        Ok(())
    }
}

fn scope(agent_id: &str) -> String {
    format!("sessions:{agent_id}")
}

/// Removes all conversations of an agent.
pub(crate) async fn delete_all(bus: &Bus, agent_id: &str) -> Result<(), Error> {
    loop {
        let request = ListEntries {
            scope: scope(agent_id),
            limit: Some(PAGE),
            ..ListEntries::default()
        };
        let page: Entries = bus.trigger(state::ENTRIES, &request).await?;
        if page.entries.is_empty() {
            return Ok(());
        }
        let delete = |row: state::Entry| delete_one(bus, agent_id, row.key);
        stream::iter(page.entries)
            .map(delete)
            .buffer_unordered(DELETES_MAX)
            .try_collect::<()>()
            .await?;
    }
}

async fn delete_one(bus: &Bus, agent_id: &str, key: String) -> Result<(), Error> {
    bus.trigger::<Value>(
        state::DELETE,
        &state::Key {
            scope: scope(agent_id),
            key,
        },
    )
    .await
    .map(drop)
}
