//! The examples of the documentation are read as the settings and scripts they show.

use agentos_llm::{Config, Llm};
use serde_json::{Value, json};

use crate::worker;

const MODELS: &str = include_str!("../../../../docs/models.md");
const SCRIPTS: &str = include_str!("../../../../docs/scripted-models.md");

/// The YAML block that holds `part`.
fn block<'t>(text: &'t str, part: &str) -> &'t str {
    let blocks = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks
        .into_iter()
        .find(|block| block.contains(part))
        .unwrap()
}

#[test]
fn settings_are_as_shown() {
    let shown: Value = serde_saphyr::from_str(block(MODELS, "gpt-5-mini")).unwrap();
    let config: Config = serde_json::from_value(shown["llm"].clone()).unwrap();
    assert!(Llm::new(config.with_env(|_| None).unwrap()).is_ok());
    let shown: Value = serde_saphyr::from_str(block(SCRIPTS, "weather.jsonl")).unwrap();
    assert!(serde_json::from_value::<Config>(shown["llm"].clone()).is_ok());
}

#[test]
fn scripts_are_as_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, block(SCRIPTS, "parrot")).unwrap();
    worker(json!({"providers": [{"name": "script", "family": "scripted", "script": file.path()}]}));
}
