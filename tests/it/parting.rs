//! A worker that is taken out for good, or to come back: what it is told, in both dialects.

use std::sync::Arc;

use agentos_protocol::codec::CLOSE_STOP;
use agentos_sdk::{Client, Code, Context, Registrar, Sink};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use crate::harness::{Engine, Heard, Iii, V2, eventually};

/// A worker `guest` with a stream that goes on for as long as `gate` is closed.
async fn guest(engine: &Engine, gate: &Arc<Semaphore>) -> Result<Client> {
    let worker = engine.worker("guest").await?;
    let gate = Arc::clone(gate);
    let mut offers = Registrar::new();
    offers.streaming(
        "guest::tell",
        move |_: Context, (): (), sink: Arc<Mutex<Sink>>| {
            let gate = Arc::clone(&gate);
            async move {
                let mut sink = sink.lock().await;
                sink.send("first").await?;
                let _ = gate.acquire().await;
                sink.send("last").await?;
                Ok(json!(null))
            }
        },
    );
    worker.register(offers).await?;
    Ok(worker)
}

async fn id_of(caller: &Client, name: &str) -> Option<String> {
    let list: Value = caller.trigger("engine::workers::list", &()).await.ok()?;
    let mut workers = list["workers"].as_array()?.iter();
    let found = workers.find(|worker| worker["name"] == name)?;
    Some(found["id"].as_str()?.to_owned())
}

async fn drain(caller: &Client, id: &str, then: &str) -> Result<Value, agentos_sdk::Error> {
    let wanted = json!({ "worker_id": id, "then": then });
    caller.trigger("engine::workers::drain", &wanted).await
}

#[tokio::test]
async fn a_stream_ends_before_its_worker_is_told_to_come_back_or_to_stay_away() -> Result<()> {
    for then in ["reconnect", "stop"] {
        let engine = Engine::bare().await?;
        let (caller, gate) = (engine.worker("caller").await?, Arc::new(Semaphore::new(0)));
        let guest = guest(&engine, &gate).await?;
        let id = id_of(&caller, "guest").await.context("it is listed")?;
        let mut stream = caller.bus().call("guest::tell").stream(&())?;
        assert_eq!(stream.next_as::<String>().await?.as_deref(), Some("first"));
        let draining = {
            let (caller, id) = (caller.clone(), id.clone());
            tokio::spawn(async move { drain(&caller, &id, then).await })
        };
        let withdrawn = || async {
            let wanted = json!({ "prefix": "guest::" });
            let offered = caller.trigger::<Value>("engine::functions::list", &wanted);
            let offered = offered.await.ok()?;
            offered["functions"].as_array()?.is_empty().then_some(())
        };
        eventually("nothing new comes to it", withdrawn).await?;
        ensure!(!draining.is_finished(), "its stream goes on");
        gate.close();
        assert_eq!(stream.next_as::<String>().await?.as_deref(), Some("last"));
        stream.finish().await?;
        assert_eq!(draining.await??["outcome"], "finished");
        if then == "stop" {
            // It serves no more, as if it had been told to end.
            guest.serve().await?;
            eventually("it stays away", || async {
                id_of(&caller, "guest").await.is_none().then_some(())
            })
            .await?;
            continue;
        }
        let back = || async { id_of(&caller, "guest").await.filter(|now| *now != id) };
        eventually("it is there again, as new", back).await?;
        let told: Vec<String> = caller.trigger("guest::tell", &()).await?;
        assert_eq!(told, ["first", "last"]);
    }
    Ok(())
}

#[tokio::test]
async fn the_code_says_what_to_do() -> Result<()> {
    for (then, code) in [("reconnect", 1012), ("stop", CLOSE_STOP)] {
        let engine = Engine::bare().await?;
        let caller = engine.worker("caller").await?;
        let mut guest = V2::connect(&engine, "guest").await?;
        let id = id_of(&caller, "guest").await.context("it is listed")?;
        assert_eq!(drain(&caller, &id, then).await?["outcome"], "finished");
        let heard = guest.hear().await?;
        ensure!(
            matches!(heard, Heard::Closed(Some(closed)) if closed == code),
            "{then}: {heard:?}"
        );
    }
    Ok(())
}

/// A worker of iii of this version.
async fn iii(engine: &Engine, version: &str) -> Result<Iii> {
    let mut worker = Iii::connect(engine).await?;
    let about = json!({ "runtime": "node", "version": version, "name": "guest" });
    worker.call("engine::workers::register", about).await?;
    Ok(worker)
}

/// No SDK of iii goes away for a close code, and one of them stays away from all but some: who knows
/// `registrationrejected` is told so, and of the others nothing is asked that they cannot do.
#[tokio::test]
async fn workers_of_iii_come_back_or_are_told_that_their_place_is_taken() -> Result<()> {
    for (version, then) in [
        ("0.11.6", "reconnect"),
        ("0.23.0", "reconnect"),
        ("0.23.0", "stop"),
    ] {
        let engine = Engine::bare().await?;
        let caller = engine.worker("caller").await?;
        let mut guest = iii(&engine, version).await?;
        let id = id_of(&caller, "guest").await.context("it is listed")?;
        assert_eq!(drain(&caller, &id, then).await?["outcome"], "finished");
        if then == "stop" {
            let told = guest.hear_text().await?;
            assert_eq!(told["type"], "registrationrejected");
            assert_eq!(told["code"], "WORKER_NAMESPACE_CONFLICT");
        }
        let heard = guest.hear().await?;
        ensure!(
            matches!(heard, Heard::Closed(Some(1012))),
            "{version}, {then}: {heard:?}"
        );
    }
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    let mut guest = iii(&engine, "0.11.6").await?;
    let id = id_of(&caller, "guest").await.context("it is listed")?;
    let refused = drain(&caller, &id, "stop").await.expect_err("it cannot be");
    assert_eq!(refused.code, Code::Unsupported);
    ensure!(refused.message.contains("end its process"), "{refused}");
    guest.hears_nothing().await
}
