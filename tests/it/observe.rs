//! Telemetry as unmodified SDKs send it, and what is shown of it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::harness::{Engine, Iii, PATIENCE};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn frame(prefix: &str, body: &Value) -> Message {
    Message::binary(format!("{prefix}{body}").into_bytes())
}

fn spans() -> Value {
    json!({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"iii"},"spans":[
        {"traceId":TRACE,"spanId":"b7ad6b7169203331","name":"GET /cart","startTimeUnixNano":"1781000000000000000","endTimeUnixNano":"1781000001000000000","status":{"code":1}},
        {"traceId":TRACE,"spanId":"b7ad6b7169203332","parentSpanId":"b7ad6b7169203331","name":"execute cart::list","startTimeUnixNano":"1781000000100000000","endTimeUnixNano":"1781000000200000000"}]}]}]})
}

fn gauge(worker: &str) -> Value {
    json!({"resource_metrics":[{"scope_metrics":[{"metrics":[{"name":"iii.worker.memory.rss","gauge":{"data_points":[
        {"time_unix_nano":"1781000000000000000","as_int":"4096","attributes":[{"key":"worker.id","value":{"string_value":worker}}]}]}}]}]}]})
}

fn log(body: &str, trace: Option<&str>) -> Value {
    json!({"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"scope":{"name":"shop"},"logRecords":[
        {"timeUnixNano":"1781000000000000000","severityNumber":17,"severityText":"ERROR","body":{"stringValue":body},"traceId":trace}]}]}]})
}

async fn result(client: &mut Iii, function: &str, data: Value) -> Result<Value> {
    let answer = client.call(function, data).await?;
    anyhow::ensure!(answer.get("error").is_none(), "{function}: {answer}");
    Ok(answer["result"].clone())
}

