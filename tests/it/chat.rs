//! A chat through all of them: HTTP, agent, scripted model, tools in three languages, and back.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Engine, eventually, eventually_within, root};

/// A configuration with a scripted model, in a folder that holds its script.
pub(crate) fn scripted(script: &str) -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("script.yaml"), script)?;
    let config = json!({
        "llm": {
            "default_model": "scripted/default",
            "providers": [{ "name": "scripted", "family": "scripted",
                "script": folder.path().join("script.yaml"), "record": folder.path().join("record.jsonl") }],
        },
    });
    Ok((folder, config.to_string()))
}

/// What the scripted model was asked, and how each answer ended.
pub(crate) fn records(engine: &Engine) -> Vec<Value> {
    records_in(engine.folder.path())
}

/// The same, of the model whose script and record are in `folder`.
pub(crate) fn records_in(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("record.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

async fn with_script(script: &str) -> Result<Engine> {
    let (folder, config) = scripted(script)?;
    Engine::start_in(
        folder,
        &config,
        &["--only", "api", "agent", "llm", "memory"],
    )
    .await
}

fn user(model: &str, text: &str, stream: bool) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": text }], "stream": stream })
}

/// The `data:` lines of a body.
fn events(body: &str) -> Vec<&str> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

fn joined(body: &str) -> String {
    let chunks = events(body)
        .into_iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok());
    chunks
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

#[tokio::test]
async fn plain_models_answer_whole_and_streamed() -> Result<()> {
    let engine = with_script("repeat: true\nturns: [[{ text: [Hello, ' ', world] }]]").await?;
    let whole: Value = engine
        .post(
            "/v1/chat/completions",
            &user("scripted/default", "hi", false),
        )
        .send()
        .await?
        .json()
        .await?;
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("Hello world"), &json!("stop"))
    );
    assert_eq!(whole["object"], "chat.completion");

    let response = engine
        .post(
            "/v1/chat/completions",
            &user("scripted/default", "hi", true),
        )
        .send()
        .await?;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.text().await?;
    assert_eq!(joined(&body), "Hello world");
    assert_eq!(events(&body).last(), Some(&"[DONE]"));
    let first: Value = serde_json::from_str(events(&body)[0])?;
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    Ok(())
}

