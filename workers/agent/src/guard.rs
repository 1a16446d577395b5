//! Notices a model that repeats itself: the same call again and again, or the same outcome.
//!
//! Arguments are compared in canonical form, so neither spaces nor the order of keys hide a
//! repetition. One guard lives for one answer.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use agentos_contract::agent::{GuardState, Repeated};
use serde_json::Value;

/// The same call is remarked on from here on, and refused from there on.
const WARN_AT: u32 = 3;
const BLOCK_AT: u32 = 5;

/// After as many equal outcomes in a row the call is remarked on, and the next one refused.
const SAME_OUTCOMES: u32 = 2;

/// Calls in a circle: this many calls, this many times round.
const CIRCLES: [usize; 3] = [2, 3, 4];
const CIRCLE_MAX: usize = 4;
const ROUNDS_MAX: usize = 3;

/// What becomes of a call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
    Run,
    /// Run it, and tell the model this.
    Warn(String),
    /// Do not run it; tell the model this.
    Block(String),
}

/// Calls of one answer so far.
pub(crate) struct Guard {
    calls_max: u32,
    seen: HashMap<u64, Seen>,
    /// The latest calls, newest last; no more than the longest circle needs.
    latest: VecDeque<u64>,
    calls: u32,
    warned: u32,
    blocked: u32,
}

#[derive(Default)]
struct Seen {
    name: String,
    arguments: String,
    calls: u32,
    outcome: Option<u64>,
    same_outcomes: u32,
}

impl Guard {
    /// A guard that lets no more than `calls_max` calls through.
    pub(crate) fn new(calls_max: u32) -> Self {
        Guard {
            calls_max,
            seen: HashMap::new(),
            latest: VecDeque::new(),
            calls: 0,
            warned: 0,
            blocked: 0,
        }
    }

    /// Whether so many calls were asked for that the answer must end.
    pub(crate) fn is_open(&self) -> bool {
        self.calls > self.calls_max
    }

    /// What it has seen, for people.
    pub(crate) fn state(&self) -> GuardState {
        let most = self.seen.values().max_by_key(|seen| seen.calls);
        GuardState {
            calls: self.calls,
            calls_left: self.calls_max.saturating_sub(self.calls),
            warned: self.warned,
            blocked: self.blocked,
            most_repeated: most.filter(|seen| seen.calls > 1).map(|seen| Repeated {
                name: seen.name.clone(),
                arguments: crate::clip::preview(&seen.arguments),
                times: seen.calls,
            }),
        }
    }

    /// Judges a call before it is run.
    pub(crate) fn before(&mut self, tool: &str, arguments: &str) -> Verdict {
        self.calls = self.calls.saturating_add(1);
        let verdict = self.judge(tool, arguments);
        match verdict {
            Verdict::Warn(_) => self.warned += 1,
            Verdict::Block(_) => self.blocked += 1,
            Verdict::Run => {}
        }
        verdict
    }

    fn judge(&mut self, tool: &str, arguments: &str) -> Verdict {
        if self.is_open() {
            return Verdict::Block(format!(
                "not run: the limit of {} tool calls was reached; answer with what there is",
                self.calls_max
            ));
        }
        let (key, canonical) = key(tool, arguments);
        self.latest.push_back(key);
        if self.latest.len() > CIRCLE_MAX * ROUNDS_MAX {
            self.latest.pop_front();
        }
        let circle = self.circle();
        let seen = self.seen.entry(key).or_insert_with(|| Seen {
            name: tool.to_owned(),
            arguments: canonical,
            ..Seen::default()
        });
        seen.calls += 1;
        let calls = seen.calls;
        if seen.same_outcomes >= SAME_OUTCOMES {
            return Verdict::Block(format!(
                "not run: this call with the same arguments gave the same result {SAME_OUTCOMES} times; do something else"
            ));
        }
        if let Some(circle) = circle {
            return Verdict::Block(format!(
                "not run: the same {circle} calls were made {ROUNDS_MAX} times in turn; do something else"
            ));
        }
        match calls {
            BLOCK_AT.. => Verdict::Block(format!(
                "not run: this call was already made {} times with the same arguments; do something else",
                calls - 1
            )),
            WARN_AT.. => Verdict::Warn(format!(
                "this is call number {calls} with the same arguments; from number {BLOCK_AT} on it is refused"
            )),
            _ => Verdict::Run,
        }
    }

    /// How many different calls go round, if the latest ones do.
    fn circle(&self) -> Option<usize> {
        CIRCLES.into_iter().find(|&length| {
            let Some(start) = self.latest.len().checked_sub(length * ROUNDS_MAX) else {
                return false;
            };
            let tail: Vec<u64> = self.latest.range(start..).copied().collect();
            let round = &tail[..length];
            tail.chunks(length).all(|again| again == round)
                && round.iter().any(|key| *key != round[0])
        })
    }

