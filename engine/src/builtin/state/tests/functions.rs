//! Shapes, limits and errors of each function.

use super::*;

#[tokio::test]
async fn set_tells_old_and_new() {
    let rig = Rig::new().await;
    let input = |value: Value| json!({"scope": "carts", "key": "u1", "value": value, "_caller_worker_id": "w"});
    let first = rig
        .check(
            api::SET,
            input(json!({"n": 1})),
            json!({"old_value": null, "new_value": {"n": 1}}),
        )
        .await;
    let second = rig
        .check(
            api::SET,
            input(json!(null)),
            json!({"old_value": {"n": 1}, "new_value": null}),
        )
        .await;
    assert!(0 < first && first < second);
    let data = json!({"scope": "carts", "key": "u1", "data": [1]});
    rig.check(api::SET, data, json!({"old_value": null, "new_value": [1]}))
        .await;
    rig.check(api::GET, json!({"scope": "carts", "key": "u1"}), json!([1]))
        .await;
}

#[tokio::test]
async fn values_come_back_as_they_were_written() {
    let rig = Rig::new().await;
    let text = r#"{"z": 1.0, "a": [ 1e2, 123456789012345678901234567890 ], "k":"\u00e9"}"#;
    let input = format!(r#"{{"scope":"s","key":"k","value":{text}}}"#);
    let call = rig
        .bus
        .call(api::SET)
        .send_payload(agentos_sdk::Payload::json(input))
        .await;
    call.unwrap();
    let input = agentos_sdk::Payload::json(r#"{"scope":"s","key":"k"}"#);
    let value = rig.bus.call(api::GET).send_payload(input).await.unwrap();
    assert_eq!(&value.bytes[..], text.as_bytes());
}

#[tokio::test]
async fn get_and_delete_of_nothing_are_null() {
    let rig = Rig::new().await;
    let input = json!({"scope": "s", "key": "k"});
    rig.check(api::GET, input.clone(), json!(null)).await;
    rig.check(api::DELETE, input.clone(), json!(null)).await;
    rig.set("k", json!("v")).await;
    rig.check(api::DELETE, input.clone(), json!("v")).await;
    rig.check(api::GET, input, json!(null)).await;
}

#[tokio::test]
async fn update_applies_steps_and_reports_the_skipped() {
    let rig = Rig::new().await;
    let input =
        json!({"scope": "s", "key": "k", "ops": [{"type": "increment", "path": "n", "by": 2}]});
    rig.check(
        api::UPDATE,
        input,
        json!({"old_value": null, "new_value": {"n": 2}}),
    )
    .await;
    let steps = json!([{"type": "increment", "path": "n", "value": 3}, {"type": "append", "path": "n", "value": 1}]);
    let input = json!({"scope": "s", "key": "k", "operations": steps});
    let result = rig.call(api::UPDATE, input).await.unwrap();
    assert_eq!(
        (&result["old_value"], &result["new_value"]),
        (&json!({"n": 2}), &json!({"n": 5}))
    );
    let error = &result["errors"][0];
    assert_eq!(
        (&error["op_index"], &error["code"]),
        (&json!(1), &json!("append.type_mismatch"))
    );
    assert!(error["message"].is_string() && error["doc_url"].is_string());
}

#[tokio::test]
async fn lists_are_per_scope_and_sorted() {
    let rig = Rig::new().await;
    for (scope, key) in [
        ("b", "2"),
        ("a", "1"),
        ("b", "1"),
        ("b!", "1"),
        ("", "1"),
        ("ü", "1"),
    ] {
        let input = json!({"scope": scope, "key": key, "value": format!("{scope}/{key}")});
        rig.call(api::SET, input).await.unwrap();
    }
    rig.check(api::LIST, json!({"scope": "b"}), json!(["b/1", "b/2"]))
        .await;
    rig.check(api::LIST, json!({"scope": "c"}), json!([])).await;
    rig.check(
        api::LIST_GROUPS,
        json!({}),
        json!({"groups": ["", "a", "b", "b!", "ü"]}),
    )
    .await;
    rig.check(
        api::LIST_GROUPS,
        json!(null),
        json!({"groups": ["", "a", "b", "b!", "ü"]}),
    )
    .await;
}

#[tokio::test]
async fn entries_come_page_by_page() {
    let rig = Rig::new().await;
    let mut versions = Vec::new();
    for key in ["user/1", "user/2", "user/3", "zone/1"] {
        versions.push(rig.set(key, json!(key)).await);
    }
    let entry = |key: &str, at: usize| json!({"key": key, "value": key, "version": versions[at]});
    let page = |cursor: Option<&str>| json!({"scope": "s", "prefix": "user/", "limit": 2, "cursor": cursor});
    let first = json!({"entries": [entry("user/1", 0), entry("user/2", 1)], "cursor": "user/2"});
    rig.check(api::ENTRIES, page(None), first).await;
    rig.check(
        api::ENTRIES,
        page(Some("user/2")),
        json!({"entries": [entry("user/3", 2)]}),
    )
    .await;
    rig.check(
        api::ENTRIES,
        json!({"scope": "s", "cursor": "user/3"}),
        json!({"entries": [entry("zone/1", 3)]}),
    )
    .await;
    rig.check(
        api::ENTRIES,
        json!({"scope": "s", "prefix": "x"}),
        json!({"entries": []}),
    )
    .await;
    for limit in [0, 1001] {
        let input = json!({"scope": "s", "limit": limit});
        rig.refuse(
            api::ENTRIES,
            input,
            Code::InvalidInput,
            "LIST_ERROR",
            "1 to 1000",
        )
        .await;
    }
}

#[tokio::test]
async fn a_list_that_is_too_large_points_to_entries() {
    let rig = Rig::with(Config {
        list_bytes_max: 100,
        ..Config::default()
    })
    .await;
    rig.set("a", json!("x".repeat(60))).await;
    assert!(rig.call(api::LIST, json!({"scope": "s"})).await.is_ok());
    rig.set("b", json!("x".repeat(60))).await;
    let input = json!({"scope": "s"});
    rig.refuse(
        api::LIST,
        input,
        Code::PayloadTooLarge,
        "LIST_ERROR",
        "state::entries",
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_an_input_is_named() {
    let rig = Rig::new().await;
    let rows = [
        (
            api::SET,
            json!({"key": "k", "value": 1}),
            "missing field `scope`",
        ),
        (
            api::SET,
            json!({"scope": "s", "key": "k"}),
            "missing field `value`",
        ),
        (
            api::SET,
            json!({"scope": "s", "key": 7, "value": 1}),
            "key: invalid type: integer `7`",
        ),
        (api::GET, json!(null), "state::get"),
        (
            api::UPDATE,
            json!({"scope": "s", "key": "k"}),
            "missing field `ops`",
        ),
        (
            api::UPDATE,
            json!({"scope": "s", "key": "k", "ops": [{"type": "push"}]}),
            "ops[0].type: unknown variant `push`",
        ),
    ];
    for (function, input, message) in rows {
        rig.refuse(function, input, Code::InvalidInput, "", message)
            .await;
    }
    let input = json!({"scope": "s", "key": "k", "ops": [{"type": "set"}]});
    rig.refuse(
        api::UPDATE,
        input,
        Code::InvalidInput,
        "UPDATE_ERROR",
        "ops[0]: `path` is missing",
    )
    .await;
}

#[tokio::test]
async fn names_and_values_have_limits() {
    let config = Config {
        scope_bytes_max: 4,
        key_bytes_max: 4,
        value_bytes_max: 10,
        ..Config::default()
    };
    let rig = Rig::with(config).await;
    let set =
        |scope: &str, key: &str, value: &str| json!({"scope": scope, "key": key, "value": value});
    rig.call(api::SET, set("1234", "1234", "12345678"))
        .await
        .unwrap();
    rig.refuse(
        api::SET,
        set("12345", "k", ""),
        Code::InvalidInput,
        "SET_ERROR",
        "scope has 5 bytes",
    )
    .await;
    rig.refuse(
        api::SET,
        set("s", "12345", ""),
        Code::InvalidInput,
        "SET_ERROR",
        "key has 5 bytes",
    )
    .await;
    rig.refuse(
        api::SET,
        set("a\0b", "k", ""),
        Code::InvalidInput,
        "SET_ERROR",
        "zero character",
    )
    .await;
    rig.refuse(
        api::SET,
        set("s", "k", "123456789"),
        Code::PayloadTooLarge,
        "VALUE_TOO_LARGE",
        "11 bytes",
    )
    .await;
    rig.refuse(
        api::GET,
        json!({"scope": "s", "key": "ééé"}),
        Code::InvalidInput,
        "GET_ERROR",
        "key has 6",
    )
    .await;
    let grow = json!({"scope": "1234", "key": "1234", "ops": [{"type": "append", "path": "", "value": "9"}]});
    rig.refuse(
        api::UPDATE,
        grow,
        Code::PayloadTooLarge,
        "VALUE_TOO_LARGE",
        "11 bytes",
    )
    .await;
    rig.check(
        api::GET,
        json!({"scope": "1234", "key": "1234"}),
        json!("12345678"),
    )
    .await;
}

#[tokio::test]
async fn a_version_guards_a_write() {
    let rig = Rig::new().await;
    let set = |version: u64| json!({"scope": "s", "key": "k", "value": version, "expected_version": version});
    rig.refuse(
        api::SET,
        set(5),
        Code::Conflict,
        "VERSION_CONFLICT",
        "there is no value",
    )
    .await;
    let first = rig
        .check(api::SET, set(0), json!({"old_value": null, "new_value": 0}))
        .await;
    rig.refuse(
        api::SET,
        set(0),
        Code::Conflict,
        "VERSION_CONFLICT",
        "there is a value already",
    )
    .await;
    let second = rig
        .check(
            api::SET,
            set(first),
            json!({"old_value": 0, "new_value": first}),
        )
        .await;
    let error = rig.call(api::SET, set(first)).await.unwrap_err();
    assert_eq!(
        error.details,
        Some(json!({"expected_version": first, "version": second}))
    );
    let delete = |version: u64| json!({"scope": "s", "key": "k", "expected_version": version});
    rig.refuse(
        api::DELETE,
        delete(first),
        Code::Conflict,
        "VERSION_CONFLICT",
        "not",
    )
    .await;
    rig.check(api::DELETE, delete(second), json!(first)).await;
    // The key begins anew, and no old version fits it.
    let third = rig
        .check(api::SET, set(0), json!({"old_value": null, "new_value": 0}))
        .await;
    assert!(third > second);
    let update = json!({"scope": "s", "key": "k", "expected_version": second, "ops": []});
    rig.refuse(
        api::UPDATE,
        update,
        Code::Conflict,
        "VERSION_CONFLICT",
        "not",
    )
    .await;
}

#[test]
fn every_function_has_schemas() {
    let mut registrar = Registrar::new();
    State::open(memory::open(), Config::default()).register(&mut registrar);
    let functions = &registrar.collected().functions;
    assert_eq!(functions.len(), 9);
    for function in functions {
        assert!(
            function.description.is_some() && function.input_schema.is_some(),
            "{}",
            function.id
        );
    }
}

#[tokio::test]
async fn the_version_is_said_to_who_asks() {
    let rig = Rig::new().await;
    let set = |more: Value| {
        let mut input = json!({"scope": "s", "key": "k", "value": 1});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let answer: Value = rig.bus.trigger(api::SET, &set(json!({}))).await.unwrap();
    assert_eq!(answer, json!({"old_value": null, "new_value": 1}));
    let answer: Value = rig
        .bus
        .trigger(api::SET, &set(json!({"versioned": true})))
        .await
        .unwrap();
    let version = answer["version"].as_u64().unwrap();
    let guarded = set(json!({"expected_version": version}));
    let answer: Value = rig.bus.trigger(api::SET, &guarded).await.unwrap();
    assert!(answer["version"].as_u64().unwrap() > version);
}
