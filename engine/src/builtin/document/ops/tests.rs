//! The table of `state::update`, row by row.

use serde_json::{Value, json};

use super::*;

/// Applies `ops` to `document` (`null`: none) and expects a document and codes of skipped steps.
fn check(document: Value, ops: Value, expected: Value, codes: &[&str]) {
    let document = (document != json!("missing")).then_some(document);
    let parsed: Vec<Op> = serde_json::from_value(ops.clone()).unwrap();
    let (result, errors) = apply(document.clone(), &super::check(parsed).unwrap());
    let found: Vec<&str> = errors.iter().map(|error| error.code.as_str()).collect();
    assert_eq!(
        (result, &found[..]),
        (expected, codes),
        "{document:?} {ops}"
    );
}

/// One op on a document.
fn one(document: Value, op: Value, expected: Value, codes: &[&str]) {
    check(document, json!([op]), expected, codes);
}

const MISSING: &str = "missing";

#[test]
fn set() {
    let op = |path: &str, value: Value| json!({"type": "set", "path": path, "value": value});
    one(json!(MISSING), op("a", json!(1)), json!({"a": 1}), &[]);
    one(
        json!({"a": 1}),
        op("a", json!({"b": 2})),
        json!({"a": {"b": 2}}),
        &[],
    );
    one(
        json!({"a": 1}),
        op("a.b", json!(2)),
        json!({"a": 1, "a.b": 2}),
        &[],
    );
    one(json!({"a": 1}), op("", json!([1])), json!([1]), &[]);
    one(
        json!({}),
        json!({"type": "set", "path": "a"}),
        json!({"a": null}),
        &[],
    );
    one(
        json!([1]),
        op("a", json!(1)),
        json!([1]),
        &["set.target_not_object"],
    );
    one(
        json!(null),
        op("a", json!(1)),
        json!(null),
        &["set.target_not_object"],
    );
    one(
        json!({}),
        op("__proto__", json!(1)),
        json!({}),
        &["set.path.proto_polluted"],
    );
    one(
        json!({}),
        op(&"k".repeat(257), json!(1)),
        json!({}),
        &["set.path.segment_too_long"],
    );
    one(
        json!({}),
        op(&"k".repeat(256), json!(1)),
        json!({"k".repeat(256): 1}),
        &[],
    );
}

#[test]
fn merge() {
    let op = |path: Value, value: Value| json!({"type": "merge", "path": path, "value": value});
    one(
        json!(MISSING),
        json!({"type": "merge", "value": {"a": 1}}),
        json!({"a": 1}),
        &[],
    );
    one(
        json!({"a": 1, "b": {"c": 1}}),
        op(json!(null), json!({"b": {"d": 2}})),
        json!({"a": 1, "b": {"d": 2}}),
        &[],
    );
    one(
        json!({"a": 1}),
        op(json!(""), json!({"b": 2})),
        json!({"a": 1, "b": 2}),
        &[],
    );
    one(
        json!({"a": {"x": 1}}),
        op(json!("a"), json!({"y": 2})),
        json!({"a": {"x": 1, "y": 2}}),
        &[],
    );
    one(
        json!({"a": {"x": 1}}),
        op(json!(["a"]), json!({"y": 2})),
        json!({"a": {"x": 1, "y": 2}}),
        &[],
    );
    one(
        json!({"a": 7}),
        op(json!(["a", "b"]), json!({"y": 2})),
        json!({"a": {"b": {"y": 2}}}),
        &[],
    );
    one(
        json!({}),
        op(json!("a.b"), json!({"y": 2})),
        json!({"a.b": {"y": 2}}),
        &[],
    );
    one(json!([1]), op(json!([]), json!({"y": 2})), json!([1]), &[]);
    one(
        json!([1]),
        op(json!(["a"]), json!({"y": 2})),
        json!({"a": {"y": 2}}),
        &[],
    );
    one(
        json!({}),
        op(json!("a"), json!([1])),
        json!({}),
        &["merge.value.not_an_object"],
    );
    one(
        json!({}),
        json!({"type": "merge"}),
        json!({}),
        &["merge.value.not_an_object"],
    );
    one(
        json!({}),
        op(json!([""]), json!({})),
        json!({}),
        &["merge.path.empty_segment"],
    );
    one(
        json!({}),
        op(json!(vec!["a"; 33]), json!({})),
        json!({}),
        &["merge.path.too_deep"],
    );
    one(
        json!({}),
        op(json!(["k".repeat(257)]), json!({})),
        json!({}),
        &["merge.path.segment_too_long"],
    );
    one(
        json!({}),
        op(json!(["a", "prototype"]), json!({})),
        json!({}),
        &["merge.path.proto_polluted"],
    );
    one(
        json!({}),
        op(json!(""), json!({"a": {"constructor": 1}})),
        json!({}),
        &["merge.value.proto_polluted"],
    );
    one(
        json!({}),
        op(json!(""), json!({"a": [{"__proto__": 1}]})),
        json!({}),
        &["merge.value.proto_polluted"],
    );
}

