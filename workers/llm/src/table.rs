//! The tables of providers and models: embedded, and what the settings add to them.

use std::{collections::BTreeMap, sync::LazyLock};

use agentos_contract::llm::{Dialect, ModelFacts, Tier, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Family;

const PROVIDERS: &str = include_str!("../data/providers.yaml");
const MODELS: &str = include_str!("../data/models.yaml");

static EMBEDDED: LazyLock<Table> = LazyLock::new(|| Table {
    providers: serde_saphyr::from_str(PROVIDERS).expect("a test reads the embedded providers"),
    models: serde_saphyr::from_str(MODELS).expect("a test reads the embedded models"),
});

/// Everything known of providers and models.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    providers: BTreeMap<String, Entry>,
    models: Vec<ModelEntry>,
}

/// A kind of provider: its host and its habits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a yes or no about a host, written by people"
)]
pub struct Entry {
    pub family: Family,
    /// Base URL; `{name}` is filled in from the provider's `params`.
    pub base: String,
    /// Variables that may hold the key, the first that is set.
    pub env: Vec<String>,
    /// The variable that moves the base URL.
    pub base_env: Option<String>,
    /// Variables that hold params.
    pub params_env: BTreeMap<String, String>,
    /// How the key is sent; the family's way when absent.
    pub auth: Option<Auth>,
    /// Needs no key.
    pub local: bool,
    /// What to ask below the base URL to see whether it is there.
    pub probe: Option<String>,
    /// Models it offers when only its key is set.
    pub models: Vec<String>,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
    /// Bodies that it takes as they are; the family's when empty.
    pub dialects: Vec<Dialect>,
    /// What it calls the limit of answered tokens.
    pub limit: String,
    /// Parameters under another name.
    pub rename: BTreeMap<String, String>,
    /// Parameters that it refuses.
    pub drop: Vec<String>,
    /// Fields of messages that it refuses.
    pub drop_in_messages: Vec<String>,
    /// What it calls `tool_choice: required`.
    pub required: Option<String>,
    pub temperature_max: Option<f64>,
    /// Whether usage in a stream is asked for.
    pub stream_usage: bool,
    pub tool_ids: ToolIds,
    /// User and assistant must take turns.
    pub alternate: bool,
    /// Takes `reasoning_details` in messages.
    pub reasoning_details: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Entry {
            family: Family::OpenAi,
            base: String::new(),
            env: Vec::new(),
            base_env: None,
            params_env: BTreeMap::new(),
            auth: None,
            local: false,
            probe: None,
            models: Vec::new(),
            headers: BTreeMap::new(),
            dialects: Vec::new(),
            limit: "max_tokens".to_owned(),
            rename: BTreeMap::new(),
            drop: Vec::new(),
            drop_in_messages: Vec::new(),
            required: None,
            temperature_max: None,
            stream_usage: true,
            tool_ids: ToolIds::Any,
            alternate: false,
            reasoning_details: false,
        }
    }
}

impl Entry {
    /// Whether the host would refuse bodies that OpenAI takes.
    pub(crate) fn is_particular(&self) -> bool {
        !self.rename.is_empty()
            || !self.drop.is_empty()
            || !self.drop_in_messages.is_empty()
            || self.required.is_some()
            || self.temperature_max.is_some()
            || self.tool_ids != ToolIds::Any
            || self.alternate
    }
}

/// Which ids of tool calls a host takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolIds {
    #[default]
    Any,
    /// Nine letters and digits.
    Short,
}

/// How a request shows its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer KEY`
    Bearer,
    /// `Authorization: Api-Key KEY`
    ApiKeyScheme,
    /// `api-key: KEY`
    ApiKey,
    /// `x-api-key: KEY`
    XApiKey,
    /// `x-goog-api-key: KEY`
    XGoogApiKey,
}

/// A model and what is known of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    pub id: String,
    /// The entry of the table of providers whose price this is.
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Tokens of question and answer together.
    #[serde(default)]
    pub context: Option<u64>,
    /// Tokens of the longest answer.
    #[serde(default)]
    pub output: Option<u64>,
    /// US dollars for a million tokens: input, output, cached input.
    #[serde(default)]
    pub usd: Option<[f64; 3]>,
    #[serde(default)]
    pub tier: Option<Tier>,
    #[serde(default)]
    pub can: Vec<String>,
}

