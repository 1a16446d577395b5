//! What the environment and the settings make of each other.

use super::*;
use serde_json::json;

fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    |name| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    }
}

fn read(value: serde_json::Value) -> Config {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_environment_chooses_providers_when_none_are_listed() {
    let check = |pairs, names: &[&str]| {
        let config = Config::from_env(env(pairs)).unwrap();
        assert_eq!(
            config
                .providers
                .iter()
                .map(|provider| provider.name.as_str())
                .collect::<Vec<_>>(),
            names
        );
    };
    check(&[], &["offline"]);
    check(&[("OPENAI_API_KEY", " ")], &["offline"]);
    check(&[("OPENAI_API_KEY", "k")], &["openai"]);
    check(&[("OPENAI_BASE_URL", "http://localhost:1")], &["openai"]);
    check(
        &[("ANTHROPIC_API_KEY", "k"), ("OPENAI_API_KEY", "k")],
        &["openai", "anthropic"],
    );
}

#[test]
fn keys_come_from_the_named_variable_or_the_familys() {
    let key = |provider: serde_json::Value| {
        let config = read(json!({ "providers": [provider] }));
        let pairs = env(&[("OPENAI_API_KEY", "own"), ("OTHER", "other")]);
        config.with_env(pairs).unwrap().providers[0]
            .api_key
            .as_ref()
            .map(|key| key.expose().to_owned())
    };
    let own = Some("own".to_owned());
    assert_eq!(key(json!({"name": "a", "family": "openai"})), own);
    assert_eq!(
        key(json!({"name": "a", "family": "openai", "api_key_env": "OTHER"})),
        Some("other".to_owned())
    );
    assert_eq!(
        key(json!({"name": "a", "family": "openai", "api_key": "written"})),
        Some("written".to_owned())
    );
    // OpenAI's key is never sent to somebody else.
    assert_eq!(
        key(json!({"name": "a", "family": "openai", "base_url": "http://else"})),
        None
    );
    assert_eq!(key(json!({"name": "a", "family": "anthropic"})), None);
}

#[test]
fn keys_show_nowhere() {
    let config = read(
        json!({"providers": [{"name": "a", "family": "openai", "api_key": "sk-very-secret"}]}),
    );
    assert!(!format!("{config:?}").contains("very"));
    assert!(!serde_json::to_string(&config).unwrap().contains("very"));
}

#[test]
fn unknown_keys_are_refused() {
    let error = serde_json::from_value::<Config>(json!({"provider": []}))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unknown field `provider`, expected one of `default_model`, `providers`"),
        "{error}"
    );
    assert!(
        serde_json::from_value::<Config>(json!({"providers": [{"name": "a", "family": "gpt"}]}))
            .is_err()
    );
}

#[test]
fn the_table_knows_hosts_keys_and_params() {
    let config = read(json!({"providers": [
        {"name": "groq"}, {"name": "fast", "provider": "groq"}, {"name": "bedrock"}, {"name": "ollama"}, {"name": "near", "provider": "vllm", "base_url": "http://gpu:8000/v1"}]}));
    let pairs = env(&[
        ("GROQ_API_KEY", "g"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("OLLAMA_HOST", "0.0.0.0:11434"),
    ]);
    let providers = config.with_env(pairs).unwrap().providers;
    let key = |at: usize| providers[at].api_key.as_ref().map(Secret::expose);
    assert_eq!((key(0), key(1), key(2)), (Some("g"), Some("g"), None));
    assert_eq!(providers[2].params["region"], "eu-west-1");
    assert_eq!(providers[2].aws.as_ref().unwrap().access_key_id, "id");
    assert_eq!(
        providers[3].base_url.as_deref(),
        Some("http://0.0.0.0:11434")
    );
    let families: Vec<_> = providers
        .iter()
        .map(|provider| provider.family.unwrap())
        .collect();
    assert_eq!(
        families,
        [
            Family::OpenAi,
            Family::OpenAi,
            Family::Bedrock,
            Family::Ollama,
            Family::OpenAi
        ]
    );
}

#[test]
fn tables_can_be_changed_in_the_settings_and_in_files() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &file,
        "mine: { base: 'http://mine/v1', env: [MINE], drop: [seed] }\n",
    )
    .unwrap();
    let config = read(
        json!({"providers_file": file.path(), "catalogue": {"models": [{"id": "m", "provider": "mine", "usd": [1, 2, 0.5]}]},
        "providers": [{"name": "mine"}]}),
    );
    let table = config.table().unwrap();
    assert_eq!(table.provider("mine").unwrap().drop, ["seed"]);
    assert_eq!(table.model("mine", "m").unwrap().usd, Some([1.0, 2.0, 0.5]));
    std::fs::write(&file, "mine: { bas: x }\n").unwrap();
    let error = config.with_env(|_| None).unwrap_err().to_string();
    assert!(error.contains("bas"), "{error}");
}
