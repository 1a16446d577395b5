//! HTTP triggers, health, and the door of the HTTP listener.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agentos_sdk::{Code, Context, Error, Payload, Registrar, Sink};
use anyhow::Result;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};

use crate::harness::{Engine, Iii, eventually};

#[tokio::test]
async fn routes_reach_functions_with_everything_they_carry() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("shop").await?;
    let mut registrar = Registrar::new();
    registrar
        .function("shop::order", |_, request: Value| async move {
            Ok(json!({ "status_code": 201, "headers": { "x-seen": request["path_params"]["id"] }, "body": request }))
        })
        .http("POST", "/orders/:id");
    registrar
        .function("shop::text", |_, _: Value| async {
            Ok(json!({ "headers": { "content-type": "text/plain" }, "body": "done" }))
        })
        .http("GET", "text");
    worker.register(registrar).await?;

    let response = engine
        .post("/orders/a%20b?dry=1&dry=2", &json!({ "qty": 2 }))
        .header("x-custom", "yes")
        .send()
        .await?;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["x-seen"].to_str()?
        ),
        (201, "a b")
    );
    assert!(response.headers().contains_key("x-request-id"));
    let seen: Value = response.json().await?;
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["body"]),
        (&json!("POST"), &json!("/orders/:id"), &json!({ "qty": 2 }))
    );
    assert_eq!(
        (&seen["query_params"], &seen["headers"]["x-custom"]),
        (&json!({ "dry": "2" }), &json!("yes"))
    );
    assert!(
        seen["headers"].get("authorization").is_none(),
        "the engine's secret is no business of a function"
    );

    let text = engine.get("/text").send().await?;
    assert_eq!(text.headers()["content-type"], "text/plain");
    assert_eq!(text.text().await?, "done");
    worker.close().await;
    eventually("the route goes away", || async {
        (engine.get("/text").send().await.ok()?.status() == 404).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_function_of_the_json_dialect_answers_http() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    worker
        .say(&json!({ "type": "registerfunction", "id": "hand::page" }))
        .await?;
    worker.say(&json!({ "type": "registertrigger", "message_type": "registertrigger", "id": "t1", "trigger_type": "http",
        "function_id": "hand::page", "config": { "api_path": "page/:n", "http_method": "GET" } })).await?;
    worker.say(&json!({ "type": "ping" })).await?;
    worker.hear_text().await?;
    let request = tokio::spawn(engine.get("/page/7").send());
    let call = worker.hear_text().await?;
    assert_eq!(
        (
            &call["data"]["path_params"]["n"],
            &call["data"]["trigger"]["type"]
        ),
        (&json!("7"), &json!("http"))
    );
    worker.say(&json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "hand::page",
        "result": { "status_code": 200, "body": { "page": 7 } } })).await?;
    assert_eq!(request.await??.json::<Value>().await?, json!({ "page": 7 }));
    Ok(())
}

#[tokio::test]
async fn errors_have_the_right_status_and_one_shape() -> Result<()> {
    let engine = Engine::start(
        "listen: { http: { body_bytes_max: 1000 } }",
        &["--no-workers"],
    )
    .await?;
    let worker = engine.worker("faulty").await?;
    let mut registrar = Registrar::new();
    registrar
        .function("faulty::fails", |_, _: Value| async {
            Err::<(), _>(Error::worker(Code::Failed, "it broke"))
        })
        .http("GET", "/fails");
    registrar
        .function("faulty::conflicts", |_, _: Value| async {
            Err::<(), _>(Error::worker(Code::Conflict, "taken"))
        })
        .http("GET", "/conflicts");
    worker.register(registrar).await?;
    let rows = [
        ("/fails", 500, "failed"),
        ("/conflicts", 409, "conflict"),
        ("/nothing", 404, "not_found"),
    ];
    for (path, status, code) in rows {
        let response = engine.get(path).send().await?;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let body: Value = response.json().await?;
        assert_eq!(body["error"]["code"], code, "{body}");
        for key in ["message", "type"] {
            assert!(body["error"][key].is_string(), "{body}");
        }
    }
    let wrong_method = engine.post("/fails", &json!({})).send().await?;
    assert_eq!(
        (
            wrong_method.status().as_u16(),
            wrong_method.headers()["allow"].to_str()?
        ),
        (405, "GET")
    );
    let large = engine
        .request(Method::GET, "/fails")
        .body("x".repeat(2_000))
        .send()
        .await?;
    assert_eq!(large.status().as_u16(), 413);
    let not_json = engine
        .request(Method::GET, "/fails")
        .header("content-type", "application/json")
        .body("{")
        .send()
        .await?;
    assert_eq!(not_json.status().as_u16(), 400);
    Ok(())
}

