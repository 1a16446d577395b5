//! Frames that SDKs never send, and doors that are closed: a clear answer each, nobody else hurt.

use agentos_protocol::{
    Call, CallRef, Code, Delivery, ErrorBody, Frame, FunctionSpec, Payload, Register,
};
use anyhow::{Result, bail};
use bytes::Bytes;
use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::harness::{Engine, Heard, Iii, V2, hello};

async fn fault(client: &mut V2) -> Result<ErrorBody> {
    match client.hear_frame().await? {
        Frame::Fault(error) => Ok(error),
        other => bail!("expected a fault, heard {other:?}"),
    }
}

async fn closed(client: &mut V2) -> Result<Option<u16>> {
    match client.hear().await? {
        Heard::Closed(code) => Ok(code),
        other => bail!("expected a close, heard {other:?}"),
    }
}

/// A worker that was there before, to see that it notices nothing.
async fn bystander(engine: &Engine) -> Result<agentos_sdk::Client> {
    let worker = engine.worker("bystander").await?;
    worker
        .function(
            "bystander::echo",
            |_, value: serde_json::Value| async move { Ok(value) },
        )
        .await?;
    Ok(worker)
}

async fn undisturbed(worker: &agentos_sdk::Client) -> Result<()> {
    let answer: i64 = worker.trigger("bystander::echo", &7).await?;
    assert_eq!(answer, 7);
    Ok(())
}

#[tokio::test]
async fn malformed_binary_frames_are_answered_and_the_session_goes_on() -> Result<()> {
    let engine = Engine::bare().await?;
    let bystander = bystander(&engine).await?;
    let mut client = V2::connect(&engine, "careless").await?;
    let mut call = vec![0; 16];
    call[0] = v2_kind::CALL;
    let mut announces_too_much = call.clone();
    announces_too_much[2] = 200;
    let frames: [&[u8]; 6] = [
        b"",
        b"short",
        &[255; 16],
        &[0; 16],
        &call,
        &announces_too_much,
    ];
    for bytes in frames {
        client.say_bytes(Bytes::copy_from_slice(bytes)).await?;
        assert_eq!(
            fault(&mut client).await?.code,
            Code::InvalidFrame,
            "{bytes:?}"
        );
    }
    client.say_text("{}").await?;
    assert_eq!(fault(&mut client).await?.code, Code::InvalidFrame);
    client.say(&Frame::Ping).await?;
    assert_eq!(client.hear_frame().await?, Frame::Pong);
    undisturbed(&bystander).await
}

use agentos_protocol::codec::v2::kind as v2_kind;

#[tokio::test]
async fn malformed_json_is_ignored_and_the_session_goes_on() -> Result<()> {
    let engine = Engine::bare().await?;
    let bystander = bystander(&engine).await?;
    let mut client = Iii::connect(&engine).await?;
    for text in [
        "",
        "  ",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"type":"no such type"}"#,
        r#"{"type":"invokefunction"}"#,
        &"[".repeat(100_000),
    ] {
        client.say_raw(Message::text(text)).await?;
    }
    client.say_raw(Message::binary(vec![0xff, 0xfe, 0])).await?;
    client
        .say_raw(Message::binary(b"OTLP{\"resourceSpans\":[]}".to_vec()))
        .await?;
    client.say(&json!({ "type": "ping" })).await?;
    assert_eq!(client.hear_text().await?["type"], "pong");
    undisturbed(&bystander).await
}

#[tokio::test]
async fn an_oversized_message_ends_its_own_session_only() -> Result<()> {
    let engine = Engine::start("limits: { message_bytes_max: 100000 }", &["--no-workers"]).await?;
    let bystander = bystander(&engine).await?;
    let mut client = V2::connect(&engine, "huge").await?;
    let payload = Payload::binary(vec![0; 200_000]);
    client
        .say(&Frame::Call(Box::new(Call::new(
            Some(CallRef::Number(1)),
            "f",
            payload,
        ))))
        .await?;
    assert_eq!(closed(&mut client).await?, Some(1009));
    undisturbed(&bystander).await
}

