//! What keeps a handler of logs from hearing of itself for ever.
//!
//! Every firing begins a trace of its own, which the handler and whatever it calls carry on. That
//! trace is remembered with the triggers that led to it, so a record in it fires none of those
//! again: a chain of firings is at most as long as there are triggers. This is exact for every
//! record that has a trace.
//!
//! A record without a trace says nothing of where it comes from. While a handler runs, such a
//! record may be its own; it counts as one hop further than the least of what runs, and after
//! [`HOPS_MAX`] hops, or [`SUSPECTS_MAX`] such records in a row, it is not fired until all that
//! runs has ended. So a chain ends, and records of others that happen to come meanwhile lose
//! nothing by it unless there are very many.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::id::TraceId;

/// Firings that are remembered, the newest. A handler that runs longer than so many later firings
/// is no longer recognised.
const TRACES_MAX: usize = 8192;
/// Hops that records without a trace may make.
const HOPS_MAX: u32 = 8;
/// Records without a trace that may fire while handlers run without a pause.
const SUSPECTS_MAX: usize = 1000;

/// Traces that firings began, and the triggers that led to each.
#[derive(Default)]
pub(super) struct Lineage {
    rows: HashMap<TraceId, Arc<[Arc<str>]>>,
    order: VecDeque<TraceId>,
}

impl Lineage {
    /// Whether a firing of `trigger` led to what happens in `trace`.
    pub(super) fn leads(&self, trigger: &str, trace: TraceId) -> bool {
        self.rows
            .get(&trace)
            .is_some_and(|triggers| triggers.iter().any(|id| &**id == trigger))
    }

    /// A firing of `trigger`, for something that happened in `causes`, has begun `trace`.
    pub(super) fn begin(
        &mut self,
        trace: TraceId,
        trigger: &Arc<str>,
        causes: impl IntoIterator<Item = TraceId>,
    ) {
        let earlier = causes.into_iter().filter_map(|cause| self.rows.get(&cause));
        let mut triggers: Vec<Arc<str>> = earlier
            .flat_map(|triggers| triggers.iter().cloned())
            .collect();
        triggers.push(Arc::clone(trigger));
        triggers.sort_unstable();
        triggers.dedup();
        if self.rows.insert(trace, triggers.into()).is_none() {
            self.order.push_back(trace);
        }
        if self.order.len() > TRACES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }
}

/// How many firings of one trigger run, by hop.
#[derive(Default)]
pub(super) struct Hops {
    running: BTreeMap<u32, usize>,
    /// Firings beyond the first hop since nothing ran.
    suspects: usize,
}

impl Hops {
    /// The hop of a record without a trace; `None` when there were too many.
    pub(super) fn next(&self) -> Option<u32> {
        let hop = self.running.keys().next().map_or(0, |least| least + 1);
        (hop <= HOPS_MAX && self.suspects < SUSPECTS_MAX).then_some(hop)
    }

    pub(super) fn start(&mut self, hop: u32) {
        *self.running.entry(hop).or_default() += 1;
        self.suspects += usize::from(hop > 0);
    }

    pub(super) fn end(&mut self, hop: u32) {
        if let Some(count) = self.running.get_mut(&hop) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&hop);
            }
        }
        if self.running.is_empty() {
            self.suspects = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_firings_never_comes_back_to_a_trigger() {
        let mut lineage = Lineage::default();
        let [event, first, second] = [(); 3].map(|()| TraceId::random());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert!(!lineage.leads("a", event));
        lineage.begin(first, &a, [event]);
        assert!(lineage.leads("a", first) && !lineage.leads("b", first));
        lineage.begin(second, &b, [first]);
        assert!(lineage.leads("a", second) && lineage.leads("b", second));
        assert!(
            !lineage.leads("a", event),
            "the event's own trace goes on firing"
        );
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut lineage = Lineage::default();
        let first = TraceId::random();
        lineage.begin(first, &"a".into(), []);
        for _ in 0..TRACES_MAX {
            lineage.begin(TraceId::random(), &"a".into(), []);
        }
        assert_eq!(
            (lineage.rows.len(), lineage.order.len()),
            (TRACES_MAX, TRACES_MAX)
        );
        assert!(!lineage.leads("a", first));
    }

    #[test]
    fn hops_count_from_the_least_that_runs() {
        let mut hops = Hops::default();
        assert_eq!(hops.next(), Some(0));
        hops.start(0);
        hops.start(1);
        assert_eq!(
            hops.next(),
            Some(1),
            "beside a first one, everything may be a second"
        );
        hops.end(0);
        assert_eq!(hops.next(), Some(2));
        hops.end(1);
        hops.end(1);
        assert_eq!(hops.next(), Some(0));
    }

    #[test]
    fn a_chain_without_traces_ends_however_handlers_overlap() {
        let mut chain = Hops::default();
        let mut fired = 0;
        while let Some(hop) = chain.next() {
            chain.start(hop);
            if hop > 0 {
                chain.end(hop - 1);
            }
            fired += 1;
        }
        assert_eq!(fired, HOPS_MAX + 1);
        // One that runs on keeps the hop low.
        let mut beside = Hops::default();
        beside.start(0);
        let mut fired = 0;
        while let Some(hop) = beside.next() {
            beside.start(hop);
            beside.end(hop);
            fired += 1;
        }
        assert_eq!(fired, SUSPECTS_MAX);
        beside.end(0);
        assert_eq!(beside.next(), Some(0));
    }
}
