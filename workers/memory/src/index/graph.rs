//! Vectors by nearness: a graph of small worlds (Malkov and Yashunin, "Efficient and robust
//! approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018).
//!
//! It is made as a whole and never changed; what it is worth, and why this crate makes it, is in
//! docs/decisions/007-memory-indexes.md.

use std::sync::Arc;

use instant_distance::{Builder, Hnsw, PointId, Search};

use super::Slot;
use crate::record::dot;

/// How many of the nearest found so far are followed further, when making the graph and when
/// searching it: the paper's `efConstruction` and `ef`. Measured in the decision.
pub(super) const EF_CONSTRUCTION: usize = 100;
pub(super) const EF_SEARCH: usize = 200;

/// The same vectors make the same graph.
const SEED: u64 = 1;

#[derive(Clone)]
struct Point(Arc<[f32]>);

impl instant_distance::Point for Point {
    fn distance(&self, other: &Self) -> f32 {
        1.0 - dot(&self.0, &other.0)
    }
}

/// See the module.
pub(crate) struct Graph {
    nodes: Hnsw<Point>,
    /// Which memory a node is.
    slots: Vec<Slot>,
}

impl Graph {
    /// Takes a second for some thousands of vectors, on one thread: beside the graph there is
    /// other work, and threads would leave its shape to chance.
    pub(crate) fn new(vectors: Vec<(Slot, Arc<[f32]>)>) -> Result<Self, String> {
        let (order, points): (Vec<Slot>, Vec<Point>) = vectors
            .into_iter()
            .map(|(slot, vector)| (slot, Point(vector)))
            .unzip();
        let builder = Builder::default()
            .ef_construction(EF_CONSTRUCTION)
            .ef_search(EF_SEARCH)
            .seed(SEED);
        let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let thread = thread.map_err(|error| error.to_string())?;
        let (nodes, ids) = thread.install(|| builder.build_hnsw(points));
        let mut slots = vec![0; order.len()];
        for (slot, id) in order.into_iter().zip(ids) {
            slots[id.into_inner() as usize] = slot;
        }
        Ok(Graph { nodes, slots })
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// At most [`EF_SEARCH`] of the nearest, nearest first, with their cosines.
    pub(crate) fn search(&self, vector: &Arc<[f32]>) -> Vec<(Slot, f64)> {
        let mut search = Search::default();
        let near = self.nodes.search(&Point(Arc::clone(vector)), &mut search);
        near.map(|item| {
            let slot = self.slots[PointId::into_inner(item.pid) as usize];
            (slot, f64::from(1.0 - item.distance))
        })
        .collect()
    }
}
