//! Runs: which answers are under way, which were given, and how to end one.
//!
//! A run of a kept conversation has a row in the state from its beginning, so that it can be gone
//! on with should the engine end in its midst. Of others the latest are remembered while the
//! worker lives.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use agentos_contract::{
    agent::{ChatRequest, Run, RunStatus, RunsRequest, StopRequest},
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Code, Error, Stop};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{roster::now_ms, turn::Turn};

const SCOPE: &str = "agent-runs";
const PAGE: u32 = 500;

/// How long the row of a run that has ended is kept.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Past runs without a conversation that are remembered.
const PAST_MAX: usize = 200;
const LIST_DEFAULT: usize = 50;

/// All runs that this worker knows of.
pub(crate) struct Runs {
    /// Told apart from other instances, some of which may be gone.
    pub(crate) instance: String,
    live: Mutex<BTreeMap<String, Live>>,
    past: Mutex<VecDeque<Run>>,
}

struct Live {
    run: Run,
    stop: Stop,
}

/// A run as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) run: Run,
    /// What it was asked, without what was said: that is in the conversation.
    pub(crate) request: ChatRequest,
    /// Who works on it.
    pub(crate) instance: String,
}

/// A run under way. Dropped before [`Running::end`], it was interrupted.
pub(crate) struct Running {
    runs: Arc<Runs>,
    bus: Bus,
    pub(crate) id: String,
    pub(crate) stop: Stop,
    /// `None` for a run without a conversation, and when it has ended.
    request: Option<ChatRequest>,
    ended: bool,
}

impl Runs {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Runs {
            instance: uuid::Uuid::new_v4().simple().to_string(),
            live: Mutex::default(),
            past: Mutex::default(),
        })
    }

    /// Begins a run, or goes on with the one that `earlier` tells of.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        bus: &Bus,
        agent_id: &str,
        request: &ChatRequest,
        earlier: Option<Run>,
    ) -> Result<Running, Error> {
        let now = now_ms();
        let run = match earlier {
            Some(run) => Run {
                resumed: run.resumed + 1,
                status: RunStatus::Running,
                updated_at: now,
                ..run
            },
            None => Run {
                id: format!(
                    "run_{now:013x}{}",
                    &uuid::Uuid::new_v4().simple().to_string()[..12]
                ),
                agent_id: agent_id.to_owned(),
                session_id: request.session_id.clone(),
                started_at: now,
                updated_at: now,
                ..Run::default()
            },
        };
        let (id, stop) = (run.id.clone(), Stop::new());
        let request = run.session_id.as_ref().map(|_| ChatRequest {
            message: None,
            messages: Vec::new(),
            agent_id: agent_id.to_owned(),
            ..request.clone()
        });
        let live = Live {
            run,
            stop: stop.clone(),
        };
        self.live.lock().insert(id.clone(), live);
        let running = Running {
            runs: Arc::clone(self),
            bus: bus.detached(),
            id,
            stop,
            request,
            ended: false,
        };
        running.keep().await?;
        Ok(running)
    }

    /// Runs of a conversation that wait for a person.
    pub(crate) fn waiting(&self, agent_id: &str, session_id: &str) -> Vec<String> {
        let live = self.live.lock();
        let waiting = live.values().map(|live| &live.run).filter(|run| {
            run.status == RunStatus::Waiting
                && run.agent_id == agent_id
                && run.session_id.as_deref() == Some(session_id)
        });
        waiting.map(|run| run.id.clone()).collect()
    }

    pub(crate) fn is_live(&self, id: &str) -> bool {
        self.live.lock().contains_key(id)
    }

    /// Ends what `request` names; each run says what it has.
    pub(crate) fn stop(&self, request: &StopRequest) -> Vec<String> {
        let named = |wanted: &Option<String>, has: Option<&String>| {
            wanted.as_ref().is_none_or(|wanted| has == Some(wanted))
        };
        let names_something = request.all
            || request.run_id.is_some()
            || request.session_id.is_some()
            || request.agent_id.is_some();
        let live = self.live.lock();
        let wanted = live.values().filter(|live| {
            let run = &live.run;
            names_something
                && named(&request.run_id, Some(&run.id))
                && named(&request.session_id, run.session_id.as_ref())
                && named(&request.agent_id, Some(&run.agent_id))
        });
        wanted
            .map(|live| {
                live.stop.cancel();
                live.run.id.clone()
            })
            .collect()
    }

    /// Runs, newest first.
    pub(crate) async fn list(&self, bus: &Bus, request: RunsRequest) -> Result<Vec<Run>, Error> {
        let mut all: Vec<Run> = Vec::new();
        if !request.active {
            all.extend(rows(bus).await?.into_iter().map(|row| row.run));
            all.extend(self.past.lock().iter().cloned());
        }
        // What is under way is known better here than where it is kept.
        all.extend(self.live.lock().values().map(|live| live.run.clone()));
        let runs: BTreeMap<String, Run> =
            all.into_iter().map(|run| (run.id.clone(), run)).collect();
        let fits = |run: &Run| {
            request
                .agent_id
                .as_ref()
                .is_none_or(|id| *id == run.agent_id)
                && (request.session_id.is_none() || request.session_id == run.session_id)
        };
        let limit = request.limit.unwrap_or(LIST_DEFAULT);
        Ok(runs.into_values().rev().filter(fits).take(limit).collect())
    }

    pub(crate) async fn get(&self, bus: &Bus, id: &str) -> Result<Run, Error> {
        let live = self.live.lock().get(id).map(|live| live.run.clone());
        let past = || self.past.lock().iter().find(|run| run.id == id).cloned();
        if let Some(run) = live.or_else(past) {
            return Ok(run);
        }
        row(bus, id).await?.map(|row| row.run).ok_or_else(|| {
            Error::worker(Code::NotFound, format!("there is no run `{id}`")).reason("unknown_run")
        })
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Run)) -> Option<Run> {
        let mut live = self.live.lock();
        let run = &mut live.get_mut(id)?.run;
        change(run);
        run.updated_at = now_ms();
        Some(run.clone())
    }
}

