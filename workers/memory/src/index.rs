//! One agent's memories, ready to be searched. Derived from the state and held in memory: it is made
//! when an agent's memories are first asked for, and made anew rather than repaired. Knows no bus and
//! no clock.

mod filter;
mod graph;
mod reconcile;
mod search;
mod tokens;
mod vectors;
mod words;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use agentos_contract::memory::Memory;

pub(crate) use self::{
    filter::Filter, graph::Graph, reconcile::reconcile, search::Question, vectors::Wanted,
};
use self::{vectors::Vectors, words::Words};
use crate::{
    decay,
    record::{Record, Vector},
};

pub(crate) type Id = Arc<str>;

/// The number of a memory in the indexes of words and vectors. A memory that changes gets a new one.
pub(crate) type Slot = u64;

/// The memories of one agent.
pub(crate) struct Index {
    shelved: HashMap<Id, Shelved>,
    slots: HashMap<Slot, Id>,
    next: Slot,
    /// By age, oldest first.
    ages: BTreeSet<(u64, Id)>,
    words: Words,
    vectors: Vectors,
    /// Not embedded by the current model.
    pending: BTreeSet<Id>,
    model: Option<Arc<str>>,
}

struct Shelved {
    record: Record,
    slot: Slot,
}

impl Index {
    /// An empty one, which compares up to `exact_max` vectors one by one.
    pub(crate) fn new(exact_max: usize) -> Self {
        Index {
            shelved: HashMap::new(),
            slots: HashMap::new(),
            next: 0,
            ages: BTreeSet::new(),
            words: Words::new(),
            vectors: Vectors::new(exact_max),
            pending: BTreeSet::new(),
            model: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shelved.len()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        self.shelved.get(id).map(|shelved| &shelved.record)
    }

    /// The vector by which a memory is found, if it has one of the current model.
    pub(crate) fn vector(&self, id: &str) -> Option<&Arc<[f32]>> {
        self.vectors.get(self.shelved.get(id)?.slot)
    }

    /// Adds or replaces.
    pub(crate) fn insert(&mut self, record: Record) {
        self.remove(&record.memory.id);
        let id: Id = record.memory.id.as_str().into();
        let slot = self.next;
        self.next += 1;
        self.add_words(slot, &record.memory);
        self.ages
            .insert((record.memory.created_at, Arc::clone(&id)));
        self.slots.insert(slot, Arc::clone(&id));
        match &record.embedding {
            // Nobody has said yet which model embeds: the first that is seen is as good as any.
            Some(vector)
                if self
                    .model
                    .as_ref()
                    .is_none_or(|model| *model == vector.model) =>
            {
                self.model = Some(Arc::clone(&vector.model));
                self.vectors.insert(slot, Arc::clone(&vector.values));
            }
            _ => drop(self.pending.insert(Arc::clone(&id))),
        }
        self.shelved.insert(id, Shelved { record, slot });
    }

    fn add_words(&self, slot: Slot, memory: &Memory) {
        let scope = memory.scope.as_deref().unwrap_or_default();
        let session = memory.session_id.as_deref();
        self.words.insert(slot, &memory.content, scope, session);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some((id, shelved)) = self.shelved.remove_entry(id) {
            self.slots.remove(&shelved.slot);
            self.words.remove(shelved.slot);
            self.vectors.remove(shelved.slot);
            self.pending.remove(&id);
            self.ages.remove(&(shelved.record.memory.created_at, id));
        }
    }

    /// Makes everything searchable now, rather than with the first search.
    pub(crate) fn flush(&self) -> Result<(), tantivy::TantivyError> {
        self.words.flush()
    }

    /// Makes the index of words anew, because it is damaged.
    pub(crate) fn renew_words(&mut self) {
        self.words = Words::new();
        for shelved in self.shelved.values() {
            self.add_words(shelved.slot, &shelved.record.memory);
        }
    }

    /// The `count` oldest.
    pub(crate) fn oldest(&self, count: usize) -> Vec<String> {
        let ids = self.ages.iter().map(|(_, id)| id.to_string());
        ids.take(count).collect()
    }

    /// When the newest was made; 0 when there is none.
    pub(crate) fn newest_age(&self) -> u64 {
        self.ages.last().map_or(0, |(age, _)| *age)
    }

    /// Those that pass, newest first.
    pub(crate) fn newest_records<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = &'a Record> {
        let records = self.ages.iter().rev().filter_map(|(_, id)| self.get(id));
        records.filter(|record| filter.passes(&record.memory))
    }

    /// Those that pass, newest first.
    pub(crate) fn newest<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Memory> {
        self.newest_records(filter).map(|record| &record.memory)
    }

    /// Notes that somebody needed these memories; gives back those for which that is worth writing.
    pub(crate) fn used<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a str>,
        now_ms: u64,
    ) -> Vec<String> {
        let mut worth = Vec::new();
        for id in ids {
            if let Some(shelved) = self.shelved.get_mut(id)
                && decay::is_new_use(&shelved.record.memory, now_ms)
            {
                shelved.record.memory.used_at = Some(now_ms);
                worth.push(id.to_owned());
            }
        }
        worth
    }

    // ── Vectors ─────────────────────────────────────────────────────────────────────────────

    /// Says which model embeds now; what another one embedded waits to be embedded again.
    pub(crate) fn set_model(&mut self, model: &Arc<str>) {
        if self.model.as_ref() == Some(model) {
            return;
        }
        self.model = Some(Arc::clone(model));
        self.vectors.clear();
        self.pending.clear();
        for (id, shelved) in &self.shelved {
            match &shelved.record.embedding {
                Some(vector) if vector.model == *model => {
                    self.vectors
                        .insert(shelved.slot, Arc::clone(&vector.values));
                }
                _ => drop(self.pending.insert(Arc::clone(id))),
            }
        }
    }

    pub(crate) fn model(&self) -> Option<&Arc<str>> {
        self.model.as_ref()
    }

    /// How many memories wait to be embedded.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Up to `count` memories that wait to be embedded.
    pub(crate) fn pending(&self, count: usize) -> Vec<(Id, String)> {
        let content = |id: &Id| self.get(id).map(|record| record.memory.content.clone());
        self.pending
            .iter()
            .filter_map(|id| Some((Arc::clone(id), content(id)?)))
            .take(count)
            .collect()
    }

    /// Keeps the vector of a memory; gives back what must be written. A text that has no vector
    /// does not wait any longer.
    pub(crate) fn embedded(&mut self, id: &str, vector: Option<Vector>) -> Option<Record> {
        self.pending.remove(id);
        let shelved = self.shelved.get_mut(id)?;
        let vector = vector?;
        if self.model.as_ref() == Some(&vector.model) {
            self.vectors
                .insert(shelved.slot, Arc::clone(&vector.values));
        }
        shelved.record.embedding = Some(vector);
        Some(shelved.record.clone())
    }

    /// What a new graph of vectors is to be made of, if it is time for one.
    pub(crate) fn graph_wanted(&self) -> Option<Wanted> {
        self.vectors.wanted()
    }

    pub(crate) fn install_graph(&mut self, generation: u64, graph: Graph) {
        self.vectors.install(generation, Arc::new(graph));
    }
}

#[cfg(test)]
mod tests;