#[test]
fn merge_limits() {
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "n": inner }));
    let deep = |levels| json!({"type": "merge", "value": nested(levels)});
    one(json!({}), deep(16), nested(16), &[]);
    one(json!({}), deep(17), json!({}), &["merge.value.too_deep"]);
    let wide = |keys: usize| {
        (0..keys)
            .map(|key| (key.to_string(), json!(1)))
            .collect::<Value>()
    };
    one(
        json!({}),
        json!({"type": "merge", "value": wide(1024)}),
        wide(1024),
        &[],
    );
    one(
        json!({}),
        json!({"type": "merge", "value": wide(1025)}),
        json!({}),
        &["merge.value.too_many_keys"],
    );
}

#[test]
fn increment_and_decrement() {
    let add = |path: &str, by: i64| json!({"type": "increment", "path": path, "by": by});
    let sub = |path: &str, by: i64| json!({"type": "decrement", "path": path, "by": by});
    one(json!(MISSING), add("n", 2), json!({"n": 2}), &[]);
    one(json!({}), sub("n", 2), json!({"n": -2}), &[]);
    one(json!({"n": 40}), add("n", 2), json!({"n": 42}), &[]);
    one(json!({"n": 40}), sub("n", -2), json!({"n": 42}), &[]);
    one(json!({"n": 1.5}), add("n", 2), json!({"n": 3.5}), &[]);
    one(json!({"n": 2.0}), add("n", 1), json!({"n": 3.0}), &[]);
    one(
        json!({"n": i64::MAX}),
        add("n", 1),
        json!({"n": i64::MAX as u64 + 1}),
        &[],
    );
    one(
        json!({"n": u64::MAX}),
        add("n", 1),
        json!({"n": u64::MAX}),
        &["increment.not_number"],
    );
    one(
        json!({"n": i64::MIN}),
        sub("n", 1),
        json!({"n": i64::MIN}),
        &["decrement.not_number"],
    );
    one(
        json!({}),
        sub("n", i64::MIN),
        json!({"n": i64::MAX as u64 + 1}),
        &[],
    );
    one(
        json!({"n": null}),
        add("n", 1),
        json!({"n": null}),
        &["increment.not_number"],
    );
    one(
        json!({"n": "1"}),
        add("n", 1),
        json!({"n": "1"}),
        &["increment.not_number"],
    );
    one(
        json!(7),
        add("n", 1),
        json!(7),
        &["increment.target_not_object"],
    );
    one(
        json!([]),
        sub("n", 1),
        json!([]),
        &["decrement.target_not_object"],
    );
    one(
        json!({}),
        add("constructor", 1),
        json!({}),
        &["increment.path.proto_polluted"],
    );
}

#[test]
fn increment_of_the_whole_document() {
    let add = json!({"type": "increment", "path": "", "by": 3});
    one(json!(MISSING), add.clone(), json!(3), &[]);
    one(json!(4), add.clone(), json!(7), &[]);
    one(json!({}), add.clone(), json!({}), &["increment.not_number"]);
    check(json!(MISSING), json!([add, add]), json!(6), &[]);
}

#[test]
fn value_stands_in_for_by() {
    one(
        json!({}),
        json!({"type": "increment", "path": "n", "value": 5}),
        json!({"n": 5}),
        &[],
    );
    one(
        json!({}),
        json!({"type": "decrement", "path": "n", "value": 5, "by": 2}),
        json!({"n": -2}),
        &[],
    );
}

