//! Answers of workers of the JSON dialect: results, the response channel, bodies through the
//! request's channel, middleware and conditions.

use std::time::Duration;

use agentos_sdk::{Client, Code, Error, Registrar};
use anyhow::{Context, Result};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{End, Engine, Iii, Item, address, eventually, refused};

/// A hand-made worker whose function `hand::page` is bound as `config` says.
async fn bound(engine: &Engine, mut config: Value) -> Result<Iii> {
    let mut worker = Iii::connect(engine).await?;
    worker
        .say(&json!({ "type": "registerfunction", "id": "hand::page" }))
        .await?;
    if config.get("api_path").is_none() {
        config["api_path"] = "page".into();
    }
    worker
        .say(&json!({
            "type": "registertrigger", "message_type": "registertrigger", "id": "t1",
            "trigger_type": "http", "function_id": "hand::page", "config": config,
            "metadata": { "from": "t1" },
        }))
        .await?;
    worker.say(&json!({ "type": "ping" })).await?;
    worker.hear_text().await?;
    Ok(worker)
}

async fn answer(worker: &mut Iii, call: &Value, result: Value) -> Result<()> {
    worker
        .say(&json!({
            "type": "invocationresult", "invocation_id": call["invocation_id"],
            "function_id": call["function_id"], "result": result,
        }))
        .await
}

fn send(request: reqwest::RequestBuilder) -> JoinHandle<reqwest::Result<reqwest::Response>> {
    tokio::spawn(request.send())
}

#[tokio::test]
async fn the_request_names_its_channels_and_its_trigger() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({ "http_method": "post" })).await?;
    let request = send(engine.post("/page", &json!({ "qty": 2 })));
    let call = worker.hear_text().await?;
    let data = &call["data"];
    assert_eq!(call["metadata"], json!({ "from": "t1" }));
    assert_eq!(
        data["trigger"],
        json!({ "type": "http", "path": "/page", "method": "POST" })
    );
    assert_eq!(data["body"], json!({ "qty": 2 }));
    for (name, direction) in [("request_body", "read"), ("response", "write")] {
        let end = data[name].as_object().context("a reference")?;
        assert_eq!((end.len(), &end["direction"]), (3, &json!(direction)));
    }
    assert_ne!(
        data["request_body"]["access_key"],
        data["response"]["access_key"]
    );
    // JSON bodies come parsed, and raw as well.
    let mut body = End::connect(&engine, &data["request_body"]).await?;
    assert_eq!(body.bytes().await?, b"{\"qty\":2}");
    answer(&mut worker, &call, json!({ "status_code": 201 })).await?;
    let response = request.await??;
    assert_eq!(response.status(), 201);
    assert_eq!(response.json::<Value>().await?, json!({}));
    for end in ["request_body", "response"] {
        let gone = refused(&address(&engine, &data[end])).await?;
        assert_eq!(gone, (404, "Channel not found".to_owned()), "{end}");
    }
    Ok(())
}

#[tokio::test]
async fn a_streamed_answer_after_a_null_result() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    answer(&mut worker, &call, Value::Null).await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.status(206).await?;
    writing
        .say(json!({ "type": "set_headers", "headers": { "content-type": "video/mp4" } }))
        .await?;
    writing.binary("first ").await?;
    let response = request.await??;
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-type"], "video/mp4");
    let mut body = response.bytes_stream();
    assert_eq!(&body.next().await.context("a part")??[..], b"first ");
    writing.status(500).await?;
    writing.binary("second").await?;
    assert_eq!(&body.next().await.context("a part")??[..], b"second");
    writing.close().await?;
    assert!(body.next().await.is_none());
    Ok(())
}

#[tokio::test]
async fn a_channel_decides_before_the_function_returns() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    // Closed without a byte: the status alone.
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.status(204).await?;
    writing.close().await?;
    let response = request.await??;
    assert_eq!(
        (response.status().as_u16(), response.text().await?),
        (204, String::new())
    );
    answer(&mut worker, &call, json!({ "status_code": 500 })).await?;
    // Bytes first, and the late result is dropped.
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.binary("bytes").await?;
    let response = request.await??;
    answer(&mut worker, &call, json!({ "status_code": 500 })).await?;
    writing.close().await?;
    assert_eq!(
        (response.status().as_u16(), response.text().await?),
        (200, "bytes".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_result_wins_over_a_channel_that_has_said_no_byte() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.status(206).await?;
    answer(&mut worker, &call, json!({ "body": { "won": true } })).await?;
    let response = request.await??;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await?, json!({ "won": true }));
    // The channel is thrown away.
    assert!(matches!(writing.next().await?, Item::Closed(_)));
    Ok(())
}

