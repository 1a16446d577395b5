//! `publish` and `subscribe`, from workers of the JSON dialect.

use anyhow::Result;
use serde_json::{Value, json};

use crate::harness::{Engine, Iii};

async fn subscribe(worker: &mut Iii, id: &str, config: Value) -> Result<()> {
    let trigger = json!({ "type": "registertrigger", "id": id, "trigger_type": "subscribe",
        "function_id": format!("hear::{id}"), "config": config });
    worker
        .say(&json!({ "type": "registerfunction", "id": format!("hear::{id}") }))
        .await?;
    worker.say(&trigger).await
}

async fn publish(worker: &mut Iii, input: Value) -> Result<Value> {
    let id = "7c2e1c2a-57c5-4d1c-9a52-0123456789ab";
    worker
        .say(&json!({ "type": "invokefunction", "invocation_id": id, "function_id": "publish", "data": input }))
        .await?;
    worker.hear_text().await
}

#[tokio::test]
async fn everybody_who_listens_hears_and_one_who_leaves_takes_nobody_along() -> Result<()> {
    let engine = Engine::bare().await?;
    let (mut one, mut two, mut speaker) = (
        Iii::connect(&engine).await?,
        Iii::connect(&engine).await?,
        Iii::connect(&engine).await?,
    );
    subscribe(&mut one, "a", json!({ "topic": "room.1" })).await?;
    subscribe(&mut one, "b", json!({ "topic": "room.1" })).await?;
    subscribe(&mut two, "c", json!({ "topic": "room.*" })).await?;
    for worker in [&mut one, &mut two] {
        worker.say(&json!({ "type": "ping" })).await?;
        assert_eq!(worker.hear_text().await?["type"], "pong");
    }

    let data = json!({ "text": "hello", "n": null });
    let message = json!({ "topic": "room.1", "data": data });
    let answer = publish(&mut speaker, message.clone()).await?;
    assert_eq!((answer.get("result"), answer.get("error")), (None, None));
    for expect in ["hear::a", "hear::b"] {
        let call = one.hear_text().await?;
        assert_eq!(
            (&call["function_id"], &call["data"]),
            (&json!(expect), &data)
        );
    }
    assert_eq!(two.hear_text().await?["function_id"], "hear::c");

    one.say(&json!({ "type": "unregistertrigger", "id": "a", "trigger_type": "subscribe" }))
        .await?;
    one.say(&json!({ "type": "ping" })).await?;
    assert_eq!(one.hear_text().await?["type"], "pong");
    publish(&mut speaker, message).await?;
    assert_eq!(one.hear_text().await?["function_id"], "hear::b");
    assert_eq!(two.hear_text().await?["function_id"], "hear::c");

    for input in [json!({ "topic": "", "data": 1 }), json!({ "data": 1 })] {
        let refused = publish(&mut speaker, input).await?;
        assert_eq!(refused["error"]["code"], "topic_not_set");
    }
    Ok(())
}
