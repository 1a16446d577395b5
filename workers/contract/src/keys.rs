//! `api::*_key`: keys for the gateway, each with what it may do and how much.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes a key: [`NewKey`] to [`MadeKey`], which is the only time that the key itself is told.
pub const CREATE_KEY: &str = "api::create_key";
/// All keys, oldest first: nothing to a list of [`Key`].
pub const KEYS: &str = "api::keys";
/// Takes a key back: [`KeyRef`] to the [`Key`]; from then on it is refused.
pub const REVOKE_KEY: &str = "api::revoke_key";

/// What a key is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    pub name: String,
    /// `chat` when absent; none when empty.
    #[serde(default = "chat")]
    pub scopes: Vec<Scope>,
    /// Patterns of models and agents, as `model` names them, `*` standing for any text:
    /// `agent/clerk`, `openai/*`. All when absent, none when empty.
    #[serde(default = "all")]
    pub models: Vec<String>,
    /// Unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens in and out, per day of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

/// What a key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Asking agents and models, listing those it may ask, and its own responses.
    Chat,
    /// Making, changing and removing agents, their runs and approvals.
    Agents,
}

/// A key, but for the secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Public: it stands in lists and accounts.
    pub id: String,
    pub name: String,
    /// The last four characters of the secret.
    pub ends_with: String,
    pub scopes: Vec<Scope>,
    pub models: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Milliseconds since 1970.
    pub created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// See [`CREATE_KEY`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeKey {
    /// The secret. Only its hash is kept.
    pub secret: String,
    pub key: Key,
}

/// Names a key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// Id or name.
    pub key: String,
}

fn chat() -> Vec<Scope> {
    vec![Scope::Chat]
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}
