//! Shapes and codes.

use super::*;

#[tokio::test]
async fn an_item_from_birth_to_death() {
    let rig = Rig::new().await;
    rig.check(api::GET, item("i", json!({})), json!(null)).await;
    let set = item("i", json!({ "data": { "n": 1 }, "_caller_worker_id": "w" }));
    rig.check(
        api::SET,
        set.clone(),
        json!({ "old_value": null, "new_value": { "n": 1 } }),
    )
    .await;
    rig.check(
        api::SET,
        set,
        json!({ "old_value": { "n": 1 }, "new_value": { "n": 1 } }),
    )
    .await;
    rig.check(api::GET, item("i", json!({})), json!({ "n": 1 }))
        .await;
    let group = json!({ "stream_name": "s", "group_id": "g" });
    rig.check(api::LIST, group.clone(), json!([{ "n": 1 }]))
        .await;
    rig.check(
        api::DELETE,
        item("i", json!({})),
        json!({ "old_value": { "n": 1 } }),
    )
    .await;
    rig.check(
        api::DELETE,
        item("i", json!({})),
        json!({ "old_value": null }),
    )
    .await;
    rig.check(api::LIST, group, json!([])).await;
}

#[tokio::test]
async fn groups_and_streams() {
    let rig = Rig::new().await;
    rig.check(
        api::LIST_ALL,
        json!({}),
        json!({ "stream": [], "count": 0 }),
    )
    .await;
    for (stream, group, id) in [
        ("b", "2", "x"),
        ("a", "1", "x"),
        ("b", "10", "x"),
        ("b", "1", "x"),
        ("b", "1", "y"),
        ("b", "1\u{1}", "z"),
    ] {
        let input =
            json!({ "stream_name": stream, "group_id": group, "item_id": id, "data": group });
        rig.call(api::SET, input).await.unwrap();
    }
    let groups = json!(["1", "1\u{1}", "10", "2"]);
    rig.check(
        api::LIST_GROUPS,
        json!({ "stream_name": "b" }),
        groups.clone(),
    )
    .await;
    rig.check(api::LIST_GROUPS, json!({ "stream_name": "c" }), json!([]))
        .await;
    let all = json!({ "stream": [{ "id": "a", "groups": ["1"] }, { "id": "b", "groups": groups }], "count": 2 });
    rig.check(api::LIST_ALL, json!({}), all.clone()).await;
    rig.check(api::LIST_ALL, json!(null), all).await;
    let group = json!({ "stream_name": "b", "group_id": "1" });
    rig.check(api::LIST, group, json!(["1", "1"])).await;
}

#[tokio::test]
async fn updates_are_those_of_state() {
    let rig = Rig::new().await;
    let ops = |ops: Value| item("i", json!({ "ops": ops }));
    let increment = json!({ "type": "increment", "path": "n", "by": 2 });
    rig.check(
        api::UPDATE,
        ops(json!([increment])),
        json!({ "old_value": null, "new_value": { "n": 2 } }),
    )
    .await;
    let steps = ops(
        json!([{ "type": "set", "path": "t", "value": "x" }, { "type": "increment", "path": "t", "by": 1 }, increment]),
    );
    let result = rig.call(api::UPDATE, steps).await.unwrap();
    assert_eq!(result["old_value"], json!({ "n": 2 }));
    assert_eq!(result["new_value"], json!({ "n": 4, "t": "x" }));
    assert_eq!(result["errors"][0]["op_index"], 1);
    assert_eq!(result["errors"][0]["code"], "increment.not_number");
    // As workers in the field write it.
    let result = rig
        .call(api::UPDATE, item("i", json!({ "operations": [increment] })))
        .await;
    assert_eq!(result.unwrap()["new_value"]["n"], 6);
}

#[tokio::test]
async fn what_is_sent_is_not_stored() {
    let rig = Rig::new().await;
    let input =
        json!({ "stream_name": "s", "group_id": "g", "type": "typing", "data": { "by": "ann" } });
    rig.check(api::SEND, input, json!(null)).await;
    rig.check(
        api::LIST_ALL,
        json!({}),
        json!({ "stream": [], "count": 0 }),
    )
    .await;
}

#[tokio::test]
async fn refusals_have_names() {
    let config = Config {
        name_bytes_max: 4,
        value_bytes_max: 16,
        list_bytes_max: 30,
        ..Config::default()
    };
    let rig = Rig::with(config).await;
    let long = json!({ "stream_name": "too long", "group_id": "g", "item_id": "i", "data": 1, "type": "t", "ops": [] });
    for (function, reason) in [
        (api::SET, "STREAM_SET_ERROR"),
        (api::GET, "STREAM_GET_ERROR"),
        (api::DELETE, "STREAM_DELETE_ERROR"),
        (api::UPDATE, "STREAM_UPDATE_ERROR"),
        (api::LIST, "STREAM_GET_GROUP_ERROR"),
        (api::LIST_GROUPS, "STREAM_LIST_GROUPS_ERROR"),
        (api::SEND, "STREAM_SEND_ERROR"),
    ] {
        let (code, message) = (Code::InvalidInput, "stream_name has 8 bytes");
        rig.refuse(function, long.clone(), code, reason, message)
            .await;
    }
    let large = item("i", json!({ "data": "x".repeat(15), "type": "t" }));
    let code = Code::PayloadTooLarge;
    rig.refuse(
        api::SET,
        large.clone(),
        code,
        "STREAM_SET_ERROR",
        "17 bytes",
    )
    .await;
    rig.refuse(api::SEND, large, code, "STREAM_SEND_ERROR", "17 bytes")
        .await;
    for id in ["1", "2", "3"] {
        let input = item(id, json!({ "data": "x".repeat(10) }));
        rig.call(api::SET, input).await.unwrap();
    }
    let group = json!({ "stream_name": "s", "group_id": "g" });
    rig.refuse(api::LIST, group, code, "STREAM_GET_GROUP_ERROR", "30 bytes")
        .await;
    let missing = json!({ "stream_name": "s", "group_id": "g", "item_id": "i" });
    let error = rig.call(api::SET, missing).await.unwrap_err();
    assert!(error.message.contains("data"), "{error}");
}
