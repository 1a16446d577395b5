//! What was seen, as it is shown.

use super::*;

fn nesting(registrar: &mut Registrar) {
    registrar.function("test::inner", |_, input: Value| async move {
        if input == "fail" {
            return Err(Error::worker(Code::Failed, "no luck"));
        }
        Ok(input)
    });
    registrar.function("test::outer", |context, input: Value| async move {
        context.trigger::<Value>("test::inner", &input).await
    });
    registrar.function("test::trace", |context, _: Value| async move {
        Ok(json!({ "parent": context.trace().parent, "baggage": context.trace().baggage }))
    });
}

#[tokio::test]
async fn nested_calls_make_one_tree() {
    let rig = Rig::new(nesting).await;
    rig.call("test::outer", json!(1)).await;
    let _: Result<Value, Error> = rig.bus.trigger("test::outer", &json!("fail")).await;
    let list = rig.call("engine::traces::list", json!({})).await;
    assert_eq!(list["total"], 2, "{list}");
    let failed = rig
        .call("engine::traces::list", json!({ "status": "error" }))
        .await;
    assert_eq!(failed["spans"][0]["name"], "call test::outer");
    assert_eq!(failed["spans"][0]["status_description"], "no luck");
    assert_eq!(failed["spans"][0]["service_name"], "agentos");
    let tree = rig
        .call(
            "engine::traces::tree",
            json!({ "trace_id": failed["spans"][0]["trace_id"] }),
        )
        .await;
    assert_eq!(tree["roots"].as_array().unwrap().len(), 1);
    let child = &tree["roots"][0]["children"][0];
    assert_eq!(child["name"], "call test::inner");
    assert_eq!(child["parent_span_id"], tree["roots"][0]["span_id"]);
    assert!(
        child["attributes"]
            .as_array()
            .unwrap()
            .contains(&json!(["error.type", "failed"]))
    );
    assert_eq!(
        rig.call("engine::traces::clear", json!({})).await,
        json!({ "success": true })
    );
    assert_eq!(
        rig.call("engine::traces::list", json!(null)).await["total"],
        0
    );
}

#[tokio::test]
async fn the_callee_is_in_the_callers_trace() {
    let rig = Rig::new(nesting).await;
    let place = Place::random(true);
    let trace = Trace {
        baggage: Some("user=ada".into()),
        ..place.to_trace()
    };
    let seen: Value = rig
        .bus
        .with_trace(trace.clone())
        .trigger("test::trace", &json!(null))
        .await
        .unwrap();
    let told = Place::parse(seen["parent"].as_str().unwrap()).unwrap();
    assert_eq!(told.trace, place.trace);
    assert_ne!(told.span, place.span);
    assert_eq!(seen["baggage"], "user=ada");
    let off = Rig::with(
        Config {
            enabled: false,
            ..quiet()
        },
        nesting,
    )
    .await;
    let seen: Value = off
        .bus
        .with_trace(trace.clone())
        .trigger("test::trace", &json!(null))
        .await
        .unwrap();
    assert_eq!(seen["parent"], *trace.parent.unwrap());
}

#[tokio::test]
async fn baggage_is_the_calls() {
    let rig = Rig::new(nesting).await;
    let bus = rig.bus.with_trace(Trace {
        parent: None,
        baggage: Some("user=ada,n=a%20b;p=1".into()),
    });
    let get = |key: &str| {
        let (bus, input) = (bus.clone(), json!({ "key": key }));
        async move {
            bus.trigger::<Value>("engine::baggage::get", &input)
                .await
                .unwrap()
        }
    };
    assert_eq!(get("n").await, json!({ "value": "a b" }));
    assert_eq!(get("missing").await, json!({ "value": null }));
    let all: Value = bus
        .trigger("engine::baggage::get_all", &json!({}))
        .await
        .unwrap();
    assert_eq!(all, json!({ "baggage": { "user": "ada", "n": "a b" } }));
    let set = rig
        .call("engine::baggage::set", json!({ "key": "a", "value": "b" }))
        .await;
    assert_eq!(set["success"], true);
    assert!(set["note"].is_string());
}