#[tokio::test]
async fn a_session_without_the_right_token_is_told_and_closed() -> Result<()> {
    let engine = Engine::bare().await?;
    for token in [None, Some("wrong")] {
        let mut client = V2::open(&engine, "agentos.v2").await?;
        client.say(&hello("stranger", token)).await?;
        let error = fault(&mut client).await?;
        assert_eq!(error.code, Code::Unauthenticated);
        assert!(error.message.contains("agentos token"), "{error}");
        assert_eq!(closed(&mut client).await?, Some(1008));
    }
    for query in ["", "token=wrong", "token="] {
        let mut client = Iii::open(&engine, query).await?;
        let refusal = client.hear_text().await?;
        assert_eq!(refusal["error"]["code"], "AUTH_ERROR", "{query}: {refusal}");
        assert!(matches!(client.hear().await?, Heard::Closed(Some(1008))));
    }
    Ok(())
}

#[tokio::test]
async fn the_first_frame_is_hello() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = V2::open(&engine, "agentos.v2").await?;
    client.say(&Frame::Ping).await?;
    assert_eq!(fault(&mut client).await?.code, Code::InvalidFrame);
    assert_eq!(closed(&mut client).await?, Some(1002));
    Ok(())
}

/// Names and values.
type Headers<'a> = &'a [(&'static str, &'a str)];

async fn handshake_status(engine: &Engine, path: &str, headers: Headers<'_>) -> Result<u16> {
    let mut request = format!("{}{path}", engine.url).into_client_request()?;
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_str(value)?);
    }
    match connect_async(request).await {
        Err(tungstenite::Error::Http(response)) => Ok(response.status().as_u16()),
        Ok((_, response)) => Ok(response.status().as_u16()),
        Err(other) => bail!("no answer: {other}"),
    }
}

