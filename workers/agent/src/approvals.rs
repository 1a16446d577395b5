//! What people are asked before a tool runs. Questions are kept, so that an answer counts
//! whenever and from wherever it comes; silence is a no.

use std::{collections::HashMap, time::Duration};

use agentos_contract::{
    agent::{Approval, ApprovalStatus, Decide},
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::roster::now_ms;

const SCOPE: &str = "agent-approvals";
const PAGE: u32 = 500;

/// How long a question is kept after it was asked.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Questions, and the runs that wait for an answer.
#[derive(Default)]
pub(crate) struct Approvals {
    waiting: Mutex<HashMap<String, oneshot::Sender<Approval>>>,
    /// Held while a question is answered: the first word counts.
    deciding: tokio::sync::Mutex<()>,
}

impl Approvals {
    /// Asks, unless it was asked before, and waits for the answer; no longer than `patience`.
    pub(crate) async fn ask(
        &self,
        bus: &Bus,
        question: Approval,
        patience: Duration,
    ) -> Result<Approval, Error> {
        let id = question.id.clone();
        let (tell, told) = oneshot::channel();
        // Before it is looked up: an answer must not come between.
        self.waiting.lock().insert(id.clone(), tell);
        let _waiting = Waiting { of: self, id: &id };
        let question = match get(bus, &id).await? {
            Some(asked) => asked,
            None => {
                save(bus, &question).await?;
                question
            }
        };
        if question.status != ApprovalStatus::Pending {
            return Ok(question);
        }
        let left = Duration::from_millis(question.expires_at.saturating_sub(now_ms()));
        match tokio::time::timeout(left.min(patience), told).await {
            Ok(Ok(answered)) => Ok(answered),
            _ if left > patience => {
                let message = format!("nobody has answered the approval `{id}` yet");
                Err(Error::worker(Code::Timeout, message).reason("approval_open"))
            }
            _ => self.expire(bus, &id, question).await,
        }
    }

    /// Notes that what was approved is being done: after a crash it is not done once more.
    pub(crate) async fn begin(&self, bus: &Bus, approval: Approval) -> Result<(), Error> {
        let begun = true;
        save(bus, &Approval { begun, ..approval }).await
    }

    /// Somebody goes on with the conversation instead of answering, which is a no.
    pub(crate) async fn supersede(&self, bus: &Bus, run_id: &str) -> Result<(), Error> {
        for open in list(bus, false).await? {
            if open.run_id == run_id {
                let word = Decide {
                    approval_id: open.id,
                    approve: false,
                    by: None,
                    reason: Some("the conversation went on without an answer".to_owned()),
                };
                match self.decide(bus, word).await {
                    Err(error) if error.code != Code::Conflict => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Nobody answered in time, unless somebody did in this moment.
    async fn expire(&self, bus: &Bus, id: &str, question: Approval) -> Result<Approval, Error> {
        let _turn = self.deciding.lock().await;
        let mut question = get(bus, id).await?.unwrap_or(question);
        if question.status == ApprovalStatus::Pending {
            question.status = ApprovalStatus::Expired;
            save(bus, &question).await?;
        }
        Ok(question)
    }

    /// Takes a person's word.
    pub(crate) async fn decide(&self, bus: &Bus, word: Decide) -> Result<Approval, Error> {
        let _turn = self.deciding.lock().await;
        let unknown = || {
            let message = format!("there is no approval `{}`", word.approval_id);
            Error::worker(Code::NotFound, message).reason("unknown_approval")
        };
        let mut question = get(bus, &word.approval_id).await?.ok_or_else(unknown)?;
        if question.status != ApprovalStatus::Pending || question.expires_at <= now_ms() {
            let message = format!(
                "the approval `{}` was answered already, or is too old",
                question.id
            );
            return Err(Error::worker(Code::Conflict, message).details(json!(question)));
        }
        question.status = if word.approve {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Denied
        };
        (question.by, question.reason) = (word.by, word.reason);
        save(bus, &question).await?;
        if let Some(tell) = self.waiting.lock().remove(&question.id) {
            // A run that has gone meanwhile finds the answer when it is gone on with.
            let _ = tell.send(question.clone());
        }
        Ok(question)
    }
}

/// Takes the waiting run away when it stops to wait.
struct Waiting<'a> {
    of: &'a Approvals,
    id: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.of.waiting.lock().remove(self.id);
    }
}

pub(crate) fn id(run_id: &str, call_id: &str) -> String {
    let plain: String = call_id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .take(64)
        .collect();
    format!("{}-{plain}", run_id.replacen("run_", "apr_", 1))
}

pub(crate) async fn get(bus: &Bus, id: &str) -> Result<Option<Approval>, Error> {
    let key = state::Key {
        scope: SCOPE.to_owned(),
        key: id.to_owned(),
    };
    bus.trigger(state::GET, &key).await
}

async fn save(bus: &Bus, approval: &Approval) -> Result<(), Error> {
    let set = json!({ "scope": SCOPE, "key": approval.id, "value": approval, "ttl_ms": KEPT_MS });
    bus.trigger::<Value>(state::SET, &set).await.map(drop)
}

/// Questions, oldest first; those without an answer, or all.
pub(crate) async fn list(bus: &Bus, all: bool) -> Result<Vec<Approval>, Error> {
    let mut request = ListEntries {
        scope: SCOPE.to_owned(),
        limit: Some(PAGE),
        ..ListEntries::default()
    };
    let mut found = Vec::new();
    loop {
        let page: Entries<Approval> = bus.trigger(state::ENTRIES, &request).await?;
        let now = now_ms();
        for mut approval in page.entries.into_iter().map(|entry| entry.value) {
            if approval.status == ApprovalStatus::Pending && approval.expires_at <= now {
                approval.status = ApprovalStatus::Expired;
            }
            if all || approval.status == ApprovalStatus::Pending {
                found.push(approval);
            }
        }
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            return Ok(found);
        }
    }
}
