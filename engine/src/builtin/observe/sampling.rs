//! Which traces that the engine begins are recorded. A caller that says so itself is obeyed.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::config::{Config, Rule};

/// Traces that the engine begins by itself in a second unless told otherwise: enough to see every call
/// of a quiet system and a fair share of a busy one, too little to cost anything.
const TRACES_PER_SECOND: u32 = 100;

pub(super) struct Sampler {
    default: f64,
    rules: Vec<Rule>,
    service: String,
    pub(super) parent_based: bool,
    logs: f64,
    limit: Option<Limit>,
}

/// Traces begun in one second: the second above, the count in the low 32 bits.
struct Limit {
    per_second: u32,
    spent: AtomicU64,
}

impl Sampler {
    pub(super) fn new(config: &Config) -> Self {
        let sampling = config.sampling.clone();
        // Who says what is to be sampled gets that; else everything is, within reason.
        let limit = match &sampling {
            Some(sampling) => sampling
                .rate_limit
                .as_ref()
                .map(|limit| limit.max_traces_per_second),
            None => Some(TRACES_PER_SECOND),
        };
        let sampling = sampling.unwrap_or_default();
        Sampler {
            default: sampling
                .default
                .unwrap_or(config.sampling_ratio)
                .clamp(0.0, 1.0),
            rules: sampling.rules,
            service: config.service_name.clone(),
            parent_based: sampling.parent_based.unwrap_or(true),
            logs: config.logs_sampling_ratio.clamp(0.0, 1.0),
            limit: limit.map(|per_second| Limit {
                per_second,
                spent: AtomicU64::new(0),
            }),
        }
    }

    /// Whether no more traces are begun in this second, whatever they are of.
    pub(super) fn is_spent(&self, second: u64) -> bool {
        self.limit
            .as_ref()
            .is_some_and(|limit| limit.is_spent(second))
    }

    /// Decides about a trace that begins with a call of `function`. `draw` is evenly spread.
    pub(super) fn takes(&self, function: &str, draw: u64, second: u64) -> bool {
        self.hits(self.rate(function), draw)
            && self.limit.as_ref().is_none_or(|limit| limit.takes(second))
    }

    pub(super) fn takes_log(&self, draw: u64) -> bool {
        self.hits(self.logs, draw)
    }

    fn hits(&self, rate: f64, draw: u64) -> bool {
        rate >= 1.0 || (draw as f64) < rate * u64::MAX as f64
    }

    fn rate(&self, function: &str) -> f64 {
        let fits = |rule: &&Rule| {
            let fits = |pattern: &Option<String>, text: &str| {
                pattern
                    .as_deref()
                    .is_none_or(|pattern| matches(pattern, text))
            };
            fits(&rule.operation, function) && fits(&rule.service, &self.service)
        };
        self.rules
            .iter()
            .find(fits)
            .map_or(self.default, |rule| rule.rate)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "default": self.default,
            "rules": self.rules.iter().map(|rule| json!({
                "operation": rule.operation, "service": rule.service, "rate": rule.rate,
            })).collect::<Vec<_>>(),
            "parent_based": self.parent_based,
            "rate_limit": self.limit.as_ref().map(|limit| json!({ "max_traces_per_second": limit.per_second })),
            "logs_sampling_ratio": self.logs,
        })
    }
}

impl Limit {
    fn is_spent(&self, second: u64) -> bool {
        let spent = self.spent.load(Ordering::Relaxed);
        spent >> 32 == second && spent & 0xffff_ffff >= u64::from(self.per_second)
    }

    fn takes(&self, second: u64) -> bool {
        let now = second << 32;
        let spend = |spent: u64| {
            let (then, count) = (spent >> 32 << 32, spent & 0xffff_ffff);
            let count = if then == now { count } else { 0 };
            (count < u64::from(self.per_second)).then_some(now | (count + 1))
        };
        self.spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

/// Whether `text` is of the pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::observe::config::{RateLimit, Sampling};

    #[test]
    fn patterns() {
        let rows = [
            ("orders::*", "orders::place", true),
            ("orders::*", "order::place", false),
            ("*", "", true),
            ("*::place", "orders::place", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("same", "same", true),
            ("same", "same2", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |operation: Option<&str>, service: Option<&str>, rate| Rule {
            operation: operation.map(str::to_owned),
            service: service.map(str::to_owned),
            rate,
        };
        let sampler = Sampler::new(&Config {
            sampling: Some(Sampling {
                default: Some(0.25),
                rules: vec![
                    rule(Some("orders::*"), Some("other"), 0.0),
                    rule(Some("orders::*"), None, 1.0),
                    rule(Some("noise::*"), Some("agentos"), 0.0),
                ],
                ..Sampling::default()
            }),
            ..Config::default()
        });
        let rows = [
            ("orders::place", u64::MAX, true),
            ("noise::tick", 0, false),
            ("else", u64::MAX / 8, true),
            ("else", u64::MAX / 2, false),
        ];
        for (function, draw, expected) in rows {
            assert_eq!(sampler.takes(function, draw, 1), expected, "{function}");
        }
        assert_eq!(sampler.to_json()["default"], 0.25);
    }

    #[test]
    fn a_rate_limit_holds_per_second() {
        let sampler = Sampler::new(&Config {
            sampling: Some(Sampling {
                rate_limit: Some(RateLimit {
                    max_traces_per_second: 2,
                }),
                ..Sampling::default()
            }),
            ..Config::default()
        });
        let taken = |second| (0..5).filter(|_| sampler.takes("f", 0, second)).count();
        assert_eq!((taken(1), taken(2), taken(2)), (2, 2, 0));
    }
}
