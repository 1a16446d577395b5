//! One agent's memories, ready to be searched. Pure: no bus, no clock.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use agentos_contract::memory::{Hit, Memory, Source};
use bm25::{Embedder, EmbedderBuilder, Scorer};

use crate::{
    fuse::fuse,
    record::{Record, Vector},
};

/// Words in a typical memory; BM25 weighs longer ones down. Drift costs accuracy, not
/// correctness.
const WORDS_TYPICAL: f32 = 24.0;

/// How deep each ranking goes before fusion, in multiples of what was asked for.
const DEPTH: usize = 5;

type Id = Arc<str>;

/// Which memories count.
#[derive(Clone, Default, Debug)]
pub(crate) struct Filter {
    pub(crate) session_id: Option<String>,
    /// `None` lets all pass, an empty list none.
    pub(crate) scopes: Option<Vec<String>>,
}

impl Filter {
    pub(crate) fn passes(&self, memory: &Memory) -> bool {
        let scope = memory.scope.as_deref().unwrap_or_default();
        let session = |wanted: &String| memory.session_id.as_ref() == Some(wanted);
        self.session_id.as_ref().is_none_or(session)
            && self
                .scopes
                .as_ref()
                .is_none_or(|scopes| scopes.iter().any(|wanted| wanted == scope))
    }
}

/// The memories of one agent.
pub(crate) struct Index {
    records: HashMap<Id, Record>,
    /// By age, oldest first.
    ages: BTreeSet<(u64, Id)>,
    words: Embedder<u32>,
    keywords: Scorer<Id, u32>,
    /// Not embedded by the current model.
    pending: BTreeSet<Id>,
    model: Option<String>,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            records: HashMap::new(),
            ages: BTreeSet::new(),
            words: EmbedderBuilder::with_avgdl(WORDS_TYPICAL).build(),
            keywords: Scorer::new(),
            pending: BTreeSet::new(),
            model: None,
        }
    }
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// Adds or replaces.
    pub(crate) fn insert(&mut self, record: Record) {
        self.remove(&record.memory.id);
        let id: Id = record.memory.id.as_str().into();
        self.keywords
            .upsert(&id, self.words.embed(&record.memory.content));
        self.ages
            .insert((record.memory.created_at, Arc::clone(&id)));
        if !self.is_current(&record) {
            self.pending.insert(Arc::clone(&id));
        }
        self.records.insert(id, record);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some((id, record)) = self.records.remove_entry(id) {
            self.keywords.remove(&id);
            self.pending.remove(&id);
            self.ages.remove(&(record.memory.created_at, id));
        }
    }

    pub(crate) fn oldest(&self) -> Option<Id> {
        self.ages.first().map(|(_, id)| Arc::clone(id))
    }

    /// When the newest was made; 0 when there is none.
    pub(crate) fn newest_age(&self) -> u64 {
        self.ages.last().map_or(0, |(age, _)| *age)
    }

    /// Those that pass, newest first.
    pub(crate) fn newest<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Memory> {
        let memories = self
            .ages
            .iter()
            .rev()
            .filter_map(|(_, id)| self.records.get(id));
        memories
            .map(|record| &record.memory)
            .filter(|memory| filter.passes(memory))
    }

    // ── Vectors ─────────────────────────────────────────────────────────────────────────────

    fn is_current(&self, record: &Record) -> bool {
        match (&record.embedding, &self.model) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(vector), Some(model)) => vector.model == *model,
        }
    }

    /// Says which model embeds now; what another one embedded waits to be embedded again.
    pub(crate) fn set_model(&mut self, model: &str) {
        if self.model.as_deref() == Some(model) {
            return;
        }
        self.model = Some(model.to_owned());
        let stale: Vec<Id> = self
            .records
            .iter()
            .filter(|(_, record)| !self.is_current(record))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        self.pending.extend(stale);
    }

    /// Up to `count` memories that wait to be embedded.
    pub(crate) fn pending(&self, count: usize) -> Vec<(Id, String)> {
        let content = |id: &Id| {
            self.records
                .get(id)
                .map(|record| record.memory.content.clone())
        };
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
        let record = self.records.get_mut(id)?;
        record.embedding = Some(vector?);
        Some(record.clone())
    }

    // ── Search ──────────────────────────────────────────────────────────────────────────────

    /// The best `limit` memories for `query`, which is also `vector` if it could be embedded.
    pub(crate) fn search(
        &self,
        query: &str,
        vector: Option<&Vector>,
        filter: &Filter,
        limit: usize,
        similarity_min: f64,
    ) -> Vec<Hit> {
        let depth = limit.saturating_mul(DEPTH);
        let by_words = self.by_words(query, filter, depth);
        let by_meaning =
            vector.map(|vector| self.by_meaning(vector, filter, depth, similarity_min));
        let rankings: Vec<Vec<Id>> = std::iter::once(&by_words)
            .chain(by_meaning.as_ref())
            .map(|ranking| ranking.iter().map(|(id, _)| Arc::clone(id)).collect())
            .collect();
        let words: HashMap<Id, f64> = by_words.into_iter().collect();
        let meaning: HashMap<Id, f64> = by_meaning.into_iter().flatten().collect();
        fuse(&rankings)
            .into_iter()
            .take(limit)
            .filter_map(|fused| {
                let record = self.records.get(&fused.item)?;
                let (keyword_score, near) = (words.get(&fused.item), meaning.get(&fused.item));
                let similarity = near
                    .copied()
                    .or_else(|| record.embedding.as_ref()?.cosine(vector?));
                let named = [
                    keyword_score.map(|_| Source::Keyword),
                    near.map(|_| Source::Vector),
                ];
                Some(Hit {
                    memory: record.memory.clone(),
                    score: fused.score,
                    similarity,
                    keyword_score: keyword_score.copied(),
                    sources: named.into_iter().flatten().collect(),
                })
            })
            .collect()
    }

    fn by_words(&self, query: &str, filter: &Filter, depth: usize) -> Vec<(Id, f64)> {
        let matches = self.keywords.matches(&self.words.embed(query));
        self.ranked(
            matches
                .into_iter()
                .map(|found| (found.id, found.score.into())),
            filter,
            depth,
        )
    }

    fn by_meaning(
        &self,
        query: &Vector,
        filter: &Filter,
        depth: usize,
        min: f64,
    ) -> Vec<(Id, f64)> {
        let near = self.records.iter().filter_map(|(id, record)| {
            let cosine = record.embedding.as_ref()?.cosine(query)?;
            (cosine >= min).then(|| (Arc::clone(id), cosine))
        });
        self.ranked(near, filter, depth)
    }

    /// Best first; of equals the newest, so that the order is the same each time.
    fn ranked(
        &self,
        found: impl Iterator<Item = (Id, f64)>,
        filter: &Filter,
        depth: usize,
    ) -> Vec<(Id, f64)> {
        let mut rows: Vec<(Id, f64, u64)> = found
            .filter_map(|(id, score)| {
                let memory = &self.records.get(&id)?.memory;
                filter
                    .passes(memory)
                    .then_some((id, score, memory.created_at))
            })
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.cmp(&a.2)).then(a.0.cmp(&b.0)));
        rows.truncate(depth);
        rows.into_iter().map(|(id, score, _)| (id, score)).collect()
    }
}

#[cfg(test)]
mod tests;
