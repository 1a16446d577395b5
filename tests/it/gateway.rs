//! The gateway's surfaces over HTTP: completions, responses with state, Anthropic's messages.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    chat::{records, scripted},
    clients,
    harness::{Engine, eventually, root},
};

/// Models that answer the same each time: a text in pieces, a tool and then a text, an object.
const MODELS: &str = "
scripts:
  hello:
    repeat: true
    turns: [[{ text: [Hel, lo, ' world'] }, { usage: { inputTokens: 12, outputTokens: 3, cachedTokens: 2 } }]]
  weather:
    repeat: true
    turns:
      - - tool_calls: [{ name: weather, arguments: { city: Paris }, pieces: 3 }]
      - - text: It is sunny.
  json:
    repeat: true
    turns: [[{ text: '{\"city\":\"Paris\"}' }]]
  slow:
    repeat: true
    turns: [[{ text: early }, { hold: rest }, { text: late }]]
  broken:
    repeat: true
    turns: [[{ text: early }, { error: { message: 'it broke', status: 500 } }]]
";

pub(crate) async fn gateway() -> Result<Engine> {
    let (folder, config) = scripted(MODELS)?;
    let workers = ["--only", "api", "agent", "llm", "memory"];
    Engine::start_in(folder, &config, &workers).await
}

async fn ask(engine: &Engine, path: &str, body: Value) -> Result<(u16, Value)> {
    let response = engine.post(path, &body).send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

/// The events of a body: name and data.
async fn told(engine: &Engine, path: &str, body: Value) -> Result<Vec<(String, Value)>> {
    let response = engine.post(path, &body).send().await?;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.headers().contains_key("x-request-id"));
    let text = response.text().await?;
    let event = |block: &str| {
        let line = |start: &str| block.lines().find_map(|line| line.strip_prefix(start));
        let data = line("data: ").and_then(|data| serde_json::from_str(data).ok());
        (
            line("event: ").unwrap_or_default().to_owned(),
            data.unwrap_or_default(),
        )
    };
    Ok(text
        .split("\n\n")
        .filter(|block| !block.is_empty())
        .map(event)
        .collect())
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn several_choices_each_have_their_own_end() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/hello", "n": 3, "messages": [{ "role": "user", "content": "hi" }] });
    let (status, whole) = ask(&engine, "/v1/chat/completions", body.clone()).await?;
    let choices = whole["choices"].as_array().context("choices")?;
    assert_eq!((status, choices.len()), (200, 3));
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"]["content"], "Hello world");
    }
    assert_eq!(whole["usage"]["total_tokens"], 45, "the sum of all three");

    let mut body = body;
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    let events = told(&engine, "/v1/chat/completions", body).await?;
    for index in 0..3 {
        let of_choice = |(_, event): &&(String, Value)| event["choices"][0]["index"] == index;
        let chunks: Vec<&Value> = events
            .iter()
            .filter(of_choice)
            .map(|(_, event)| event)
            .collect();
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let ends = chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop");
        assert_eq!(ends.count(), 1);
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, "Hello world");
    }
    let usage = &events[events.len() - 2].1;
    assert_eq!(
        (&usage["choices"], &usage["usage"]["total_tokens"]),
        (&json!([]), &json!(45))
    );
    Ok(())
}

