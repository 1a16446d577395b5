//! What slow, greedy and odd clients of the HTTP listener get, said byte by byte.

use std::time::{Duration, Instant};

use agentos_sdk::{Client, Registrar};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Engine, PATIENCE};

async fn socket(engine: &Engine) -> Result<TcpStream> {
    let address = engine.http.strip_prefix("http://").context("an address")?;
    Ok(TcpStream::connect(address).await?)
}

/// Everything until the engine closes.
async fn rest(socket: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    // A reset is a close as well.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes))
        .await
        .context("the connection stays open")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends `text` on a connection of its own, and hears the answer.
async fn raw(engine: &Engine, text: &str) -> Result<String> {
    let mut socket = socket(engine).await?;
    socket.write_all(text.as_bytes()).await?;
    rest(&mut socket).await
}

async fn pages(engine: &Engine) -> Result<Client> {
    let worker = engine.worker("pages").await?;
    let mut registrar = Registrar::new();
    let public = |path: &str, method: &str| json!({ "api_path": path, "http_method": method, "auth": "none" });
    registrar
        .function("pages::echo", |_, request: Value| async move {
            Ok(json!({ "body": request["body"] }))
        })
        .trigger("http", public("/echo", "POST"))
        .trigger("http", public("/echo", "GET"))
        .trigger("http", public("/echo", "OPTIONS"));
    registrar
        .function("pages::hangs", |_, _: Value| async {
            std::future::pending::<()>().await;
            Ok(())
        })
        .trigger("http", public("/hangs", "GET"));
    worker.register(registrar).await?;
    Ok(worker)
}

#[tokio::test]
async fn hosts() -> Result<()> {
    let engine = Engine::bare().await?;
    let _worker = pages(&engine).await?;
    let get = |hosts: &str| format!("GET /echo HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
    let rows = [
        ("Host: localhost\r\n", 200),
        ("Host: localhost\r\nHost: evil.example\r\n", 400),
        ("Host: localhost\r\nhost: localhost\r\n", 400),
        ("Host: evil.example\r\n", 403),
        ("Host: \u{e9}\r\n", 403),
    ];
    for (hosts, status) in rows {
        let said = raw(&engine, &get(hosts)).await?;
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")),
            "{hosts}: {said}"
        );
    }
    let long = format!("x-long: {}\r\nHost: localhost\r\n", "x".repeat(80_000));
    let said = raw(&engine, &get(&long)).await?;
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    let absolute =
        "GET http://evil.example/echo HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n";
    assert!(raw(&engine, absolute).await?.starts_with("HTTP/1.1 403"));
    Ok(())
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_shown_out() -> Result<()> {
    let engine = Engine::bare().await?;
    let _worker = pages(&engine).await?;
    let began = Instant::now();
    let silent = async { raw(&engine, "").await };
    let begins_like_http2 = async { raw(&engine, "PRI * HT").await };
    let slow_head = async {
        let mut socket = socket(&engine).await?;
        for _ in 0..100 {
            if socket.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        rest(&mut socket).await
    };
    // On a connection that has been used, too.
    let second_head = async {
        let mut socket = socket(&engine).await?;
        socket
            .write_all(b"GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\nGET /ec")
            .await?;
        rest(&mut socket).await
    };
    let (silent, http2, slow, second) =
        tokio::try_join!(silent, begins_like_http2, slow_head, second_head)?;
    assert_eq!((silent, http2), (String::new(), String::new()));
    assert!(!slow.contains(" 200 "), "{slow}");
    assert!(second.starts_with("HTTP/1.1 200"), "{second}");
    assert!(began.elapsed() > Duration::from_secs(9));
    Ok(())
}

#[tokio::test]
async fn bodies_have_limits_whether_they_say_their_length_or_not() -> Result<()> {
    let engine = Engine::start(
        "listen: { http: { body_bytes_max: 1000, timeout_ms: 1500 } }",
        &["--no-workers"],
    )
    .await?;
    let _worker = pages(&engine).await?;
    for kind in ["application/json", "text/plain"] {
        let response = engine
            .request(Method::POST, "/echo")
            .header("content-type", kind)
            .body(" ".repeat(1001))
            .send()
            .await?;
        assert_eq!(response.status(), 413, "{kind}");
    }
    let chunked = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        600,
        " ".repeat(600),
        600,
        " ".repeat(600)
    );
    let said = raw(&engine, &chunked).await?;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    // One that stops coming.
    let mut socket = socket(&engine).await?;
    socket
        .write_all(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{")
        .await?;
    let said = rest(&mut socket).await?;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_route_that_hangs_leaves_others_their_room() -> Result<()> {
    let engine =
        Engine::start("listen: { http: { timeout_ms: 20000 } }", &["--no-workers"]).await?;
    let _worker = pages(&engine).await?;
    // More than may be worked on at one time.
    let mut hanging = Vec::new();
    for _ in 0..1100 {
        let mut socket = socket(&engine).await?;
        socket
            .write_all(b"GET /hangs HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await?;
        hanging.push(socket);
    }
    let echo = "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for _ in 0..20 {
        let began = Instant::now();
        assert!(raw(&engine, echo).await?.starts_with("HTTP/1.1 200"));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    drop(hanging);
    Ok(())
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_and_others_may_not_call() -> Result<()> {
    let engine = Engine::start(
        "listen: { http: { origins: [\"https://app.example\"] } }",
        &["--no-workers"],
    )
    .await?;
    let _worker = pages(&engine).await?;
    let ask = async |method: Method, origin: &str| {
        engine
            .request(method, "/echo")
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "x-a, x-b")
            .send()
            .await
    };
    let preflight = ask(Method::OPTIONS, "https://app.example").await?;
    assert_eq!(preflight.status(), 200);
    let headers = preflight.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(headers["access-control-allow-headers"], "x-a, x-b");
    assert!(
        headers["access-control-allow-methods"]
            .to_str()?
            .contains("PUT")
    );
    let plain = ask(Method::GET, "https://app.example").await?;
    assert_eq!(
        plain.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    for method in [Method::OPTIONS, Method::GET] {
        let refused = ask(method, "https://evil.example").await?;
        assert_eq!(refused.status(), 403);
        assert!(
            !refused
                .headers()
                .contains_key("access-control-allow-origin")
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_running_request_is_finished_when_the_engine_stops() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let mut idle = socket(&engine).await?;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut head = [0; 15];
    idle.read_exact(&mut head).await?;
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(engine.terminate().await?, 0);
    rest(&mut idle).await?;
    Ok(())
}
