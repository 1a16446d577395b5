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
        let config = Config::from_env(env(pairs));
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
        config.with_env(pairs).providers[0]
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
        error.contains("unknown field `provider`, expected `default_model` or `providers`"),
        "{error}"
    );
    assert!(
        serde_json::from_value::<Config>(json!({"providers": [{"name": "a", "family": "gpt"}]}))
            .is_err()
    );
}