#[tokio::test]
async fn wrong_versions_origins_hosts_and_paths_are_refused_at_the_door() -> Result<()> {
    let engine = Engine::start(
        "listen: { bus: { origins: ['https://app.example'] } }",
        &["--no-workers"],
    )
    .await?;
    let rows: [(&str, Headers<'_>, u16); 8] = [
        ("/", &[("sec-websocket-protocol", "agentos.v9")], 400),
        ("/", &[("origin", "https://evil.example")], 403),
        ("/", &[("origin", "null")], 403),
        ("/", &[("origin", "https://app.example")], 101),
        ("/", &[("host", "evil.example")], 403),
        ("/", &[("host", "localhost:1")], 101),
        ("/no/such/path", &[], 404),
        ("/ws/channels/x?key=y&dir=read", &[], 404),
    ];
    for (path, headers, status) in rows {
        assert_eq!(
            handshake_status(&engine, path, headers).await?,
            status,
            "{path} {headers:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn reserved_and_impossible_ids_are_refused_by_name() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = V2::connect(&engine, "pushy").await?;
    let ids = ["engine::stop", "state::get", "", "fine::one"];
    let functions = ids.into_iter().map(FunctionSpec::new).collect();
    client
        .say(&Frame::Register(Box::new(Register {
            request: 9,
            functions,
            ..Register::default()
        })))
        .await?;
    let Frame::Registered { request, rejected } = client.hear_frame().await? else {
        bail!("expected an answer")
    };
    let codes: Vec<(&str, Code)> = rejected
        .iter()
        .map(|rejected| (&*rejected.id, rejected.error.code))
        .collect();
    assert_eq!(request, 9);
    assert_eq!(
        codes,
        [
            ("engine::stop", Code::Forbidden),
            ("state::get", Code::Forbidden),
            ("", Code::InvalidInput)
        ]
    );
    Ok(())
}

#[tokio::test]
async fn foreign_and_doubled_replies_change_nothing() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut callee = V2::connect(&engine, "callee").await?;
    let mut thief = V2::connect(&engine, "thief").await?;
    let functions = vec![FunctionSpec::new("slow::one")];
    callee
        .say(&Frame::Register(Box::new(Register {
            request: 1,
            functions,
            ..Register::default()
        })))
        .await?;
    callee.hear_frame().await?;
    let caller = engine.worker("caller").await?;
    let call = tokio::spawn(async move { caller.trigger::<String>("slow::one", &()).await });
    let Frame::Call(given) = callee.hear_frame().await? else {
        bail!("expected a call")
    };
    let reference = given.call.expect("numbered");
    let reply = |text: &str| Frame::Reply {
        call: reference.clone(),
        function: "slow::one".into(),
        outcome: Ok(Payload::encode(text).expect("text is JSON")),
    };
    thief.say(&reply("stolen")).await?;
    thief.say(&Frame::Ping).await?;
    assert_eq!(thief.hear_frame().await?, Frame::Pong);
    callee.say(&reply("mine")).await?;
    callee.say(&reply("again")).await?;
    assert_eq!(call.await??, "mine");
    Ok(())
}

#[tokio::test]
async fn a_payload_that_is_not_json_never_reaches_a_json_worker() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    worker
        .say(&json!({ "type": "registerfunction", "id": "json::only" }))
        .await?;
    worker.say(&json!({ "type": "ping" })).await?;
    worker.hear_text().await?;
    let mut client = V2::connect(&engine, "liar").await?;
    for (payload, code) in [
        (Payload::json("{oops"), Code::InvalidInput),
        (Payload::binary("x"), Code::Unsupported),
    ] {
        let call = Call {
            delivery: Delivery::Reply,
            ..Call::new(Some(CallRef::Number(1)), "json::only", payload)
        };
        client.say(&Frame::Call(Box::new(call))).await?;
        let Frame::Reply {
            outcome: Err(error),
            ..
        } = client.hear_frame().await?
        else {
            bail!("expected an error")
        };
        assert_eq!(error.code, code);
    }
    worker.hears_nothing().await
}

#[tokio::test]
async fn the_json_dialect_as_a_person_types_it() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    worker
        .say(&json!({ "type": "registerfunction", "id": "hand::made" }))
        .await?;
    let mut caller = Iii::connect(&engine).await?;
    caller.say(&json!({ "type": "invokefunction", "invocation_id": "my call", "function_id": "hand::made", "data": { "a": 1 } })).await?;
    let call = worker.hear_text().await?;
    assert_eq!(
        (&call["type"], &call["function_id"], &call["data"]["a"]),
        (&json!("invokefunction"), &json!("hand::made"), &json!(1))
    );
    assert!(call["data"]["_caller_worker_id"].is_string());
    worker.say(&json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "hand::made", "result": null })).await?;
    let result = caller.hear_text().await?;
    assert_eq!(
        result,
        json!({ "type": "invocationresult", "invocation_id": "my call", "function_id": "hand::made" })
    );
    let missing = caller.call("no::such", json!(1)).await?;
    assert_eq!(
        missing["error"],
        json!({ "code": "function_not_found", "message": "Function no::such not found" })
    );
    Ok(())
}

/// Such names once made an error that could not be said, and the engine tried for ever.
#[tokio::test]
async fn names_of_megabytes_disturb_nobody() -> Result<()> {
    let engine = Engine::bare().await?;
    let bystander = bystander(&engine).await?;
    let mut client = Iii::connect(&engine).await?;
    let about = json!({ "runtime": "python", "version": "0.11.6", "name": "small" });
    client.say(&json!({ "type": "invokefunction", "function_id": "engine::workers::register", "data": about, "action": { "type": "void" } })).await?;
    let huge = "x".repeat(2 << 20);
    client.say(&json!({ "type": "invokefunction", "invocation_id": "a", "function_id": huge, "data": null })).await?;
    client.say(&json!({ "type": "invokefunction", "invocation_id": huge, "function_id": "no::such", "data": null })).await?;
    client.say(&json!({ "type": "ping" })).await?;
    assert_eq!(client.hear_text().await?["type"], "pong");
    undisturbed(&bystander).await
}
