//! Calls between workers of the Rust SDK, over the socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agentos_sdk::{Client, Code, Context, Error, Registrar, Sink};
use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};

use crate::harness::{Engine, Iii, PATIENCE, eventually};

#[tokio::test]
async fn typed_calls_and_errors_that_name_the_field() -> Result<()> {
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "read through its schema")]
    struct Pair {
        a: i64,
        b: i64,
    }
    let engine = Engine::bare().await?;
    let worker = engine.worker("math").await?;
    let mut registrar = Registrar::new();
    registrar
        .function(
            "math::add",
            |_, input: std::collections::BTreeMap<String, i64>| async move {
                Ok(input.values().sum::<i64>())
            },
        )
        .input_schema(schemars::schema_for!(Pair).to_value())
        .describe("adds");
    worker.register(registrar).await?;
    let caller = engine.worker("caller").await?;
    assert_eq!(
        caller
            .trigger::<i64>("math::add", &json!({ "a": 2, "b": 3 }))
            .await?,
        5
    );
    let wrong = caller
        .trigger::<i64>("math::add", &json!({ "a": "two" }))
        .await
        .expect_err("not a number");
    assert_eq!(
        (wrong.code, wrong.details),
        (Code::InvalidInput, Some(json!({ "field": "a" })))
    );
    let missing = caller
        .trigger::<i64>("math::subtract", &())
        .await
        .expect_err("nobody offers it");
    assert_eq!(missing.code, Code::NotFound);
    assert!(missing.message.contains("math::subtract"), "{missing}");

    let list: Value = caller
        .trigger("engine::functions::list", &json!({ "prefix": "math::" }))
        .await?;
    let function = &list["functions"][0];
    assert_eq!(
        (
            &function["function_id"],
            &function["worker_name"],
            &function["description"]
        ),
        (&json!("math::add"), &json!("math"), &json!("adds"))
    );
    assert_eq!(function["request_format"]["required"], json!(["a", "b"]));
    Ok(())
}

#[tokio::test]
async fn functions_disappear_with_their_worker() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("guest").await?;
    worker
        .function("guest::hi", |_, (): ()| async { Ok("hi") })
        .await?;
    let caller = engine.worker("caller").await?;
    assert_eq!(caller.trigger::<String>("guest::hi", &()).await?, "hi");
    worker.close().await;
    let gone = eventually("the function goes away", || async {
        caller
            .trigger::<String>("guest::hi", &())
            .await
            .err()
            .filter(|error| error.code == Code::NotFound)
    });
    gone.await?;
    Ok(())
}

/// A function that says when it starts, and when it is dropped.
async fn hanging(worker: &Client, id: &str) -> Result<(Arc<Notify>, Arc<AtomicUsize>)> {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (tell, count) = (Arc::clone(&started), Arc::clone(&dropped));
    let hang = move |_: Context, _: Value| {
        let (tell, count) = (Arc::clone(&tell), Count(Arc::clone(&count)));
        async move {
            let _count = count;
            tell.notify_one();
            std::future::pending::<()>().await;
            Ok(())
        }
    };
    worker.function(id, hang).await?;
    Ok((started, dropped))
}

async fn is_dropped(dropped: &AtomicUsize, times: usize) -> Result<()> {
    eventually("the handler is dropped", || async {
        (dropped.load(Ordering::SeqCst) == times).then_some(())
    })
    .await
}

#[tokio::test]
async fn deadlines_cancel_the_handler() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("slow").await?;
    let (_, dropped) = hanging(&worker, "slow::hang").await?;
    let caller = engine.worker("caller").await?;
    let began = Instant::now();
    let call = caller
        .bus()
        .call("slow::hang")
        .timeout(Duration::from_millis(200));
    let late = call.send::<Value>(&()).await.expect_err("it hangs");
    assert_eq!(late.code, Code::Timeout);
    assert!(began.elapsed() < PATIENCE);
    is_dropped(&dropped, 1).await
}

#[tokio::test]
async fn dropping_a_call_cancels_the_handler_across_a_nested_call() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("slow").await?;
    let (started, dropped) = hanging(&worker, "slow::hang").await?;
    let middle = engine.worker("middle").await?;
    middle
        .function(
            "middle::pass",
            |context: Context, input: Value| async move {
                context.trigger::<Value>("slow::hang", &input).await
            },
        )
        .await?;
    let caller = engine.worker("caller").await?;
    let call = tokio::spawn(async move { caller.trigger::<Value>("middle::pass", &()).await });
    started.notified().await;
    call.abort();
    is_dropped(&dropped, 1).await
}

#[tokio::test]
async fn a_caller_that_vanishes_cancels_the_handler() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("slow").await?;
    let (started, dropped) = hanging(&worker, "slow::hang").await?;
    let mut caller = Iii::connect(&engine).await?;
    caller.say(&json!({ "type": "invokefunction", "invocation_id": "c", "function_id": "slow::hang", "data": null })).await?;
    started.notified().await;
    drop(caller);
    is_dropped(&dropped, 1).await
}

#[tokio::test]
async fn void_calls_return_at_once_and_failures_show_in_the_log() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("void").await?;
    let (tell, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, hear) = (Arc::clone(&tell), Arc::clone(&heard));
    let handler = move |_: Context, _: Value| {
        let (told, hear) = (Arc::clone(&told), Arc::clone(&hear));
        async move {
            told.notified().await;
            hear.notify_one();
            Err::<(), _>(Error::worker(Code::Failed, "the void stares back"))
        }
    };
    worker.function("void::stare", handler).await?;
    worker.bus().call("void::stare").void(&json!(1))?;
    tell.notify_one();
    heard.notified().await;
    eventually("the failure shows", || async {
        engine.log().contains("the void stares back").then_some(())
    })
    .await
}

