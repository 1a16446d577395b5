//! The newest of something, bounded by count, bytes and age.

use std::collections::VecDeque;

/// Bounds of a ring. What is over them goes, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) count_max: usize,
    pub(super) bytes_max: usize,
    pub(super) age_max_ns: Option<u64>,
}

pub(super) struct Ring<T> {
    rows: VecDeque<Row<T>>,
    bytes: usize,
    bounds: Bounds,
}

struct Row<T> {
    item: T,
    bytes: usize,
    kept_ns: u64,
}

impl<T> Ring<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Ring {
            rows: VecDeque::new(),
            bytes: 0,
            bounds,
        }
    }

    pub(super) fn push(&mut self, now_ns: u64, bytes: usize, item: T) {
        self.bytes += bytes;
        self.rows.push_back(Row {
            item,
            bytes,
            kept_ns: now_ns,
        });
        while self.rows.len() > self.bounds.count_max || self.bytes > self.bounds.bytes_max {
            self.drop_oldest();
        }
        self.age(now_ns);
    }

    /// Lets go of what is too old by now.
    pub(super) fn age(&mut self, now_ns: u64) {
        let Some(age_max) = self.bounds.age_max_ns else {
            return;
        };
        let old = |row: &Row<T>| now_ns.saturating_sub(row.kept_ns) > age_max;
        while self.rows.front().is_some_and(old) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(row) = self.rows.pop_front() {
            self.bytes -= row.bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter().map(|row| &row.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_bytes_and_age_all_bound() {
        let mut ring = Ring::new(Bounds {
            count_max: 3,
            bytes_max: 100,
            age_max_ns: Some(10),
        });
        (0..5).for_each(|n| ring.push(0, 1, n));
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
        ring.push(0, 99, 5);
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [4, 5]);
        ring.push(0, 1000, 6);
        assert_eq!((ring.len(), ring.bytes()), (0, 0));
        ring.push(1, 1, 7);
        ring.push(11, 1, 8);
        ring.age(12);
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [8]);
    }
}
