//! The rim: what each function does with the shelves, the embedder and the clock.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_contract::memory::{
    ForgetRequest, Forgotten, Hit, ListRequest, Listed, Method, RecallRequest, Recalled,
};
use agentos_sdk::{Bus, Code, Context, Error};
use serde_json::json;

use crate::{
    Memory,
    aside::{aside, to_the_end},
    decay::is_new_use,
    index::{Filter, Index, Question},
    record::Vector,
    shelf::Shelf,
};

const RECALL_LIMIT: usize = 10;
const LIST_LIMIT: usize = 50;

/// Of a drawer or a conversation: a name, not a text.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;
const AGENT_BYTES_MAX: usize = 256;

impl Memory {
    /// An agent's memories, as up to date as the state. What waits in them is embedded meanwhile.
    pub(crate) async fn open(
        self: &Arc<Self>,
        bus: &Bus,
        agent: &str,
    ) -> Result<Arc<Shelf>, Error> {
        let opened = self.shelves.open(bus, agent).await?;
        if opened.is_new {
            self.embed_in_background(bus, &opened.shelf);
        }
        Ok(opened.shelf)
    }

    pub(crate) async fn recall(
        self: Arc<Self>,
        context: Context,
        request: RecallRequest,
    ) -> Result<Recalled, Error> {
        check_agent(&request.agent_id)?;
        let limit = self.limit(request.limit, RECALL_LIMIT)?;
        let bus = context.bus();
        let shelf = self.open(bus, &request.agent_id).await?;
        let embedded = self.embed_query(bus, &shelf, &request.query).await;
        let (vector, notice) = match embedded {
            Ok(mut embedded) => (embedded.vectors.remove(0), None),
            Err(why) => (
                None,
                Some(format!("memories were searched by words only: {why}")),
            ),
        };
        let method = if notice.is_none() {
            Method::Hybrid
        } else {
            Method::Keyword
        };
        let memories = self.search(&shelf, request, vector, limit).await?;
        self.note_uses(bus, &shelf, &memories);
        Ok(Recalled {
            memories,
            method,
            notice,
        })
    }

    async fn search(
        self: &Arc<Self>,
        shelf: &Arc<Shelf>,
        request: RecallRequest,
        vector: Option<Vector>,
        limit: usize,
    ) -> Result<Vec<Hit>, Error> {
        let (memory, shelf) = (Arc::clone(self), Arc::clone(shelf));
        let found = aside(move || {
            let filter = Filter {
                session_id: request.session_id,
                scopes: request.scopes,
            };
            let question = Question {
                query: &request.query,
                vector: vector.as_ref(),
                filter: &filter,
                limit,
                similarity_min: memory.config.similarity_min,
                decay: memory.decay,
                now_ms: now_ms(),
            };
            let found = shelf.index.blocking_read().search(&question);
            found.or_else(|error| {
                tracing::warn!(%error, "the index of words is damaged and made anew");
                let mut index = shelf.index.blocking_write();
                index.renew_words();
                index.search(&question)
            })
        });
        let damaged = |error| Error::worker(Code::Internal, format!("the index of words: {error}"));
        found.await?.map_err(damaged)
    }

    /// What is recalled is fresh again. Written afterwards, and at most once a day for a memory.
    fn note_uses(&self, bus: &Bus, shelf: &Arc<Shelf>, hits: &[Hit]) {
        let now = now_ms();
        if !hits.iter().any(|hit| is_new_use(&hit.memory, now)) {
            return;
        }
        let ids: Vec<String> = hits.iter().map(|hit| hit.memory.id.clone()).collect();
        let (bus, shelf) = (bus.detached(), Arc::clone(shelf));
        tokio::spawn(async move {
            let ids = ids.iter().map(String::as_str);
            let worth = shelf.index.write().await.used(ids, now);
            shelf.save_uses(&bus, worth).await;
        });
    }

    pub(crate) async fn forget(
        self: Arc<Self>,
        context: Context,
        request: ForgetRequest,
    ) -> Result<Forgotten, Error> {
        check_agent(&request.agent_id)?;
        let bus = context.bus().detached();
        let shelf = self.open(&bus, &request.agent_id).await?;
        to_the_end(async move {
            let _turn = shelf.writing.lock().await;
            let ids = chosen(&*shelf.index.read().await, &request)?;
            let forgotten = ids.len();
            let deleted = shelf.delete(&bus, ids).await;
            // Counted in any case: a part of them may be gone.
            shelf.written(&bus).await?;
            deleted?;
            Ok(Forgotten { forgotten })
        })
        .await
    }

    pub(crate) async fn list(
        self: Arc<Self>,
        context: Context,
        request: ListRequest,
    ) -> Result<Listed, Error> {
        check_agent(&request.agent_id)?;
        let limit = self.limit(request.limit, LIST_LIMIT)?;
        let shelf = self.open(context.bus(), &request.agent_id).await?;
        let filter = Filter::of(request.session_id, request.scope);
        let index = shelf.index.read().await;
        let after = request.cursor.as_deref();
        let start = after.map_or(0, |id| {
            index
                .newest(&filter)
                .take_while(|memory| memory.id != id)
                .count()
                + 1
        });
        let total = index.newest(&filter).count();
        let memories: Vec<_> = index
            .newest(&filter)
            .skip(start)
            .take(limit)
            .cloned()
            .collect();
        let cursor = memories
            .last()
            .filter(|_| start + memories.len() < total)
            .map(|last| last.id.clone());
        Ok(Listed {
            memories,
            total,
            cursor,
        })
    }

    fn limit(&self, asked: Option<usize>, default: usize) -> Result<usize, Error> {
        let max = self.config.limit_max;
        match asked.unwrap_or(default) {
            limit if (1..=max).contains(&limit) => Ok(limit),
            limit => Err(invalid(
                "limit",
                format!("{limit} is not between 1 and {max}"),
            )),
        }
    }
}

/// The ids that a request to forget means. Naming nothing never means everything.
fn chosen(index: &Index, request: &ForgetRequest) -> Result<Vec<String>, Error> {
    if let Some(id) = &request.id {
        let missing = || Error::worker(Code::NotFound, format!("the agent has no memory `{id}`"));
        return index.get(id).map(|_| vec![id.clone()]).ok_or_else(missing);
    }
    if request.session_id.is_none() && request.scope.is_none() && !request.all {
        return Err(invalid(
            "id",
            "name what to forget: id, sessionId, scope, or all: true",
        ));
    }
    let filter = Filter::of(request.session_id.clone(), request.scope.clone());
    Ok(index
        .newest(&filter)
        .map(|memory| memory.id.clone())
        .collect())
}

pub(crate) fn check_agent(agent_id: &str) -> Result<(), Error> {
    if agent_id.is_empty() || agent_id.len() > AGENT_BYTES_MAX {
        return Err(invalid(
            "agentId",
            format!("must have 1 to {AGENT_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

pub(crate) fn invalid(field: &str, message: impl std::fmt::Display) -> Error {
    Error::caller(Code::InvalidInput, format!("{field}: {message}"))
        .details(json!({ "field": field }))
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}
