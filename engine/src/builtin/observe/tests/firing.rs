//! The trigger types `log` and `trace`.

use super::*;

type Heard = mpsc::Receiver<Value>;

/// `hear::<name>` tells what it gets and then does `more`.
fn hear<Fut>(
    registrar: &mut Registrar,
    name: &str,
    config: &Value,
    tell: &mpsc::Sender<Value>,
    more: impl Fn(Context) -> Fut + Send + Sync + 'static,
) where
    Fut: Future<Output = ()> + Send + 'static,
{
    let (tell, label) = (tell.clone(), name.to_owned());
    registrar
        .function(
            &format!("hear::{name}"),
            move |context, mut event: Value| {
                event["heard_by"] = json!(label);
                tell.try_send(event).unwrap();
                let more = more(context);
                async move {
                    more.await;
                    Ok(())
                }
            },
        )
        .trigger("log", config.clone());
}

async fn nothing(_: Context) {}

async fn log_again(context: Context) {
    let input = json!({ "message": "again" });
    context
        .trigger::<Value>("engine::log::info", &input)
        .await
        .unwrap();
}

/// As a worker without tracing does.
async fn log_untraced(context: Context) {
    let bus = context.bus().with_trace(Trace::default());
    bus.trigger::<Value>("engine::log::info", &json!({ "message": "again" }))
        .await
        .unwrap();
}

/// Everything heard until `quiet` passes without more.
async fn all(heard: &mut Heard) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), heard.recv()).await
    {
        names.push(event["heard_by"].as_str().unwrap().to_owned());
    }
    names.sort();
    names
}

#[tokio::test]
async fn a_log_is_kept_and_fires_triggers_of_exactly_its_level() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        hear(registrar, "all", &json!({ "level": "all" }), &tell, nothing);
        hear(registrar, "any", &json!(null), &tell, nothing);
        hear(
            registrar,
            "error",
            &json!({ "level": "error" }),
            &tell,
            nothing,
        );
        hear(
            registrar,
            "warn",
            &json!({ "level": "WARN" }),
            &tell,
            nothing,
        );
    })
    .await;
    rig.log("error", "card declined").await;
    assert_eq!(all(&mut heard).await, ["all", "any", "error"]);
    rig.log("warn", "slow").await;
    assert_eq!(all(&mut heard).await, ["all", "any", "warn"]);
    rig.log("debug", "detail").await;
    assert_eq!(all(&mut heard).await, ["all", "any"]);
}

#[tokio::test]
async fn the_payload_is_the_record() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| hear(registrar, "all", &json!({}), &tell, nothing)).await;
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let input = json!({"message":"m","data":{"order":"o-1"},"trace_id":trace,"span_id":span,"service_name":"billing"});
    rig.call("engine::log::warn", input).await;
    let mut event = next(&mut heard).await;
    let kept = rig.call("engine::logs::list", json!({})).await;
    event.as_object_mut().unwrap().remove("heard_by");
    assert_eq!(kept["logs"], json!([event]));
    assert!(event["timestamp_unix_nano"].as_u64().unwrap() > 1_700_000_000_000_000_000);
    for (key, expected) in [
        ("severity_number", json!(13)),
        ("severity_text", json!("WARN")),
        ("body", json!("m")),
        ("attributes", json!({"order":"o-1"})),
        ("trace_id", json!(trace)),
        ("span_id", json!(span)),
        ("resource", json!({"service.name":"billing"})),
        ("service_name", json!("billing")),
        ("instrumentation_scope_name", json!("billing")),
        ("instrumentation_scope_version", json!(null)),
    ] {
        assert_eq!(event[key], expected, "{key}");
    }
    // Its trace is the call's, when it names none.
    let place = Place::random(true);
    let traced = rig.bus.with_trace(place.to_trace());
    traced
        .trigger::<Value>(
            "engine::log::info",
            &json!({ "message": {"a":1}, "data": 7 }),
        )
        .await
        .unwrap();
    let event = next(&mut heard).await;
    assert_eq!(
        (&event["trace_id"], &event["span_id"]),
        (
            &json!(place.trace.to_string()),
            &json!(place.span.to_string())
        )
    );
    assert_eq!(
        (&event["body"], &event["attributes"]),
        (&json!("{\"a\":1}"), &json!({"data":7}))
    );
}

#[tokio::test]
async fn a_handler_that_logs_does_not_hear_itself() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| hear(registrar, "a", &json!({}), &tell, log_again)).await;
    rig.log("info", "first").await;
    rig.log("info", "second").await;
    assert_eq!(all(&mut heard).await, ["a", "a"]);
    let kept = rig.call("engine::logs::list", json!({})).await;
    assert_eq!(kept["total"], 4, "what it logs is kept all the same");
}

