//! Settings: which providers there are and how to reach them.
//!
//! Plain data. The environment is read only through the closure given to [`Config::with_env`],
//! and nothing is checked before [`crate::Llm::new`].

mod checked;
mod fill;
mod secret;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::checked::{base_uri, header};
pub use self::{checked::Error, secret::Secret};
use crate::table::{Auth, Entry, ModelEntry, Table};

/// The section `llm` of the settings file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `provider/model`, an alias or `auto` for requests that name none; else the first model of
    /// the first provider.
    pub default_model: Option<String>,
    /// Empty: those whose key is in the environment, else `offline`.
    pub providers: Vec<Provider>,
    /// Other names for models: a name to `provider/model`.
    pub aliases: BTreeMap<String, String>,
    /// Models asked in order when any other does not begin to answer.
    pub fallbacks: Vec<String>,
    /// Entries in front of the embedded tables.
    pub catalogue: Catalogue,
    /// YAML files of the same shape as the embedded tables, relative to the settings file.
    pub providers_file: Option<PathBuf>,
    pub models_file: Option<PathBuf>,
    /// What `auto` looks for.
    pub auto: Auto,
    /// Answers kept for requests that are exactly the same. Absent: none.
    pub cache: Option<Cache>,
    /// Look for model servers on this machine when starting.
    pub discover: bool,
}

/// Additions to the tables.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Catalogue {
    pub providers: BTreeMap<String, Entry>,
    pub models: Vec<ModelEntry>,
}

/// How `auto` chooses among the models that can do what is asked.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auto {
    pub prefer: Prefer,
    /// Models for simple requests, in order, instead of those the catalogue calls so.
    pub simple: Vec<String>,
    pub medium: Vec<String>,
    pub complex: Vec<String>,
}

/// What counts among models that will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    #[default]
    Cost,
    Latency,
}

/// Bounds of the cache of answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    pub ttl_ms: u64,
    pub bytes_max: usize,
}

impl Default for Cache {
    fn default() -> Self {
        // Ten minutes; some ten thousand answers.
        Cache {
            ttl_ms: 600_000,
            bytes_max: 32 << 20,
        }
    }
}

/// One provider.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What `provider/model` begins with.
    pub name: String,
    /// Its entry in the table of providers; the one of its name when absent.
    #[serde(default)]
    pub provider: Option<String>,
    /// The table's when absent.
    #[serde(default)]
    pub family: Option<Family>,
    /// What the family's paths are appended to.
    #[serde(default)]
    pub base_url: Option<String>,
    /// What stands for `{name}` in the table's base URL: `region`, `account`, …
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Several keys to share the work.
    #[serde(default)]
    pub api_keys: Vec<Key>,
    #[serde(default)]
    pub balance: Balance,
    /// How the key is sent; the table's way when absent.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// `bedrock`: credentials to sign with. Default: `AWS_ACCESS_KEY_ID` and its companions.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// Models that may be asked without the `provider/` in front. Others may be asked with it.
    #[serde(default)]
    pub models: Vec<String>,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Put into every body, where the request does not say otherwise.
    #[serde(default)]
    pub options: Map<String, Value>,
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
    /// How often a request is sent again, before its answer begins.
    #[serde(default)]
    pub retries_max: Option<u32>,
    /// The wait before the first repetition; it doubles.
    #[serde(default = "retry_wait_ms")]
    pub retry_wait_ms: u64,
    /// The longest wait that the provider may ask for; longer, and another is asked.
    #[serde(default = "retry_after_max_ms")]
    pub retry_after_max_ms: u64,
    /// Failures in a row until the provider is left alone.
    #[serde(default = "breaker_failures")]
    pub breaker_failures: u32,
    /// For how long.
    #[serde(default = "breaker_open_ms")]
    pub breaker_open_ms: u64,
}

/// One of several keys.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    #[serde(default)]
    pub api_key: Option<Secret>,
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Its share of the requests.
    #[serde(default = "one")]
    pub weight: u32,
}

/// How several keys share the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// By their weights.
    #[default]
    Weighted,
    /// To the one that answers soonest, counting what it has in hand.
    LeastLatency,
}

