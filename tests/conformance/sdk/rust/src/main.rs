//! Plays the scenarios with the Rust SDK, or serves the functions that they call; see the README one
//! folder up.

mod cast;
mod data;
mod expect;
mod scene;

use std::{path::Path, process::ExitCode};

use agentos_sdk::{Client, Error, Options};
use serde_json::Value;

use crate::{cast::LANGUAGE, scene::Scene};

const LANGUAGES: [&str; 3] = ["rust", "typescript", "python"];

/// What a language cannot, and why, stands in README.
fn cannot(language: &str) -> &'static [&'static str] {
    match language {
        "typescript" => &["exact_integers"],
        "rust" => &["stacks"],
        _ => &[],
    }
}

fn can(scenario: &Value, language: &str) -> bool {
    let needs = scenario["needs"].as_array().into_iter().flatten();
    needs
        .filter_map(Value::as_str)
        .all(|ability| !cannot(language).contains(&ability))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, file] = &arguments[..]
        && verb == "play"
    {
        return play(file.as_ref()).await;
    }
    let worker = Client::connect(Options::new(LANGUAGE)).await?;
    worker.register(cast::cast(&worker)).await?;
    worker.serve().await?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the report")]
async fn play(file: &Path) -> Result<ExitCode, Error> {
    let text = std::fs::read(file).expect("the file of scenarios is there");
    let scenarios: Vec<Value> = serde_json::from_slice(&text).expect("the scenarios are JSON");
    let only = std::env::var("ONLY").unwrap_or_default();
    let worker = Client::connect(Options::new("caller-rust")).await?;
    let (mut passed, mut failed) = (0, 0);
    for (at, scenario) in scenarios.iter().enumerate() {
        for (turn, callee) in LANGUAGES.into_iter().enumerate() {
            let name = format!(
                "{} [{callee}]",
                scenario["name"].as_str().unwrap_or_default()
            );
            if !name.contains(&only) || !can(scenario, LANGUAGE) || !can(scenario, callee) {
                continue;
            }
            let other = |more: usize| LANGUAGES[(turn + more) % 3].to_owned();
            let saved = vec![
                ("callee", callee.to_owned()),
                ("second", other(1)),
                ("third", other(2)),
                ("run", format!("{LANGUAGE}-{at}-{turn}")),
            ];
            match Scene::new(&worker, saved).play(scenario).await {
                Ok(()) => {
                    passed += 1;
                    println!("ok {name}");
                }
                Err(why) => {
                    failed += 1;
                    println!("not ok {name}: {}", why.replace('\n', " | "));
                }
            }
        }
    }
    worker.close().await;
    println!("conformance: {passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}