#[tokio::test]
async fn completions_are_texts() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/hello", "prompt": ["one", "two"], "echo": true });
    let (_, whole) = ask(&engine, "/v1/completions", body).await?;
    assert_eq!(whole["object"], "text_completion");
    let texts: Vec<&Value> = whole["choices"]
        .as_array()
        .context("choices")?
        .iter()
        .map(|choice| &choice["text"])
        .collect();
    assert_eq!(texts, ["oneHello world", "twoHello world"]);
    let body = json!({ "model": "scripted/hello", "prompt": "one", "stream": true });
    let events = told(&engine, "/v1/completions", body).await?;
    let chunks = &events[..events.len() - 1];
    assert!(
        chunks
            .iter()
            .all(|(_, chunk)| chunk["choices"][0]["text"].is_string())
    );
    assert_eq!(
        chunks.last().context("a chunk")?.1["choices"][0]["finish_reason"],
        "stop"
    );
    for (more, param) in [
        (json!({ "prompt": [1, 2] }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": "x", "suffix": "y" }), "suffix"),
        (json!({ "prompt": "x", "n": 99 }), "n"),
    ] {
        let mut body = json!({ "model": "scripted/hello" });
        body.as_object_mut()
            .context("object")?
            .extend(more.as_object().cloned().context("object")?);
        let (status, error) = ask(&engine, "/v1/completions", body).await?;
        assert_eq!((status, &error["error"]["param"]), (400, &json!(param)));
    }
    Ok(())
}

#[tokio::test]
async fn responses_go_on_from_each_other() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/hello", "input": "first", "instructions": "be brief", "metadata": { "k": "v" } });
    let (status, first) = ask(&engine, "/v1/responses", body).await?;
    assert_eq!(
        (status, &first["status"], &first["object"]),
        (200, &json!("completed"), &json!("response"))
    );
    assert_eq!(
        first["output"][0]["content"][0],
        json!({ "type": "output_text", "text": "Hello world", "annotations": [], "logprobs": [] })
    );
    assert_eq!(
        (&first["metadata"], &first["usage"]["input_tokens_details"]),
        (&json!({ "k": "v" }), &json!({ "cached_tokens": 2 }))
    );
    let id = first["id"].as_str().context("an id")?;

    let (_, got) = ask_get(&engine, &format!("/v1/responses/{id}")).await?;
    assert_eq!(got, first);
    let body = json!({ "model": "scripted/hello", "input": [{ "role": "user", "content": "second" },
        { "type": "item_reference", "id": first["output"][0]["id"] }], "previous_response_id": id, "store": false });
    let (status, second) = ask(&engine, "/v1/responses", body).await?;
    assert_eq!(status, 200, "{second}");
    let asked = records(&engine);
    let asked = asked
        .iter()
        .rfind(|record| record["event"] == "request")
        .context("asked")?;
    let said: Vec<(&str, &str)> = asked["request"]["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| Some((message["role"].as_str()?, message["content"].as_str()?)))
        .collect();
    // Without the instructions of the first, and with what the reference stands for.
    assert_eq!(
        said,
        [
            ("user", "first"),
            ("assistant", "Hello world"),
            ("user", "second"),
            ("assistant", "Hello world")
        ]
    );

    let gone = second["id"].as_str().context("an id")?;
    assert_eq!(
        ask_get(&engine, &format!("/v1/responses/{gone}")).await?.0,
        404,
        "it was not to be stored"
    );
    let (_, items) = ask_get(&engine, &format!("/v1/responses/{id}/input_items")).await?;
    assert_eq!(items["data"][0]["content"][0]["text"], "first");
    let path = format!("/v1/responses/{id}");
    let deleted: Value = engine
        .request(reqwest::Method::DELETE, &path)
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(
        deleted,
        json!({ "id": id, "object": "response", "deleted": true })
    );
    assert_eq!(ask_get(&engine, &path).await?.0, 404);
    let body = json!({ "model": "scripted/hello", "input": "x", "previous_response_id": id });
    let (status, error) = ask(&engine, "/v1/responses", body).await?;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("previous_response_not_found"))
    );
    Ok(())
}

