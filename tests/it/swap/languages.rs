//! The same under steady traffic in every language, of our SDKs and of iii's, and in the engine's own
//! process: no call fails or runs twice, no stream breaks, nothing leaks. `cargo xtask soak` plays it
//! longer and harder.

use std::{path::PathBuf, sync::Arc};

use agentos_sdk::Client;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    load::{Asked, Load, Rate, Served},
    numbered::Numbered,
    rust_worker,
    shop::{Shop, step},
    soak::{Held, asked, show},
};
use crate::{
    chat::{records_in, scripted},
    clients::python,
    harness::{Engine, binary, eventually, root},
};

/// Swaps a worker as often as is asked for, and looks at what has become of the traffic.
async fn under_traffic(
    what: &str,
    engine: &Engine,
    caller: &Client,
    served: Arc<dyn Served>,
    change: impl AsyncFn(u64) -> Result<()>,
) -> Result<()> {
    let rate = Rate {
        calls_per_second: asked("AGENTOS_SOAK_RATE", 200),
        streams: 4,
    };
    // There and back: after an odd one something else runs than before.
    let swaps = asked("AGENTOS_SOAK_SWAPS", 4_u64).next_multiple_of(2);
    // Long enough to see what is usual.
    let enough = u64::from(rate.calls_per_second / 2);
    let load = Load::start(caller, served, rate);
    let mut before = None;
    for number in 0..swaps {
        let until = load.answered() + enough;
        let answered = || async { (load.answered() >= until).then_some(()) };
        eventually("the traffic goes on", answered).await?;
        load.while_changing(async || change(number).await).await?;
        // What is made once has been made.
        if number < 2 {
            before = Some(Held::by(engine.pid())?);
        }
    }
    let mut tally = load.end().await?;
    ensure!(tally.calls > 0, "there was traffic");
    show(&format!("{what}: {swaps} swaps, {}", tally.describe()));
    let before = before.context("there was a swap")?;
    before.settles(engine.pid()).await
}

async fn shop_under_traffic(what: &str, command: Vec<String>, streams: bool) -> Result<()> {
    let shop = Shop::of(command).await?;
    let folders = [
        shop.folder.display().to_string(),
        shop.build("other", &json!({ "version": 2 }))?,
    ];
    let served = Numbered::of(&shop, streams);
    let change = async |number: u64| {
        let to = &folders[(number as usize + 1) % 2];
        let (code, steps) = shop.worker(&["swap", "shop", "--to", to])?;
        ensure!(code == 0, "{steps:#?}");
        assert_eq!(step(&steps, "drained")["cut"], 0);
        let version = i64::try_from((number + 1) % 2 + 1)?;
        assert_eq!(shop.version().await, Some(version));
        Ok(())
    };
    under_traffic(what, &shop.engine, &shop.caller, served, change).await?;
    // Of ours, `builds` tells the same.
    if !streams {
        let unwell = shop.build("unwell", &json!({ "version": 9, "unwell": true }))?;
        assert_eq!(shop.worker(&["swap", "shop", "--to", &unwell])?.0, 1);
        let serves = shop.version().await;
        ensure!(serves.is_some_and(|version| version < 9), "{serves:?}");
    }
    Ok(())
}

fn client(path: &str) -> String {
    let path = root().join("tests/clients").join(path);
    path.display().to_string()
}

fn node(script: &str) -> Vec<String> {
    vec!["node".to_owned(), client(script)]
}

fn python_script(script: &str) -> Vec<String> {
    vec![python().display().to_string(), client(script)]
}

#[tokio::test(flavor = "multi_thread")]
async fn rust() -> Result<()> {
    shop_under_traffic("rust", rust_worker::command()?, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript() -> Result<()> {
    shop_under_traffic("typescript", node("node/shop_ts.mjs"), true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_of_python() -> Result<()> {
    shop_under_traffic("python", python_script("python/shop.py"), true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_iii_of_node() -> Result<()> {
    shop_under_traffic("iii of node", node("node/shop.mjs"), false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_iii_of_python() -> Result<()> {
    let command = python_script("python/iii_shop.py");
    shop_under_traffic("iii of python", command, false).await
}

/// A model that answers as its script says, and writes down what it is asked.
struct Model(PathBuf);

const SCRIPT: &str = "
scripts:
  numbers: { repeat: true, turns: [[{ text: noted }]] }
  tales:
    repeat: true
    turns:
      - [{ text: once }, { delay_ms: 100 }, { text: ' upon' }, { delay_ms: 100 }, { text: ' a time' }]
";

impl Model {
    fn ask(model: &str, content: &str) -> Asked {
        let messages = json!([{ "role": "user", "content": content }]);
        let input = json!({ "model": model, "messages": messages });
        ("llm::complete", input)
    }
}

impl Served for Model {
    fn call(&self, number: u64) -> Asked {
        Model::ask("scripted/numbers", &number.to_string())
    }

    fn stream(&self) -> Option<Asked> {
        Some(Model::ask("scripted/tales", "tell me one"))
    }

    fn said(&self) -> String {
        "once upon a time".to_owned()
    }

    fn says(&self, chunk: &Value) -> String {
        chunk["text"].as_str().unwrap_or_default().to_owned()
    }

    fn recorded(&self) -> Result<Vec<u64>> {
        let asked = records_in(&self.0).into_iter();
        let asked = asked.filter(|record| record["event"] == "request");
        let numbers = asked.filter(|record| record["script"] == "numbers");
        let content = |record: Value| {
            let content = &record["request"]["messages"][0]["content"];
            let number = content.as_str().and_then(|text| text.parse().ok());
            number.with_context(|| format!("each is a number: {content}"))
        };
        numbers.map(content).collect()
    }
}

/// A worker of the engine's process becomes a process and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn in_process() -> Result<()> {
    let (folder, config) = scripted(SCRIPT)?;
    let engine = Engine::start_in(folder, &config, &["--only", "llm"]).await?;
    let caller = engine.worker("caller").await?;
    let run = format!("{} worker run llm", binary().display());
    let change = async |number: u64| {
        let (step, source) = match number % 2 {
            0 => (&["swap", "llm", "--to", &run][..], "worker run llm"),
            _ => (&["swap", "llm", "--to", "in-process"][..], "in-process"),
        };
        let arguments = [&["--json", "worker"][..], step].concat();
        let (code, out, err) = tokio::task::block_in_place(|| engine.cli(&arguments, ""))?;
        ensure!(code == 0, "{out}{err}");
        let fleet: Value = caller.trigger("engine::workers::fleet", &json!({})).await?;
        let now = fleet["workers"][0]["source"].to_string();
        ensure!(now.contains(source), "{now}");
        Ok(())
    };
    let served = Arc::new(Model(engine.folder.path().to_owned()));
    under_traffic("in-process", &engine, &caller, served, change).await
}
