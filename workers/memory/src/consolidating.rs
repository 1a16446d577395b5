//! Making one memory of those that say the same.

use std::sync::Arc;

use agentos_contract::memory::{ConsolidateRequest, Consolidated, Memory as Stored, Merge};
use agentos_sdk::{Bus, Context, Error};
use serde_json::Value;

use crate::{
    Memory,
    aside::{aside, to_the_end},
    handlers::{check_agent, invalid},
    index::{Filter, Id, Index},
    record::Record,
    shelf::Shelf,
    twins::{self, Found, Saying, Twins},
};

impl Memory {
    pub(crate) async fn consolidate(
        self: Arc<Self>,
        context: Context,
        request: ConsolidateRequest,
    ) -> Result<Consolidated, Error> {
        check_agent(&request.agent_id)?;
        let similarity = request
            .similarity
            .unwrap_or(self.config.merge_similarity_min);
        if !(0.5..=1.0).contains(&similarity) {
            let message = format!("{similarity} is not between 0.5 and 1");
            return Err(invalid("similarity", message));
        }
        let bus = context.bus().detached();
        let shelf = self.open(&bus, &request.agent_id).await?;
        let filter = Filter::of(request.session_id, request.scope);
        let (sayings, mute) = sayings(&*shelf.index.read().await, &filter);
        let found = aside(move || twins::find(&sayings, similarity)).await?;
        let notice = notice(mute, &found);
        let mut groups: Vec<Merge> = found.groups.iter().map(tell).collect();
        if !request.dry_run {
            groups = to_the_end(async move { merge_all(&bus, &shelf, found.groups).await }).await?;
        }
        let merged = groups.iter().map(|group| group.merged.len()).sum();
        Ok(Consolidated {
            merged,
            groups,
            notice,
        })
    }
}

/// What is compared, newest first, and how much of it has no vector.
fn sayings(index: &Index, filter: &Filter) -> (Vec<Saying>, usize) {
    let mut mute = 0;
    let sayings = index.newest_records(filter).map(|record| {
        let vector = index.vector(&record.memory.id);
        mute += usize::from(vector.is_none());
        Saying::new(record, vector)
    });
    (sayings.collect(), mute)
}

fn notice(mute: usize, found: &Found) -> Option<String> {
    let mute = (mute > 0)
        .then(|| format!("{mute} memories have no vector and were compared by their wording only"));
    let cut = found
        .cut_short
        .then(|| "there is more to compare: run it again, or for one scope".to_owned());
    let parts: Vec<String> = mute.into_iter().chain(cut).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn tell(twins: &Twins) -> Merge {
    Merge {
        kept: twins.kept.to_string(),
        merged: twins.others.iter().map(ToString::to_string).collect(),
    }
}

/// Merges what is still there; gives back what was merged.
async fn merge_all(bus: &Bus, shelf: &Shelf, groups: Vec<Twins>) -> Result<Vec<Merge>, Error> {
    let _turn = shelf.writing.lock().await;
    let mut merged = Vec::new();
    let mut outcome = Ok(());
    for twins in groups {
        let Some((record, others)) = merge(&*shelf.index.read().await, &twins) else {
            continue;
        };
        // First the one that stays: what ends here leaves two that say the same, and not none.
        outcome = shelf.add(bus, vec![record]).await;
        if outcome.is_ok() {
            let ids = others.iter().map(ToString::to_string).collect();
            outcome = shelf.delete(bus, ids).await;
        }
        if outcome.is_err() {
            break;
        }
        let kept = twins.kept;
        merged.push(tell(&Twins { kept, others }));
    }
    if !merged.is_empty() || outcome.is_err() {
        shelf.written(bus).await?;
    }
    outcome.map(|()| merged)
}

/// The record that stays for all that are still there, and the others of them.
fn merge(index: &Index, twins: &Twins) -> Option<(Record, Vec<Id>)> {
    let mut record = index.get(&twins.kept)?.clone();
    let mut others = Vec::new();
    for id in &twins.others {
        if let Some(other) = index.get(id) {
            take_in(&mut record.memory, &other.memory);
            others.push(Arc::clone(id));
        }
    }
    (!others.is_empty()).then_some((record, others))
}

/// What it says of itself stays; what only the other says is added.
fn take_in(memory: &mut Stored, other: &Stored) {
    memory.merged += 1 + other.merged;
    memory.used_at = memory.used_at.max(other.used_at);
    match (&mut memory.metadata, &other.metadata) {
        (Some(Value::Object(own)), Some(Value::Object(others))) => {
            for (key, value) in others {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        (own @ None, others) => own.clone_from(others),
        _ => {}
    }
}
