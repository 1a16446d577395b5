//! The trigger type `stream`.

use super::*;

#[tokio::test]
async fn every_kind_of_event_is_told() {
    let rig = Rig::new().await;
    let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
    let told = |kind: &str, data: Value| event(json!("i"), json!({ "type": kind, "data": data }));
    for (function, more, expect) in [
        (api::SET, json!({ "data": 1 }), told("create", json!(1))),
        // Also when nothing is different.
        (api::SET, json!({ "data": 1 }), told("update", json!(1))),
        (
            api::UPDATE,
            json!({ "ops": [{ "type": "increment", "path": "", "by": 1 }] }),
            told("update", json!(2)),
        ),
        (api::DELETE, json!({}), told("delete", json!(2))),
        (
            api::UPDATE,
            json!({ "ops": [{ "type": "increment", "path": "n", "by": 1 }] }),
            told("create", json!({ "n": 1 })),
        ),
    ] {
        rig.call(function, item("i", more)).await.unwrap();
        assert_eq!(next(&mut heard).await, expect, "{function}");
    }
    rig.call(api::DELETE, item("nothing", json!({})))
        .await
        .unwrap();
    silence(&mut heard).await;

    let sent = json!({ "stream_name": "s", "group_id": "g", "type": "typing", "data": [1] });
    rig.call(api::SEND, sent).await.unwrap();
    let body = json!({ "type": "event", "event": { "type": "typing", "data": [1] } });
    assert_eq!(next(&mut heard).await, event(json!(null), body));
    let sent = json!({ "stream_name": "s", "group_id": "g", "id": "i", "type": "seen" });
    rig.call(api::SEND, sent).await.unwrap();
    let body = json!({ "type": "event", "event": { "type": "seen", "data": null } });
    assert_eq!(next(&mut heard).await, event(json!("i"), body));
}

#[tokio::test]
async fn filters_and_unbinding() {
    let rig = Rig::new().await;
    let config = json!({ "stream_name": "s", "group_id": "g", "item_id": "i" });
    let mut heard = rig.listen(config).await;
    let set = |stream: &str, group: &str, id: &str| {
        let input = json!({ "stream_name": stream, "group_id": group, "item_id": id, "data": 1 });
        rig.call(api::SET, input)
    };
    set("s", "g", "other").await.unwrap();
    set("s", "other", "i").await.unwrap();
    set("other", "g", "i").await.unwrap();
    silence(&mut heard).await;
    set("s", "g", "i").await.unwrap();
    assert_eq!(next(&mut heard).await["event"]["type"], "create");
    rig.worker.on_frame(Frame::UnbindTrigger {
        id: "t".into(),
        trigger_type: api::CHANGED.into(),
    });
    set("s", "g", "i").await.unwrap();
    silence(&mut heard).await;
}

#[tokio::test]
async fn events_of_an_item_come_in_the_order_of_its_writes() {
    let rig = Rig::new().await;
    let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
    let writes = (0..200).map(|_| {
        let bus = rig.bus.clone();
        let ops = json!({ "ops": [{ "type": "increment", "path": "", "by": 1 }] });
        tokio::spawn(async move {
            bus.trigger::<Value>(api::UPDATE, &item("i", ops))
                .await
                .unwrap()
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    for expect in 1..=200 {
        assert_eq!(next(&mut heard).await["event"]["data"], expect);
    }
}

#[test]
fn a_trigger_without_a_stream_is_refused() {
    use agentos_sdk::TriggerProvider;
    let triggers = Triggers::new(1);
    for (config, message) in [
        (json!({}), "missing field `stream_name`"),
        (json!(null), "config of a stream trigger"),
        (json!({ "stream_name": null }), "invalid type: null"),
        (json!({ "stream_name": "" }), "stream_name is empty"),
    ] {
        let spec = TriggerSpec::new("t", api::CHANGED, "test::hear", config.clone());
        let error = triggers.bind(spec).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput);
        assert!(error.message.contains(message), "{config}: {error}");
    }
}
