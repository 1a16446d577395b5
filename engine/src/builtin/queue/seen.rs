//! When a function was last there: one that was a moment ago is on its way back.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Functions that are remembered; of more, those seen longest ago are forgotten.
const FUNCTIONS_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<Arc<str>, u64>>);

impl Seen {
    pub(super) fn note(&self, function: &Arc<str>, now_ms: u64) {
        let mut seen = self.0.lock();
        match seen.get_mut(function) {
            Some(at_ms) => *at_ms = now_ms,
            None => {
                if seen.len() >= FUNCTIONS_MAX {
                    let oldest = seen.iter().min_by_key(|(_, at_ms)| **at_ms);
                    let oldest = oldest.map(|(function, _)| Arc::clone(function));
                    oldest.map(|function| seen.remove(&function));
                }
                seen.insert(Arc::clone(function), now_ms);
            }
        }
    }

    /// Whether `function` was there in the last `grace_ms`.
    pub(super) fn lately(&self, function: &str, now_ms: u64, grace_ms: u64) -> bool {
        let seen = self.0.lock();
        let at_ms = seen.get(function).copied();
        at_ms.is_some_and(|at_ms| now_ms < at_ms.saturating_add(grace_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let seen = Seen::default();
        for number in 0..=FUNCTIONS_MAX as u64 {
            seen.note(&number.to_string().into(), 100 + number);
        }
        assert!(!seen.lately("0", 100, 50));
        assert!(seen.lately("1", 150, 50));
        assert!(!seen.lately("1", 151, 50));
        assert_eq!(seen.0.lock().len(), FUNCTIONS_MAX);
    }
}