#[tokio::test]
async fn the_first_chunk_arrives_while_the_model_still_talks() -> Result<()> {
    for model in ["scripted/default", "agent/assistant"] {
        let engine =
            with_script("turns: [[{ text: early }, { hold: rest }, { text: late }]]").await?;
        let response = engine
            .post("/v1/chat/completions", &user(model, "go", true))
            .send()
            .await?;
        let mut body = response.bytes_stream();
        let mut seen = String::new();
        while !seen.contains("early") {
            let part = body.next().await.context("the stream goes on")??;
            seen.push_str(std::str::from_utf8(&part)?);
        }
        assert!(!seen.contains("late"));
        // The model cannot have said more: it waits for this.
        let caller = engine.worker("director").await?;
        caller
            .trigger::<Value>("llm::script::release", &json!({ "hold": "rest" }))
            .await?;
        while let Some(part) = body.next().await {
            seen.push_str(std::str::from_utf8(&part?)?);
        }
        assert_eq!(joined(&seen), "earlylate", "{model}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_model() -> Result<()> {
    for model in ["scripted/default", "agent/assistant"] {
        let engine =
            with_script("turns: [[{ text: early }, { hold: never }, { text: late }]]").await?;
        let response = engine
            .post("/v1/chat/completions", &user(model, "go", true))
            .send()
            .await?;
        let mut body = response.bytes_stream();
        let mut seen = String::new();
        while !seen.contains("early") {
            seen.push_str(std::str::from_utf8(
                &body.next().await.context("the stream goes on")??,
            )?);
        }
        drop(body);
        let cancelled = || async {
            records(&engine)
                .iter()
                .any(|record| record["outcome"] == "cancelled")
                .then_some(())
        };
        eventually("the model call is cancelled", cancelled).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_calls_functions_of_workers_and_only_the_allowed_ones() -> Result<()> {
    let script = "
turns:
  - - tool_calls: [{ name: 'math::add', arguments: { a: 2, b: 3 } }, { name: 'math::secret', arguments: {} }]
  - - text: 'the sum is five'
";
    let engine = with_script(script).await?;
    let worker = engine.worker("math").await?;
    worker
        .function("math::add", |_, input: Value| async move {
            Ok(input["a"].as_i64().unwrap_or(0) + input["b"].as_i64().unwrap_or(0))
        })
        .await?;
    worker
        .function("math::secret", |_, _: Value| async {
            Ok("must not be seen")
        })
        .await?;
    let agent = json!({ "name": "adder", "capabilities": { "functions": ["math::add"] } });
    assert_eq!(
        engine
            .post("/v1/agents", &agent)
            .send()
            .await?
            .status()
            .as_u16(),
        201
    );
    assert_eq!(
        engine
            .post("/v1/agents", &agent)
            .send()
            .await?
            .status()
            .as_u16(),
        409
    );
    let answer: Value = engine
        .post("/v1/chat/completions", &user("agent/adder", "2+3?", false))
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(
        answer["choices"][0]["message"]["content"], "the sum is five",
        "{answer}"
    );

    let requests: Vec<Value> = records(&engine)
        .into_iter()
        .filter(|record| record["event"] == "request")
        .collect();
    assert_eq!(requests.len(), 2);
    let tools = requests[0]["request"]["tools"].to_string();
    assert!(
        tools.contains("math__add") && !tools.contains("secret"),
        "{tools}"
    );
    let messages = requests[1]["request"]["messages"]
        .as_array()
        .context("messages")?;
    let results: Vec<&str> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .filter_map(|message| message["content"].as_str())
        .collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0], "5");
    assert!(!results[1].contains("must not be seen"), "{results:?}");
    Ok(())
}

#[tokio::test]
async fn errors_before_the_first_byte_are_plain_http() -> Result<()> {
    let engine = with_script(
        "turns: [[{ error: { message: 'too fast', status: 429, retry_after_ms: 1500 } }]]",
    )
    .await?;
    let limited = engine
        .post(
            "/v1/chat/completions",
            &user("scripted/default", "hi", true),
        )
        .send()
        .await?;
    assert_eq!(limited.status().as_u16(), 429);
    assert!(limited.headers().contains_key("retry-after"));
    for (model, body_change, status, code) in [
        ("no/such-model", json!({}), 404, "model_not_found"),
        ("scripted/default", json!({ "messages": 7 }), 400, ""),
    ] {
        let mut body = user(model, "hi", true);
        body.as_object_mut()
            .context("an object")?
            .extend(body_change.as_object().cloned().unwrap_or_default());
        let response = engine.post("/v1/chat/completions", &body).send().await?;
        assert_eq!(response.status().as_u16(), status);
        let error = response.json::<Value>().await?["error"].clone();
        assert!(
            ["message", "type", "param", "code"]
                .iter()
                .all(|key| error.get(key).is_some()),
            "{error}"
        );
        if !code.is_empty() {
            assert_eq!(error["code"], code);
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_a_key_the_answer_says_how_to_get_one_and_runs_what_is_asked() -> Result<()> {
    let engine = Engine::start("", &["--only", "api", "agent", "llm", "memory"]).await?;
    let models: Value = engine.get("/v1/models").send().await?.json().await?;
    let ids: Vec<&str> = models["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert!(ids.contains(&"agent/assistant"), "{models}");
    let answer: Value = engine
        .post(
            "/v1/chat/completions",
            &user("agent/assistant", "hello", false),
        )
        .send()
        .await?
        .json()
        .await?;
    let text = answer["choices"][0]["message"]["content"]
        .as_str()
        .context("a text")?
        .to_owned();
    assert!(text.contains("OPENAI_API_KEY"), "{text}");
    let ask = r#"memory::store {"agentId":"assistant","content":"the sky is blue"}"#;
    engine
        .post("/v1/chat/completions", &user("agent/assistant", ask, false))
        .send()
        .await?
        .error_for_status()?;
    let caller = engine.worker("caller").await?;
    let recalled: Value = caller
        .trigger(
            "memory::recall",
            &json!({ "agentId": "assistant", "query": "sky" }),
        )
        .await?;
    assert_eq!(
        recalled["memories"][0]["content"], "the sky is blue",
        "{recalled}"
    );
    assert!(
        recalled["notice"].is_string(),
        "without the embedding worker it says so: {recalled}"
    );
    Ok(())
}

/// An engine with every worker there is, and an agent that may use what the languages offer.
pub(crate) async fn polyglot(script: &str) -> Result<Engine> {
    let (folder, config) = scripted(script)?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["workers"] =
        json!({ "dirs": [root().join("workers/tools"), root().join("workers/embedding")] });
    let engine = Engine::start_in(folder, &config.to_string(), &[]).await?;
    let caller = engine.worker("caller").await?;
    for function in ["file::read", "embedding::generate"] {
        let there = || async {
            let list: Value = caller
                .trigger("engine::functions::list", &json!({ "prefix": function }))
                .await
                .ok()?;
            list["functions"].get(0).cloned()
        };
        // The first time, its SDK is compiled and its packages are installed.
        eventually_within(
            Duration::from_mins(15),
            &format!("{function} is offered"),
            there,
        )
        .await?;
    }
    let agent = json!({ "name": "polyglot", "capabilities": { "functions": ["file::*", "embedding::generate"] } });
    engine
        .post("/v1/agents", &agent)
        .send()
        .await?
        .error_for_status()?;
    Ok(engine)
}

/// A model that calls a TypeScript tool and a Python function in parallel, then reads a file.
pub(crate) const POLYGLOT: &str = "
repeat: true
turns:
  - - tool_calls:
        - { name: 'file::write', arguments: { path: note.txt, content: 'from typescript' } }
        - { name: 'embedding::generate', arguments: { texts: [one, two] } }
  - - tool_calls: [{ name: 'file::read', arguments: { path: note.txt } }]
  - - text: [written, ' and ', embedded]
";

/// The results of tools that a request carries.
pub(crate) fn tool_results(request: &Value) -> Vec<String> {
    let messages = request["request"]["messages"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].to_string())
        .collect()
}

#[tokio::test]
async fn a_chat_goes_through_three_languages() -> Result<()> {
    let engine = polyglot(POLYGLOT).await?;
    let whole: Value = engine
        .post("/v1/chat/completions", &user("agent/polyglot", "go", false))
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(
        whole["choices"][0]["message"]["content"], "written and embedded",
        "{whole}"
    );
    let streamed = engine
        .post(
            "/v1/chat/completions",
            &user("agent/polyglot", "again", true),
        )
        .send()
        .await?
        .text()
        .await?;
    assert_eq!(joined(&streamed), "written and embedded");

    let asked: Vec<Value> = records(&engine)
        .into_iter()
        .filter(|record| record["event"] == "request")
        .collect();
    let after_both = tool_results(&asked[1]);
    assert_eq!(after_both.len(), 2, "{after_both:?}");
    assert!(
        after_both[1].contains("384"),
        "the Python result comes second, as it was asked: {after_both:?}"
    );
    assert!(
        tool_results(&asked[2])
            .last()
            .is_some_and(|result| result.contains("from typescript"))
    );

    let caller = engine.worker("caller").await?;
    let stored: Value = caller
        .trigger(
            "memory::store",
            &json!({ "agentId": "p", "content": "a cat sat on the mat" }),
        )
        .await?;
    assert_eq!(stored["stored"], true);
    let recalled: Value = caller
        .trigger(
            "memory::recall",
            &json!({ "agentId": "p", "query": "where was the kitten?" }),
        )
        .await?;
    assert_eq!(
        (&recalled["method"], &recalled["memories"][0]["content"]),
        (&json!("hybrid"), &json!("a cat sat on the mat")),
        "{recalled}"
    );
    Ok(())
}
