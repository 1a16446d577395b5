//! Reciprocal rank fusion: several rankings become one, and each result says who named it.
//!
//! Source: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
//! individual Rank Learning Methods", SIGIR 2009; 60 is the paper's constant.

use std::{collections::HashMap, hash::Hash};

const K: f64 = 60.0;

/// A fused result.
#[derive(PartialEq, Debug)]
pub(crate) struct Fused<T> {
    pub(crate) item: T,
    /// 1 when it is first in every ranking.
    pub(crate) score: f64,
}

/// Fuses rankings, each best first. The order of equals is that of their first appearance.
pub(crate) fn fuse<T: Eq + Hash + Clone>(rankings: &[Vec<T>]) -> Vec<Fused<T>> {
    let top = rankings.len() as f64 / (K + 1.0);
    let mut places: HashMap<T, usize> = HashMap::new();
    let mut fused: Vec<Fused<T>> = Vec::new();
    for ranking in rankings {
        for (rank, item) in ranking.iter().enumerate() {
            let place = *places.entry(item.clone()).or_insert_with(|| {
                fused.push(Fused {
                    item: item.clone(),
                    score: 0.0,
                });
                fused.len() - 1
            });
            fused[place].score += 1.0 / (K + 1.0 + rank as f64) / top;
        }
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rankings: &[Vec<char>]) -> String {
        fuse(rankings).into_iter().map(|fused| fused.item).collect()
    }

    #[test]
    fn what_two_rankings_name_comes_first() {
        assert_eq!(order(&[vec!['a', 'b', 'c'], vec!['c', 'd']]), "cabd");
        assert_eq!(order(&[vec!['a', 'b']]), "ab");
        assert_eq!(order(&[vec![], vec!['x']]), "x");
        assert_eq!(order(&[]), "");
    }

    #[test]
    fn first_everywhere_is_one() {
        let best = &fuse(&[vec!['a', 'b'], vec!['a', 'c']])[0];
        assert!((best.score - 1.0).abs() < 1e-9 && best.item == 'a');
    }
}
