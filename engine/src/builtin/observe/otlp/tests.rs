use serde_json::json;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn spans_are_read_in_both_spellings() {
    let camel = json!({"resourceSpans":[{
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"billing"}}]},
        "scopeSpans":[{"scope":{"name":"iii","version":"1"},"spans":[{
            "traceId":TRACE,"spanId":"b7ad6b7169203331","parentSpanId":"b7ad6b7169203332","name":"call pay",
            "startTimeUnixNano":"1781000000000000000","endTimeUnixNano":1_781_000_000_500_000_000_u64,
            "status":{"code":2,"message":"declined"},"flags":257,
            "attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"ok","value":{"boolValue":true}},
                          {"key":"l","value":{"arrayValue":{"values":[{"stringValue":"a"},{"doubleValue":1.5}]}}}],
            "events":[{"name":"e","timeUnixNano":"5","attributes":[{"key":"k","value":{"stringValue":"v"}}]}],
            "links":[{"traceId":TRACE,"spanId":"b7ad6b7169203333","traceState":"s"}]}]}]}]});
    let snake = json!({"resource_spans":[{
        "resource":{"attributes":[{"key":"service.name","value":{"string_value":"billing"}}]},
        "scope_spans":[{"scope":{"name":"iii","version":"1"},"spans":[{
            "trace_id":TRACE,"span_id":"b7ad6b7169203331","parent_span_id":"b7ad6b7169203332","name":"call pay",
            "start_time_unix_nano":1_781_000_000_000_000_000_u64,"end_time_unix_nano":"1781000000500000000",
            "status":{"code":"STATUS_CODE_ERROR","message":"declined"},"flags":"257",
            "attributes":[{"key":"n","value":{"int_value":7}},{"key":"ok","value":{"bool_value":true}},
                          {"key":"l","value":{"array_value":{"values":[{"string_value":"a"},{"double_value":1.5}]}}}],
            "events":[{"name":"e","time_unix_nano":5,"attributes":[{"key":"k","value":{"string_value":"v"}}]}],
            "links":[{"trace_id":TRACE,"span_id":"b7ad6b7169203333","trace_state":"s"}]}]}]}]});
    let read = spans(&camel);
    assert_eq!(read, spans(&snake));
    let span = &read[0].to_json();
    assert_eq!(span["status"], "error");
    assert_eq!(span["status_description"], "declined");
    assert_eq!(span["service_name"], "billing");
    assert_eq!(
        span["attributes"],
        json!([["n", "7"], ["ok", "true"], ["l", "[\"a\",1.5]"]])
    );
    assert_eq!(span["parent_span_id"], "b7ad6b7169203332");
    assert_eq!(
        span["events"],
        json!([{"name":"e","timestamp_unix_nano":5,"attributes":[["k","v"]]}])
    );
    assert_eq!(span["instrumentation_scope_name"], "iii");
    assert_eq!(span["flags"], 257);
    assert_eq!(read[0].duration_ns(), 500_000_000);
}

#[test]
fn what_names_no_span_is_left_out() {
    let rows = [
        json!(null),
        json!([]),
        json!({"resourceSpans":null}),
        json!({"resourceSpans":[{"scopeSpans":null}]}),
        json!({"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"no ids"}]}]}]}),
        json!({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz","spanId":"b7ad6b7169203331"}]}]}]}),
        json!({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":TRACE,"spanId":""}]}]}]}),
    ];
    for row in rows {
        assert_eq!(spans(&row), [], "{row}");
    }
}

#[test]
fn a_root_has_no_parent_however_that_is_said() {
    for parent in [json!(null), json!(""), json!("0000000000000000")] {
        let body = json!({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":TRACE,"spanId":"b7ad6b7169203331","parentSpanId":parent}]}]}]});
        assert_eq!(spans(&body)[0].parent, None, "{parent}");
    }
}

#[test]
fn log_records_are_read() {
    let body = json!({"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"billing"}},{"key":"n","value":{"intValue":3}}]},
        "scopeLogs":[{"scope":{"name":"billing"},"logRecords":[
            {"timeUnixNano":"10","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"card declined"},
             "attributes":[{"key":"order","value":{"stringValue":"o-1"}},{"key":"try","value":{"intValue":"2"}}],"traceId":TRACE,"spanId":"b7ad6b7169203331"},
            {"severity_number":9,"body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}}]}]}]});
    let records = logs(&body, 99);
    assert_eq!(
        records[0].to_json(),
        json!({"timestamp_unix_nano":10,"observed_timestamp_unix_nano":99,"severity_number":17,"severity_text":"ERROR",
               "body":"card declined","attributes":{"order":"o-1","try":2},"trace_id":TRACE,"span_id":"b7ad6b7169203331",
               "resource":{"service.name":"billing","n":"3"},"service_name":"billing",
               "instrumentation_scope_name":"billing","instrumentation_scope_version":null})
    );
    let second = records[1].to_json();
    assert_eq!(
        (&second["timestamp_unix_nano"], &second["severity_text"]),
        (&json!(99), &json!("INFO"))
    );
    assert_eq!(second["body"], r#"{"a":1}"#);
    assert_eq!(second["trace_id"], json!(null));
}

#[test]
fn metrics_of_every_kind_are_read() {
    let body = json!({"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"g","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"5","asInt":"7","attributes":[{"key":"worker.id","value":{"stringValue":"w"}}]}]}},
        {"name":"s","sum":{"isMonotonic":true,"aggregationTemporality":2,"data_points":[{"asDouble":1.5}]}},
        {"name":"d","sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","dataPoints":[{"as_int":3}]}},
        {"name":"h","histogram":{"dataPoints":[{"count":"3","sum":6.0,"bucketCounts":["1","2"],"explicitBounds":[10]}]}},
        {"name":"nan","gauge":{"dataPoints":[{"asDouble":"NaN"}]}},
        {"name":"empty","gauge":{"dataPoints":[]}},
        {"name":"","gauge":{"dataPoints":[{"asInt":1}]}},
        {"name":"unknown kind"}]}]}]});
    let metrics = metrics(&body, 99);
    let names: Vec<&str> = metrics.iter().map(|metric| &*metric.name).collect();
    assert_eq!(names, ["g", "s", "d", "h"]);
    assert_eq!(metrics[0].points[0].number, Number::Value(7.0));
    assert_eq!(metrics[0].points[0].at_ns, 5);
    assert_eq!((metrics[1].monotonic, metrics[1].cumulative), (true, true));
    assert!(!metrics[2].cumulative);
    let Number::Histogram(histogram) = &metrics[3].points[0].number else {
        panic!("a histogram")
    };
    assert_eq!(
        (histogram.count, &histogram.bucket_counts[..]),
        (3, &[1, 2][..])
    );
}
