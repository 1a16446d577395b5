//! A search by words and by meaning, fused, and less what time has taken.

use std::{collections::HashMap, sync::Arc};

use agentos_contract::memory::{Hit, Source};
use tantivy::TantivyError;

use super::{Filter, Id, Index, Slot};
use crate::{decay::Decay, fuse::fuse, record::Vector};

/// How deep each ranking goes before fusion: in multiples of what was asked for, and at least. What
/// only one ranking names far down cannot come out on top.
const DEPTH: usize = 5;
const DEPTH_MIN: usize = 100;

/// What is looked for.
pub(crate) struct Question<'a> {
    pub(crate) query: &'a str,
    /// The query's, if it could be embedded.
    pub(crate) vector: Option<&'a Vector>,
    pub(crate) filter: &'a Filter,
    pub(crate) limit: usize,
    /// Cosine below which a memory is not found by its meaning.
    pub(crate) similarity_min: f64,
    pub(crate) decay: Decay,
    pub(crate) now_ms: u64,
}

impl Index {
    /// The best memories for a question. Fails only when the index of words is damaged.
    pub(crate) fn search(&self, question: &Question<'_>) -> Result<Vec<Hit>, TantivyError> {
        let depth = question.limit.saturating_mul(DEPTH).max(DEPTH_MIN);
        let by_words = self
            .words
            .search(question.query, question.filter, depth.min(self.len()))?;
        let by_words = self.ranked(by_words, question.filter);
        let by_meaning = self.by_meaning(question, depth);
        let rankings: Vec<Vec<Id>> = std::iter::once(&by_words)
            .chain(by_meaning.as_ref())
            .map(|ranking| ranking.iter().map(|(id, _)| Arc::clone(id)).collect())
            .collect();
        let words: HashMap<Id, f64> = by_words.into_iter().collect();
        let meaning: HashMap<Id, f64> = by_meaning.into_iter().flatten().collect();
        let mut hits: Vec<Hit> = fuse(&rankings)
            .into_iter()
            .filter_map(|fused| {
                let record = &self.shelved.get(&fused.item)?.record;
                let (keyword_score, near) = (words.get(&fused.item), meaning.get(&fused.item));
                let similarity = near
                    .copied()
                    .or_else(|| record.embedding.as_ref()?.cosine(question.vector?));
                let named = [
                    keyword_score.map(|_| Source::Keyword),
                    near.map(|_| Source::Vector),
                ];
                Some(Hit {
                    memory: record.memory.clone(),
                    score: fused.score * question.decay.factor(&record.memory, question.now_ms),
                    similarity,
                    keyword_score: keyword_score.copied(),
                    sources: named.into_iter().flatten().collect(),
                })
            })
            .collect();
        // Stable: of equals, the order of the rankings stays.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(question.limit);
        Ok(hits)
    }

    /// `None` when meaning cannot be searched.
    fn by_meaning(&self, question: &Question<'_>, depth: usize) -> Option<Vec<(Id, f64)>> {
        let vector = question.vector?;
        if self.model.as_ref() != Some(&vector.model) {
            return Some(Vec::new());
        }
        let passes = |slot: Slot| {
            let record = self.slots.get(&slot).and_then(|id| self.get(id));
            record.is_some_and(|record| question.filter.passes(&record.memory))
        };
        let passes: Option<&dyn Fn(Slot) -> bool> = match question.filter.passes_all() {
            true => None,
            false => Some(&passes),
        };
        let min = question.similarity_min;
        let near = self.vectors.search(&vector.values, passes, depth, min);
        Some(self.ranked(near, question.filter))
    }

    /// Best first; of equals the newest, so that the order is the same each time.
    fn ranked(&self, found: Vec<(Slot, f64)>, filter: &Filter) -> Vec<(Id, f64)> {
        let mut rows: Vec<(&Id, f64, u64)> = found
            .into_iter()
            .filter_map(|(slot, score)| {
                let id = self.slots.get(&slot)?;
                let memory = &self.get(id)?.memory;
                filter
                    .passes(memory)
                    .then_some((id, score, memory.created_at))
            })
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.cmp(&a.2)).then(a.0.cmp(b.0)));
        let rows = rows.into_iter();
        rows.map(|(id, score, _)| (Arc::clone(id), score)).collect()
    }
}
