use serde_json::{Value, json};

use super::*;
use crate::builtin::observe::{api, otlp};

const SECOND: u64 = 1_000_000_000;

fn roomy() -> Bounds {
    Bounds {
        count_max: 100,
        bytes_max: 1 << 20,
        age_max_ns: None,
    }
}

/// A span of trace `trace`; ids are numbers from 1.
fn span(trace: u64, id: u64, parent: u64, name: &str, start: u64, end: u64) -> Span {
    let status = if name.contains("fail") { 2 } else { 1 };
    let body = json!({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeSpans":[{"spans":[{"traceId":format!("{trace:032x}"),"spanId":format!("{id:016x}"),"parentSpanId":format!("{parent:016x}"),
            "name":name,"startTimeUnixNano":start * SECOND,"endTimeUnixNano":end * SECOND,"status":{"code":status},
            "attributes":[{"key":"user","value":{"stringValue":format!("u{}", trace % 2)}},{"key":"n","value":{"intValue":id}}]}]}]}]});
    otlp::spans(&body).remove(0)
}

fn filled() -> Traces {
    let mut traces = Traces::new(roomy());
    let base = 1_781_000_000;
    traces.insert(0, span(1, 1, 0, "call shop::buy", base, base + 3));
    traces.insert(0, span(1, 2, 1, "execute shop::buy", base + 1, base + 2));
    traces.insert(0, span(2, 3, 0, "call shop::fail", base + 10, base + 11));
    traces.insert(
        0,
        span(3, 4, 0, "call engine::logs::list", base + 20, base + 21),
    );
    traces.insert(0, span(4, 5, 99, "execute cart::add", base + 30, base + 35));
    traces.insert(0, span(4, 6, 5, "call cart::price", base + 31, base + 32));
    traces
}

fn names(traces: &Traces, query: Value) -> Vec<String> {
    let query: api::TracesList = serde_json::from_value(query).unwrap();
    let list = traces.list(&query);
    let spans = list["spans"].as_array().unwrap();
    spans
        .iter()
        .map(|span| span["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lists_roots_by_every_filter() {
    let traces = filled();
    let ms = 1_781_000_000_000_u64;
    let rows = [
        (
            json!({}),
            vec!["execute cart::add", "call shop::fail", "call shop::buy"],
        ),
        (
            json!({"include_internal":true}),
            vec![
                "execute cart::add",
                "call engine::logs::list",
                "call shop::fail",
                "call shop::buy",
            ],
        ),
        (
            json!({"trace_id":format!("{:032x}", 2)}),
            vec!["call shop::fail"],
        ),
        (json!({"trace_id":"nonsense"}), vec![]),
        (
            json!({"name":"SHOP::"}),
            vec!["call shop::fail", "call shop::buy"],
        ),
        (json!({"status":"error"}), vec!["call shop::fail"]),
        (json!({"service_name":"other"}), vec![]),
        (
            json!({"service_name":"Shop","limit":1}),
            vec!["execute cart::add"],
        ),
        (
            json!({"min_duration_ms":3000}),
            vec!["execute cart::add", "call shop::buy"],
        ),
        (json!({"max_duration_ms":2999.9}), vec!["call shop::fail"]),
        (
            json!({"min_duration_ms":3000,"max_duration_ms":3000}),
            vec!["call shop::buy"],
        ),
        (json!({"start_time":ms + 12_000}), vec!["execute cart::add"]),
        (json!({"end_time":ms + 5_000}), vec!["call shop::buy"]),
        (
            json!({"start_time":ms + 10_500,"end_time":ms + 10_600}),
            vec!["call shop::fail"],
        ),
        (
            json!({"sort_by":"duration"}),
            vec!["execute cart::add", "call shop::buy", "call shop::fail"],
        ),
        (
            json!({"sort_by":"duration","sort_order":"asc"}),
            vec!["call shop::fail", "call shop::buy", "execute cart::add"],
        ),
        (
            json!({"sort_by":"name"}),
            vec!["call shop::buy", "call shop::fail", "execute cart::add"],
        ),
        (
            json!({"sort_order":"asc","offset":1,"limit":1}),
            vec!["call shop::fail"],
        ),
        (
            json!({"attributes":[["user","u0"]]}),
            vec!["execute cart::add", "call shop::fail"],
        ),
        (
            json!({"attributes":[["user","u0"],["n",3]]}),
            vec!["call shop::fail"],
        ),
        (json!({"attributes":[["user","u"]]}), vec![]),
        (json!({"name":"price"}), vec![]),
        (
            json!({"name":"price","search_all_spans":true}),
            vec!["execute cart::add"],
        ),
        (
            json!({"attributes":null,"limit":null,"_caller_worker_id":"w"}),
            vec!["execute cart::add", "call shop::fail", "call shop::buy"],
        ),
    ];
    for (query, expected) in rows {
        assert_eq!(names(&traces, query.clone()), expected, "{query}");
    }
}

#[test]
fn a_page_tells_the_total() {
    let query = serde_json::from_value(json!({"offset":2,"limit":5})).unwrap();
    let list = filled().list(&query);
    assert_eq!(
        (&list["total"], &list["offset"], &list["limit"]),
        (&json!(3), &json!(2), &json!(5))
    );
    assert_eq!(list["spans"].as_array().unwrap().len(), 1);
    let list = filled().list(&api::TracesList::default());
    assert_eq!((&list["offset"], &list["limit"]), (&json!(0), &json!(100)));
}

#[test]
fn a_tree_nests_children_and_loses_none() {
    let traces = filled();
    let tree = traces.tree(TraceId::parse(&format!("{:032x}", 1)));
    assert_eq!(tree["roots"][0]["name"], "call shop::buy");
    assert_eq!(tree["roots"][0]["children"][0]["name"], "execute shop::buy");
    assert_eq!(tree["roots"][0]["children"][0]["children"], json!([]));
    let orphaned = traces.tree(TraceId::parse(&format!("{:032x}", 4)));
    assert_eq!(
        orphaned["roots"][0]["children"][0]["name"],
        "call cart::price"
    );
    assert_eq!(traces.tree(None), json!({"roots":[]}));
    assert_eq!(
        traces.tree(TraceId::parse(&format!("{:032x}", 77))),
        json!({"roots":[]})
    );
}

fn count(nodes: &Value) -> usize {
    nodes
        .as_array()
        .unwrap()
        .iter()
        .map(|node| 1 + count(&node["children"]))
        .sum()
}

fn depth(nodes: &Value) -> usize {
    nodes
        .as_array()
        .unwrap()
        .iter()
        .map(|node| 1 + depth(&node["children"]))
        .max()
        .unwrap_or(0)
}

#[test]
fn odd_trees_are_shown_whole() {
    let mut traces = Traces::new(roomy());
    // A long chain, two that are each other's parents, one that is its own.
    (1..=500).for_each(|id| traces.insert(0, span(1, id, id - 1, "chain", id, id)));
    traces.insert(0, span(1, 601, 602, "loop", 1, 1));
    traces.insert(0, span(1, 602, 601, "loop", 2, 2));
    traces.insert(0, span(1, 700, 700, "self", 3, 3));
    let tree = traces.tree(TraceId::parse(&format!("{:032x}", 1)));
    assert_eq!(count(&tree["roots"]), 503);
    assert_eq!(depth(&tree["roots"]), 48);
    let text = tree.to_string();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), tree);
}

