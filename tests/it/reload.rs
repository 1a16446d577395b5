//! The settings file changes while the engine runs: what changed goes by it, and nothing else notices.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use agentos_sdk::{Client, Error, Registrar};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    harness::{Engine, Heard, Iii, eventually},
    supervised::WIRE,
};

/// A program that says where it runs and stays.
const WORKER: &str = include_str!("supervised/worker.py");

/// Puts a new file in the place of the old one, as editors do.
fn write(folder: &Path, config: &str) -> Result<()> {
    let new = folder.join("config.yaml.new");
    fs::write(&new, config)?;
    Ok(fs::rename(new, folder.join("config.yaml"))?)
}

/// Changes the file and waits until the log says `line` once more.
async fn change(engine: &Engine, config: &str, line: &str) -> Result<()> {
    let count = || engine.log().matches(line).count();
    let before = count();
    write(engine.folder.path(), config)?;
    eventually(line, async || (count() > before).then_some(())).await
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Binds a function to events.
async fn bind(client: &Client, kind: &str, function: &str, config: Value) -> Result<()> {
    let mut registrar = Registrar::new();
    registrar.trigger(kind, function, config);
    Ok(client.register(registrar).await?)
}

/// A worker with a function that hangs until it is told to go on.
struct Slow {
    client: Client,
    begun: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Slow {
    async fn new(engine: &Engine) -> Result<Self> {
        let (tell, begun) = mpsc::channel(8);
        let client = engine.worker("slow").await?;
        client
            .function("slow::run", move |_, _: Value| {
                let tell = tell.clone();
                async move {
                    let (go, gone) = oneshot::channel();
                    // The test has ended otherwise.
                    let _ = tell.send(go).await;
                    let _ = gone.await;
                    Ok::<_, Error>(json!({ "body": "done" }))
                }
            })
            .await?;
        Ok(Slow { client, begun })
    }

    /// Waits until the function is called; what comes back lets it end.
    async fn begun(&mut self) -> Result<oneshot::Sender<()>> {
        let begun = tokio::time::timeout(crate::harness::PATIENCE, self.begun.recv());
        begun.await?.context("the worker is there")
    }
}

#[tokio::test]
async fn http_moves_and_its_requests_come_to_their_end() -> Result<()> {
    let (first, second, stream) = (free_port()?, free_port()?, free_port()?);
    let config = |port: u16, more: &str| {
        format!(
            "listen: {{ bus: {{ port: 0 }}, http: {{ port: {port} }}, stream: {{ port: {stream} }} }}\n{more}"
        )
    };
    let folder = tempfile::tempdir()?;
    let engine = Engine::start_as(folder, &config(first, ""), &["--no-workers"], &[]).await?;
    let mut slow = Slow::new(&engine).await?;
    let route = json!({ "api_path": "/slow" });
    bind(&slow.client, "http", "slow::run", route).await?;
    let there = |port: u16, path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let client = reqwest::Client::builder().no_proxy().build();
        client.map(|client| client.get(url).bearer_auth(&engine.token))
    };
    let running = tokio::spawn(there(first, "/slow")?.send());
    let go = slow.begun().await?;

    let moved = config(second, "");
    change(&engine, &moved, "goes by its new settings").await?;
    let live = there(second, "/health/live")?.send().await?;
    assert_eq!(live.status(), 200);
    // The route came along.
    let again = tokio::spawn(there(second, "/slow")?.send());
    drop(slow.begun().await?);
    assert_eq!(again.await??.status(), 200);
    eventually("the old port is closed", async || {
        TcpListener::bind(("127.0.0.1", first)).ok()
    })
    .await?;
    let _ = go.send(());
    let response = running.await??;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await?, json!("done"));
    // Whoever looks for the engine finds the new place.
    let status: Value = slow.client.trigger("engine::status", &()).await?;
    assert_eq!(status["http"], format!("http://127.0.0.1:{second}"));
    let note = fs::read(engine.folder.path().join("data/engine.json"))?;
    let note: Value = serde_json::from_slice(&note)?;
    assert_eq!(note["http"], status["http"]);

    // Where it stays, what pages may do changes from one request to the next.
    let page = "https://app.example.org";
    let asked = || async { there(second, "/none")?.header("origin", page).send().await };
    assert_eq!(asked().await?.status(), 403);
    let open = config(
        second,
        "http: { cors: { allowed_origins: ['https://app.example.org'] } }",
    );
    change(&engine, &open, "goes by its new settings").await?;
    let response = asked().await?;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["access-control-allow-origin"], page);
    Ok(())
}