/// Calls until the answer is as wanted: frames are read by another task.
async fn until(
    client: &mut Iii,
    function: &str,
    data: Value,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let by = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = result(client, function, data.clone()).await?;
        if wanted(&answer) {
            return Ok(answer);
        }
        anyhow::ensure!(
            std::time::Instant::now() < by,
            "{function} answers {answer}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_log_call_is_kept_and_fires_its_trigger() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut handler = Iii::connect(&engine).await?;
    handler
        .say(&json!({ "type": "registerfunction", "id": "alerts::page" }))
        .await?;
    handler
        .say(&json!({ "type": "registertrigger", "id": "t1", "trigger_type": "log", "function_id": "alerts::page", "config": { "level": "error" } }))
        .await?;
    handler.say(&json!({ "type": "ping" })).await?;
    assert_eq!(handler.hear_text().await?["type"], "pong");

    let mut client = Iii::connect(&engine).await?;
    let input = json!({ "message": "card declined", "data": { "order": "o-1" }, "service_name": "billing" });
    for level in ["info", "error"] {
        let answer = client
            .call(&format!("engine::log::{level}"), input.clone())
            .await?;
        assert!(
            answer.get("result").is_none() && answer.get("error").is_none(),
            "{answer}"
        );
    }
    let fired = handler.hear_text().await?;
    assert_eq!(fired["type"], "invokefunction");
    assert_eq!(fired["function_id"], "alerts::page");
    let event = &fired["data"];
    assert_eq!(
        (&event["severity_number"], &event["severity_text"]),
        (&json!(17), &json!("ERROR"))
    );
    assert_eq!(
        (&event["body"], &event["attributes"]),
        (&json!("card declined"), &json!({ "order": "o-1" }))
    );
    assert_eq!(
        (&event["service_name"], &event["resource"]),
        (&json!("billing"), &json!({ "service.name": "billing" }))
    );

    // What the handler logs, with the context it was given, does not call it again.
    handler
        .say(&json!({ "type": "invokefunction", "invocation_id": "l1", "function_id": "engine::log::error",
            "data": { "message": "handled" }, "traceparent": fired["traceparent"] }))
        .await?;
    assert_eq!(handler.hear_text().await?["invocation_id"], "l1");
    handler
        .say(&json!({ "type": "invocationresult", "invocation_id": fired["invocation_id"], "function_id": "alerts::page" }))
        .await?;
    handler.hears_nothing().await?;

    let list = result(
        &mut client,
        "engine::logs::list",
        json!({ "severity_min": 17 }),
    )
    .await?;
    assert_eq!(
        (&list["total"], &list["logs"][0]["body"]),
        (&json!(2), &json!("handled"))
    );
    let list = result(
        &mut client,
        "engine::logs::list",
        json!({ "severity_text": "info" }),
    )
    .await?;
    assert_eq!(list["total"], 1);
    assert_eq!(
        result(&mut client, "engine::logs::clear", json!({})).await?,
        json!({ "success": true })
    );
    Ok(())
}

#[tokio::test]
async fn telemetry_frames_are_read_on_both_sockets() -> Result<()> {
    let engine = Engine::bare().await?;
    let (socket, _) = connect_async(format!("{}/otel?token={}", engine.url, engine.token)).await?;
    let mut otel = Iii(socket);
    let mut client = Iii::connect(&engine).await?;
    // Who tells no process is not listed.
    let about = json!({ "runtime": "node", "version": "0.11.6", "name": "metered", "pid": 1 });
    result(&mut client, "engine::workers::register", about).await?;
    let workers = result(&mut client, "engine::workers::list", json!({})).await?;
    let us = workers["workers"]
        .as_array()
        .context("a list")?
        .iter()
        .find(|worker| worker["isolation"].is_null());
    let us = us.context("this client is listed")?["id"]
        .as_str()
        .context("an id")?
        .to_owned();

    // What cannot be read is ignored on either socket, and the sockets stay.
    for bad in [
        "OTLP",
        "OTLP{",
        "MTRC[]",
        "LOGSnull",
        "LOGS{\"resourceLogs\":7}",
    ] {
        client
            .say_raw(Message::binary(bad.as_bytes().to_vec()))
            .await?;
        otel.say_raw(Message::binary(bad.as_bytes().to_vec()))
            .await?;
    }
    otel.say_raw(Message::text("{\"type\":\"ping\"}")).await?;
    otel.say_raw(frame("OTLP", &spans())).await?;
    otel.say_raw(frame("MTRC", &gauge(&us))).await?;
    otel.say_raw(frame("LOGS", &log("from otel", Some(TRACE))))
        .await?;
    client
        .say_raw(frame("LOGS", &log("from the bus", None)))
        .await?;

    let list = until(
        &mut client,
        "engine::traces::list",
        json!({ "service_name": "shop" }),
        |list| list["total"] == 1,
    )
    .await?;
    let root = &list["spans"][0];
    assert_eq!(
        (&root["name"], &root["trace_id"], &root["status"]),
        (&json!("GET /cart"), &json!(TRACE), &json!("ok"))
    );
    let tree = result(
        &mut client,
        "engine::traces::tree",
        json!({ "trace_id": TRACE }),
    )
    .await?;
    assert_eq!(
        tree["roots"][0]["children"][0]["name"],
        "execute cart::list"
    );

    let logs = until(&mut client, "engine::logs::list", json!({}), |list| {
        list["total"] == 2
    })
    .await?;
    let mut bodies: Vec<&Value> = logs["logs"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|log| &log["body"])
        .collect();
    bodies.sort_by_key(ToString::to_string);
    assert_eq!(bodies, ["from otel", "from the bus"]);
    let logs = result(
        &mut client,
        "engine::logs::list",
        json!({ "trace_id": TRACE }),
    )
    .await?;
    assert_eq!(logs["logs"][0]["body"], "from otel");

    let metrics = until(&mut client, "engine::metrics::list", json!({}), |list| {
        list["sdk_metrics"] != json!([])
    })
    .await?;
    assert_eq!(metrics["sdk_metrics"][0]["data_points"][0]["value"], 4096.0);
    assert!(metrics["engine_metrics"]["invocations"]["total"].as_u64() > Some(0));
    let workers = result(
        &mut client,
        "engine::workers::list",
        json!({ "worker_id": us }),
    )
    .await?;
    assert_eq!(workers["workers"][0]["latest_metrics"]["memory_rss"], 4096);
    otel.hears_nothing().await?;
    client.say(&json!({ "type": "ping" })).await?;
    assert_eq!(client.hear_text().await?["type"], "pong");
    Ok(())
}

#[tokio::test]
async fn what_a_stranger_reports_is_forgotten() -> Result<()> {
    let engine = Engine::bare().await?;
    let (socket, _) = connect_async(format!("{}/otel", engine.url)).await?;
    let mut stranger = Iii(socket);
    stranger
        .say_raw(frame("LOGS", &log("from a stranger", None)))
        .await?;
    // Its connection stays, or it would come back for ever; its frames have been read when its
    // ping is answered.
    stranger.say_raw(Message::Ping("p".into())).await?;
    let mut client = Iii::connect(&engine).await?;
    stranger.hears_nothing().await?;
    client
        .say_raw(frame("LOGS", &log("from a worker", None)))
        .await?;
    let logs = until(&mut client, "engine::logs::list", json!({}), |list| {
        list["total"].as_u64() > Some(0)
    })
    .await?;
    assert_eq!(
        (&logs["total"], &logs["logs"][0]["body"]),
        (&json!(1), &json!("from a worker"))
    );
    Ok(())
}

#[tokio::test]
async fn the_engine_puts_its_own_span_between_caller_and_callee() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut callee = Iii::connect(&engine).await?;
    callee
        .say(&json!({ "type": "registerfunction", "id": "cart::list" }))
        .await?;
    callee.say(&json!({ "type": "ping" })).await?;
    callee.hear_text().await?;
    let mut caller = Iii::connect(&engine).await?;
    let call = |id: &str, flags: &str| {
        json!({ "type": "invokefunction", "invocation_id": id, "function_id": "cart::list", "data": {},
            "traceparent": format!("00-{TRACE}-b7ad6b7169203331-{flags}"), "baggage": "user=ada" })
    };
    let mut parents = Vec::new();
    for (id, flags) in [("a", "01"), ("b", "00")] {
        caller.say(&call(id, flags)).await?;
        let invoked = callee.hear_text().await?;
        assert_eq!(invoked["baggage"], "user=ada");
        parents.push(
            invoked["traceparent"]
                .as_str()
                .context("a traceparent")?
                .to_owned(),
        );
        callee
            .say(&json!({ "type": "invocationresult", "invocation_id": invoked["invocation_id"], "function_id": "cart::list", "result": 1 }))
            .await?;
        assert_eq!(caller.hear_text().await?["result"], 1);
    }
    assert_eq!(
        parents[1],
        format!("00-{TRACE}-b7ad6b7169203331-00"),
        "not recorded: passed on untouched"
    );
    assert!(parents[0].starts_with(&format!("00-{TRACE}-")) && parents[0].ends_with("-01"));
    let tree = result(
        &mut caller,
        "engine::traces::tree",
        json!({ "trace_id": TRACE }),
    )
    .await?;
    assert_eq!(tree["roots"].as_array().context("a list")?.len(), 1);
    let span = &tree["roots"][0];
    assert_eq!(
        (&span["name"], &span["parent_span_id"]),
        (&json!("call cart::list"), &json!("b7ad6b7169203331"))
    );
    assert!(parents[0].contains(span["span_id"].as_str().context("an id")?));
    Ok(())
}

