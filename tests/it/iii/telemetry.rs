//! §1.8: telemetry on both sockets.

use anyhow::{Result, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    check::Suite,
    setup::Setup,
    worker::{Worker, dial},
};
use crate::harness::eventually;

fn frame(prefix: &str, body: &Value) -> Message {
    Message::binary(format!("{prefix}{body}").into_bytes())
}

fn log(text: &str) -> Value {
    json!({ "resourceLogs": [{ "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "billing" } }] },
        "scopeLogs": [{ "scope": { "name": "billing" }, "logRecords": [{ "timeUnixNano": "1781000000000000000", "severityNumber": 17, "severityText": "ERROR",
            "body": { "stringValue": text }, "attributes": [{ "key": "order", "value": { "stringValue": "o-1" } }],
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331" }] }] }] })
}

fn span(trace: &str) -> Value {
    json!({ "resource_spans": [{ "resource": { "attributes": [{ "key": "service.name", "value": { "string_value": "billing" } }] },
        "scope_spans": [{ "scope": { "name": "s" }, "spans": [{ "trace_id": trace, "span_id": "b7ad6b7169203331", "name": "charge", "kind": 1,
            "start_time_unix_nano": "1781000000000000000", "end_time_unix_nano": "1781000000500000000", "status": { "code": 2, "message": "declined" },
            "attributes": [{ "key": "order", "value": { "string_value": "o-1" } }] }] }] }] })
}

#[tokio::test]
async fn telemetry_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite
        .check("§1.8 /otel says nothing and takes anything", async {
            let mut socket = dial(&format!("{url}/otel"), &[]).await?;
            for message in [
                Message::text("{\"type\":\"ping\"}"),
                Message::text("nonsense"),
                Message::binary(b"OTLP{".to_vec()),
                Message::binary(b"????".to_vec()),
                frame("OTLP", &json!([])),
                frame("MTRC", &json!({ "resourceMetrics": "no" })),
                frame("LOGS", &log("first")),
            ] {
                socket.send(message).await?;
            }
            let heard = tokio::time::timeout(std::time::Duration::from_millis(300), async {
                loop {
                    match socket.next().await {
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        other => return other,
                    }
                }
            })
            .await;
            ensure!(heard.is_err(), "{heard:?}");
            Ok(())
        })
        .await;

    suite.check("§1.8 logs of both sockets are kept and fire log triggers", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("te::on").await?;
        worker.say(json!({ "type": "registertrigger", "id": "te-1", "trigger_type": "log", "function_id": "te::on", "config": { "level": "error" } })).await?;
        worker.settle().await?;
        let mut socket = dial(&format!("{url}/otel?x=y"), &[]).await?;
        socket.send(frame("LOGS", &log("by the second socket"))).await?;
        let call = worker.hear_of("invokefunction").await?;
        let record = &call["data"];
        ensure!(record["body"] == "by the second socket" && record["severity_text"] == "ERROR" && record["severity_number"] == 17, "{call}");
        ensure!(record["service_name"] == "billing" && record["attributes"]["order"] == "o-1" && record["trace_id"] == "0af7651916cd43dd8448eb211c80319c" && record["span_id"] == "b7ad6b7169203331", "{call}");
        ensure!(record["resource"]["service.name"] == "billing" && record["instrumentation_scope_name"] == "billing", "{call}");
        ensure!(record["timestamp_unix_nano"] == 1_781_000_000_000_000_000_u64, "{call}");
        worker.answer(&call, Value::Null).await?;
        worker.say_raw(frame("LOGS", &log("by the first socket"))).await?;
        let call = worker.hear_of("invokefunction").await?;
        ensure!(call["data"]["body"] == "by the first socket", "{call}");
        worker.answer(&call, Value::Null).await?;
        let list = worker.call("engine::logs::list", json!({ "trace_id": "0af7651916cd43dd8448eb211c80319c" })).await?;
        ensure!(list["result"]["logs"].as_array().is_some_and(|logs| logs.len() >= 2), "{list}");
        Ok(())
    })
    .await;

    suite
        .check("§1.8 spans in snake case are spans", async {
            let mut worker = Worker::connect(&url).await?;
            let trace = "11111111111111111111111111111111";
            let mut socket = dial(&format!("{url}/otel"), &[]).await?;
            socket.send(frame("OTLP", &span(trace))).await?;
            let found = eventually("the span", || {
                let url = url.clone();
                async move {
                    let mut worker = Worker::connect(&url).await.ok()?;
                    let list = worker
                        .call("engine::traces::list", json!({ "trace_id": trace }))
                        .await
                        .ok()?;
                    list["result"]["spans"].as_array()?.first().cloned()
                }
            })
            .await?;
            ensure!(
                found["name"] == "charge"
                    && found["status"] == "error"
                    && found["service_name"] == "billing",
                "{found}"
            );
            ensure!(
                found["attributes"]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(["order", "o-1"]))),
                "{found}"
            );
            worker.settle().await
        })
        .await;

    suite.check("§1.8 gauges of a worker are its latest metrics", async {
        let mut worker = Worker::connect(&url).await?;
        worker.introduces(json!({ "runtime": "node", "version": "0.11.6", "name": "gauged", "pid": 5 })).await?;
        let point = |name: &str, value: i64| json!({ "name": name, "gauge": { "dataPoints": [{ "asInt": value.to_string(), "timeUnixNano": "1781000000000000000", "attributes": [{ "key": "worker.id", "value": { "stringValue": worker.id() } }, { "key": "worker_id", "value": { "stringValue": worker.id() } }] }] } });
        let metrics = json!({ "resourceMetrics": [{ "resource": { "attributes": [] }, "scopeMetrics": [{ "scope": { "name": "iii" }, "metrics": [point("iii.worker.memory.rss", 4096), point("iii.worker.uptime_seconds", 5)] }] }] });
        worker.say_raw(frame("MTRC", &metrics)).await?;
        let own = worker.id().to_owned();
        // Telemetry is taken in beside the calls.
        eventually("the gauges", || {
            let (url, own) = (url.clone(), own.clone());
            async move {
                let mut asking = Worker::connect(&url).await.ok()?;
                let input = json!({ "worker_id": own });
                let list = asking.call("engine::workers::list", input).await.ok()?;
                let metrics = &list["result"]["workers"][0]["latest_metrics"];
                metrics.is_object().then_some(())
            }
        })
        .await?;
        let all = worker.call("engine::metrics::list", json!({})).await?;
        ensure!(all["result"]["sdk_metrics"].is_array(), "{all}");
        Ok(())
    })
    .await;
    suite.verdict()
}