const LISTED: &str = "
workers:
  - { name: iii-state, config: { adapter: { name: kv, config: { store_method: in_memory } } } }
  - name: iii-pubsub
";

const SHORTER: &str = "
workers:
  - { name: iii-state, config: { adapter: { name: kv, config: { store_method: in_memory } } } }
";

#[tokio::test]
async fn a_module_of_iii_is_switched_off_and_on() -> Result<()> {
    let engine = Engine::start(LISTED, &["--auth", "token"]).await?;
    let mut slow = Slow::new(&engine).await?;
    let client = engine.worker("caller").await?;
    let (tell, mut heard) = mpsc::channel(8);
    client
        .function("news::hear", move |_, news: Value| {
            let tell = tell.clone();
            async move {
                let _ = tell.send(news).await;
                Ok::<_, Error>(())
            }
        })
        .await?;
    let topic = json!({ "topic": "news" });
    bind(&client, "subscribe", "news::hear", topic).await?;
    let publish = json!({ "topic": "news", "data": 1 });
    client.trigger::<Value>("publish", &publish).await?;
    assert_eq!(heard.recv().await, Some(json!(1)));
    let set = json!({ "scope": "s", "key": "k", "value": "only in memory" });
    client.trigger::<Value>("state::set", &set).await?;
    let calling = client.clone();
    let running = tokio::spawn(async move { calling.trigger::<Value>("slow::run", &()).await });
    let go = slow.begun().await?;

    change(&engine, SHORTER, "does not ask for it any more").await?;
    let gone = client.trigger::<Value>("publish", &publish).await;
    assert_eq!(gone.unwrap_err().code, agentos_sdk::Code::NotFound);
    change(&engine, LISTED, "it is new in the settings file").await?;
    // Its subscribers have waited for it.
    client.trigger::<Value>("publish", &publish).await?;
    assert_eq!(heard.recv().await, Some(json!(1)));
    // Nobody else has noticed.
    let get = json!({ "scope": "s", "key": "k" });
    let kept: Value = client.trigger("state::get", &get).await?;
    assert_eq!(kept, json!("only in memory"));
    let _ = go.send(());
    assert_eq!(running.await??, json!({ "body": "done" }));
    // What it has does not move to another place by itself.
    let files = LISTED.replace("in_memory", "file_based");
    change(&engine, &files, "keeps what it has where it did").await?;
    let kept: Value = client.trigger("state::get", &get).await?;
    assert_eq!(kept, json!("only in memory"));
    Ok(())
}