#[tokio::test]
async fn frames_are_read_and_bad_ones_are_ignored() {
    let rig = Rig::new(nesting).await;
    for bad in ["", "{", "null", "[]", "{\"resourceSpans\":7}", "\u{0}"] {
        for prefix in [b"OTLP", b"MTRC", b"LOGS", b"ELSE"] {
            rig.telemetry.ingest(*prefix, Bytes::from(bad), None);
        }
    }
    let trace = "0af7651916cd43dd8448eb211c80319c";
    rig.ingest(b"OTLP", &json!({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeSpans":[{"spans":[{"traceId":trace,"spanId":"b7ad6b7169203331","name":"GET /","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}));
    rig.ingest(b"MTRC", &json!({"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"iii.worker.memory.rss","gauge":{"dataPoints":[{"asInt":5,"timeUnixNano":"1781000000000000000"}]}}]}]}]}));
    let list = rig
        .until("engine::traces::list", json!({}), |list| list["total"] == 1)
        .await;
    assert_eq!(list["spans"][0]["service_name"], "shop");
    let metrics = rig
        .until(
            "engine::metrics::list",
            json!({ "aggregate_interval": 60 }),
            |list| list["sdk_metrics"] != json!([]),
        )
        .await;
    assert_eq!(metrics["sdk_metrics"][0]["name"], "iii.worker.memory.rss");
    assert_eq!(metrics["sdk_metrics"][0]["data_points"][0]["value"], 5.0);
    assert_eq!(metrics["aggregated_metrics"][0]["count"], 1);
    assert_eq!(metrics["query"], json!({ "aggregate_interval": 60 }));
    assert_eq!(rig.telemetry.worker_metrics("w1").unwrap()["memory_rss"], 5);
    let rollups = rig
        .call("engine::rollups::list", json!({ "level": 2 }))
        .await;
    assert_eq!(rollups["rollups"][0]["interval_seconds"], 3600);
    assert_eq!(
        rig.call("engine::logs::list", json!(null)).await["total"],
        0
    );
}

use bytes::Bytes;

#[tokio::test]
async fn the_engine_counts_its_calls_and_workers() {
    let rig = Rig::new(nesting).await;
    rig.call("test::outer", json!(1)).await;
    let _: Result<Value, Error> = rig.bus.trigger("test::inner", &json!("fail")).await;
    let _: Result<Value, Error> = rig.bus.trigger("test::nobody", &json!(1)).await;
    rig.bus.call("test::inner").void(&json!(1)).unwrap();
    let metrics = rig
        .until("engine::metrics::list", json!({}), |list| {
            list["engine_metrics"]["invocations"]["deferred"] == 1
        })
        .await;
    let counts = &metrics["engine_metrics"];
    assert_eq!(counts["invocations"]["by_function"]["test::inner"], 3);
    assert_eq!(counts["invocations"]["by_function"]["test::outer"], 1);
    assert_eq!(
        counts["invocations"]["by_function"].get("test::nobody"),
        None
    );
    assert_eq!(counts["invocations"]["error"], 2);
    // `observe` is the engine's own.
    assert_eq!(
        counts["workers"],
        json!({ "spawns": 1, "deaths": 0, "active": 1 })
    );
    assert!(counts["performance"]["p99_duration_ms"].as_f64().unwrap() > 0.0);
    assert!(metrics["timestamp"].is_u64() && metrics.get("query").is_none());
}

#[tokio::test]
async fn spans_that_are_only_sent_away_cannot_be_shown() {
    let config = Config {
        exporter: Exporter::Otlp,
        ..quiet()
    };
    let rig = Rig::with(config, nesting).await;
    for function in ["list", "clear", "tree", "group_by"] {
        let input = json!({ "trace_id": "x", "attribute": "y" });
        let error = rig
            .bus
            .trigger::<Value>(&format!("engine::traces::{function}"), &input)
            .await
            .unwrap_err();
        assert_eq!(
            error.reason.as_deref(),
            Some("memory_exporter_not_enabled"),
            "{function}"
        );
    }
    // The default endpoint is one that is not spoken, and that can be seen.
    let health = rig.call("engine::health::check", json!({})).await;
    assert_eq!(health["components"]["otel"]["status"], "disabled");
    assert!(
        health["components"]["otel"]["details"]["error"]
            .as_str()
            .unwrap()
            .contains("gRPC")
    );
    assert_eq!(health["components"]["spans"]["status"], "disabled");
    assert_eq!(health["components"]["logs"]["status"], "healthy");
}

#[tokio::test]
async fn health_and_sampling() {
    let rig = Rig::new(nesting).await;
    let health = rig.call("engine::health::check", json!({})).await;
    assert_eq!(health["status"], "healthy");
    for component in ["otel", "metrics", "logs", "spans"] {
        assert_eq!(
            health["components"][component]["status"], "healthy",
            "{component}"
        );
        assert!(health["components"][component]["details"].is_object());
    }
    assert!(health["version"].is_string() && health["timestamp"].is_u64());
    let rules = rig.call("engine::sampling::rules", json!({})).await;
    assert_eq!(
        (&rules["default"], &rules["rules"], &rules["parent_based"]),
        (&json!(1.0), &json!([]), &json!(true))
    );
}

#[tokio::test]
async fn logs_can_be_forgotten_and_switched_off() {
    let rig = Rig::new(nesting).await;
    rig.log("info", "m").await;
    assert_eq!(
        rig.call("engine::logs::list", json!({ "limit": 5 })).await["query"]["limit"],
        5
    );
    assert_eq!(
        rig.call("engine::logs::clear", json!({})).await,
        json!({ "success": true })
    );
    assert_eq!(rig.call("engine::logs::list", json!({})).await["total"], 0);
    let off = Rig::with(
        Config {
            logs_enabled: false,
            ..quiet()
        },
        nesting,
    )
    .await;
    off.log("error", "m").await;
    assert_eq!(off.call("engine::logs::list", json!({})).await["total"], 0);
    let error = rig
        .bus
        .trigger::<Value>("engine::log::info", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
}

#[tokio::test]
async fn what_is_not_read_is_dropped_and_counted() {
    let config = Config {
        inbox_bytes_max: 100,
        ..quiet()
    };
    // Nobody reads.
    let (telemetry, _inlets) = Telemetry::open(config);
    telemetry.ingest(*b"LOGS", Bytes::from(vec![b' '; 500]), None);
    telemetry.ingest(*b"LOGS", Bytes::from(vec![b' '; 1]), None);
    assert_eq!(
        telemetry.store().dropped(),
        1,
        "one large body is taken, then the bound holds"
    );
}
