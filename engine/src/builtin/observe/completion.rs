//! When a trace is complete: its root has ended, and nothing more has come for a moment.

use std::collections::{HashMap, VecDeque};

use super::id::TraceId;

/// How long no span may have come.
const QUIET_NS: u64 = 1_000_000_000;
/// Traces that are waited for; the ones first heard of are given up first.
const PENDING_MAX: usize = 10_000;

pub(super) struct Completion {
    pending: HashMap<TraceId, Pending>,
    order: VecDeque<TraceId>,
    age_max_ns: u64,
    /// A root has ended whose trace is not complete yet.
    roots: bool,
}

struct Pending {
    first_ns: u64,
    last_ns: u64,
    root_ended: bool,
}

impl Completion {
    /// Traces whose root does not end within `age_max_ns` are given up.
    pub(super) fn new(age_max_ns: u64) -> Self {
        Completion {
            pending: HashMap::new(),
            order: VecDeque::new(),
            age_max_ns,
            roots: false,
        }
    }

    /// A span of `trace` has ended.
    pub(super) fn heard(&mut self, now_ns: u64, trace: TraceId, is_root: bool) {
        let pending = self.pending.entry(trace).or_insert_with(|| {
            self.order.push_back(trace);
            Pending {
                first_ns: now_ns,
                last_ns: now_ns,
                root_ended: false,
            }
        });
        pending.last_ns = now_ns;
        pending.root_ended |= is_root;
        self.roots |= pending.root_ended;
        while self.order.len() > PENDING_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.pending.remove(&oldest));
        }
    }

    /// When a trace may be complete; not before `now_ns`.
    pub(super) fn due(&self, now_ns: u64) -> Option<u64> {
        // Exactness is for `take`: looking too early only means looking again.
        self.roots.then_some(now_ns + QUIET_NS)
    }

    /// Takes the traces that are complete by now; says when to look again.
    pub(super) fn take(&mut self, now_ns: u64) -> (Vec<TraceId>, Option<u64>) {
        let is_quiet =
            |pending: &Pending| pending.root_ended && now_ns >= pending.last_ns + QUIET_NS;
        let is_old = |pending: &Pending| now_ns >= pending.first_ns.saturating_add(self.age_max_ns);
        let mut complete = Vec::new();
        let mut next = None;
        self.order.retain(|trace| {
            let Some(pending) = self.pending.get(trace) else {
                return false;
            };
            let quiet = is_quiet(pending);
            if quiet {
                complete.push(*trace);
            }
            if quiet || is_old(pending) {
                self.pending.remove(trace);
                return false;
            }
            // Those without a root only take room: whatever comes next looks at them too.
            if pending.root_ended {
                let due = pending.last_ns + QUIET_NS;
                next = Some(next.map_or(due, |next: u64| next.min(due)));
            }
            true
        });
        self.roots = next.is_some();
        (complete, next)
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.order.clear();
        self.roots = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn complete_is_root_ended_and_quiet() {
        let mut completion = Completion::new(100 * S);
        let (whole, rootless) = (TraceId::random(), TraceId::random());
        completion.heard(0, whole, false);
        completion.heard(0, rootless, false);
        assert_eq!(
            completion.take(5 * S),
            (vec![], None),
            "no root, nothing to wait for"
        );
        completion.heard(5 * S, whole, true);
        assert_eq!(completion.take(5 * S), (vec![], Some(6 * S)));
        completion.heard(5 * S + S / 2, whole, false);
        assert_eq!(completion.take(6 * S), (vec![], Some(6 * S + S / 2)));
        assert_eq!(completion.take(7 * S), (vec![whole], None));
        assert_eq!(completion.take(8 * S), (vec![], None), "once");
        assert_eq!(completion.pending.len(), 1);
        completion.take(100 * S);
        assert_eq!(completion.pending.len(), 0, "given up");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut completion = Completion::new(u64::MAX);
        for _ in 0..PENDING_MAX + 5 {
            completion.heard(0, TraceId::random(), false);
        }
        assert_eq!(
            (completion.pending.len(), completion.order.len()),
            (PENDING_MAX, PENDING_MAX)
        );
    }
}
