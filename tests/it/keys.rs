//! API keys over HTTP: what they may do, how much, and that their secrets are nowhere.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{gateway::gateway, harness::Engine};

fn make(engine: &Engine, arguments: &[&str]) -> Result<String> {
    let (code, secret, errors) = engine.cli(&[&["key", "new"], arguments].concat(), "")?;
    assert_eq!(code, 0, "{errors}");
    Ok(secret.trim().to_owned())
}

async fn ask(engine: &Engine, key: &str, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut request = client
        .request(method.parse()?, format!("{}{path}", engine.http))
        .bearer_auth(key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert!(headers.contains_key("x-request-id"));
    if status == 429 {
        assert!(headers.contains_key("retry-after") && headers.contains_key("retry-after-ms"));
    }
    Ok((status, response.json().await?))
}

fn hello(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_key_does_what_it_is_for_until_it_is_taken_back() -> Result<()> {
    let engine = gateway().await?;
    let key = make(&engine, &["shop", "--models", "scripted/hello"])?;
    let (status, answer) = ask(&engine, &key, CHAT, Some(hello("scripted/hello"))).await?;
    assert_eq!(
        (status, &answer["choices"][0]["message"]["content"]),
        (200, &json!("Hello world"))
    );
    let (status, error) = ask(&engine, &key, CHAT, Some(hello("scripted/json"))).await?;
    assert_eq!(
        (status, &error["error"]["code"]),
        (403, &json!("model_not_allowed"))
    );
    let (_, models) = ask(&engine, &key, "/v1/models", None).await?;
    let ids = models["data"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|model| &model["id"]);
    assert!(ids.clone().all(|id| id == "scripted/hello"), "{models}");
    for path in ["/v1/agents", "/v1/runs", "/v1/approvals"] {
        assert_eq!(ask(&engine, &key, path, None).await?.0, 403, "{path}");
    }
    let manager = make(&engine, &["manager", "--scope", "agents"])?;
    assert_eq!(ask(&engine, &manager, "/v1/agents", None).await?.0, 200);
    assert_eq!(
        ask(&engine, &manager, CHAT, Some(hello("scripted/hello")))
            .await?
            .0,
        403
    );

    // What one key keeps, no other sees.
    let body = Some(json!({ "model": "scripted/hello", "input": "hi" }));
    let (_, response) = ask(&engine, &key, "/v1/responses", body).await?;
    let path = format!(
        "/v1/responses/{}",
        response["id"].as_str().context("an id")?
    );
    assert_eq!(ask(&engine, &key, &path, None).await?.0, 200);
    let other = make(&engine, &["other"])?;
    assert_eq!(ask(&engine, &other, &path, None).await?.0, 404);

    let (code, listed, _) = engine.cli(&["key", "ls", "--json"], "")?;
    ensure!(
        code == 0 && listed.contains("shop") && !listed.contains(&key[..30]),
        "{listed}"
    );
    let (code, _, errors) = engine.cli(&["key", "revoke", "shop"], "")?;
    assert_eq!(code, 0, "{errors}");
    for wrong in [key.as_str(), "sk-agentos-nobody-made-this", "another"] {
        let (status, error) = ask(&engine, wrong, CHAT, Some(hello("scripted/hello"))).await?;
        assert_eq!(
            (status, &error["error"]["code"]),
            (401, &json!("invalid_api_key"))
        );
        ensure!(!error.to_string().contains(wrong), "{error}");
    }
    let caller = engine.worker("caller").await?;
    let kept: Value = caller
        .trigger("state::list", &json!({ "scope": "api-keys" }))
        .await?;
    ensure!(
        !kept.to_string().contains(&key[12..]),
        "only its hash is kept"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_has_its_share_and_no_more() -> Result<()> {
    let engine = gateway().await?;
    let key = make(&engine, &["quick", "--requests-per-minute", "3"])?;
    for _ in 0..3 {
        assert_eq!(
            ask(&engine, &key, CHAT, Some(hello("scripted/hello")))
                .await?
                .0,
            200
        );
    }
    let (status, error) = ask(&engine, &key, CHAT, Some(hello("scripted/hello"))).await?;
    assert_eq!(
        (status, &error["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );

    let key = make(&engine, &["poor", "--tokens-per-day", "60"])?;
    let small = || {
        let mut body = Some(hello("scripted/hello"));
        if let Some(body) = &mut body {
            body["max_tokens"] = 5.into();
        }
        body
    };
    // Each answer counts 15 tokens, and each request reserves about 27 while it is answered.
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(ask(&engine, &key, CHAT, small()).await?.0);
    }
    ensure!(
        statuses.starts_with(&[200, 200]) && statuses.ends_with(&[429]),
        "{statuses:?}"
    );
    let (_, error) = ask(&engine, &key, CHAT, small()).await?;
    assert_eq!(error["error"]["type"], "insufficient_quota");
    Ok(())
}
