//! Which provider a name finds, and what settings are refused.

use super::*;
use serde_json::{Value, json};

fn routes(config: Value) -> Result<Routes, config::Error> {
    let config: Config = serde_json::from_value(config).unwrap();
    Routes::new(&config.with_env(|_| None)?, &Arc::default())
}

fn two() -> Routes {
    let local = "http://127.0.0.1:9/v1";
    routes(json!({"providers": [
        {"name": "a", "family": "openai", "base_url": local, "models": ["m1", "m2"]},
        {"name": "b", "family": "openai", "base_url": local, "models": ["m3", "org/m"]},
        {"name": "c", "family": "openai", "models": ["m4"]}], "default_model": "b/m9"}))
    .unwrap()
}

#[test]
fn models_find_their_provider() {
    let routes = two();
    let check = |provider: Option<&str>, model: &str, expect: (&str, &str)| {
        let request = CompleteRequest {
            provider: provider.map(str::to_owned),
            model: model.to_owned(),
            ..Default::default()
        };
        let (route, model) = routes.choose(&request).unwrap();
        assert_eq!((route.name.as_str(), model.unwrap().as_str()), expect);
    };
    check(None, "", ("b", "m9"));
    check(None, "a/m2", ("a", "m2"));
    check(None, "a/new", ("a", "new"));
    check(None, "m1", ("a", "m1"));
    check(None, "org/m", ("b", "org/m"));
    check(None, "unheard-of", ("b", "unheard-of"));
    check(Some("a"), "m3", ("a", "m3"));
    check(Some("a"), "a/m3", ("a", "m3"));
}

#[test]
fn unusable_requests_say_why() {
    let routes = two();
    let check = |request: CompleteRequest, code: Code, part: &str| {
        let error = routes.find(&request).err().unwrap();
        assert_eq!(error.code, code);
        assert!(error.message.contains(part), "{}", error.message);
    };
    check(
        CompleteRequest {
            provider: Some("z".into()),
            ..Default::default()
        },
        Code::InvalidInput,
        "there are: a, b, c",
    );
    check(
        CompleteRequest {
            model: "c/m4".into(),
            ..Default::default()
        },
        Code::Unavailable,
        "set OPENAI_API_KEY",
    );
}

#[test]
fn unusable_settings_say_why() {
    let check = |config: Value, part: &str| {
        let error = routes(config).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    let offline = json!({"name": "a", "family": "offline"});
    check(json!({"providers": [offline, offline]}), "two providers");
    check(
        json!({"providers": [offline], "default_model": "b/x"}),
        "there are: a",
    );
    check(
        json!({"providers": [{"name": "a/b", "family": "offline"}]}),
        "letters",
    );
    check(
        json!({"providers": [{"name": "a", "family": "openai", "base_url": "nowhere"}]}),
        "base_url",
    );
    check(
        json!({"providers": [{"name": "a", "family": "scripted"}]}),
        "needs `script`",
    );
    check(
        json!({"providers": [{"name": "a", "family": "scripted", "script": "no-such-file"}]}),
        "no-such-file",
    );
    check(
        json!({"providers": [{"name": "a", "family": "openai", "api_key": "a\nb"}]}),
        "API key",
    );
}

#[test]
fn lists_tell_models_and_providers() {
    let models = two().models().models;
    let ids: Vec<_> = models
        .iter()
        .map(|model| (model.id.as_str(), model.default))
        .collect();
    let expect = [
        ("a/m1", false),
        ("a/m2", false),
        ("b/m3", false),
        ("b/org/m", false),
        ("b/m9", true),
        ("c/m4", false),
    ];
    assert_eq!(ids, expect);
    let configured: Vec<_> = two()
        .providers()
        .providers
        .iter()
        .map(|provider| provider.configured)
        .collect();
    assert_eq!(configured, [true, true, false]);
    let offline = routes(json!({})).unwrap();
    assert_eq!(offline.models().models[0].id, "offline/offline");
    assert!(offline.models().models[0].default);
}
