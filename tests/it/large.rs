//! Large messages of the binary dialect: in parts, so that small calls pass them.

use agentos_protocol::{
    Call, CallRef, Code, Frame, FunctionSpec, Hello, Payload, Register,
    codec::{
        Draft,
        v2::{
            self, HEADER_BYTES, kind,
            parts::{self, Assembly, PART_BYTES},
        },
    },
};
use agentos_sdk::{Handler, Invocation, Registrar};
use anyhow::{Result, bail};
use bytes::Bytes;
use std::sync::Arc;

use crate::harness::{Engine, Heard, V2};

/// As large as a message may be, but for what is said around the payload.
const LARGEST_BYTES: usize = (64 << 20) - 1024;

/// More than two sockets hold between them.
const LARGE_BYTES: usize = 32 << 20;

struct Echo;

impl Handler for Echo {
    fn start(&self, invocation: Invocation) {
        let payload = invocation.payload().clone();
        invocation.reply(Ok(payload));
    }
}

/// A hand-made client that takes parts.
async fn connect(engine: &Engine, name: &str) -> Result<V2> {
    let mut client = V2::open(engine, "agentos.v2").await?;
    let hello = Hello {
        name: name.to_owned(),
        token: Some(engine.token.clone()),
        features: vec![parts::FEATURE.to_owned()],
        ..Hello::default()
    };
    client.say(&Frame::Hello(Box::new(hello))).await?;
    match client.hear_frame().await? {
        Frame::Welcome(welcome) if welcome.features.iter().any(|f| f == parts::FEATURE) => {
            Ok(client)
        }
        other => bail!("expected a welcome that speaks of parts, heard {other:?}"),
    }
}

async fn offer(client: &mut V2, function: &str) -> Result<()> {
    let register = Register {
        request: 1,
        functions: vec![FunctionSpec::new(function)],
        ..Register::default()
    };
    client.say(&Frame::Register(Box::new(register))).await?;
    match client.hear_frame().await? {
        Frame::Registered { rejected, .. } if rejected.is_empty() => Ok(()),
        other => bail!("expected a registration, heard {other:?}"),
    }
}

fn call(number: u64, function: &str, payload: Payload) -> Frame {
    let number = Some(CallRef::Number(number));
    Frame::Call(Box::new(Call::new(number, function, payload)))
}

/// The parts of `frame`.
fn in_parts(number: u64, frame: &Frame, part_bytes: usize) -> Result<Vec<Bytes>> {
    let mut message = Draft::default();
    v2::write(frame, &mut message)?;
    let starts = (0..message.len()).step_by(part_bytes);
    Ok(starts
        .map(|at| {
            let mut out = Draft::flat();
            let len = part_bytes.min(message.len() - at);
            parts::write(number, &message, at, len, &mut out);
            out.into_bytes()
        })
        .collect())
}

async fn hear_bytes(client: &mut V2) -> Result<Bytes> {
    match client.hear().await? {
        Heard::Binary(bytes) => Ok(bytes),
        other => bail!("expected a message, heard {other:?}"),
    }
}

#[tokio::test]
async fn small_calls_pass_one_of_64_mib_on_the_same_connection() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("echo").await?;
    let mut registrar = Registrar::new();
    registrar.handler(FunctionSpec::new("large::echo"), Arc::new(Echo));
    worker.register(registrar).await?;
    let client = engine.worker("caller").await?;
    let bus = client.bus();
    let body = Bytes::from(vec![7; LARGEST_BYTES]);
    let large = bus
        .call("large::echo")
        .send_payload(Payload::binary(body.clone()));
    tokio::pin!(large);
    let mut passed = 0;
    let answer = loop {
        let small = bus.call("large::echo").send_payload(Payload::json("1"));
        tokio::select! {
            biased;
            answer = &mut large => break answer?,
            answer = small => assert_eq!(answer?, Payload::json("1")),
        }
        passed += 1;
    };
    assert_eq!(answer.len(), body.len());
    assert_eq!(answer, Payload::binary(body));
    // Behind it, at most the one that was called first would have been heard.
    assert!(passed > 4, "{passed} calls have passed the large one");
    Ok(())
}