#[tokio::test]
async fn a_bridge_gets_a_successor() -> Result<()> {
    let there = Engine::bare().await?;
    let mut slow = Slow::new(&there).await?;
    let config = |more: &str| {
        format!(
            "bridge:\n  url: {}/?token={}\n  forward:\n    - {{ local_function: far::slow, remote_function: slow::run }}\n{more}",
            there.url, there.token
        )
    };
    let here = Engine::start("", &["--no-workers"]).await?;
    let client = here.worker("caller").await?;
    change(&here, &config(""), "it is new in the settings file").await?;
    let calling = client.clone();
    let running = tokio::spawn(async move { calling.trigger::<Value>("far::slow", &()).await });
    let go = slow.begun().await?;
    let more = "    - { local_function: far::status, remote_function: engine::status }\n";
    change(&here, &config(more), "goes by its new settings").await?;
    let status: Value = client.trigger("far::status", &()).await?;
    assert_eq!(status["url"], there.url);
    let _ = go.send(());
    assert_eq!(running.await??, json!({ "body": "done" }));
    change(&here, "", "does not ask for it any more").await?;
    let gone = client.trigger::<Value>("far::status", &()).await;
    assert_eq!(gone.unwrap_err().code, agentos_sdk::Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn a_cron_job_runs_on_under_new_settings() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut slow = Slow::new(&engine).await?;
    let every = json!({ "expression": "* * * * * *" });
    bind(&slow.client, "cron", "slow::run", every).await?;
    let first = slow.begun().await?;
    change(
        &engine,
        "cron: { late_ms_max: 1000, runs_max: 2 }",
        "part=cron",
    )
    .await?;
    // The run that was under way is finished by the one who began it, and nobody runs the job beside
    // it.
    let _ = first.send(());
    let done = async || {
        let jobs: Value = slow.client.trigger("cron::list", &json!({})).await.ok()?;
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs}");
        (jobs["jobs"][0]["last_run"]["outcome"] == "done").then_some(())
    };
    eventually("the first run is on record", done).await?;
    drop(slow.begun().await?);
    drop(slow.begun().await?);
    Ok(())
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_says_where_it_is_wrong() -> Result<()> {
    let engine = Engine::start("state: { value_bytes_max: 100 }\n", &["--no-workers"]).await?;
    let client = engine.worker("caller").await?;
    let long = json!({ "scope": "s", "key": "k", "value": "x".repeat(200) });
    let set = async || client.trigger::<Value>("state::set", &long).await;
    assert!(set().await.is_err());
    let wrong = "state:\n  value_bytes_max: 1000\n  value_byte_max: 1\n";
    let fault =
        "config.yaml:3: `state.value_byte_max`: unknown field `value_byte_max`, expected one of";
    change(&engine, wrong, fault).await?;
    assert!(set().await.is_err(), "nothing of it is applied");
    // One place that cannot be had, and nothing of the file is done either.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let busy =
        format!("state: {{ value_bytes_max: 1000 }}\nlisten: {{ more: [{{ port: {port} }}] }}\n");
    let fault = format!("cannot listen on 127.0.0.1:{port}");
    change(&engine, &busy, &fault).await?;
    assert!(set().await.is_err(), "nothing of it is applied");
    change(
        &engine,
        "state: { value_bytes_max: 1000 }\n",
        "goes by its new settings",
    )
    .await?;
    set().await?;
    Ok(())
}

#[tokio::test]
async fn what_takes_a_start_is_named() -> Result<()> {
    let engine = Engine::bare().await?;
    let restart = "restart the engine to apply it";
    let line = |part: &str| format!("part={part}");
    change(
        &engine,
        "data_dir: elsewhere\nlimits: { sessions_max: 5 }\n",
        restart,
    )
    .await?;
    // The data directory is given on the command line, which wins.
    assert!(
        !engine.log().contains(&line("data_dir")),
        "{}",
        engine.log()
    );
    assert!(engine.log().contains(&line("limits")), "{}", engine.log());
    change(&engine, "", "is again as the engine was started").await?;
    change(
        &engine,
        "log: { level: debug }\n",
        "goes by its new settings",
    )
    .await?;
    change(&engine, "log: { level: debug, format: json }\n", restart).await?;
    Ok(())
}

#[tokio::test]
async fn queues_take_new_rules_with_messages_in_work() -> Result<()> {
    let engine = Engine::start("queue: { queue_configs: { jobs: {} } }", &["--no-workers"]).await?;
    let mut slow = Slow::new(&engine).await?;
    let client = engine.worker("caller").await?;
    let enqueue = async |queue: &str| {
        let message = json!({ "queue": queue, "function_id": "slow::run", "data": {} });
        client.trigger::<Value>("queue::enqueue", &message).await
    };
    enqueue("jobs").await?;
    let first = slow.begun().await?;
    assert!(enqueue("late").await.is_err());
    let more = "queue: { queue_configs: { jobs: { concurrency: 1 }, late: {} } }";
    change(&engine, more, "part=queue").await?;
    enqueue("late").await?;
    let late = slow.begun().await?;
    let stats = async |queue: &str| {
        let stats = json!({ "queue": queue });
        client.trigger::<Value>("queue::stats", &stats).await
    };
    // One at a time now: the second waits for the first, which nobody has begun again.
    enqueue("jobs").await?;
    assert!(slow.begun.try_recv().is_err());
    let _ = first.send(());
    let second = slow.begun().await?;
    let _ = (late.send(()), second.send(()));
    eventually("all is done", async || {
        let (jobs, late) = (stats("jobs").await.ok()?, stats("late").await.ok()?);
        let left = |stats: &Value| stats["depth"] == 0;
        (left(&jobs) && left(&late)).then_some(())
    })
    .await?;
    assert!(
        slow.begun.try_recv().is_err(),
        "no message was delivered twice"
    );
    Ok(())
}

#[tokio::test]
async fn clients_of_streams_stay() -> Result<()> {
    let (http, first, second) = (free_port()?, free_port()?, free_port()?);
    let config = |port: u16, more: &str| {
        format!(
            "listen: {{ bus: {{ port: 0 }}, http: {{ port: {http} }}, stream: {{ port: {port} }} }}\n{more}"
        )
    };
    let folder = tempfile::tempdir()?;
    let engine = Engine::start_as(folder, &config(first, ""), &["--no-workers"], &[]).await?;
    let join = json!({ "type": "join", "data": { "subscriptionId": "a", "streamName": "s", "groupId": "g" } });
    let connect = async |port: u16| {
        let url = format!("ws://127.0.0.1:{port}/?token={}", engine.token);
        let mut client = Iii(tokio_tungstenite::connect_async(url).await?.0);
        client.say(&join).await?;
        let synced = client.hear_text().await?;
        assert_eq!(synced["event"]["type"], "sync", "{synced}");
        anyhow::Ok(client)
    };
    let mut early = connect(first).await?;
    change(
        &engine,
        &config(first, "stream: { channel_size: 5 }"),
        "part=stream",
    )
    .await?;
    change(
        &engine,
        &config(second, "stream: { channel_size: 5 }"),
        "part=stream",
    )
    .await?;
    let mut late = connect(second).await?;
    let worker = engine.worker("writer").await?;
    let set = json!({ "stream_name": "s", "group_id": "g", "item_id": "i", "data": 1 });
    worker.trigger::<Value>("stream::set", &set).await?;
    for client in [&mut early, &mut late] {
        let event = client.hear_text().await?;
        assert_eq!(event["event"]["type"], "create", "{event}");
    }
    Ok(())
}

#[tokio::test]
async fn listeners_come_and_go() -> Result<()> {
    let engine = Engine::bare().await?;
    let port = free_port()?;
    let config = format!("listen: {{ more: [{{ port: {port}, auth: none }}] }}");
    change(&engine, &config, "it is new in the settings file").await?;
    let connect = async || {
        let url = format!("ws://127.0.0.1:{port}/");
        let mut client = Iii(tokio_tungstenite::connect_async(url).await?.0);
        let first = client.hear_text().await?;
        anyhow::Ok((client, first))
    };
    let (mut early, first) = connect().await?;
    assert_eq!(first["type"], "workerregistered", "{first}");
    // Who is in stays in; who comes now must show the token.
    let stricter = format!("listen: {{ more: [{{ port: {port} }}] }}");
    change(&engine, &stricter, "goes by its new settings").await?;
    let (_, refused) = connect().await?;
    assert_eq!(refused["type"], "error", "{refused}");
    let answer = early.call("engine::status", json!({})).await?;
    assert!(answer["error"].is_null(), "{answer}");
    change(&engine, "", "does not ask for it any more").await?;
    loop {
        match early.hear().await? {
            Heard::Closed(code) => {
                assert_eq!(code, Some(1001));
                break;
            }
            Heard::Text(_) | Heard::Binary(_) => {}
        }
    }
    eventually("the port is free", async || {
        TcpListener::bind(("127.0.0.1", port)).ok()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn workers_come_change_and_go() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = folder.path().join("mortal");
    fs::create_dir(&worker)?;
    fs::write(worker.join("worker.py"), WORKER)?;
    fs::write(worker.join("wire.py"), WIRE)?;
    let manifest = "name: mortal\nlanguage: python\ncommand: [python3, worker.py]\n";
    fs::write(worker.join("worker.yaml"), manifest)?;
    let none = json!({ "workers": { "builtin": [] } }).to_string();
    let some = |remark: &str| {
        let workers = json!({ "builtin": ["memory"], "dirs": ["mortal"] });
        format!("{}\n# {remark}\n", json!({ "workers": workers }))
    };
    let engine = Engine::start_in(folder, &none, &[]).await?;
    let caller = engine.worker("caller").await?;
    let pid = async || caller.trigger::<i32>("mortal::pid", &()).await.ok();
    change(&engine, &some("new"), "part=the worker mortal").await?;
    let first = eventually("the worker runs", pid).await?;
    let offered = async |id: &str| {
        let list: Value = caller
            .trigger("engine::functions::list", &json!({}))
            .await?;
        let functions = list["functions"].as_array().context("a list")?;
        anyhow::Ok(
            functions
                .iter()
                .any(|function| function["function_id"] == id),
        )
    };
    assert!(offered("memory::recall").await?);
    // The manifest is read again with the file; what is as before is not touched.
    fs::write(
        worker.join("worker.yaml"),
        format!("{manifest}env: {{ A: b }}\n"),
    )?;
    change(&engine, &some("changed"), "part=the worker mortal").await?;
    let second = eventually("another runs", async || {
        pid().await.filter(|pid| *pid != first)
    })
    .await?;
    change(&engine, &none, "part=the worker mortal").await?;
    eventually("its process is gone", async || {
        let is_gone = fs::read(format!("/proc/{second}/cmdline")).is_ok_and(|line| line.is_empty())
            || !Path::new(&format!("/proc/{second}")).exists();
        is_gone.then_some(())
    })
    .await?;
    eventually("its functions are gone", async || {
        let is_there = offered("memory::recall").await.ok()?;
        (!is_there && pid().await.is_none()).then_some(())
    })
    .await?;
    let list: Value = caller
        .trigger("engine::supervisor::list", &json!({}))
        .await?;
    assert_eq!(list["workers"], json!([]));
    // Long enough for a restart that nobody wants.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(pid().await.is_none());
    Ok(())
}