async fn ask_get(engine: &Engine, path: &str) -> Result<(u16, Value)> {
    let response = engine.get(path).send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

#[tokio::test]
async fn a_response_is_streamed_in_openais_order() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/hello", "input": "hi", "stream": true });
    let events = told(&engine, "/v1/responses", body).await?;
    assert_eq!(
        names(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!(
            (&event["type"], &event["sequence_number"]),
            (&json!(name), &json!(number))
        );
    }
    let done = &events.last().context("an end")?.1["response"];
    assert_eq!(done["output"][0]["content"][0]["text"], "Hello world");
    let id = done["id"].as_str().context("an id")?;
    assert_eq!(
        &ask_get(&engine, &format!("/v1/responses/{id}")).await?.1,
        done
    );

    let tools =
        json!([{ "type": "function", "name": "weather", "parameters": { "type": "object" } }]);
    let body =
        json!({ "model": "scripted/weather", "input": "hi", "stream": true, "tools": tools });
    let events = told(&engine, "/v1/responses", body).await?;
    let pieces: String = events
        .iter()
        .filter(|(name, _)| name == "response.function_call_arguments.delta")
        .filter_map(|(_, event)| event["delta"].as_str())
        .collect();
    assert_eq!(pieces, r#"{"city":"Paris"}"#);
    let call = &events.last().context("an end")?.1["response"]["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("weather"))
    );
    assert_ne!(call["id"], call["call_id"]);

    let body = json!({ "model": "scripted/broken", "input": "hi", "stream": true });
    let events = told(&engine, "/v1/responses", body).await?;
    let (name, event) = events.last().context("an end")?;
    assert_eq!(
        (name.as_str(), &event["response"]["status"]),
        ("response.failed", &json!("failed"))
    );
    Ok(())
}

#[tokio::test]
async fn a_response_in_the_background_is_fetched_or_cancelled() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/slow", "input": "hi", "background": true });
    let (_, cancelled) = ask(&engine, "/v1/responses", body.clone()).await?;
    assert_eq!(cancelled["status"], "queued");
    let path = |response: &Value| {
        format!(
            "/v1/responses/{}",
            response["id"].as_str().unwrap_or_default()
        )
    };
    assert_eq!(
        ask_get(&engine, &path(&cancelled)).await?.1["status"],
        "in_progress"
    );
    let (_, stopped) = ask(&engine, &format!("{}/cancel", path(&cancelled)), json!({})).await?;
    assert_eq!(stopped["status"], "cancelled");
    assert_eq!(
        ask_get(&engine, &path(&cancelled)).await?.1["status"],
        "cancelled"
    );

    let (_, left) = ask(&engine, "/v1/responses", body.clone()).await?;
    let director = engine.worker("director").await?;
    director
        .trigger::<Value>("llm::script::release", &json!({ "hold": "rest" }))
        .await?;
    let finished = || async {
        let (_, response) = ask_get(&engine, &path(&left)).await.ok()?;
        (response["status"] == "completed").then_some(response)
    };
    let response = eventually("the response is completed", finished).await?;
    assert_eq!(response["output"][0]["content"][0]["text"], "earlylate");

    // One that is under way when the engine dies is told to have failed, by the next engine.
    director
        .trigger::<Value>("llm::script::reset", &json!({}))
        .await?;
    let (_, lost) = ask(&engine, "/v1/responses", body).await?;
    let folder = engine.kill()?;
    let config = std::fs::read_to_string(folder.path().join("config.yaml"))?;
    let workers = ["--only", "api", "agent", "llm", "memory"];
    let engine = Engine::start_in(folder, &config, &workers).await?;
    assert_eq!(ask_get(&engine, &path(&lost)).await?.1["status"], "failed");
    Ok(())
}

#[tokio::test]
async fn messages_are_anthropics() -> Result<()> {
    let engine = gateway().await?;
    let body = json!({ "model": "scripted/hello", "max_tokens": 9, "system": "be brief",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }] });
    let (status, whole) = ask(&engine, "/v1/messages", body.clone()).await?;
    assert_eq!(
        (status, &whole["type"], &whole["stop_reason"]),
        (200, &json!("message"), &json!("end_turn"))
    );
    assert_eq!(
        whole["content"],
        json!([{ "type": "text", "text": "Hello world" }])
    );
    assert_eq!(
        (
            &whole["usage"]["input_tokens"],
            &whole["usage"]["cache_read_input_tokens"]
        ),
        (&json!(10), &json!(2))
    );

    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let events = told(&engine, "/v1/messages", streamed.clone()).await?;
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    streamed["model"] = "scripted/weather".into();
    streamed["tools"] = json!([{ "name": "weather", "input_schema": { "type": "object" } }]);
    let events = told(&engine, "/v1/messages", streamed.clone()).await?;
    let pieces: String = events
        .iter()
        .filter_map(|(_, event)| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(pieces, r#"{"city":"Paris"}"#);
    assert!(
        events
            .iter()
            .any(|(_, event)| event["delta"]["stop_reason"] == "tool_use")
    );
    streamed["model"] = "scripted/broken".into();
    let events = told(&engine, "/v1/messages", streamed).await?;
    let (name, last) = events.last().context("an end")?;
    assert_eq!(
        (name.as_str(), last["error"]["type"].is_string()),
        ("error", true)
    );

    for (change, status, kind) in [
        (json!({ "model": "no/such" }), 404, "not_found_error"),
        (json!({ "max_tokens": null }), 400, "invalid_request_error"),
        (json!({ "messages": [] }), 400, "invalid_request_error"),
    ] {
        let mut wrong = body.clone();
        wrong
            .as_object_mut()
            .context("object")?
            .extend(change.as_object().cloned().context("object")?);
        let (got, error) = ask(&engine, "/v1/messages", wrong).await?;
        assert_eq!(
            (got, &error["type"], &error["error"]["type"]),
            (status, &json!("error"), &json!(kind))
        );
        assert!(error["request_id"].is_string());
    }
    Ok(())
}

const HELLO: &str = "Hello world";

#[tokio::test(flavor = "multi_thread")]
async fn python_packages_use_every_surface() -> Result<()> {
    let engine = gateway().await?;
    let folder = root().join("tests/clients/python");
    let printed = clients::run_client(&engine, folder, vec!["python", "gateway_clients.py"])?;
    let expected = [
        &format!("responses: {HELLO} completed 15"),
        &format!("responses streamed: {HELLO} response.created response.completed 3"),
        r#"responses tools: weather {"city":"Paris"} It is sunny."#,
        "responses parsed: Paris",
        "responses gone: previous_response_not_found",
        &format!("chat n: ['{HELLO}', '{HELLO}']"),
        &format!("completions: {HELLO} text_completion"),
        &format!("completions streamed: {HELLO}"),
        "chat parsed: Paris True",
        &format!("messages: {HELLO} end_turn 3"),
        &format!("messages streamed: {HELLO} end_turn 10"),
        "messages tools: tool_use {'city': 'Paris'} It is sunny.",
        "messages counted: True",
        "messages missing: not_found_error True",
        &format!("langchain streamed: {HELLO} 3"),
        "langchain tools: weather {'city': 'Paris'} It is sunny.",
        "langchain structured: Paris",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn node_packages_use_every_surface() -> Result<()> {
    let engine = gateway().await?;
    let folder = root().join("tests/clients/node");
    let printed = clients::run_client(&engine, folder, vec!["node", "gateway.mjs"])?;
    let mut expected = vec![
        format!("responses streamed: {HELLO} 3"),
        format!("messages streamed: {HELLO} end_turn"),
    ];
    for name in ["ai responses", "ai chat"] {
        expected.push(format!("{name} streamed: {HELLO} 3"));
        expected.push(format!("{name} tools: Paris is sunny, It is sunny."));
        expected.push(format!("{name} object: Paris"));
    }
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    Ok(())
}
