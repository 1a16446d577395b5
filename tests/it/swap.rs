//! Workers replaced under traffic: new builds that take over, and new builds that do not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agentos_sdk::Client;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    clients::python,
    harness::{Engine, eventually, root},
    supervised::WIRE,
};

const WORKER: &str = include_str!("swap/worker.py");

/// The program that a file beside it, `build.json`, tells how to behave.
fn plain() -> Vec<String> {
    vec!["python3".to_owned(), "worker.py".to_owned()]
}

/// Writes the folder of a build that behaves as `build` says.
fn write(folder: &Path, command: &[String], build: &Value) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("worker.py"), WORKER)?;
    fs::write(folder.join("wire.py"), WIRE)?;
    fs::write(folder.join("build.json"), build.to_string())?;
    let manifest = json!({
        "name": "shop",
        "language": "other",
        "command": command,
        "health": { "function": "shop::health", "timeout_ms": 1000, "within_ms": 500 },
    });
    fs::write(folder.join("worker.yaml"), manifest.to_string())?;
    Ok(())
}

/// An engine whose worker `shop` serves its version 1.
struct Shop {
    engine: Engine,
    caller: Client,
    folder: PathBuf,
    command: Vec<String>,
}

impl Shop {
    async fn open() -> Result<Self> {
        Shop::of(plain()).await
    }

    async fn of(command: Vec<String>) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let folder = place.path().join("shop");
        write(&folder, &command, &json!({ "version": 1 }))?;
        let config = json!({
            "workers": { "builtin": [], "dirs": [folder] },
            // Unmodified clients of iii know no token.
            "listen": { "bus": { "auth": "none" } },
        });
        let config = config.to_string();
        let engine = Engine::start_in(place, &config, &[]).await?;
        let caller = engine.worker("caller").await?;
        let shop = Shop {
            engine,
            caller,
            folder,
            command,
        };
        shop.serves(1).await?;
        Ok(shop)
    }

    async fn version(&self) -> Option<i64> {
        self.caller.trigger("shop::version", &json!({})).await.ok()
    }

    async fn serves(&self, version: i64) -> Result<()> {
        let answers = || async { (self.version().await? == version).then_some(()) };
        eventually(&format!("version {version} serves"), answers).await
    }

    /// Puts another build beside the first one.
    fn build(&self, name: &str, build: &Value) -> Result<String> {
        let folder = self.folder.with_file_name(name);
        write(&folder, &self.command, build)?;
        Ok(folder.display().to_string())
    }

    /// Runs `agentos worker …` off the runtime's threads; gives its exit code and its steps.
    fn worker(&self, arguments: &[&str]) -> Result<(i32, Vec<Value>)> {
        let arguments = [&["--json", "worker"][..], arguments].concat();
        let (code, out, err) = tokio::task::block_in_place(|| self.engine.cli(&arguments, ""))?;
        let steps = out
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>();
        let steps = steps.map_err(|error| anyhow::anyhow!("{error}: {out}{err}"))?;
        Ok((code, steps))
    }

    /// Calls without pause until it is told to stop; each call is to succeed.
    fn load(&self, callers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |number: usize| {
            let (caller, stop) = (self.caller.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Some take a moment, so that some run whenever the build changes.
                    let input = json!({ "ms": number % 3 * 20 });
                    let _: i64 = caller.trigger("shop::version", &input).await?;
                    calls += 1;
                }
                Ok(calls)
            })
        };
        let callers = (0..callers).map(one).collect();
        Load { stop, callers }
    }
}

/// Calls that go on.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Result<usize, agentos_sdk::Error>>>,
}

impl Load {
    /// Stops it; fails when a call has failed.
    async fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = 0;
        for caller in self.callers {
            calls += caller.await??;
        }
        Ok(calls)
    }
}

fn names(steps: &[Value]) -> Vec<&str> {
    let names = steps.iter();
    names.filter_map(|step| step["event"].as_str()).collect()
}