#[tokio::test]
async fn the_door() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("open").await?;
    let mut registrar = Registrar::new();
    registrar
        .function("open::page", |_, _: Value| async {
            Ok(json!({ "body": 1 }))
        })
        .trigger("http", json!({ "api_path": "/public", "auth": "none" }));
    registrar
        .function("open::secret", |_, _: Value| async {
            Ok(json!({ "body": 2 }))
        })
        .http("GET", "/secret");
    worker.register(registrar).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let status = async |path: &str, headers: &[(&str, &str)]| -> Result<u16> {
        let mut request = client.get(format!("{}{path}", engine.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.send().await?.status().as_u16())
    };
    let bearer = format!("Bearer {}", engine.token);
    assert_eq!(status("/public", &[]).await?, 200);
    assert_eq!(status("/secret", &[]).await?, 401);
    assert_eq!(
        status("/secret", &[("authorization", "Bearer wrong")]).await?,
        401
    );
    assert_eq!(status("/secret", &[("authorization", &bearer)]).await?, 200);
    assert_eq!(
        status("/secret", &[("x-api-key", &engine.token)]).await?,
        200
    );
    assert_eq!(status("/no/route", &[]).await?, 401);
    assert_eq!(
        status("/public", &[("origin", "https://evil.example")]).await?,
        403
    );
    assert_eq!(status("/public", &[("host", "evil.example")]).await?, 403);
    assert_eq!(status("/health/live", &[]).await?, 200);
    assert_eq!(status("/health/ready", &[]).await?, 200);
    Ok(())
}

#[tokio::test]
async fn the_newest_function_of_a_route_answers_and_the_older_one_comes_back() -> Result<()> {
    let engine = Engine::bare().await?;
    let page = |id: &str, answer: i64| {
        let mut registrar = Registrar::new();
        registrar
            .function(id, move |_, _: Value| async move {
                Ok(json!({ "body": answer }))
            })
            .http("GET", "/page");
        registrar
    };
    assert_eq!(engine.get("/page").send().await?.status(), 404);
    let first = engine.worker("first").await?;
    first.register(page("first::page", 1)).await?;
    let answers = async || -> Result<i64> { Ok(engine.get("/page").send().await?.json().await?) };
    assert_eq!(answers().await?, 1);
    let second = engine.worker("second").await?;
    second.register(page("second::page", 2)).await?;
    assert_eq!(answers().await?, 2);
    second.close().await;
    eventually("the first function answers again", || async {
        (answers().await.ok()? == 1).then_some(())
    })
    .await?;
    first.close().await;
    eventually("the route is gone", || async {
        (engine.get("/page").send().await.ok()?.status() == 404).then_some(())
    })
    .await
}

/// A function that sends `first`, waits to be let on, and sends the rest.
fn two_part(registrar: &mut Registrar, go_on: &Arc<Notify>, dropped: &Arc<AtomicUsize>) {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (go_on, dropped) = (Arc::clone(go_on), Arc::clone(dropped));
    let handler = move |_: Context, _: Value, sink: Arc<Mutex<Sink>>| {
        let (go_on, count) = (Arc::clone(&go_on), Count(Arc::clone(&dropped)));
        async move {
            let _count = count;
            let mut sink = sink.lock().await;
            sink.send(&json!({ "status_code": 202, "headers": { "content-type": "text/plain" } }))
                .await?;
            sink.send_payload(Payload::binary("first ")).await?;
            go_on.notified().await;
            sink.send_payload(Payload::binary("second")).await?;
            Ok(())
        }
    };
    registrar
        .streaming("parts::two", handler)
        .http("GET", "/parts");
}

#[tokio::test]
async fn a_stream_arrives_while_the_function_still_runs() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("parts").await?;
    let (go_on, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut registrar = Registrar::new();
    two_part(&mut registrar, &go_on, &dropped);
    registrar
        .streaming(
            "parts::events",
            |_, _: Value, sink: Arc<Mutex<Sink>>| async move {
                for number in 1..=2 {
                    sink.lock().await.send(&json!({ "n": number })).await?;
                }
                Ok(())
            },
        )
        .http("GET", "/events");
    worker.register(registrar).await?;

    let response = engine.get("/parts").send().await?;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["content-type"].to_str()?
        ),
        (202, "text/plain")
    );
    let mut body = response.bytes_stream();
    assert_eq!(&body.next().await.expect("a first part")?[..], b"first ");
    go_on.notify_one();
    assert_eq!(&body.next().await.expect("a second part")?[..], b"second");
    assert!(body.next().await.is_none());

    let events = engine.get("/events").send().await?;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(
        events.text().await?,
        "data: {\"n\":1}\n\ndata: {\"n\":2}\n\n"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_function() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("parts").await?;
    let (go_on, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut registrar = Registrar::new();
    two_part(&mut registrar, &go_on, &dropped);
    worker.register(registrar).await?;
    let response = engine.get("/parts").send().await?;
    let mut body = response.bytes_stream();
    body.next().await.expect("a first part")?;
    drop(body);
    eventually("the function is dropped", || async {
        (dropped.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_stream_that_fails_is_cut_so_that_no_part_passes_for_the_whole() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("parts").await?;
    let mut registrar = Registrar::new();
    registrar
        .streaming(
            "parts::cut",
            |_, _: Value, sink: Arc<Mutex<Sink>>| async move {
                sink.lock()
                    .await
                    .send_payload(Payload::binary("part"))
                    .await?;
                Err::<(), _>(Error::worker(Code::Failed, "broke"))
            },
        )
        .http("GET", "/cut");
    registrar
        .streaming(
            "parts::early",
            |_, _: Value, _: Arc<Mutex<Sink>>| async move {
                Err::<(), _>(Error::worker(Code::Overloaded, "busy"))
            },
        )
        .http("GET", "/early");
    worker.register(registrar).await?;
    let whole = async { engine.get("/cut").send().await?.text().await };
    assert!(whole.await.is_err());
    let early = engine.get("/early").send().await?;
    assert_eq!(
        (
            early.status().as_u16(),
            early.headers().contains_key("retry-after")
        ),
        (429, true)
    );
    Ok(())
}
