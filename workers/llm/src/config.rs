//! Settings: which providers there are and how to reach them.
//!
//! Plain data. The environment is read only through the closure given to [`Config::with_env`],
//! and nothing is checked before [`crate::Llm::new`].

mod checked;

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub use self::checked::Error;
pub(crate) use self::checked::{endpoint, header};

/// Model asked for when `OPENAI_API_KEY` is all that is set.
const OPENAI_MODEL: &str = "gpt-5-mini";
/// Model asked for when `ANTHROPIC_API_KEY` is all that is set.
const ANTHROPIC_MODEL: &str = "claude-sonnet-4-5";

/// The section `llm` of the settings file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `provider/model` for requests that name none; else the first model of the first provider.
    pub default_model: Option<String>,
    /// Empty: `openai` and `anthropic` where their keys are in the environment, else `offline`.
    pub providers: Vec<Provider>,
}

/// One provider.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What `provider/model` begins with.
    pub name: String,
    pub family: Family,
    /// `openai`: what `/chat/completions` is appended to; `anthropic`: what `/v1/messages` is.
    #[serde(default)]
    pub base_url: Option<String>,
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Models that may be asked without the `provider/` in front. Others may be asked with it.
    #[serde(default)]
    pub models: Vec<String>,
    /// `scripted`: the file of turns.
    #[serde(default)]
    pub script: Option<PathBuf>,
    /// `scripted`: the file that requests and their ends are appended to, as JSON lines.
    #[serde(default)]
    pub record: Option<PathBuf>,
    /// Name lookup, TCP and TLS together.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// From the request to the head of the answer. Without streaming this is all the thinking.
    #[serde(default = "first_byte_timeout_ms")]
    pub first_byte_timeout_ms: u64,
    /// Longest silence in the middle of an answer.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u64,
}

impl Provider {
    /// A provider with nothing but defaults.
    pub fn new(name: impl Into<String>, family: Family) -> Self {
        Provider {
            name: name.into(),
            family,
            base_url: None,
            api_key: None,
            api_key_env: None,
            models: Vec::new(),
            script: None,
            record: None,
            connect_timeout_ms: connect_timeout_ms(),
            first_byte_timeout_ms: first_byte_timeout_ms(),
            idle_timeout_ms: idle_timeout_ms(),
        }
    }
}

/// Twice what a far host with a lost packet needs.
fn connect_timeout_ms() -> u64 {
    10_000
}

/// Thinking models are silent for minutes; the call's own deadline is usually shorter.
fn first_byte_timeout_ms() -> u64 {
    300_000
}

/// Providers send something, if only a comment, every 15 to 60 s.
fn idle_timeout_ms() -> u64 {
    120_000
}

/// How a provider talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// OpenAI's chat completions, which most providers and local servers speak.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Replays a file; see docs/scripted-models.md.
    Scripted,
    /// No model: runs the function calls that a user writes.
    Offline,
}

impl Family {
    pub fn as_str(self) -> &'static str {
        match self {
            Family::OpenAi => "openai",
            Family::Anthropic => "anthropic",
            Family::Scripted => "scripted",
            Family::Offline => "offline",
        }
    }

    /// Where the family's own host is; `None` for families without one.
    pub(crate) fn base_url(self) -> Option<&'static str> {
        match self {
            Family::OpenAi => Some("https://api.openai.com/v1"),
            Family::Anthropic => Some("https://api.anthropic.com"),
            Family::Scripted | Family::Offline => None,
        }
    }

    /// The variable that holds the family's key, and the one that moves its base URL.
    pub(crate) fn variables(self) -> Option<(&'static str, &'static str)> {
        match self {
            Family::OpenAi => Some(("OPENAI_API_KEY", "OPENAI_BASE_URL")),
            Family::Anthropic => Some(("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")),
            Family::Scripted | Family::Offline => None,
        }
    }
}

/// A key. Shows and writes itself as `***`, so that no log, error or dump can hold it.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The key itself: for the request's header and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Config {
    /// What the environment alone says.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        Config::default().with_env(env)
    }

    /// Fills in what was left to the environment: providers if none are listed, then keys and base
    /// URLs. What is written wins over what the environment says.
    pub fn with_env(mut self, env: impl Fn(&str) -> Option<String>) -> Self {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        if self.providers.is_empty() {
            self.providers = found(&env);
        }
        for provider in &mut self.providers {
            fill(provider, &env);
        }
        self
    }
}

/// The providers whose variables are set. A base URL alone is enough: local servers need no key.
fn found(env: &impl Fn(&str) -> Option<String>) -> Vec<Provider> {
    let candidates = [
        (Family::OpenAi, OPENAI_MODEL),
        (Family::Anthropic, ANTHROPIC_MODEL),
    ];
    let set = |family: Family| {
        family
            .variables()
            .is_some_and(|(key, base)| env(key).or_else(|| env(base)).is_some())
    };
    let mut providers: Vec<Provider> = candidates
        .into_iter()
        .filter(|(family, _)| set(*family))
        .map(|(family, model)| Provider {
            models: vec![model.to_owned()],
            ..Provider::new(family.as_str(), family)
        })
        .collect();
    if providers.is_empty() {
        providers.push(Provider::new("offline", Family::Offline));
    }
    providers
}

fn fill(provider: &mut Provider, env: &impl Fn(&str) -> Option<String>) {
    let Some((key, base)) = provider.family.variables() else {
        return;
    };
    // The family's own variables belong to its own host: a key must not go to another one.
    let own_host = provider.base_url.is_none();
    if own_host {
        provider.base_url = env(base);
    }
    let variable = provider.api_key_env.as_deref().or(own_host.then_some(key));
    if provider.api_key.is_none() {
        provider.api_key = variable.and_then(env).map(Secret);
    }
}

#[cfg(test)]
mod tests;