#[tokio::test]
async fn a_function_that_fails_while_it_streams_cuts_the_response() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.binary("part").await?;
    let response = request.await??;
    worker.say(&json!({
        "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "hand::page",
        "error": { "code": "invocation_failed", "message": "broke" },
    })).await?;
    assert!(response.text().await.is_err());
    // Before the first byte it is an ordinary error.
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.status(204).await?;
    worker.say(&json!({
        "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "hand::page",
        "error": { "code": "invocation_failed", "message": "broke" },
    })).await?;
    let response = request.await??;
    assert_eq!(response.status(), 500);
    let body: Value = response.json().await?;
    assert_eq!(body["error"]["message"], "broke");
    assert!(body["error"]["error_id"].is_string());
    Ok(())
}

#[tokio::test]
async fn a_worker_that_dies_while_it_streams_cuts_the_response() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.binary("part").await?;
    let response = request.await??;
    drop(writing);
    drop(worker);
    assert!(response.text().await.is_err());
    Ok(())
}

#[tokio::test]
async fn null_alone_waits_for_the_time_out_where_somebody_may_still_write() -> Result<()> {
    let config = "listen: { http: { timeout_ms: 1500 } }";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    answer(&mut worker, &call, Value::Null).await?;
    assert_eq!(request.await??.status(), 504);
    // Our own SDKs have no such channel, so their null is an answer at once.
    let native = engine.worker("native").await?;
    let mut registrar = Registrar::new();
    registrar
        .function("native::nothing", |_, _: Value| async { Ok(()) })
        .http("GET", "/nothing");
    native.register(registrar).await?;
    let response = engine.get("/nothing").send().await?;
    assert_eq!(
        (response.status().as_u16(), response.text().await?),
        (200, "{}".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_body_streams_through_a_function_and_back() -> Result<()> {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 160;
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({ "http_method": "PUT" })).await?;
    let chunks = futures_util::stream::iter(0..CHUNKS)
        .map(|number| Ok::<_, std::io::Error>(vec![number as u8; CHUNK]));
    let request = engine
        .request(Method::PUT, "/page")
        .header("content-type", "application/octet-stream")
        .body(reqwest::Body::wrap_stream(chunks));
    let request = send(request);
    let call = worker.hear_text().await?;
    assert_eq!(call["data"]["body"], Value::Null);
    answer(&mut worker, &call, Value::Null).await?;
    let mut reading = End::connect(&engine, &call["data"]["request_body"]).await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    let echo = tokio::spawn(async move {
        while let Item::Binary(bytes) = reading.next().await? {
            writing.binary(bytes).await?;
        }
        writing.close().await
    });
    let bytes = request.await??.bytes().await?;
    echo.await??;
    assert_eq!(bytes.len(), CHUNKS * CHUNK);
    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
        assert!(chunk.iter().all(|byte| *byte == number as u8), "{number}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_response_channel() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.binary("part").await?;
    drop(request.await??);
    assert!(matches!(writing.next().await?, Item::Closed(_)));
    Ok(())
}

#[tokio::test]
async fn a_body_that_nobody_reads_disturbs_nobody() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({ "http_method": "POST" })).await?;
    for _ in 0..3 {
        let request = engine
            .request(Method::POST, "/page")
            .header("content-type", "text/plain")
            .body(vec![b'x'; 8 << 20]);
        let request = send(request);
        let call = worker.hear_text().await?;
        answer(&mut worker, &call, json!({ "body": "ignored" })).await?;
        assert_eq!(request.await??.json::<Value>().await?, json!("ignored"));
    }
    Ok(())
}

#[tokio::test]
async fn json_that_is_none_is_null_for_this_dialect_unless_the_trigger_says_else() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({ "http_method": "POST" })).await?;
    let broken = || {
        engine
            .request(Method::POST, "/page")
            .header("content-type", "application/json")
            .body("{\"qty\":")
    };
    let request = send(broken());
    let call = worker.hear_text().await?;
    assert_eq!(call["data"]["body"], Value::Null);
    let mut body = End::connect(&engine, &call["data"]["request_body"]).await?;
    assert_eq!(body.bytes().await?, b"{\"qty\":");
    answer(&mut worker, &call, json!({})).await?;
    assert_eq!(request.await??.status(), 200);
    let _strict = bound(
        &engine,
        json!({ "http_method": "POST", "invalid_json": "reject" }),
    )
    .await?;
    assert_eq!(broken().send().await?.status(), 400);
    Ok(())
}

#[tokio::test]
async fn a_result_that_is_no_json_is_a_bad_gateway() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("raw").await?;
    let spec = agentos_sdk::FunctionSpec::new("raw::page");
    struct Broken;
    impl agentos_sdk::Handler for Broken {
        fn start(&self, invocation: agentos_sdk::Invocation) {
            invocation.reply(Ok(agentos_sdk::Payload::json("{oops")));
        }
    }
    let mut registrar = Registrar::new();
    registrar
        .handler(spec, std::sync::Arc::new(Broken))
        .http("GET", "/broken");
    worker.register(registrar).await?;
    let response = engine.get("/broken").send().await?;
    assert_eq!(response.status(), 502);
    let body: Value = response.json().await?;
    assert_eq!(body["error"]["code"], "invalid_response");
    Ok(())
}