#[tokio::test]
async fn a_trace_trigger_hears_of_complete_traces() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut handler = Iii::connect(&engine).await?;
    handler
        .say(&json!({ "type": "registerfunction", "id": "traces::done" }))
        .await?;
    handler
        .say(&json!({ "type": "registertrigger", "id": "t1", "trigger_type": "trace", "function_id": "traces::done", "config": {} }))
        .await?;
    handler.say(&json!({ "type": "ping" })).await?;
    assert_eq!(handler.hear_text().await?["type"], "pong");
    handler.say_raw(frame("OTLP", &spans())).await?;
    let fired = handler.hear_text().await?;
    assert_eq!(fired["data"], json!({ "trace_ids": [TRACE] }));
    handler.hears_nothing().await
}

#[tokio::test]
async fn prometheus_reads_calls_and_queues() -> Result<()> {
    let settings =
        "observe: { prometheus_path: /metrics }\nqueue: { queue_configs: { orders: {} } }\n";
    let engine = Engine::start(settings, &["--no-workers"]).await?;
    let client = engine.worker("shop").await?;
    let orders = json!({ "queue": "orders" });
    let _: Value = client.trigger("queue::pause", &orders).await?;
    for delay_ms in [0, 0, 3_600_000] {
        let message =
            json!({ "queue": "orders", "function_id": "order::ship", "delay_ms": delay_ms });
        let _: Value = client.trigger("queue::enqueue", &message).await?;
    }
    let page = engine.get("/metrics").send().await?;
    assert_eq!(page.status(), 200);
    let kind = page.headers()["content-type"].to_str()?.to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let page = page.text().await?;
    for line in [
        "# TYPE agentos_queue_messages gauge",
        "agentos_queue_messages{queue=\"orders\",state=\"ready\"} 2",
        "agentos_queue_messages{queue=\"orders\",state=\"delayed\"} 1",
        "agentos_queue_paused{queue=\"orders\"} 1",
        "agentos_queue_events_total{queue=\"orders\",event=\"enqueued\"} 3",
        "agentos_calls_total{function=\"queue::enqueue\"} 3",
        "agentos_workers 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    let oldest = page
        .lines()
        .find(|line| line.starts_with("agentos_queue_oldest_seconds"));
    assert!(oldest.is_some_and(|line| !line.ends_with(" 0")), "{page}");

    let engine = Engine::bare().await?;
    assert_eq!(engine.get("/metrics").send().await?.status(), 404);
    Ok(())
}
