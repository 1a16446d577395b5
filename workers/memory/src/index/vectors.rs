//! Memories by what they mean: the vectors of one model, compared one by one while they are few, and
//! followed through a graph when they are many. What has come since the graph was made is compared one
//! by one, so nothing waits for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Slot,
    graph::{EF_SEARCH, Graph},
};
use crate::record::dot;

/// The graph is made anew when more than one in so many vectors is not in it, or no longer.
const STALE_SHARE: usize = 4;

/// Comparing one in so many of the vectors is faster than to follow a graph past all others.
const SELECTIVE_SHARE: usize = 4;

pub(super) struct Vectors {
    pub(super) exact_max: usize,
    /// All that can be found. Of one length, which the first one sets.
    points: HashMap<Slot, Arc<[f32]>>,
    dimensions: usize,
    graph: Option<Arc<Graph>>,
    /// Points that are not in the graph.
    outside: HashSet<Slot>,
    /// Counts the models; a graph of one is of no use to another.
    generation: u64,
}

/// What a graph is to be made of.
pub(crate) struct Wanted {
    pub(crate) vectors: Vec<(Slot, Arc<[f32]>)>,
    pub(crate) generation: u64,
}

impl Vectors {
    pub(super) fn new(exact_max: usize) -> Self {
        Vectors {
            exact_max,
            points: HashMap::new(),
            dimensions: 0,
            graph: None,
            outside: HashSet::new(),
            generation: 0,
        }
    }

    /// Forgets all, for another model's vectors.
    pub(super) fn clear(&mut self) {
        let generation = self.generation + 1;
        *self = Vectors::new(self.exact_max);
        self.generation = generation;
    }

    pub(super) fn insert(&mut self, slot: Slot, vector: Arc<[f32]>) {
        if self.points.is_empty() {
            self.dimensions = vector.len();
        }
        if vector.len() == self.dimensions {
            self.outside.insert(slot);
            self.points.insert(slot, vector);
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.points.remove(&slot);
        self.outside.remove(&slot);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<[f32]>> {
        self.points.get(&slot)
    }

    // ── The graph ───────────────────────────────────────────────────────────────────────────

    /// What a new graph is to be made of, if it is time for one.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let count = self.points.len();
        let gone = self
            .graph
            .as_ref()
            .map_or(0, |graph| graph.slots().len() + self.outside.len() - count);
        let stale = self.outside.len() + gone;
        if stale <= self.exact_max || stale * STALE_SHARE <= count {
            return None;
        }
        let points = self.points.iter();
        let mut vectors: Vec<_> = points
            .map(|(slot, vector)| (*slot, Arc::clone(vector)))
            .collect();
        // The same memories make the same graph.
        vectors.sort_unstable_by_key(|(slot, _)| *slot);
        let generation = self.generation;
        Some(Wanted {
            vectors,
            generation,
        })
    }

    /// Takes a graph into use, whatever was stored or forgotten while it was made.
    pub(super) fn install(&mut self, generation: u64, graph: Arc<Graph>) {
        if generation == self.generation {
            for slot in graph.slots() {
                self.outside.remove(slot);
            }
            self.graph = Some(graph);
        }
    }

    // ── Search ──────────────────────────────────────────────────────────────────────────────

    /// The nearest `depth` that pass and whose cosine is at least `min`, in no order.
    pub(super) fn search(
        &self,
        query: &Arc<[f32]>,
        passes: Option<&dyn Fn(Slot) -> bool>,
        depth: usize,
        min: f64,
    ) -> Vec<(Slot, f64)> {
        if query.len() != self.dimensions {
            return Vec::new();
        }
        let mut found = match (&self.graph, passes) {
            (Some(graph), None) if depth <= EF_SEARCH / 2 => self.through(graph, query, |_| true),
            (_, None) => self.compare(query, self.points.keys().copied()),
            (graph, Some(passes)) => {
                let passing: Vec<Slot> = self
                    .points
                    .keys()
                    .copied()
                    .filter(|slot| passes(*slot))
                    .collect();
                let few = passing.len() <= self.exact_max
                    || passing.len() * SELECTIVE_SHARE <= self.points.len();
                match graph {
                    Some(graph) if !few && depth <= EF_SEARCH / 2 => {
                        self.through(graph, query, passes)
                    }
                    _ => self.compare(query, passing.into_iter()),
                }
            }
        };
        found.retain(|(_, cosine)| *cosine >= min);
        if found.len() > depth {
            found.select_nth_unstable_by(depth, |a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
            found.truncate(depth);
        }
        found
    }

    /// Through the graph, and one by one what is outside.
    fn through(
        &self,
        graph: &Graph,
        query: &Arc<[f32]>,
        passes: impl Fn(Slot) -> bool,
    ) -> Vec<(Slot, f64)> {
        let outside = self.outside.iter().copied().filter(|slot| passes(*slot));
        let mut found = self.compare(query, outside);
        let inside = graph.search(query).into_iter();
        found.extend(inside.filter(|(slot, _)| {
            self.points.contains_key(slot) && !self.outside.contains(slot) && passes(*slot)
        }));
        found
    }

    fn compare(&self, query: &[f32], slots: impl Iterator<Item = Slot>) -> Vec<(Slot, f64)> {
        let cosine = |slot| Some((slot, f64::from(dot(query, self.points.get(&slot)?))));
        slots.filter_map(cosine).collect()
    }
}