#[test]
fn groups_by_an_attribute() {
    let query = |query: Value| serde_json::from_value::<api::TracesGroupBy>(query).unwrap();
    let traces = filled();
    let now = 1_781_000_100 * SECOND;
    let answer = traces.group_by(
        &query(json!({"attribute":"user","label_attribute":"n"})),
        now,
    );
    let groups = answer["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(
        (
            &groups[0]["value"],
            &groups[0]["span_count"],
            &groups[0]["error_count"]
        ),
        (&json!("u0"), &json!(3), &json!(1))
    );
    assert_eq!(groups[0]["trace_ids"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&groups[0]["first_seen_ms"], &groups[0]["last_seen_ms"]),
        (&json!(1_781_000_010_000_u64), &json!(1_781_000_035_000_u64))
    );
    assert_eq!(groups[0]["duration_ms"], json!(25_000.0));
    assert_eq!(groups[1]["label"], "1");
    assert_eq!(answer["storage"]["traces"], 4);
    let recent = traces.group_by(&query(json!({"attribute":"user","since_ms":80_000})), now);
    assert_eq!(recent["groups"].as_array().unwrap().len(), 1);
    assert_eq!(
        traces.group_by(&query(json!({"attribute":"nothing"})), now)["groups"],
        json!([])
    );
    assert_eq!(
        traces.group_by(&query(json!({"attribute":"user","limit":1})), now)["groups"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn old_traces_go_whole() {
    let mut traces = Traces::new(Bounds {
        count_max: 2,
        ..roomy()
    });
    for trace in 1..=3 {
        traces.insert(0, span(trace, 1, 0, "root", trace, trace));
        traces.insert(0, span(trace, 2, 1, "child", trace, trace));
    }
    assert_eq!((traces.size().0, traces.size().1), (2, 4));
    assert_eq!(
        traces.tree(TraceId::parse(&format!("{:032x}", 1))),
        json!({"roots":[]})
    );
    traces.clear();
    assert_eq!(traces.size(), (0, 0, 0));
}

#[test]
fn bytes_and_age_bound_too() {
    let one = span(1, 1, 0, "root", 1, 1).bytes();
    let mut traces = Traces::new(Bounds {
        bytes_max: 3 * one,
        age_max_ns: Some(100),
        ..roomy()
    });
    (1..=10).for_each(|trace| traces.insert(trace, span(trace, 1, 0, "root", 1, 1)));
    assert!(
        traces.size().2 <= 3 * one && traces.size().0 >= 2,
        "{:?}",
        traces.size()
    );
    let mut huge = span(20, 1, 0, "root", 1, 1);
    huge.name = "x".repeat(4 * one).into();
    traces.insert(11, huge);
    assert_eq!(traces.dropped, 1);
    traces.age(1000);
    assert_eq!(traces.size(), (0, 0, 0));
}
