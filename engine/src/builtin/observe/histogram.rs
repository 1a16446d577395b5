//! How long calls took: counts by duration, in buckets that are at most 1/16 wide.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const FINE_BITS: u32 = 4;
const FINE: u64 = 1 << FINE_BITS;
/// Microseconds up to 2^40, some twelve days; longer counts as that.
const TOP_BITS: u32 = 40;
const BUCKETS: usize = ((TOP_BITS - FINE_BITS + 1) as usize) << FINE_BITS;

#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    pub(super) count: u64,
    sum_us: u64,
    min_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: Box::new([0; BUCKETS]),
            count: 0,
            sum_us: 0,
            min_us: u64::MAX,
            max_us: 0,
        }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min((1 << TOP_BITS) - 1);
        self.counts[bucket(us)] += 1;
        self.count += 1;
        self.sum_us += us;
        self.min_us = self.min_us.min(us);
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&*other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.min_us = self.min_us.min(other.min_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// What came after `earlier`, of which this is a later state. Its least and greatest are not
    /// known, only those of all time.
    pub(super) fn since(&self, earlier: &Histogram) -> Histogram {
        let mut later = self.clone();
        for (count, before) in later.counts.iter_mut().zip(&*earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        later.count = self.count.saturating_sub(earlier.count);
        later.sum_us = self.sum_us.saturating_sub(earlier.sum_us);
        later
    }

    pub(super) fn mean_ms(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.sum_us as f64 / self.count as f64 / 1e3
    }

    pub(super) fn min_ms(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.min_us as f64 / 1e3
        }
    }

    pub(super) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1e3
    }

    /// The duration that a share of all calls did not exceed.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                let us = middle(at).clamp(self.min_us as f64, self.max_us as f64);
                return us / 1e3;
            }
        }
        0.0
    }
}

fn bucket(us: u64) -> usize {
    if us < FINE {
        return us as usize;
    }
    let top = us.ilog2();
    let fine = (us >> (top - FINE_BITS)) & (FINE - 1);
    (((top - FINE_BITS + 1) as usize) << FINE_BITS) + fine as usize
}

fn middle(bucket: usize) -> f64 {
    let (coarse, fine) = (bucket as u64 >> FINE_BITS, bucket as u64 & (FINE - 1));
    if coarse == 0 {
        return fine as f64;
    }
    let width = 1_u64 << (coarse - 1);
    let low = (FINE + fine) * width;
    (low + width / 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|us| histogram.add(Duration::from_micros(us)));
        for (share, expected) in [(0.5, 5.0), (0.95, 9.5), (0.99, 9.9)] {
            let found = histogram.quantile_ms(share);
            assert!(
                (found - expected).abs() <= expected / 16.0,
                "{share}: {found}"
            );
        }
        assert!((histogram.mean_ms() - 5.0005).abs() < 1e-9);
        assert_eq!((histogram.min_ms(), histogram.max_ms()), (0.001, 10.0));
        let last = histogram.quantile_ms(1.0);
        assert!((9.4..=10.0).contains(&last), "{last}");
    }

    #[test]
    fn every_duration_has_a_bucket_that_holds_it() {
        for bits in 0..TOP_BITS {
            for us in [1 << bits, (1 << bits) + 1, (2 << bits) - 1] {
                let us: u64 = us;
                let found = middle(bucket(us.min((1 << TOP_BITS) - 1)));
                assert!(
                    (found - us as f64).abs() <= us as f64 / 16.0 + 1.0,
                    "{us}: {found}"
                );
            }
        }
        Histogram::default().add(Duration::MAX);
    }

    #[test]
    fn an_empty_one_is_all_zeroes_and_parts_add_up() {
        let empty = Histogram::default();
        assert_eq!(
            (
                empty.mean_ms(),
                empty.min_ms(),
                empty.max_ms(),
                empty.quantile_ms(0.5)
            ),
            (0.0, 0.0, 0.0, 0.0)
        );
        let (mut first, mut second) = (Histogram::default(), Histogram::default());
        first.add(Duration::from_millis(1));
        second.add(Duration::from_millis(3));
        let before = first.clone();
        first.merge(&second);
        assert_eq!((first.count, first.mean_ms()), (2, 2.0));
        assert_eq!(
            (first.since(&before).count, first.since(&before).mean_ms()),
            (1, 3.0)
        );
    }
}