impl Running {
    /// Notes how far the turn is.
    pub(crate) fn note(&self, turn: &Turn, said: &str) {
        self.runs.update(&self.id, |run| {
            run.iterations = turn.iterations;
            run.usage = turn.usage;
            run.tool_calls.clone_from(&turn.runs);
            run.guard = turn.guard();
            said.clone_into(&mut run.content);
        });
    }

    /// Whether it waits for a person, which is kept.
    pub(crate) async fn waits(&self, waits: bool) -> Result<(), Error> {
        let status = if waits {
            RunStatus::Waiting
        } else {
            RunStatus::Running
        };
        self.runs.update(&self.id, |run| run.status = status);
        self.keep().await
    }

    /// It has ended, as `change` says.
    pub(crate) async fn end(mut self, change: impl FnOnce(&mut Run)) -> Result<(), Error> {
        self.runs.update(&self.id, change);
        let outcome = self.keep().await;
        self.close();
        outcome
    }

    async fn keep(&self) -> Result<(), Error> {
        let run = self.runs.update(&self.id, |_| ());
        match (run, &self.request) {
            (Some(run), Some(request)) => {
                let row = Row {
                    run,
                    request: request.clone(),
                    instance: self.runs.instance.clone(),
                };
                save(&self.bus, &row).await
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Option<Run> {
        self.ended = true;
        let run = self.runs.live.lock().remove(&self.id)?.run;
        if self.request.is_none() {
            let mut past = self.runs.past.lock();
            past.truncate(PAST_MAX - 1);
            past.push_front(run.clone());
        }
        Some(run)
    }
}

impl Drop for Running {
    /// The caller went away. A run that waits for a person can still be gone on with.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.runs.update(&self.id, |run| {
            if run.status != RunStatus::Waiting || run.session_id.is_none() {
                run.status = RunStatus::Interrupted;
            }
        });
        let (run, request) = (self.close(), self.request.take());
        if let (Some(run), Some(request), Ok(runtime)) =
            (run, request, tokio::runtime::Handle::try_current())
        {
            let row = Row {
                run,
                request,
                instance: self.runs.instance.clone(),
            };
            let bus = self.bus.clone();
            runtime.spawn(async move {
                if let Err(error) = save(&bus, &row).await {
                    tracing::warn!(run = row.run.id, %error, "the end of a run could not be kept");
                }
            });
        }
    }
}

/// Rows of runs that have ended go by themselves after a while.
pub(crate) async fn save(bus: &Bus, row: &Row) -> Result<(), Error> {
    let lasts = matches!(row.run.status, RunStatus::Running | RunStatus::Waiting);
    let mut set = json!({ "scope": SCOPE, "key": row.run.id, "value": row });
    if !lasts {
        set["ttl_ms"] = KEPT_MS.into();
    }
    bus.trigger::<Value>(state::SET, &set).await.map(drop)
}

pub(crate) async fn row(bus: &Bus, id: &str) -> Result<Option<Row>, Error> {
    let key = state::Key {
        scope: SCOPE.to_owned(),
        key: id.to_owned(),
    };
    bus.trigger(state::GET, &key).await
}

/// All rows, oldest first.
pub(crate) async fn rows(bus: &Bus) -> Result<Vec<Row>, Error> {
    let mut request = ListEntries {
        scope: SCOPE.to_owned(),
        limit: Some(PAGE),
        ..ListEntries::default()
    };
    let mut rows = Vec::new();
    loop {
        let page: Entries = bus.trigger(state::ENTRIES, &request).await?;
        for entry in page.entries {
            match serde_json::from_value(entry.value) {
                Ok(row) => rows.push(row),
                Err(error) => tracing::warn!(run = entry.key, %error, "a run cannot be read"),
            }
        }
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            return Ok(rows);
        }
    }
}
