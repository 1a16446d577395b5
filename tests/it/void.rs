//! Void calls: nobody waits for them, and still the engine knows who is busy with them.

use agentos_protocol::{
    Call, CallRef, Delivery, Frame, FunctionSpec, Payload, Register,
    codec::{
        Draft,
        v2::{done, kind},
    },
};
use agentos_sdk::Client;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{Engine, V2, eventually};

/// How many calls the worker of this name is busy with, as the engine sees it.
async fn busy(client: &Client, name: &str) -> Result<u64> {
    let list: Value = client.trigger("engine::workers::list", &json!({})).await?;
    let workers = list["workers"].as_array().context("a list")?;
    let worker = workers.iter().find(|worker| worker["name"] == name);
    worker.context("it is listed")?["active_invocations"]
        .as_u64()
        .context("a number")
}

fn call(number: Option<u64>, delivery: Delivery) -> Frame {
    let number = number.map(CallRef::Number);
    let mut call = Call::new(number, "void::take", Payload::json("1"));
    call.delivery = delivery;
    Frame::Call(Box::new(call))
}

async fn number_of_call(worker: &mut V2) -> Result<u64> {
    match worker.hear_frame().await? {
        Frame::Call(call) => call
            .call
            .and_then(|number| number.number())
            .context("calls are numbered"),
        other => bail!("expected a call, heard {other:?}"),
    }
}

fn done(calls: &[u64]) -> Bytes {
    let mut message = Draft::flat();
    done::write(calls, &mut message);
    message.into_bytes()
}

/// A hand-made worker that takes calls and has not answered any.
async fn worker(engine: &Engine) -> Result<V2> {
    let mut worker = V2::connect(engine, "taker").await?;
    let register = Register {
        request: 1,
        functions: vec![FunctionSpec::new("void::take")],
        ..Register::default()
    };
    worker.say(&Frame::Register(Box::new(register))).await?;
    match worker.hear_frame().await? {
        Frame::Registered { .. } => Ok(worker),
        other => bail!("expected a registration, heard {other:?}"),
    }
}

#[tokio::test]
async fn one_message_ends_many_void_calls_and_no_other() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = worker(&engine).await?;
    let mut caller = V2::connect(&engine, "caller").await?;
    let watcher = engine.worker("watcher").await?;
    let mut void = Vec::new();
    for _ in 0..5 {
        caller.say(&call(None, Delivery::Void)).await?;
        void.push(number_of_call(&mut worker).await?);
    }
    caller.say(&call(Some(7), Delivery::Reply)).await?;
    let awaited = number_of_call(&mut worker).await?;
    assert_eq!(busy(&watcher, "taker").await?, 6);

    // Doubled, foreign and awaited numbers end nothing.
    let numbers = [void[0], void[1], void[1], u64::MAX, awaited];
    worker.say_bytes(done(&numbers)).await?;
    worker.say(&Frame::Ping).await?;
    assert_eq!(worker.hear_frame().await?, Frame::Pong);
    assert_eq!(busy(&watcher, "taker").await?, 4);

    worker.say_bytes(done(&void)).await?;
    let reply = |call| Frame::Reply {
        call: CallRef::Number(call),
        function: "".into(),
        outcome: Ok(Payload::json("2")),
    };
    worker.say(&reply(awaited)).await?;
    assert_eq!(caller.hear_frame().await?, reply(7));
    assert_eq!(busy(&watcher, "taker").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_list_of_done_calls_that_is_none_is_answered() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = worker(&engine).await?;
    let whole = done(&[1]);
    let crumbs = whole.slice(..whole.len() - 1);
    for wrong in [done(&[]), crumbs, Bytes::from_static(&[kind::DONE])] {
        worker.say_bytes(wrong).await?;
        assert!(matches!(worker.hear_frame().await?, Frame::Fault(_)));
    }
    Ok(())
}

#[tokio::test]
async fn workers_of_the_sdk_tell_of_void_calls_that_went_well_and_of_those_that_did_not()
-> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("counter").await?;
    worker
        .function("void::count", |_, number: u64| async move {
            if number == 13 {
                let error = agentos_sdk::Error::worker(agentos_sdk::Code::Failed, "thirteen");
                return Err(error);
            }
            Ok(number)
        })
        .await?;
    let client = engine.worker("caller").await?;
    // Fewer than make a message of their own, and more.
    for count in [3, 300] {
        for number in 0..count {
            client.bus().call("void::count").void(&number)?;
        }
        eventually("all have ended", || async {
            let busy = busy(&client, "counter").await;
            busy.is_ok_and(|busy| busy == 0).then_some(())
        })
        .await?;
    }
    eventually("the failure is told", || async {
        engine.log().contains("thirteen").then_some(())
    })
    .await
}