    /// Takes in the outcome of a call that was run; what it gives back is for the model.
    pub(crate) fn after(&mut self, tool: &str, arguments: &str, outcome: &str) -> Option<String> {
        let seen = self.seen.entry(key(tool, arguments).0).or_default();
        let outcome = hash(&outcome);
        let same = seen.outcome.replace(outcome) == Some(outcome);
        seen.same_outcomes = if same { seen.same_outcomes + 1 } else { 1 };
        (seen.same_outcomes >= SAME_OUTCOMES).then(|| {
            "the same call gave the same result as before; made once more it will be refused"
                .to_owned()
        })
    }
}

/// A call as a number, and its arguments in canonical form.
fn key(tool: &str, arguments: &str) -> (u64, String) {
    let canonical = serde_json::from_str(arguments)
        .map_or_else(|_| arguments.to_owned(), |value| canonical(&value));
    (hash(&(tool, &canonical)), canonical)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// JSON text with sorted keys and no spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(key, value)| format!("{key:?}:{}", canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        leaf => leaf.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Calls `f` once per text of arguments, each with another outcome.
    fn verdicts(arguments: &[&str]) -> String {
        let mut guard = Guard::new(100);
        let judge = |(number, arguments): (usize, &&str)| {
            let verdict = guard.before("f", arguments);
            guard.after("f", arguments, &number.to_string());
            match verdict {
                Verdict::Run => 'r',
                Verdict::Warn(_) => 'w',
                Verdict::Block(_) => 'b',
            }
        };
        arguments.iter().enumerate().map(judge).collect()
    }

    #[test]
    fn repetition_is_remarked_on_and_then_refused() {
        assert_eq!(verdicts(&["{}"; 7]), "rrwwbbb");
        assert_eq!(verdicts(&["{}", "[]", "{}", "[]", "{}"]), "rrrrw");
    }

    #[test]
    fn spaces_and_order_of_keys_hide_nothing() {
        let (a, b) = (
            r#"{"a":1,"b":{"c":[1,{"x":1,"y":2}]}}"#,
            r#"{ "b": {"c": [1, {"y":2, "x":1}]}, "a": 1 }"#,
        );
        assert_eq!(verdicts(&[a, b, a, b, a]), "rrwwb");
        assert_eq!(verdicts(&["{broken", "{broken", "{broken"]), "rrw");
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    }

    #[test]
    fn the_same_outcome_twice_warns_and_then_refuses() {
        let mut guard = Guard::new(100);
        assert_eq!(guard.before("f", "{}"), Verdict::Run);
        assert_eq!(guard.after("f", "{}", "x"), None);
        assert_eq!(guard.before("f", "{}"), Verdict::Run);
        assert!(guard.after("f", "{}", "x").is_some());
        assert!(matches!(guard.before("f", "{}"), Verdict::Block(_)));
        assert_eq!(guard.before("f", "{\"other\":1}"), Verdict::Run);
    }

    #[test]
    fn going_round_in_circles_is_refused() {
        let circle = |calls: &[&str]| {
            let mut guard = Guard::new(100);
            let judge = |(number, call): (usize, &&str)| {
                let verdict = guard.before(call, "{}");
                guard.after(call, "{}", &number.to_string());
                matches!(verdict, Verdict::Block(_))
            };
            calls
                .iter()
                .enumerate()
                .map(judge)
                .position(|blocked| blocked)
        };
        assert_eq!(circle(&["a", "b", "a", "b", "a", "b"]), Some(5));
        assert_eq!(
            circle(&["a", "b", "c", "a", "b", "c", "a", "b", "c"]),
            Some(8)
        );
        assert_eq!(circle(&["x", "a", "b", "a", "b", "y", "a", "b"]), None);
        assert_eq!(
            circle(&["a", "a", "a", "a"]),
            None,
            "that is another rule's"
        );
    }

    #[test]
    fn after_so_many_calls_there_are_no_more() {
        let mut guard = Guard::new(2);
        for arguments in ["1", "2"] {
            assert_eq!(guard.before("f", arguments), Verdict::Run);
        }
        assert!(!guard.is_open());
        assert!(matches!(guard.before("f", "3"), Verdict::Block(_)));
        assert!(guard.is_open());
        let state = guard.state();
        assert_eq!((state.calls, state.calls_left, state.blocked), (3, 0, 1));
    }

    #[test]
    fn waiting_for_a_change_is_not_a_loop_until_the_fifth_time() {
        let mut guard = Guard::new(100);
        for outcome in ["10%", "40%"] {
            assert_eq!(guard.before("status", "{}"), Verdict::Run);
            assert_eq!(guard.after("status", "{}", outcome), None);
        }
        assert!(matches!(guard.before("status", "{}"), Verdict::Warn(_)));
    }
}
