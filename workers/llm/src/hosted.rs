//! A provider on some host: its keys, its wire family, and the HTTP between.

mod auth;

use std::{sync::Arc, time::SystemTime};

use agentos_contract::llm::Dialect;
use agentos_sdk::Error;
use async_trait::async_trait;
use bytes::Bytes;
use hyper::{
    HeaderMap, Uri,
    header::{HeaderName, HeaderValue},
};

use crate::{
    config::{self, Family},
    http::{Answer, Client},
    keys::{Condition, Credential, Lease, Ring},
    provider::{Ask, EventStream, Letter, Provider},
    reading::{self, Codec},
    table::{Auth, Entry},
};

/// How a family is written and read.
pub(crate) trait Wire: Send + Sync {
    /// # Errors
    /// `invalid_input` for what the family has no counterpart of.
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error>;

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec>;
}

/// What to post.
pub(crate) struct Outgoing {
    /// Appended to the base URL.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// One host.
pub(crate) struct Hosted {
    client: Client,
    base: String,
    headers: HeaderMap,
    ring: Arc<Ring>,
    auth: Auth,
    /// Where requests are signed for.
    region: String,
    wire: Box<dyn Wire>,
    dialects: Vec<Dialect>,
}

impl Hosted {
    /// # Errors
    /// When base URL, a key or a header cannot be used.
    pub(crate) fn new(
        provider: &config::Provider,
        entry: &Entry,
        family: Family,
        base: &str,
        wire: Box<dyn Wire>,
    ) -> Result<Self, config::Error> {
        let ring = Ring::new(credentials(provider)?, provider.balance);
        let mut dialects = if entry.dialects.is_empty() {
            own_dialects(family)
        } else {
            entry.dialects.clone()
        };
        if entry.is_particular() {
            // What it would refuse is translated instead.
            dialects.retain(|dialect| *dialect != Dialect::OpenAiChat);
        }
        Ok(Hosted {
            client: Client::new(provider, ring.secrets()),
            base: config::base_uri(&provider.name, base)?,
            headers: headers(provider, entry, family)?,
            ring,
            auth: provider.auth.or(entry.auth).unwrap_or(own_auth(family)),
            region: provider.params.get("region").cloned().unwrap_or_default(),
            wire,
            dialects,
        })
    }

    /// Posts under one of the keys.
    async fn post(
        &self,
        lease: &Lease,
        path: &str,
        body: Bytes,
        extra: &HeaderMap,
    ) -> Result<Answer, Error> {
        let address = format!("{}{path}", self.base);
        let uri: Uri = address.parse().map_err(|_| {
            crate::error::invalid("model", "the model's name cannot stand in an address")
        })?;
        let mut headers = self.headers.clone();
        headers.extend(
            extra
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        match lease.credential() {
            Credential::None => {}
            Credential::Key(key) => {
                let (name, value) = auth::header(self.auth, key.expose())
                    .expect("keys were checked when the provider was made");
                headers.insert(name, value);
            }
            Credential::Aws(aws) => {
                auth::sign(
                    aws,
                    &self.region,
                    &address,
                    &body,
                    &mut headers,
                    SystemTime::now(),
                )?;
            }
        }
        let answer = self.client.post(uri, headers, body).await;
        match &answer {
            Ok(_) => lease.answered(),
            Err(error) => lease.failed(error),
        }
        answer
    }
}

#[async_trait]
impl Provider for Hosted {
    async fn start(&self, ask: Ask<'_>) -> Result<EventStream, Error> {
        let Outgoing { path, body } = self.wire.write(ask)?;
        let codec = self.wire.read(ask);
        let lease = self.ring.lease(&self.client.upstream.provider)?;
        let answer = self
            .post(&lease, &path, body.into(), &HeaderMap::new())
            .await?;
        reading::events(answer, codec, lease).await
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect)
    }

    async fn send(&self, letter: Letter) -> Result<Answer, Error> {
        let path = match letter.dialect {
            Dialect::OpenAiChat => "/chat/completions",
            Dialect::OpenAiCompletions => "/completions",
            Dialect::OpenAiEmbeddings => "/embeddings",
            Dialect::OpenAiResponses => "/responses",
            Dialect::AnthropicMessages => "/v1/messages",
        };
        let lease = self.ring.lease(&self.client.upstream.provider)?;
        let mut answer = self
            .post(&lease, path, letter.body, &letter.headers)
            .await?;
        answer.lease = Some(lease);
        Ok(answer)
    }

    fn condition(&self) -> Option<Condition> {
        Some(self.ring.condition())
    }

    fn has_another_key(&self) -> bool {
        self.ring.has_warm()
    }
}

fn own_dialects(family: Family) -> Vec<Dialect> {
    match family {
        Family::OpenAi => vec![
            Dialect::OpenAiChat,
            Dialect::OpenAiCompletions,
            Dialect::OpenAiEmbeddings,
        ],
        Family::Responses => vec![Dialect::OpenAiResponses],
        Family::Anthropic => vec![Dialect::AnthropicMessages],
        _ => Vec::new(),
    }
}

fn own_auth(family: Family) -> Auth {
    match family {
        Family::Anthropic => Auth::XApiKey,
        Family::Gemini => Auth::XGoogApiKey,
        _ => Auth::Bearer,
    }
}

fn credentials(provider: &config::Provider) -> Result<Vec<(Credential, u32)>, config::Error> {
    let several = provider
        .api_keys
        .iter()
        .filter_map(|key| Some((key.api_key.clone()?, key.weight)));
    let mut keys: Vec<(Credential, u32)> = provider
        .api_key
        .clone()
        .map(|key| (key, 1))
        .into_iter()
        .chain(several)
        .map(|(key, weight)| (Credential::Key(key), weight))
        .collect();
    for (credential, _) in &keys {
        if let Credential::Key(key) = credential {
            config::header(&provider.name, key.expose())?;
        }
    }
    if keys.is_empty() {
        let aws = provider.aws.clone().map(Credential::Aws);
        keys.push((aws.unwrap_or(Credential::None), 1));
    }
    Ok(keys)
}

/// Headers of every request: the family's, the table's, the settings'.
fn headers(
    provider: &config::Provider,
    entry: &Entry,
    family: Family,
) -> Result<HeaderMap, config::Error> {
    let mut headers = HeaderMap::new();
    if family == Family::Anthropic {
        // The version of the interface that the codec was written for.
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    for (name, text) in entry.headers.iter().chain(&provider.headers) {
        let fault = || config::Error::Header {
            provider: provider.name.clone(),
            header: name.clone(),
        };
        let name: HeaderName = name.parse().map_err(|_| fault())?;
        headers.insert(name, HeaderValue::from_str(text).map_err(|_| fault())?);
    }
    Ok(headers)
}