#[test]
fn append() {
    let op = |path: &str, value: Value| json!({"type": "append", "path": path, "value": value});
    one(
        json!({"l": [1]}),
        op("l", json!(2)),
        json!({"l": [1, 2]}),
        &[],
    );
    one(
        json!({"l": [1]}),
        op("l", json!([2])),
        json!({"l": [1, [2]]}),
        &[],
    );
    one(
        json!({"l": "ab"}),
        op("l", json!("c")),
        json!({"l": "abc"}),
        &[],
    );
    one(
        json!({"l": "ab"}),
        op("l", json!(1)),
        json!({"l": "ab"}),
        &["append.type_mismatch"],
    );
    one(
        json!({"l": {}}),
        op("l", json!(1)),
        json!({"l": {}}),
        &["append.type_mismatch"],
    );
    one(
        json!({"l": 1}),
        op("l", json!(1)),
        json!({"l": 1}),
        &["append.type_mismatch"],
    );
    one(json!({}), op("l", json!("a")), json!({"l": "a"}), &[]);
    one(json!({}), op("l", json!(1)), json!({"l": [1]}), &[]);
    one(
        json!({"l": null}),
        op("l", json!({})),
        json!({"l": [{}]}),
        &[],
    );
    one(json!(MISSING), op("", json!(1)), json!([1]), &[]);
    one(json!([1]), op("", json!(2)), json!([1, 2]), &[]);
    one(json!(MISSING), op("", json!("a")), json!("a"), &[]);
    one(
        json!([1]),
        op("l", json!(2)),
        json!([1]),
        &["append.target_not_object"],
    );
}

#[test]
fn remove() {
    let op = |path: &str| json!({"type": "remove", "path": path});
    one(
        json!({"a": 1, "b": 2, "c": 3}),
        op("a"),
        json!({"b": 2, "c": 3}),
        &[],
    );
    one(json!({"a": 1}), op("b"), json!({"a": 1}), &[]);
    one(json!({"a": 1}), op(""), json!(null), &[]);
    one(json!(MISSING), op("a"), json!({}), &[]);
    one(
        json!("text"),
        op("a"),
        json!("text"),
        &["remove.target_not_object"],
    );
}

#[test]
fn the_order_of_the_other_keys_stays() {
    let ops = json!([{"type": "remove", "path": "b"}, {"type": "set", "path": "a", "value": 9}]);
    let steps = super::check(serde_json::from_value(ops).unwrap()).unwrap();
    let document = serde_json::from_str(r#"{"z":1,"b":2,"a":3,"y":4}"#).unwrap();
    assert_eq!(
        apply(Some(document), &steps).0.to_string(),
        r#"{"z":1,"a":9,"y":4}"#
    );
}

#[test]
fn a_skipped_step_does_not_stop_the_others() {
    let ops = json!([
        {"type": "set", "path": "a", "value": "x"},
        {"type": "increment", "path": "a", "by": 1},
        {"type": "append", "path": "a", "value": "y"},
        {"type": "merge", "path": "b", "value": 1},
    ]);
    check(
        json!(MISSING),
        ops,
        json!({"a": "xy"}),
        &["increment.not_number", "merge.value.not_an_object"],
    );
}

#[test]
fn no_steps_leave_an_empty_object() {
    check(json!(MISSING), json!([]), json!({}), &[]);
    check(json!([1]), json!([]), json!([1]), &[]);
}

#[test]
fn a_misshapen_step_is_named() {
    let rows = [
        (
            json!({"type": "set", "value": 1}),
            "ops[1]: `path` is missing",
        ),
        (
            json!({"type": "set", "path": ["a"]}),
            "ops[1]: `path` must be one key",
        ),
        (
            json!({"type": "increment", "path": "n"}),
            "ops[1]: `by` must be given",
        ),
        (
            json!({"type": "decrement", "path": "n", "value": "1"}),
            "ops[1]: `by` must be given",
        ),
    ];
    for (op, expected) in rows {
        let ops = json!([{"type": "remove", "path": "a"}, op]);
        let error = super::check(serde_json::from_value(ops).unwrap()).unwrap_err();
        assert!(error.message.starts_with(expected), "{}", error.message);
    }
}
