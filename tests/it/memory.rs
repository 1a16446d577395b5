//! What agents remember, through the built binary: found in other words, kept over a restart, merged
//! and forgotten.

mod embedder;
mod facts;

use std::time::Instant;

use agentos_sdk::Client;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{Engine, PATIENCE, eventually_within};

const ONLY: [&str; 2] = ["--only", "memory"];
const PROBES: usize = 100;

/// What was answered to one question: texts, best first.
type Answers = Vec<Vec<String>>;

async fn recall(caller: &Client, query: &str, limit: usize) -> Result<Value> {
    let ask = json!({ "agentId": "clerk", "query": query, "limit": limit });
    Ok(caller.trigger("memory::recall", &ask).await?)
}

fn contents(recalled: &Value) -> Vec<String> {
    let memories = recalled["memories"].as_array().into_iter().flatten();
    let text = |memory: &Value| memory["content"].as_str().unwrap_or_default().to_owned();
    memories.map(text).collect()
}

/// Asks all questions; says how many were answered rightly among the first five, and how long it took.
#[expect(
    clippy::print_stdout,
    reason = "the figures are for whoever reads the run"
)]
async fn ask_all(
    caller: &Client,
    probes: &[facts::Probe],
    method: &str,
    what: &str,
) -> Result<(usize, Answers)> {
    let (mut found, mut answers, mut times) = (0, Vec::new(), Vec::new());
    for probe in probes {
        let start = Instant::now();
        let recalled = recall(caller, &probe.question, 5).await?;
        times.push(start.elapsed());
        ensure!(recalled["method"] == method, "{recalled}");
        let five = contents(&recalled);
        found += usize::from(five.contains(&probe.answer));
        answers.push(five);
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{what}: {found} of {} right in the first five; p50 {:?}, p95 {:?}",
        probes.len(),
        at(50),
        at(95)
    );
    Ok((found, answers))
}

/// Waits until the state holds the vector of the memory that is embedded last. Asks only the state:
/// a question to the memory would have it embedded.
async fn embedded(caller: &Client, last: &str) -> Result<()> {
    let key = json!({ "scope": "memory:clerk", "key": last });
    let done = || async {
        let row: Value = caller.trigger("state::get", &key).await.ok()?;
        row["embedding"]["vector"].is_string().then_some(())
    };
    eventually_within(4 * PATIENCE, "embedding all memories", done).await
}

#[tokio::test]
async fn of_ten_thousand_facts_the_right_one_is_found_in_other_words() -> Result<()> {
    let engine = Engine::start("", &ONLY).await?;
    let caller = engine.worker("caller").await?;
    let (facts, probes) = facts::facts(20_090_719, PROBES);
    assert_eq!(facts.len(), 10_000);
    let mut last = String::new();
    for part in facts.chunks(1_000) {
        let memories: Vec<Value> = part.iter().map(|fact| json!({ "content": fact })).collect();
        let request = json!({ "agentId": "clerk", "memories": memories });
        let stored: Value = caller.trigger("memory::store_many", &request).await?;
        let stored = stored["memories"].as_array().context("one for each")?;
        ensure!(stored.len() == part.len() && stored.iter().all(|one| one["stored"] == true));
        // They are embedded in the order of their ids.
        let ids = stored.iter().filter_map(|one| one["id"].as_str());
        last = ids.map(str::to_owned).fold(last, String::max);
    }

    // Without an embedder: by words, and it says so.
    let by_words = recall(&caller, &probes[0].question, 5).await?;
    let notice = by_words["notice"].as_str().context("it says so")?;
    ensure!(
        notice.contains("no worker offers `embedding::generate`"),
        "{notice}"
    );
    let (by_words, _) = ask_all(&caller, &probes, "keyword", "words alone").await?;

    // When one comes, nobody has to ask for what waits.
    let worker = engine.worker("embedding").await?;
    embedder::offer(&worker).await?;
    embedded(&caller, &last).await?;
    let (found, answers) = ask_all(&caller, &probes, "hybrid", "words and vectors").await?;
    ensure!(found >= 90, "{found} of {PROBES}");
    ensure!(found > by_words, "vectors are of no use");
    ensure!(
        answers[0].contains(&probes[0].answer),
        "the oldest is found"
    );

    // The indexes are gone with the process, and are made again.
    let engine = Engine::start_in(engine.kill()?, "", &ONLY).await?;
    let worker = engine.worker("embedding").await?;
    embedder::offer(&worker).await?;
    let caller = engine.worker("caller").await?;
    let start = Instant::now();
    recall(&caller, "first", 5).await?;
    println!(
        "the first answer after a restart took {:?}",
        start.elapsed()
    );
    let (again, after) = ask_all(&caller, &probes, "hybrid", "after a restart").await?;
    // To be recalled counts a little for a memory's rank: of those that hardly match, one may give way.
    let differs = |(before, after): &(&Vec<String>, &Vec<String>)| {
        before[0] != after[0] || before.iter().filter(|text| !after.contains(text)).count() > 1
    };
    let other: Vec<_> = answers.iter().zip(&after).filter(differs).collect();
    ensure!(again == found && other.is_empty(), "{again}, {other:?}");
    Ok(())
}

#[tokio::test]
async fn what_says_the_same_becomes_one_and_what_is_forgotten_is_gone() -> Result<()> {
    let engine = Engine::start("", &ONLY).await?;
    let worker = engine.worker("embedding").await?;
    embedder::offer(&worker).await?;
    let caller = engine.worker("caller").await?;
    let texts = [
        "Ada drinks oolong every morning",
        "Every morning Ada drinks oolong.",
        "Ada drinks oolong, every morning!",
        "Ada drinks 2 oolong every morning",
        "Ada never drinks oolong every morning",
    ];
    let memories: Vec<Value> = texts
        .iter()
        .map(|text| json!({ "content": text }))
        .collect();
    let request = json!({ "agentId": "clerk", "memories": memories });
    let stored: Value = caller.trigger("memory::store_many", &request).await?;
    let id = |at: usize| stored["memories"][at]["id"].clone();
    // The first question has all of them embedded before it is answered.
    ensure!(contents(&recall(&caller, "oolong", 10).await?).len() == texts.len());

    let mut request = json!({ "agentId": "clerk", "dryRun": true });
    let told: Value = caller.trigger("memory::consolidate", &request).await?;
    ensure!(contents(&recall(&caller, "oolong", 10).await?).len() == texts.len());
    request["dryRun"] = json!(false);
    let done: Value = caller.trigger("memory::consolidate", &request).await?;
    ensure!(told == done, "{told} {done}");
    ensure!(
        done["merged"] == 2 && done["groups"][0]["kept"] == id(2),
        "{done}"
    );
    let left = recall(&caller, "oolong", 10).await?;
    ensure!(contents(&left).len() == 3, "{left}");
    let again: Value = caller.trigger("memory::consolidate", &request).await?;
    ensure!(again["merged"] == 0, "{again}");
    let rows = json!({ "scope": "memory:clerk" });
    let rows: Vec<Value> = caller.trigger("state::list", &rows).await?;
    ensure!(
        rows.len() == 3 && rows.iter().any(|row| row["merged"] == 2),
        "{rows:?}"
    );

    let forget = json!({ "agentId": "clerk", "id": id(2) });
    let _: Value = caller.trigger("memory::forget", &forget).await?;
    let left = contents(&recall(&caller, "oolong", 10).await?);
    ensure!(
        left.len() == 2 && !left.iter().any(|text| text == texts[2]),
        "{left:?}"
    );
    Ok(())
}