/// Functions that middleware and conditions are, and a page behind them.
async fn guards(engine: &Engine) -> Result<Client> {
    let worker = engine.worker("guards").await?;
    let mut registrar = Registrar::new();
    registrar.function("guard::by_header", |_, asked: Value| async move {
        let keys: Vec<&String> = asked.as_object().map(|asked| asked.keys().collect()).unwrap_or_default();
        if keys != ["phase", "request", "context"] || asked["phase"] != "preHandler" {
            return Err(Error::worker(Code::Failed, format!("asked {asked}")));
        }
        let request = asked["request"].as_object().map(serde_json::Map::len);
        Ok(match asked["request"]["headers"]["x-guard"].as_str() {
            Some("stop") => json!({ "action": "respond", "response": {
                "status_code": 401, "headers": { "x-by": "guard" }, "body": { "keys": request } } }),
            Some("odd") => json!(["anything"]),
            _ => json!({ "action": "continue" }),
        })
    });
    registrar.function("guard::fails", |_, _: Value| async {
        Err::<(), _>(Error::worker(Code::Conflict, "guard broke"))
    });
    registrar.function("guard::hangs", |_, _: Value| async {
        std::future::pending::<()>().await;
        Ok(())
    });
    registrar.function("guard::condition", |_, request: Value| async move {
        let sees = request.get("request_body").is_some() || request.get("response").is_some();
        Ok(match request["query_params"]["want"].as_str() {
            _ if sees => json!(false),
            Some("no") => json!(false),
            Some("zero") => json!(0),
            _ => json!(null),
        })
    });
    let page = |registrar: &mut Registrar, path: &str, more: Value| {
        let mut config = json!({ "api_path": path });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        registrar.trigger("http", "guard::page", config);
    };
    registrar.function("guard::page", |_, _: Value| async {
        Ok(json!({ "body": "in" }))
    });
    page(&mut registrar, "/plain", json!({}));
    page(
        &mut registrar,
        "/guarded",
        json!({ "middleware_function_ids": ["guard::by_header"] }),
    );
    page(
        &mut registrar,
        "/fails",
        json!({ "middleware_function_ids": ["guard::fails"] }),
    );
    page(
        &mut registrar,
        "/hangs",
        json!({ "middleware_function_ids": ["guard::hangs"] }),
    );
    page(
        &mut registrar,
        "/maybe",
        json!({ "condition_function_id": "guard::condition" }),
    );
    page(
        &mut registrar,
        "/lost",
        json!({ "condition_function_id": "guard::missing" }),
    );
    worker.register(registrar).await?;
    Ok(worker)
}

#[tokio::test]
async fn middleware_and_conditions() -> Result<()> {
    let config = "listen: { http: { timeout_ms: 2000 } }";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let _worker = guards(&engine).await?;
    let rows = [
        ("/guarded", "", 200, json!("in")),
        ("/guarded", "odd", 200, json!("in")),
        ("/guarded", "stop", 401, json!({ "keys": 4 })),
        ("/plain", "stop", 200, json!("in")),
        ("/maybe", "", 200, json!("in")),
        ("/maybe?want=zero", "", 200, json!("in")),
    ];
    for (path, guard, status, body) in rows {
        let response = engine.get(path).header("x-guard", guard).send().await?;
        assert_eq!(response.status().as_u16(), status, "{path} {guard}");
        assert_eq!(response.headers().contains_key("x-by"), status == 401);
        assert_eq!(response.json::<Value>().await?, body, "{path} {guard}");
    }
    let rows = [
        ("/fails", 500, "conflict"),
        ("/lost", 500, "not_found"),
        ("/hangs", 504, "MIDDLEWARE_TIMEOUT"),
        ("/maybe?want=no", 422, "CONDITION_NOT_MET"),
    ];
    for (path, status, code) in rows {
        let response = engine.get(path).send().await?;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let body: Value = response.json().await?;
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_eq!(
            body["error"]["error_id"].is_string(),
            status >= 500,
            "{body}"
        );
        assert_eq!(body["skipped"] == true, status == 422, "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_client_holds_a_streaming_function_back() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = bound(&engine, json!({})).await?;
    let request = send(engine.get("/page"));
    let call = worker.hear_text().await?;
    let mut writing = End::connect(&engine, &call["data"]["response"]).await?;
    writing.binary("x").await?;
    let response = request.await??;
    let (tell, told) = tokio::sync::watch::channel(0_usize);
    let producer = tokio::spawn(async move {
        for number in 1..=1024 {
            writing.binary(vec![0; 64 << 10]).await?;
            tell.send_replace(number);
        }
        writing.close().await
    });
    let mut before = 0;
    eventually("the function is held back", || {
        let now = *told.borrow();
        let still = now > 0 && now == before;
        before = now;
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            still.then_some(())
        }
    })
    .await?;
    assert!(*told.borrow() < 768, "{} chunks were taken", *told.borrow());
    assert_eq!(response.bytes().await?.len(), 1 + (1024 * (64 << 10)));
    producer.await?
}