/// What AWS requests are signed with.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    #[serde(default)]
    pub session_token: Option<Secret>,
}

impl Provider {
    /// A provider with nothing but defaults.
    pub fn new(name: impl Into<String>, family: Family) -> Self {
        Provider {
            name: name.into(),
            provider: None,
            family: Some(family),
            base_url: None,
            params: BTreeMap::new(),
            api_key: None,
            api_key_env: None,
            api_keys: Vec::new(),
            balance: Balance::default(),
            auth: None,
            aws: None,
            models: Vec::new(),
            headers: BTreeMap::new(),
            options: Map::new(),
            script: None,
            record: None,
            connect_timeout_ms: connect_timeout_ms(),
            first_byte_timeout_ms: first_byte_timeout_ms(),
            idle_timeout_ms: idle_timeout_ms(),
            retries_max: None,
            retry_wait_ms: retry_wait_ms(),
            retry_after_max_ms: retry_after_max_ms(),
            breaker_failures: breaker_failures(),
            breaker_open_ms: breaker_open_ms(),
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

/// What the providers' own clients wait first.
fn retry_wait_ms() -> u64 {
    500
}

/// Half of the default deadline of a call would be gone.
fn retry_after_max_ms() -> u64 {
    15_000
}

fn breaker_failures() -> u32 {
    5
}

fn breaker_open_ms() -> u64 {
    30_000
}

fn one() -> u32 {
    1
}

/// How a provider talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// OpenAI's chat completions, which most providers and local servers speak.
    #[default]
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// AWS Bedrock's Converse.
    Bedrock,
    /// Ollama's own.
    Ollama,
    /// Cohere's chat, version 2.
    Cohere,
    /// Replays a file; see docs/scripted-models.md.
    Scripted,
    /// No model: runs the function calls that a user writes.
    Offline,
}

impl Family {
    pub fn as_str(self) -> &'static str {
        match self {
            Family::OpenAi => "openai",
            Family::Responses => "responses",
            Family::Anthropic => "anthropic",
            Family::Gemini => "gemini",
            Family::Bedrock => "bedrock",
            Family::Ollama => "ollama",
            Family::Cohere => "cohere",
            Family::Scripted => "scripted",
            Family::Offline => "offline",
        }
    }

    /// The entry of the table that a provider of this family has when its name is in no table.
    fn entry(self) -> &'static str {
        match self {
            Family::Responses => "openai-responses",
            other => other.as_str(),
        }
    }

    /// Whether it is somewhere else, and asked over HTTP.
    pub(crate) fn is_hosted(self) -> bool {
        !matches!(self, Family::Scripted | Family::Offline)
    }
}

impl Config {
    /// What the environment alone says.
    ///
    /// # Errors
    /// None without files; see [`Config::with_env`].
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        Config::default().with_env(env)
    }

    /// Fills in what was left to the tables and the environment: providers if none are listed,
    /// then families, base URLs and keys. What is written wins over what the environment says.
    ///
    /// # Errors
    /// When a file of the tables cannot be read.
    pub fn with_env(mut self, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let table = self.table()?;
        if self.providers.is_empty() {
            self.providers = fill::found(&table, &env);
        }
        for provider in &mut self.providers {
            fill::fill(provider, &table, &env);
        }
        Ok(self)
    }

    /// The embedded tables with the additions of the settings.
    pub(crate) fn table(&self) -> Result<Table, Error> {
        let mut table = Table::embedded().clone();
        let providers = read_file(self.providers_file.as_ref())?.unwrap_or_default();
        let models = read_file(self.models_file.as_ref())?.unwrap_or_default();
        table.add(providers, models);
        let Catalogue { providers, models } = self.catalogue.clone();
        table.add(providers, models);
        Ok(table)
    }
}

fn read_file<T: serde::de::DeserializeOwned>(file: Option<&PathBuf>) -> Result<Option<T>, Error> {
    let Some(file) = file else { return Ok(None) };
    let fault = |message: String| Error::Table {
        file: file.clone(),
        message,
    };
    let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
    serde_saphyr::from_str(&text)
        .map(Some)
        .map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests;
