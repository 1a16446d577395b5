//! Notices a model that repeats itself: the same call again and again, or the same outcome.
//!
//! Arguments are compared in canonical form, so neither spaces nor the order of keys hide a
//! repetition. One guard lives for one answer.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

/// The same call is remarked on from here on, and refused from there on.
const WARN_AT: u32 = 3;
const BLOCK_AT: u32 = 5;

/// After as many equal outcomes in a row the call is remarked on, and the next one refused.
const SAME_OUTCOMES: u32 = 2;

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
#[derive(Default)]
pub(crate) struct Guard {
    seen: HashMap<u64, Seen>,
}

#[derive(Default)]
struct Seen {
    calls: u32,
    outcome: Option<u64>,
    same_outcomes: u32,
}

impl Guard {
    /// Judges a call before it is run.
    pub(crate) fn before(&mut self, tool: &str, arguments: &str) -> Verdict {
        let seen = self.seen.entry(key(tool, arguments)).or_default();
        seen.calls += 1;
        let calls = seen.calls;
        if seen.same_outcomes >= SAME_OUTCOMES {
            return Verdict::Block(format!(
                "not run: this call with the same arguments gave the same result {SAME_OUTCOMES} times; do something else"
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

    /// Takes in the outcome of a call that was run; what it gives back is for the model.
    pub(crate) fn after(&mut self, tool: &str, arguments: &str, outcome: &str) -> Option<String> {
        let seen = self.seen.entry(key(tool, arguments)).or_default();
        let outcome = hash(&outcome);
        let same = seen.outcome.replace(outcome) == Some(outcome);
        seen.same_outcomes = if same { seen.same_outcomes + 1 } else { 1 };
        (seen.same_outcomes >= SAME_OUTCOMES).then(|| {
            "the same call gave the same result as before; made once more it will be refused"
                .to_owned()
        })
    }
}

fn key(tool: &str, arguments: &str) -> u64 {
    let canonical = serde_json::from_str(arguments)
        .map_or_else(|_| arguments.to_owned(), |value| canonical(&value));
    hash(&(tool, canonical))
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
        let mut guard = Guard::default();
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
        let mut guard = Guard::default();
        assert_eq!(guard.before("f", "{}"), Verdict::Run);
        assert_eq!(guard.after("f", "{}", "x"), None);
        assert_eq!(guard.before("f", "{}"), Verdict::Run);
        assert!(guard.after("f", "{}", "x").is_some());
        assert!(matches!(guard.before("f", "{}"), Verdict::Block(_)));
        assert_eq!(guard.before("f", "{\"other\":1}"), Verdict::Run);
    }

    #[test]
    fn waiting_for_a_change_is_not_a_loop_until_the_fifth_time() {
        let mut guard = Guard::default();
        for outcome in ["10%", "40%"] {
            assert_eq!(guard.before("status", "{}"), Verdict::Run);
            assert_eq!(guard.after("status", "{}", outcome), None);
        }
        assert!(matches!(guard.before("status", "{}"), Verdict::Warn(_)));
    }
}
