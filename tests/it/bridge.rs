//! Two engines and a bridge between them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::harness::{Engine, eventually};

#[tokio::test]
async fn functions_of_two_engines() -> Result<()> {
    let there = Engine::bare().await?;
    let far = there.worker("far").await?;
    far.function(
        "math::add",
        |_, (a, b): (i64, i64)| async move { Ok(a + b) },
    )
    .await?;
    let config = format!(
        "bridge:\n  url: {}/?token={}\n  expose:\n    - local_function: near::greet\n  forward:\n    - local_function: far::add\n      remote_function: math::add\n",
        there.url, there.token
    );
    let here = Engine::start(&config, &["--no-workers"]).await?;
    let near = here.worker("near").await?;
    near.function("near::greet", |_, name: String| async move {
        Ok(format!("hello {name}"))
    })
    .await?;
    assert_eq!(near.trigger::<i64>("far::add", &(2, 3)).await?, 5);
    let invoke = json!({"function_id": "math::add", "data": [4, 5]});
    assert_eq!(near.trigger::<i64>("bridge.invoke", &invoke).await?, 9);
    let gone = json!({"function_id": "no::such"});
    let error = near
        .trigger::<Value>("bridge.invoke", &gone)
        .await
        .unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("bridge_error"));
    let greeting = eventually("the function is over there", async || {
        far.trigger::<String>("near::greet", "Ada").await.ok()
    })
    .await?;
    assert_eq!(greeting, "hello Ada");
    assert!(!here.log().contains(&there.token), "a token is in the log");
    Ok(())
}