fn counter(registrar: &mut Registrar, sent: &Arc<AtomicUsize>) {
    let sent = Arc::clone(sent);
    registrar.streaming("count::to", move |_, to: u64, sink: Arc<Mutex<Sink>>| {
        let sent = Arc::clone(&sent);
        async move {
            for number in 1..=to {
                sink.lock().await.send(&number).await?;
                sent.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    });
}

#[tokio::test]
async fn streams_arrive_in_order_and_wait_for_slow_readers() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("count").await?;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut registrar = Registrar::new();
    counter(&mut registrar, &sent);
    worker.register(registrar).await?;
    let caller = engine.worker("caller").await?;

    let mut stream = caller.bus().call("count::to").stream(&1_000)?;
    assert_eq!(stream.next_as::<u64>().await?, Some(1));
    eventually("the window fills", || async {
        (sent.load(Ordering::SeqCst) == 64).then_some(())
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        sent.load(Ordering::SeqCst),
        64,
        "more was sent than the reader has granted"
    );
    for expected in 2..=1_000 {
        assert_eq!(stream.next_as::<u64>().await?, Some(expected));
    }
    assert_eq!(stream.next_as::<u64>().await?, None);
    assert!(stream.finish().await?.is_null());

    let collected: Vec<u64> = caller.trigger("count::to", &5).await?;
    assert_eq!(collected, [1, 2, 3, 4, 5]);
    let mut json_dialect = Iii::connect(&engine).await?;
    assert_eq!(
        json_dialect.call("count::to", json!(3)).await?["result"],
        json!([1, 2, 3])
    );
    Ok(())
}

#[tokio::test]
async fn dropping_a_stream_stops_its_function() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("count").await?;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut registrar = Registrar::new();
    counter(&mut registrar, &sent);
    worker.register(registrar).await?;
    let caller = engine.worker("caller").await?;
    let mut stream = caller.bus().call("count::to").stream(&1_000_000)?;
    stream.next().await;
    drop(stream);
    eventually("the function stops", || async {
        (worker.bus().peer().running() == 0).then_some(())
    })
    .await?;
    assert!(sent.load(Ordering::SeqCst) <= 65);
    Ok(())
}

#[tokio::test]
async fn two_workers_share_and_the_survivor_takes_over() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut workers = Vec::new();
    for name in ["one", "two"] {
        let worker = engine.worker("pool").await?;
        worker
            .function("pool::who", move |_, (): ()| async move { Ok(name) })
            .await?;
        workers.push(worker);
    }
    let caller = engine.worker("caller").await?;
    let mut counts = [0, 0];
    for _ in 0..1_000 {
        let who: String = caller.trigger("pool::who", &()).await?;
        counts[usize::from(who == "two")] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 400), "{counts:?}");
    workers.pop().expect("two").close().await;
    for _ in 0..100 {
        assert_eq!(caller.trigger::<String>("pool::who", &()).await?, "one");
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_that_dies_fails_its_calls_at_once() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    worker
        .say(&json!({ "type": "registerfunction", "id": "mortal::one" }))
        .await?;
    worker.say(&json!({ "type": "ping" })).await?;
    worker.hear_text().await?;
    let caller = engine.worker("caller").await?;
    let call = tokio::spawn(async move { caller.trigger::<Value>("mortal::one", &()).await });
    worker.hear_text().await?;
    drop(worker);
    let lost = call.await?.expect_err("it died");
    assert_eq!((lost.code, lost.retryable), (Code::WorkerLost, true));
    Ok(())
}

#[tokio::test]
async fn clients_reconnect_and_say_everything_again() -> Result<()> {
    let engine = Engine::bare().await?;
    let port = engine.url.rsplit(':').next().expect("a port").to_owned();
    let worker = engine.worker("faithful").await?;
    worker
        .function("faithful::here", |_, (): ()| async { Ok("here") })
        .await?;
    let folder = engine.kill()?;
    let engine = Engine::start_in(folder, "", &["--no-workers", "--bus-port", &port]).await?;
    let caller = engine.worker("caller").await?;
    eventually("the worker is back", || async {
        caller.trigger::<String>("faithful::here", &()).await.ok()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn ten_thousand_calls_at_once() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("echo").await?;
    worker
        .function("echo::back", |_, number: u64| async move { Ok(number) })
        .await?;
    let caller = engine.worker("caller").await?;
    let calls = (0..10_000_u64).map(|number| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.trigger::<u64>("echo::back", &number).await })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await??, number as u64);
    }
    Ok(())
}

#[tokio::test]
async fn large_payloads_and_odd_numbers_survive() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("echo").await?;
    worker
        .function("echo::back", |_, value: Value| async move { Ok(value) })
        .await?;
    let caller = engine.worker("caller").await?;
    let odd = json!({ "big": 9_007_199_254_740_993_u64, "min": i64::MIN, "text": "\u{2028}\u{0}\"\\ é 🦀", "none": null });
    assert_eq!(caller.trigger::<Value>("echo::back", &odd).await?, odd);
    let large = "x".repeat(20 << 20);
    assert_eq!(caller.trigger::<String>("echo::back", &large).await?, large);
    Ok(())
}
