//! Functions that are HTTP endpoints, under the rules that hold unless somebody changes them.

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Engine, Iii, eventually};

#[tokio::test]
async fn endpoints_on_this_machine_are_out_of_bounds() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let cases = [
        (format!("http://127.0.0.1:{port}/"), "HTTPS is required"),
        (format!("https://127.0.0.1:{port}/"), "Private IP blocked"),
        (format!("https://localhost:{port}/"), "Private IP blocked"),
        (
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            "Private IP blocked",
        ),
        (
            "https://169.254.169.254/latest".to_owned(),
            "Private IP blocked",
        ),
        ("https://user:secret@example.com/".to_owned(), "Invalid URL"),
    ];
    for (url, message) in &cases {
        client
            .say(&json!({"type": "registerfunction", "id": "x::f", "invocation": {"url": url}}))
            .await?;
        let answer = client.call("x::f", json!({"a": 1})).await?;
        assert_eq!(
            answer["error"]["code"], "url_validation_failed",
            "{url}: {answer}"
        );
        assert_eq!(answer["error"]["message"], *message, "{url}");
    }
    let reached = tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept());
    assert!(reached.await.is_err(), "somebody connected");
    // Said at registration too.
    eventually("a line in the log", async || {
        engine
            .log()
            .contains("was registered that cannot be called")
            .then_some(())
    })
    .await?;
    assert!(!engine.log().contains("secret"), "{}", engine.log());
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_and_nothing_is_sent() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    for (auth, code) in [
        (
            json!({"type": "bearer", "token_key": "AGENTOS_TEST_GONE"}),
            "token_not_found",
        ),
        (
            json!({"type": "hmac", "secret_key": "AGENTOS_TEST_GONE"}),
            "secret_not_found",
        ),
        (
            json!({"type": "api_key", "header": "x-key", "value_key": "AGENTOS_TEST_GONE"}),
            "api_key_not_found",
        ),
    ] {
        let invocation = json!({"url": "https://nobody.invalid/", "auth": auth});
        client
            .say(&json!({"type": "registerfunction", "id": "x::f", "invocation": invocation}))
            .await?;
        let answer = client.call("x::f", json!({})).await?;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("`AGENTOS_TEST_GONE` is not set"),
            "{message}"
        );
    }
    Ok(())
}

/// Takes one request and answers it; gives its text.
async fn serve_once(listener: &tokio::net::TcpListener, answer: &str) -> Result<String> {
    let (mut socket, _) = listener.accept().await?;
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut part = [0; 4096];
        let read = socket.read(&mut part).await?;
        anyhow::ensure!(read > 0, "the request ended early");
        request.extend_from_slice(&part[..read]);
    }
    let length = answer.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    socket
        .write_all(format!("{head}{answer}").as_bytes())
        .await?;
    Ok(String::from_utf8(request)?.to_lowercase())
}

#[tokio::test]
async fn an_endpoint_is_called_with_the_engine_s_secret() -> Result<()> {
    let config =
        "http_functions:\n  security:\n    block_private_ips: false\n    require_https: false\n";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let mut client = Iii::connect(&engine).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/sync?a=1", listener.local_addr()?);
    // A variable that the engine surely has.
    let auth = json!({"type": "bearer", "token_key": "PATH"});
    let secret = std::env::var("PATH")?.to_lowercase();
    let invocation = json!({"url": url, "method": "PUT", "auth": auth});
    client
        .say(&json!({"type": "registerfunction", "id": "x::f", "invocation": invocation}))
        .await?;
    let served = serve_once(&listener, r#"{"ok":true}"#);
    let (answer, request) = tokio::join!(client.call("x::f", json!({"n": 5})), served);
    let (answer, request) = (answer?, request?);
    assert_eq!(answer["result"], json!({"ok": true}), "{answer}");
    assert!(
        request.starts_with("put /sync?a=1 http/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("authorization: bearer {secret}\r\n")),
        "{request}"
    );
    assert!(
        request.contains("x-iii-function-path: x::f\r\n"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"n\":5}"), "{request}");
    Ok(())
}
