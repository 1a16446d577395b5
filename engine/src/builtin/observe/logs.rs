//! The newest log records.

use serde_json::{Value, json};

use super::{
    api,
    id::{SpanId, TraceId},
    log::Record,
    ring::{Bounds, Ring},
};

pub(super) struct Logs {
    pub(super) ring: Ring<Record>,
}

impl Logs {
    pub(super) fn new(bounds: Bounds) -> Self {
        Logs {
            ring: Ring::new(bounds),
        }
    }

    pub(super) fn insert(&mut self, now_ns: u64, record: Record) {
        self.ring.push(now_ns, record.bytes(), record);
    }

    /// Records that fit, the newest first.
    pub(super) fn list(&mut self, query: &api::LogsList, now_ns: u64) -> Value {
        self.ring.age(now_ns);
        let from = query.start_time.map_or(0, api::moment_ns);
        let to = query.end_time.map_or(u64::MAX, api::moment_ns);
        // An id that is none fits nothing, rather than everything.
        let trace = query.trace_id.as_deref().map(TraceId::parse);
        let span = query.span_id.as_deref().map(SpanId::parse);
        let fits = |record: &&Record| {
            (from..=to).contains(&record.at_ns)
                && trace.is_none_or(|trace| trace.is_some() && trace == record.trace)
                && span.is_none_or(|span| span.is_some() && span == record.span)
                && query
                    .severity_min
                    .is_none_or(|least| record.severity.number >= least)
                && query
                    .severity_text
                    .as_deref()
                    .is_none_or(|level| record.severity.is(level))
        };
        let mut found: Vec<&Record> = self.ring.iter().filter(fits).collect();
        // Stable, and backwards: of two at one moment the later arrival comes first.
        found.reverse();
        found.sort_by_key(|record| std::cmp::Reverse(record.at_ns));
        let (offset, limit) = api::page(query.offset, Some(query.limit.unwrap_or(api::LIMIT_MAX)));
        let page: Vec<Value> = found
            .iter()
            .skip(offset)
            .take(limit)
            .map(|record| record.to_json())
            .collect();
        json!({ "logs": page, "total": found.len(), "query": query, "timestamp": now_ns / 1_000_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::observe::otlp;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn filled() -> Logs {
        let mut logs = Logs::new(Bounds {
            count_max: 10,
            bytes_max: 1 << 20,
            age_max_ns: Some(1_000),
        });
        let base = 1_781_000_000_000_000_000_u64;
        let body = json!({"resourceLogs":[{"scopeLogs":[{"logRecords":[
            {"timeUnixNano":base,"severityNumber":9,"severityText":"INFO","body":{"stringValue":"a"}},
            {"timeUnixNano":base + 2_000_000_000,"severityNumber":17,"severityText":"ERROR","body":{"stringValue":"b"},"traceId":TRACE,"spanId":"b7ad6b7169203331"},
            {"timeUnixNano":base + 1_000_000_000,"severityNumber":13,"body":{"stringValue":"c"},"traceId":TRACE}]}]}]});
        for record in otlp::logs(&body, 1) {
            logs.insert(1, record);
        }
        logs
    }

    #[test]
    fn lists_by_every_filter() {
        let ms = 1_781_000_000_000_u64;
        let rows = [
            (json!({}), "bca", 3),
            (json!({"severity_min":13}), "bc", 2),
            (json!({"severity_text":"error"}), "b", 1),
            (json!({"severity_text":"warn"}), "c", 1),
            (json!({"trace_id":TRACE}), "bc", 2),
            (
                json!({"trace_id":TRACE,"span_id":"b7ad6b7169203331"}),
                "b",
                1,
            ),
            (json!({"trace_id":"nonsense"}), "", 0),
            (json!({"span_id":"nonsense"}), "", 0),
            (json!({"start_time":ms + 500}), "bc", 2),
            (json!({"end_time":ms + 1_500}), "ca", 2),
            (
                json!({"start_time":1_781_000_001_000_000_000_u64,"end_time":ms + 1_000}),
                "c",
                1,
            ),
            (json!({"offset":1,"limit":1}), "c", 3),
            (json!({"offset":9}), "", 3),
        ];
        let mut logs = filled();
        for (query, expected, total) in rows {
            let list = logs.list(&serde_json::from_value(query.clone()).unwrap(), 1);
            let bodies: String = list["logs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|log| log["body"].as_str().unwrap())
                .collect();
            assert_eq!(
                (bodies.as_str(), &list["total"]),
                (expected, &json!(total)),
                "{query}"
            );
        }
        let list = logs.list(&api::LogsList::default(), 1_002);
        assert_eq!(list["total"], 0, "too old by now");
    }
}