#[tokio::test]
async fn two_handlers_that_log_hear_each_other_once() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        hear(registrar, "a", &json!({}), &tell, log_again);
        hear(registrar, "b", &json!({}), &tell, log_again);
    })
    .await;
    rig.log("info", "first").await;
    assert_eq!(all(&mut heard).await, ["a", "a", "b", "b"]);
}

#[tokio::test]
async fn logs_without_a_trace_come_to_an_end_too() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig =
        Rig::new(move |registrar| hear(registrar, "a", &json!({}), &tell, log_untraced)).await;
    rig.log("info", "first").await;
    // How often exactly depends on how handlers overlap; that it ends does not.
    assert!(all(&mut heard).await.len() > 1);
    // And it goes on hearing what comes later.
    rig.log("info", "second").await;
    assert!(!all(&mut heard).await.is_empty());
}

#[tokio::test]
async fn logs_in_frames_fire_and_are_guarded_alike() {
    let (tell, mut heard) = mpsc::channel(100);
    let (traces, mut placed) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        let traces = traces.clone();
        hear(registrar, "a", &json!({}), &tell, move |context| {
            traces
                .try_send(Place::of(context.trace()).unwrap())
                .unwrap();
            nothing(context)
        });
    })
    .await;
    let frame = |trace: Option<String>| json!({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"INFO","body":{"stringValue":"b"},"traceId":trace}]}]}]});
    rig.ingest(b"LOGS", &frame(None));
    assert_eq!(next(&mut heard).await["body"], "b");
    // Exported later, from within the handler's trace.
    let place = next(&mut placed).await;
    rig.ingest(b"LOGS", &frame(Some(place.trace.to_string())));
    rig.ingest(b"LOGS", &frame(Some(TraceId::random().to_string())));
    assert_eq!(all(&mut heard).await, ["a"]);
    rig.until("engine::logs::list", json!({}), |list| list["total"] == 3)
        .await;
}

#[tokio::test]
async fn a_condition_is_asked_with_the_record() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        let config = |function: &str| json!({ "condition_function_id": function });
        hear(
            registrar,
            "asked",
            &config("test::is_important"),
            &tell,
            nothing,
        );
        hear(
            registrar,
            "broken",
            &config("test::missing"),
            &tell,
            nothing,
        );
        registrar.function("test::is_important", |_, event: Value| async move {
            Ok(event["body"] == "important")
        });
    })
    .await;
    rig.log("info", "important").await;
    rig.log("info", "other").await;
    assert_eq!(all(&mut heard).await, ["asked"]);
}

#[tokio::test]
async fn unusable_triggers_are_refused_and_unbound_ones_are_silent() {
    use agentos_sdk::{TriggerProvider, TriggerSpec};
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        hear(registrar, "a", &json!({ "level": "error" }), &tell, nothing)
    })
    .await;
    let triggers = Arc::clone(&rig.telemetry.store().log_triggers);
    for config in [
        json!({ "level": "loud" }),
        json!({ "level": 7 }),
        json!("error"),
    ] {
        let error = triggers
            .bind(TriggerSpec::new("t", "log", "hear::a", config.clone()))
            .unwrap_err();
        assert_eq!(error.code, Code::InvalidInput, "{config}");
    }
    triggers
        .bind(TriggerSpec::new("t", "log", "hear::a", json!(null)))
        .unwrap();
    rig.log("info", "m").await;
    assert_eq!(all(&mut heard).await, ["a"]);
    triggers.unbind("t");
    triggers.unbind("t");
    rig.log("info", "m").await;
    assert!(all(&mut heard).await.is_empty());
}

#[tokio::test]
async fn complete_traces_are_told_once_and_the_telling_is_none() {
    let (tell, mut heard) = mpsc::channel(100);
    let rig = Rig::new(move |registrar| {
        registrar.function("test::leaf", |_, _: Value| async { Ok(()) });
        registrar.function("test::outer", |context, _: Value| async move {
            context.trigger::<Value>("test::leaf", &json!(null)).await
        });
        let tell = tell.clone();
        registrar
            .function("hear::traces", move |context, event: Value| {
                tell.try_send(event).unwrap();
                async move {
                    context.trigger::<Value>("test::leaf", &json!(null)).await?;
                    Ok(())
                }
            })
            .trigger("trace", json!({}));
    })
    .await;
    rig.call("test::outer", json!(null)).await;
    let list = rig.call("engine::traces::list", json!({})).await;
    let id = &list["spans"][0]["trace_id"];
    assert_eq!(next(&mut heard).await, json!({ "trace_ids": [id] }));
    let more = tokio::time::timeout(Duration::from_millis(1500), heard.recv()).await;
    assert!(more.is_err(), "{more:?}");
}
