//! The rim: what each function does with the shelves, the embedder and the clock.

use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_contract::memory::{
    ForgetRequest, Forgotten, ListRequest, Listed, Method, RecallRequest, Recalled, StoreRequest,
    Stored,
};
use agentos_sdk::{Bus, Code, Context, Error};
use serde_json::json;

use crate::{
    Memory,
    index::Filter,
    record::{self, Record},
    shelf::Shelf,
};

const RECALL_LIMIT: usize = 10;
const LIST_LIMIT: usize = 50;

impl Memory {
    pub(crate) async fn store(
        self: Arc<Self>,
        context: Context,
        request: StoreRequest,
    ) -> Result<Stored, Error> {
        check_agent(&request.agent_id)?;
        self.check_content(&request.content)?;
        let bus = context.bus().detached();
        let shelf = self.shelves.open(&bus, &request.agent_id).await?;
        // Half a write would leave the state ahead of the index, so it outlives its caller.
        let stored =
            to_the_end(Arc::clone(&self).write(bus.clone(), Arc::clone(&shelf), request)).await?;
        if stored.stored {
            tokio::spawn(async move { self.embed_all(&bus, &shelf).await });
        }
        Ok(stored)
    }

    fn check_content(&self, content: &str) -> Result<(), Error> {
        let max = self.config.content_bytes_max;
        if content.trim().is_empty() {
            return Err(invalid("content", "there is nothing to remember"));
        }
        if content.len() > max {
            return Err(invalid(
                "content",
                format!(
                    "{} bytes, and at most {max} are kept: store it in parts",
                    content.len()
                ),
            ));
        }
        Ok(())
    }

    async fn write(
        self: Arc<Self>,
        bus: Bus,
        shelf: Arc<Shelf>,
        request: StoreRequest,
    ) -> Result<Stored, Error> {
        let _turn = shelf.writing.lock().await;
        let id = record::id(&request);
        if shelf.index.read().get(&id).is_some() {
            return Ok(Stored {
                id,
                deduplicated: true,
                ..Stored::default()
            });
        }
        // Two in one millisecond have an order too.
        let created_at = now_ms().max(shelf.index.read().newest_age() + 1);
        let record = Record::new(request, created_at);
        shelf.save(&bus, &record).await?;
        shelf.index.write().insert(record);
        let evicted = self.make_room(&bus, &shelf).await;
        Ok(Stored {
            id,
            stored: true,
            evicted,
            ..Stored::default()
        })
    }

    /// Forgets the oldest memory when there are too many. What was stored stays stored even if
    /// this fails; the next store tries again.
    async fn make_room(&self, bus: &Bus, shelf: &Shelf) -> Option<String> {
        let oldest = {
            let index = shelf.index.read();
            index
                .oldest()
                .filter(|_| index.len() > self.config.records_max)?
                .to_string()
        };
        match shelf.delete(bus, vec![oldest.clone()]).await {
            Ok(()) => Some(oldest),
            Err(error) => {
                tracing::warn!(%error, "the oldest memory could not be forgotten");
                None
            }
        }
    }

    pub(crate) async fn recall(
        self: Arc<Self>,
        context: Context,
        request: RecallRequest,
    ) -> Result<Recalled, Error> {
        check_agent(&request.agent_id)?;
        let limit = self.limit(request.limit, RECALL_LIMIT)?;
        let bus = context.bus();
        let shelf = self.shelves.open(bus, &request.agent_id).await?;
        let filter = Filter {
            session_id: request.session_id,
            scopes: request.scopes,
        };
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
        let index = shelf.index.read();
        let memories = index.search(
            &request.query,
            vector.as_ref(),
            &filter,
            limit,
            self.config.similarity_min,
        );
        Ok(Recalled {
            memories,
            method,
            notice,
        })
    }

    pub(crate) async fn forget(
        self: Arc<Self>,
        context: Context,
        request: ForgetRequest,
    ) -> Result<Forgotten, Error> {
        check_agent(&request.agent_id)?;
        let bus = context.bus().detached();
        let shelf = self.shelves.open(&bus, &request.agent_id).await?;
        to_the_end(async move {
            let _turn = shelf.writing.lock().await;
            let ids = chosen(&shelf, &request)?;
            let forgotten = ids.len();
            shelf.delete(&bus, ids).await?;
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
        let shelf = self.shelves.open(context.bus(), &request.agent_id).await?;
        let filter = Filter {
            session_id: request.session_id,
            scopes: request.scope.map(|scope| vec![scope]),
        };
        let index = shelf.index.read();
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
fn chosen(shelf: &Shelf, request: &ForgetRequest) -> Result<Vec<String>, Error> {
    let index = shelf.index.read();
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
    let scopes = request.scope.clone().map(|scope| vec![scope]);
    let filter = Filter {
        session_id: request.session_id.clone(),
        scopes,
    };
    Ok(index
        .newest(&filter)
        .map(|memory| memory.id.clone())
        .collect())
}

fn check_agent(agent_id: &str) -> Result<(), Error> {
    if agent_id.is_empty() || agent_id.len() > 256 {
        return Err(invalid("agentId", "must have 1 to 256 bytes"));
    }
    Ok(())
}

fn invalid(field: &str, message: impl std::fmt::Display) -> Error {
    Error::caller(Code::InvalidInput, format!("{field}: {message}"))
        .details(json!({ "field": field }))
}

/// Runs `work` even if whoever waits for it goes away.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let lost = |error| Error::worker(Code::Internal, format!("the write ended early: {error}"));
    tokio::spawn(work).await.map_err(lost)?
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}
