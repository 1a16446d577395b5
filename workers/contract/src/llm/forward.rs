//! `llm::forward`: a body in a provider's own dialect, sent on as it is, and the bytes that come back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Account, Usage};

/// Sends a body on to a provider that speaks its dialect, byte for byte but for the model's name.
///
/// The payload *is* the body, JSON text as the client sent it. What else there is to say is a
/// [`ForwardHead`] in the call's metadata. Fallbacks, retries, keys and metering are those of
/// [`super::COMPLETE`].
///
/// A streaming caller gets a [`ForwardStart`] as the first chunk (JSON), then the upstream's bytes
/// as binary chunks, for an event stream whole events only, and a [`Forwarded`] as final value.
/// Until the first chunk nothing has been sent and the error is the error of the call; afterwards
/// it ends the stream. Any other caller gets the upstream's whole body as the result.
///
/// Fails at once with `unsupported` and the reason [`OTHER_FAMILY`] when the model's provider does
/// not speak the dialect: ask [`super::COMPLETE`] then.
pub const FORWARD: &str = "llm::forward";

/// `reason` of the error when a model lives at a provider of another family.
pub const OTHER_FAMILY: &str = "other_family";

/// What is said beside the body.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardHead {
    pub dialect: Dialect,
    /// As in [`super::CompleteRequest::model`]; empty to read it from the body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Asked in order when the first does not begin to answer. Those of other families are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    #[serde(skip_serializing_if = "Account::is_empty")]
    pub account: Account,
    /// Headers for the upstream, such as `anthropic-beta`. Names that carry credentials are ignored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Whose request it is, in whose words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Dialect {
    /// `POST /chat/completions`
    #[default]
    #[serde(rename = "openai.chat")]
    OpenAiChat,
    /// `POST /completions`
    #[serde(rename = "openai.completions")]
    OpenAiCompletions,
    /// `POST /embeddings`
    #[serde(rename = "openai.embeddings")]
    OpenAiEmbeddings,
    /// `POST /responses`
    #[serde(rename = "openai.responses")]
    OpenAiResponses,
    /// `POST /v1/messages`
    #[serde(rename = "anthropic.messages")]
    AnthropicMessages,
}

/// First chunk of a forwarded answer: the upstream said yes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardStart {
    /// 2xx.
    pub status: u16,
    /// `content-type`, and what the upstream says of limits and its request id; lower-case names.
    pub headers: BTreeMap<String, String>,
    /// Whether the body is a stream of server-sent events.
    pub event_stream: bool,
    pub provider: String,
    /// As the provider calls it.
    pub model: String,
}

/// Final value of a forwarded answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Forwarded {
    /// Absent when the upstream did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Absent when usage or price is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}