impl Table {
    /// The embedded table.
    pub(crate) fn embedded() -> &'static Table {
        &EMBEDDED
    }

    /// With these in front of what is there.
    pub(crate) fn add(&mut self, providers: BTreeMap<String, Entry>, models: Vec<ModelEntry>) {
        self.providers.extend(providers);
        self.models.splice(0..0, models);
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Entry> {
        self.providers.get(name)
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.providers
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// What is known of `model` at a provider of the kind `entry`. Without the price, where that
    /// is another's.
    pub(crate) fn model(&self, entry: &str, model: &str) -> Option<&ModelEntry> {
        let bare = bare(model);
        let named = |known: &&ModelEntry| known.id == model || known.id == bare;
        let here = |known: &&ModelEntry| known.provider.as_deref().is_none_or(|at| at == entry);
        self.models
            .iter()
            .find(|known| known.id == model && here(known))
            .or_else(|| self.models.iter().find(|known| named(known) && here(known)))
            .or_else(|| self.models.iter().find(named))
    }

    /// The model of this alias, and the kind of provider that has it.
    pub(crate) fn alias(&self, alias: &str) -> Option<&ModelEntry> {
        self.models
            .iter()
            .find(|known| known.aliases.iter().any(|name| name == alias))
    }
}

impl ModelEntry {
    /// US dollars, when the price is known at a provider of the kind `entry`.
    pub(crate) fn cost_usd(&self, entry: &str, usage: &Usage) -> Option<f64> {
        let [input, output, cached] = self.price(entry)?;
        let from_cache = usage.cached_tokens.unwrap_or(0).min(usage.input_tokens);
        let fresh = usage.input_tokens - from_cache;
        Some(
            (fresh as f64 * input
                + from_cache as f64 * cached
                + usage.output_tokens as f64 * output)
                / 1e6,
        )
    }

    fn price(&self, entry: &str) -> Option<[f64; 3]> {
        self.usd
            .filter(|_| self.provider.as_deref().is_none_or(|at| at == entry))
    }

    pub(crate) fn facts(&self, entry: &str) -> ModelFacts {
        let price = self.price(entry);
        ModelFacts {
            context_tokens: self.context,
            output_tokens: self.output,
            input_usd_per_mtok: price.map(|price| price[0]),
            output_usd_per_mtok: price.map(|price| price[1]),
            cached_input_usd_per_mtok: price.map(|price| price[2]),
            tier: self.tier,
            capabilities: self.can.clone(),
        }
    }
}

/// `anthropic.claude-x-20250929-v1:0` and `claude-x-2025-09-29` are dated names of `claude-x`.
fn bare(model: &str) -> &str {
    let model = model.rsplit_once('/').map_or(model, |(_, last)| last);
    let model = model.split_once("anthropic.").map_or(model, |(_, id)| id);
    let model = model.split_once("-v1:").map_or(model, |(id, _)| id);
    let digits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    for length in [11, 9] {
        if let Some((at, tail)) = model
            .len()
            .checked_sub(length)
            .and_then(|at| Some((at, model.get(at..)?)))
            && tail.starts_with("-20")
            && digits(tail)
        {
            return &model[..at];
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tables_are_whole() {
        let table = Table::embedded();
        assert!(table.providers.len() >= 54, "{}", table.providers.len());
        for (name, entry) in table.providers() {
            assert!(entry.base.starts_with("http"), "{name}");
            assert!(entry.local || !entry.env.is_empty(), "{name}");
        }
        for model in &table.models {
            let provider = model.provider.as_deref().unwrap();
            assert!(table.provider(provider).is_some(), "{provider}");
        }
    }

    #[test]
    fn dated_names_are_the_same_model() {
        let table = Table::embedded();
        let id =
            |entry: &str, model: &str| table.model(entry, model).map(|known| known.id.as_str());
        assert_eq!(id("openai", "gpt-5-2025-08-07"), Some("gpt-5"));
        assert_eq!(id("openai", "gpt-5-mini"), Some("gpt-5-mini"));
        assert_eq!(
            id("anthropic", "claude-sonnet-4-5-20250929"),
            Some("claude-sonnet-4-5")
        );
        assert_eq!(
            id("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
            Some("claude-haiku-4-5")
        );
        assert_eq!(id("openai", "gpt-6"), None);
    }

    #[test]
    fn a_price_holds_at_its_provider() {
        let known = Table::embedded().model("openai", "gpt-5").unwrap();
        let usage = Usage {
            cached_tokens: Some(400_000),
            ..Usage::new(1_000_000, 100_000)
        };
        let cost = known.cost_usd("openai", &usage).unwrap();
        assert!(
            (cost - (0.6 * 1.25 + 0.4 * 0.125 + 1.0)).abs() < 1e-9,
            "{cost}"
        );
        assert_eq!(known.cost_usd("openrouter", &usage), None);
    }
}
