//! Models, embeddings and agents over HTTP.

use crate::door::Door;
use agentos_api::Config;
use serde_json::{Value, json};

#[tokio::test]
async fn agents_and_models_are_listed_and_found() {
    let door = Door::open(Config::default()).await;
    door.agent("ada", &[]).await;
    let list = door.call("api::models", json!({}), Value::Null).await.body;
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["agent/ada", "agent/assistant", "test/m"]);
    for model in list["data"].as_array().unwrap() {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string());
    }
    for id in ["agent/ada", "test/m", "m"] {
        let found = door
            .call("api::model", json!({"id": id}), Value::Null)
            .await;
        assert_eq!(found.status, 200, "{id}");
    }
    let missing = door
        .call("api::model", json!({"id": "nope"}), Value::Null)
        .await;
    assert_eq!(
        (missing.status, &missing.body["error"]["code"]),
        (404, &json!("model_not_found"))
    );
}

#[tokio::test]
async fn embeddings_are_numbers_or_base64() {
    let door = Door::open(Config::default()).await;
    let embed = async |more: Value| {
        let mut body = json!({"model": "all-MiniLM-L6-v2", "input": ["ab", "c"]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        door.call("api::embeddings", json!({}), body).await
    };
    let made = embed(json!({})).await.body;
    assert_eq!(
        made["data"][0],
        json!({"object": "embedding", "index": 0, "embedding": [2.0, 0.1]})
    );
    assert_eq!(made["data"][1]["index"], 1);
    assert_eq!(
        made["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
    let made = embed(json!({"encoding_format": "base64", "dimensions": 2}))
        .await
        .body;
    assert_eq!(made["data"][0]["embedding"], "AAAAQM3MzD0=");
    let check = async |more: Value, status: u64, param: &str| {
        let answer = embed(more).await;
        assert_eq!(
            (
                answer.status,
                answer.body["error"]["param"].as_str().unwrap()
            ),
            (status, param)
        );
    };
    check(json!({"input": [1, 2]}), 400, "input").await;
    check(json!({"encoding_format": "hex"}), 400, "encoding_format").await;
    check(json!({"dimensions": 9}), 400, "dimensions").await;
    check(json!({"model": "text-embedding-3-small"}), 404, "model").await;
}

#[tokio::test]
async fn agents_are_made_found_and_removed() {
    let door = Door::open(Config::default()).await;
    let made = door
        .call("api::create_agent", json!({}), json!({"name": "Ada"}))
        .await;
    assert_eq!((made.status, &made.body["id"]), (201, &json!("ada")));
    let again = door
        .call("api::create_agent", json!({}), json!({"name": "Ada"}))
        .await;
    assert_eq!(again.status, 409);
    assert_eq!(again.headers["x-should-retry"], "false");
    assert_eq!(
        door.call("api::agent", json!({"id": "Ada"}), Value::Null)
            .await
            .body["id"],
        "ada"
    );
    let list = door.call("api::agents", json!({}), Value::Null).await.body;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        door.call("api::delete_agent", json!({"id": "ada"}), Value::Null)
            .await
            .body["deleted"],
        true
    );
    assert_eq!(
        door.call("api::delete_agent", json!({"id": "ada"}), Value::Null)
            .await
            .status,
        404
    );
    let bad = door
        .call(
            "api::create_agent",
            json!({}),
            json!({"name": "x", "tools": []}),
        )
        .await;
    assert_eq!(bad.status, 400);
}