fn step<'a>(steps: &'a [Value], name: &str) -> &'a Value {
    let found = steps.iter().find(|step| step["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {steps:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_takes_over_under_load_and_goes_back() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(6);
    let second = shop.build("second", &json!({ "version": 2 }))?;
    let (code, steps) = shop.worker(&["swap", "shop", "--to", &second])?;
    ensure!(code == 0, "{steps:#?}");
    let expected = [
        "swap_started",
        "instance_ready",
        "health_passed",
        "traffic_shifted",
        "drain_started",
        "drained",
        "swap_done",
    ];
    let told = names(&steps);
    let told: Vec<&str> = told
        .into_iter()
        .filter(|name| expected.contains(name))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(step(&steps, "drained")["cut"], 0);
    assert_eq!(shop.version().await, Some(2));

    // The same folder, rebuilt in place; then what was there before, though its files are gone.
    shop.build("second", &json!({ "version": 3 }))?;
    assert_eq!(shop.worker(&["swap", "shop"])?.0, 0);
    assert_eq!(shop.version().await, Some(3));
    let (code, steps) = shop.worker(&["rollback", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(shop.version().await, Some(2));

    let (code, steps) = shop.worker(&["restart", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    let calls = load.end().await?;
    ensure!(calls > 0, "there was a load");

    let (_, versions) = shop.worker(&["versions", "shop"])?;
    let standings: Vec<&str> = versions[0]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| version["standing"].as_str())
        .collect();
    assert_eq!(standings[0], "serving");
    ensure!(
        standings[1..]
            .iter()
            .all(|standing| *standing == "replaced")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_serve_never_gets_a_call() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(4);
    for (name, build, reason, message) in [
        (
            "crashing",
            json!({ "version": 2, "crashes": true }),
            "start_failed",
            "it crashed at start: exit code 1",
        ),
        (
            "silent",
            json!({ "version": 2, "silent": true }),
            "never_registered",
            "has registered no function",
        ),
        (
            "unwell",
            json!({ "version": 2, "unwell": true }),
            "unhealthy",
            "`shop::health` does not pass: it answered false",
        ),
    ] {
        let folder = shop.build(name, &build)?;
        let (code, steps) = shop.worker(&["swap", "shop", "--to", &folder, "--ready", "2s"])?;
        assert_eq!(code, 1, "{name}: {steps:#?}");
        let failed = step(&steps, "swap_failed");
        assert_eq!(failed["reason"], reason);
        let said = failed["message"].as_str().unwrap_or_default();
        ensure!(said.contains(message), "{name}: {said}");
        if name == "crashing" {
            let output = failed["output"].to_string();
            ensure!(output.contains("this build cannot start"), "{output}");
        }
        let error = &steps.last().expect("a failure is told")["error"];
        let said = error["message"].as_str().unwrap_or_default();
        ensure!(said.contains("the old build serves as before"), "{said}");
        assert_eq!(shop.version().await, Some(1), "{name}");
    }
    ensure!(load.end().await? > 0, "there was a load");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_its_calls_is_taken_back_by_itself() -> Result<()> {
    let shop = Shop::open().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (caller, stopping) = (shop.caller.clone(), Arc::clone(&stop));
    // Of a canary that fails, some calls do.
    let calling = tokio::spawn(async move {
        let (mut good, mut bad) = (0, 0);
        while !stopping.load(Ordering::Relaxed) {
            match caller.trigger::<i64>("shop::version", &json!({})).await {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        (good, bad)
    });
    let broken = shop.build("broken", &json!({ "version": 2, "fails": true }))?;
    let (code, steps) = shop.worker(&[
        "swap", "shop", "--to", &broken, "--canary", "20%", "--hold", "60s",
    ])?;
    assert_eq!(code, 1, "{steps:#?}");
    assert_eq!(step(&steps, "trial_started")["percent"], 20);
    assert_eq!(step(&steps, "swap_failed")["reason"], "errors");
    assert_eq!(shop.version().await, Some(1));
    stop.store(true, Ordering::Relaxed);
    let (good, bad) = calling.await?;
    ensure!(bad >= 5, "the canary had calls: {good} good, {bad} bad");
    ensure!(
        good > bad,
        "most went to the old one: {good} good, {bad} bad"
    );

    let good = shop.build("good", &json!({ "version": 3 }))?;
    let (code, steps) = shop.worker(&[
        "swap", "shop", "--to", &good, "--canary", "50%", "--hold", "300ms",
    ])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(shop.version().await, Some(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_added_ended_and_started_without_a_failed_call() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(6);
    let instances = || {
        let (_, list) = shop.worker(&["ls"])?;
        anyhow::Ok(list[0][0]["instances"].as_array().map_or(0, Vec::len))
    };
    for replicas in [3, 1, 2] {
        let (code, steps) = shop.worker(&["scale", "shop", &replicas.to_string()])?;
        ensure!(code == 0, "{steps:#?}");
        assert_eq!(instances()?, replicas);
    }
    let second = shop.build("second", &json!({ "version": 2 }))?;
    assert_eq!(shop.worker(&["swap", "shop", "--to", &second])?.0, 0);
    assert_eq!(instances()?, 2, "the new build has as many");
    ensure!(load.end().await? > 0, "there was a load");

    assert_eq!(shop.worker(&["stop", "shop"])?.0, 0);
    assert_eq!((instances()?, shop.version().await), (0, None));
    let (code, steps) = shop.worker(&["start", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!((instances()?, shop.version().await), (2, Some(2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_a_function_and_its_steps_are_events() -> Result<()> {
    let shop = Shop::open().await?;
    let watcher = shop.engine.worker("watcher").await?;
    let call = watcher.bus().call("engine::events");
    let mut events = call.stream(&json!({ "events": ["swap_done", "swap_failed"] }))?;
    let second = shop.build("second", &json!({ "version": 2 }))?;
    let swapped: Value = shop
        .caller
        .trigger(
            "engine::workers::swap",
            &json!({ "name": "shop", "to": second }),
        )
        .await?;
    assert_eq!(swapped["worker"], "shop");
    let event: Option<Value> = events.next_as().await?;
    let event = event.expect("the stream goes on");
    assert_eq!(
        (&event["event"], &event["worker"], &event["build"]),
        (&json!("swap_done"), &json!("shop"), &swapped["build"])
    );
    for (input, message) in [
        (
            json!({ "name": "nobody" }),
            "runs no worker `nobody`; it runs shop",
        ),
        (
            json!({ "name": "shop", "to": "relative" }),
            "expected an absolute path",
        ),
        (
            json!({ "name": "shop", "canary_percent": 0 }),
            "from 1 to 99",
        ),
        (
            json!({ "name": "shop", "to": "in-process" }),
            "no worker of the engine's process",
        ),
    ] {
        let refused = shop
            .caller
            .trigger::<Value>("engine::workers::swap", &input)
            .await
            .expect_err("it cannot be done");
        ensure!(refused.message.contains(message), "{refused}");
    }
    assert_eq!(shop.version().await, Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_workers_of_iii_are_swapped_under_load() -> Result<()> {
    let script = |path: &str| {
        root()
            .join("tests/clients")
            .join(path)
            .display()
            .to_string()
    };
    for command in [
        vec!["node".to_owned(), script("node/shop.mjs")],
        vec![python().display().to_string(), script("python/iii_shop.py")],
    ] {
        let shop = Shop::of(command).await?;
        let load = shop.load(6);
        for version in 2..5 {
            let folder = shop.build(&version.to_string(), &json!({ "version": version }))?;
            let (code, steps) = shop.worker(&["swap", "shop", "--to", &folder])?;
            ensure!(code == 0, "{steps:#?}");
            assert_eq!(shop.version().await, Some(version));
        }
        let unwell = shop.build("unwell", &json!({ "version": 9, "unwell": true }))?;
        assert_eq!(shop.worker(&["swap", "shop", "--to", &unwell])?.0, 1);
        assert_eq!(shop.version().await, Some(4));
        ensure!(load.end().await? > 0, "there was a load");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_engines_process_becomes_a_process_and_comes_back() -> Result<()> {
    let engine = Engine::start("workers: { builtin: [memory] }", &[]).await?;
    let caller = engine.worker("caller").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (calling, stopping) = (caller.clone(), Arc::clone(&stop));
    let load = tokio::spawn(async move {
        let mut stored = Vec::new();
        while !stopping.load(Ordering::Relaxed) {
            let content = format!("the lamp {} is lit", stored.len());
            let input = json!({ "agentId": "keeper", "content": content });
            let answer: Value = calling.trigger("memory::store", &input).await?;
            stored.push(answer["id"].to_string());
        }
        Ok::<_, agentos_sdk::Error>(stored)
    });
    let run = format!("{} worker run memory", crate::harness::binary().display());
    let source = || async {
        let fleet: Value = caller.trigger("engine::workers::fleet", &json!({})).await?;
        anyhow::Ok(fleet["workers"][0]["source"].to_string())
    };
    let swap = |arguments: &[&str]| {
        let arguments = [&["--json", "worker"][..], arguments].concat();
        let (code, out, err) = tokio::task::block_in_place(|| engine.cli(&arguments, ""))?;
        ensure!(code == 0, "{out}{err}");
        anyhow::Ok(())
    };
    for _ in 0..2 {
        swap(&["swap", "memory", "--to", &run])?;
        ensure!(source().await?.contains("worker run memory"));
        swap(&["rollback", "memory"])?;
        assert_eq!(source().await?, "\"in-process\"");
    }
    stop.store(true, Ordering::Relaxed);
    let stored = load.await??;
    let different: std::collections::BTreeSet<&String> = stored.iter().collect();
    assert_eq!(different.len(), stored.len(), "each call ran once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_a_worker_uses() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(2);
    let (code, out, err) = tokio::task::block_in_place(|| {
        shop.engine.cli(&["--json", "top", "--every", "300ms"], "")
    })?;
    assert_eq!(code, 0, "{err}");
    load.end().await?;
    let lines: Vec<Value> = serde_json::from_str(&out)?;
    let line = |name: &str| lines.iter().find(|line| line["name"] == name);
    let shop = line("shop").expect("the worker is shown");
    ensure!(shop["memory_bytes"].as_u64() > Some(1 << 20), "{out}");
    ensure!(shop["calls_per_second"].as_f64() > Some(0.0), "{out}");
    ensure!(line("engine").is_some(), "{out}");
    Ok(())
}

/// `agentos dev`, with what it prints.
struct Dev {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Dev {
    fn start(engine: &Engine) -> Result<Self> {
        let mut child = std::process::Command::new(crate::harness::binary())
            .arg("dev")
            .env("AGENTOS_URL", &engine.url)
            .env("AGENTOS_TOKEN", &engine.token)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let (tell, lines) = std::sync::mpsc::sync_channel(100);
        let out = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok)
            {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Dev { child, lines })
    }

    /// Waits until it prints a line with `text`.
    fn says(&self, text: &str) -> Result<()> {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(crate::harness::PATIENCE);
            let line = line.map_err(|_| anyhow::anyhow!("it does not say `{text}`: {said}"))?;
            if line.contains(text) {
                return Ok(());
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_is_live_and_a_mistake_is_not() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(2);
    let dev = Dev::start(&shop.engine)?;
    dev.says("watching")?;
    let save = |build: &Value| fs::write(shop.folder.join("build.json"), build.to_string());
    save(&json!({ "version": 2 }))?;
    dev.says("is live")?;
    assert_eq!(shop.version().await, Some(2));
    fs::write(shop.folder.join("worker.py"), "def")?;
    dev.says("it crashed at start: exit code 1")?;
    dev.says("SyntaxError")?;
    assert_eq!(shop.version().await, Some(2));
    fs::write(shop.folder.join("worker.py"), WORKER)?;
    dev.says("is live")?;
    save(&json!({ "version": 3 }))?;
    dev.says("is live")?;
    assert_eq!(shop.version().await, Some(3));
    ensure!(load.end().await? > 0, "there was a load");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_handled_once_however_many_instances_there_are() -> Result<()> {
    let shop = Shop::open().await?;
    let heard = shop.folder.with_file_name("heard");
    let build = |version: u64| json!({ "version": version, "heard": heard });
    let second = shop.build("second", &build(2))?;
    assert_eq!(shop.worker(&["swap", "shop", "--to", &second])?.0, 0);
    let mut published = 0;
    // Three of one build, then three of another, then what is left of them.
    for step in [
        vec!["scale", "shop", "3"],
        vec!["swap", "shop"],
        vec!["scale", "shop", "1"],
    ] {
        let (code, steps) = shop.worker(&step)?;
        ensure!(code == 0, "{steps:#?}");
        for _ in 0..5 {
            let message = json!({ "topic": "news", "data": published });
            let _: Value = shop.caller.trigger("publish", &message).await?;
            published += 1;
        }
        let count = || {
            fs::read_to_string(&heard)
                .unwrap_or_default()
                .lines()
                .count()
        };
        let heard = eventually("every message is heard", || async {
            (count() >= published).then_some(())
        })
        .await;
        assert_eq!(count(), published, "{step:?}");
        heard?;
    }
    Ok(())
}

/// What the engine's process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    #[expect(dead_code, reason = "shown beside the others when they differ")]
    memory_kib: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Held> {
        let count = |what: &str| anyhow::Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let children = |task: fs::DirEntry| {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().count()
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        Ok(Held {
            descriptors: count("fd")?,
            threads: count("task")?,
            children: tasks.map(children).sum(),
            memory_kib: memory.unwrap_or_default(),
        })
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what one soaks for")]
fn show(text: &str) {
    println!("{text}");
}

/// A few swaps; `cargo xtask soak` asks for many and shows the figures.
#[tokio::test(flavor = "multi_thread")]
async fn a_soak_leaks_nothing() -> Result<()> {
    let asked = std::env::var("AGENTOS_SOAK_SWAPS").ok();
    let swaps: u64 = asked.and_then(|swaps| swaps.parse().ok()).unwrap_or(6);
    let shop = Shop::open().await?;
    let (one, other) = (
        shop.folder.display().to_string(),
        shop.build("other", &json!({ "version": 2 }))?,
    );
    let load = shop.load(6);
    let mut before = None;
    for number in 1..=swaps {
        let to = if number % 2 == 0 { &one } else { &other };
        let (code, steps) = shop.worker(&["swap", "shop", "--to", to])?;
        ensure!(code == 0, "{steps:#?}");
        assert_eq!(step(&steps, "drained")["cut"], 0);
        // What is made once has been made.
        if number == swaps.min(4) {
            before = Some(Held::by(shop.engine.pid())?);
        }
    }
    let calls = load.end().await?;
    let before = before.expect("there was a swap");
    let settled = || async {
        let now = Held::by(shop.engine.pid()).ok()?;
        let is_settled = now.descriptors <= before.descriptors
            && now.children <= before.children
            && now.threads <= before.threads + 2;
        is_settled.then_some(now)
    };
    let after = eventually("nothing more is held than before", settled).await;
    show(&format!(
        "{swaps} swaps, {calls} calls, none failed; before {before:?}, after {after:?}"
    ));
    after?;
    Ok(())
}