#[tokio::test]
async fn a_worker_hears_of_a_small_call_before_the_rest_of_a_large_one() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = connect(&engine, "worker").await?;
    offer(&mut worker, "part::take").await?;
    let mut caller = connect(&engine, "caller").await?;
    let large = call(1, "part::take", Payload::binary(vec![1; LARGE_BYTES]));
    for part in in_parts(5, &large, PART_BYTES)? {
        caller.say_bytes(part).await?;
    }
    caller
        .say(&call(2, "part::take", Payload::json("2")))
        .await?;
    // Whoever hears the pong knows that both calls are on their way.
    caller.say(&Frame::Ping).await?;
    assert_eq!(caller.hear_frame().await?, Frame::Pong);

    let mut assembly = Assembly::new(2 * LARGE_BYTES);
    let mut order = Vec::new();
    while order.len() < 2 {
        let message = hear_bytes(&mut worker).await?;
        let whole = if parts::is_part(&message) {
            assembly.add(&message)?
        } else {
            Some(message)
        };
        let Some(whole) = whole else { continue };
        let Frame::Call(call) = v2::decode(&whole)? else {
            bail!("expected a call");
        };
        order.push(call.payload.len());
        let reference = call.call.expect("calls are numbered");
        let reply = Frame::Reply {
            call: reference,
            function: "".into(),
            outcome: Ok(call.payload),
        };
        // Back in parts of another size.
        if order.len() == 2 {
            for part in in_parts(1, &reply, 1 << 20)? {
                worker.say_bytes(part).await?;
            }
        }
    }
    assert_eq!(order, [1, LARGE_BYTES]);
    let mut assembly = Assembly::new(2 * LARGE_BYTES);
    loop {
        if let Some(whole) = assembly.add(&hear_bytes(&mut caller).await?)? {
            assert_eq!(parts::call_of(&whole), Some(1));
            assert_eq!(whole.len(), HEADER_BYTES + LARGE_BYTES);
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_client_that_knows_no_parts_gets_whole_messages() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = V2::connect(&engine, "old").await?;
    offer(&mut worker, "old::take").await?;
    let mut caller = V2::connect(&engine, "caller").await?;
    let payload = Payload::binary(vec![1; 1 << 20]);
    caller.say(&call(1, "old::take", payload.clone())).await?;
    let Frame::Call(came) = worker.hear_frame().await? else {
        bail!("expected a call");
    };
    assert_eq!(came.payload, payload);
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_cancelled_half_way_is_abandoned() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = connect(&engine, "worker").await?;
    offer(&mut worker, "part::never").await?;
    let mut caller = connect(&engine, "caller").await?;
    let large = call(1, "part::never", Payload::binary(vec![1; LARGE_BYTES]));
    for part in in_parts(5, &large, PART_BYTES)? {
        caller.say_bytes(part).await?;
    }
    let number = CallRef::Number(1);
    caller.say(&Frame::Cancel { call: number }).await?;
    let Frame::Reply {
        outcome: Err(error),
        ..
    } = caller.hear_frame().await?
    else {
        bail!("expected an end");
    };
    assert_eq!(error.code, Code::Cancelled);
    // The worker is told that the rest does not come, and then of another call.
    caller
        .say(&call(2, "part::never", Payload::json("2")))
        .await?;
    let mut assembly = Assembly::new(2 * LARGE_BYTES);
    loop {
        let message = hear_bytes(&mut worker).await?;
        if parts::is_part(&message) {
            assert_eq!(assembly.add(&message)?, None, "the call has been cancelled");
            continue;
        }
        assert_eq!(message[0], kind::CALL);
        assert_eq!(assembly.bytes(), 0);
        return Ok(());
    }
}

#[tokio::test]
async fn wrong_parts_are_answered_and_the_session_goes_on() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = connect(&engine, "careless").await?;
    offer(&mut client, "part::echo").await?;
    let large = call(1, "part::echo", Payload::binary(vec![1; 3000]));
    let good = in_parts(9, &large, 1000)?;
    let first = || good[0].to_vec();
    let with = |mut part: Vec<u8>, at: usize, byte: u8| {
        part[at] = byte;
        part
    };
    let rows: [(&[Vec<u8>], &str); 7] = [
        (&[good[1].to_vec()], "has not begun"),
        (&[first(), first()], "begins a second time"),
        (&[first(), good[2].to_vec()], "goes on at byte 2000"),
        (&[with(first(), 1, 77)], "unknown flags"),
        (&[with(first(), HEADER_BYTES, kind::HELLO)], "only calls"),
        (&[with(first(), HEADER_BYTES, kind::PART)], "only calls"),
        (&[first()[..HEADER_BYTES].to_vec()], "only calls"),
    ];
    for (messages, expect) in rows {
        for message in messages {
            client.say_bytes(message.clone().into()).await?;
        }
        let Frame::Fault(error) = client.hear_frame().await? else {
            bail!("expected a fault");
        };
        assert_eq!(error.code, Code::InvalidFrame);
        assert!(error.message.contains(expect), "{error}");
    }
    for part in good {
        client.say_bytes(part).await?;
    }
    let Frame::Call(came) = client.hear_frame().await? else {
        bail!("expected the call");
    };
    assert_eq!(came.payload, Payload::binary(vec![1; 3000]));
    Ok(())
}

#[tokio::test]
async fn a_message_announced_too_large_ends_its_session() -> Result<()> {
    let engine = Engine::start("limits: { message_bytes_max: 100000 }", &["--no-workers"]).await?;
    let mut client = connect(&engine, "huge").await?;
    let large = call(1, "f", Payload::binary(vec![1; 200_000]));
    client
        .say_bytes(in_parts(1, &large, 1000)?.swap_remove(0))
        .await?;
    let Frame::Fault(error) = client.hear_frame().await? else {
        bail!("expected a fault");
    };
    assert_eq!(error.code, Code::PayloadTooLarge);
    assert!(matches!(client.hear().await?, Heard::Closed(Some(1009))));
    Ok(())
}
