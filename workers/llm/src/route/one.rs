//! One provider, and what is known of it.

use std::{sync::Arc, time::Duration};

use agentos_contract::llm;
use agentos_sdk::{Code, Error};

use crate::{
    anthropic::Anthropic,
    bedrock::Bedrock,
    breaker::Breaker,
    cohere::Cohere,
    config::{self, Family},
    gemini::Gemini,
    hosted::{Hosted, Wire},
    offline::Offline,
    ollama::Ollama,
    openai::OpenAi,
    provider::Provider,
    responses::Responses,
    scripted::{Scripted, Stage},
    table::{Entry, Table},
};

/// How often a request is sent again, unless the settings say otherwise: as often as the providers'
/// own clients do.
const RETRIES: u32 = 2;

/// See the module.
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) family: Family,
    /// Its entry in the table of providers; empty when it has none.
    pub(crate) kind: String,
    base: String,
    /// `None` when it lacks a key, and cannot be asked.
    pub(crate) provider: Option<Arc<dyn Provider>>,
    /// What is to be done to make it askable.
    remedy: String,
    pub(crate) models: Vec<String>,
    pub(crate) breaker: Breaker,
    pub(crate) patience: Patience,
    /// Found on this machine, not in the settings.
    pub(crate) discovered: bool,
}

/// How failures before the first byte are met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) retries: u32,
    pub(crate) wait: Duration,
    pub(crate) retry_after_max: Duration,
}

impl Route {
    pub(crate) fn new(
        written: &config::Provider,
        table: &Table,
        stage: &Arc<Stage>,
    ) -> Result<Self, config::Error> {
        let name = written.name.clone();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(config::Error::Name { name });
        }
        let family = written.family.ok_or_else(|| config::Error::Unknown {
            provider: name.clone(),
        })?;
        let kind = written.provider.clone().unwrap_or_default();
        let entry = table.provider(&kind).cloned().unwrap_or_else(|| Entry {
            family,
            ..Entry::default()
        });
        let millis = Duration::from_millis;
        let retries = if family.is_hosted() { RETRIES } else { 0 };
        let mut route = Route {
            name,
            family,
            kind,
            base: String::new(),
            provider: None,
            remedy: String::new(),
            models: written.models.clone(),
            breaker: Breaker::new(written.breaker_failures, millis(written.breaker_open_ms)),
            patience: Patience {
                retries: written.retries_max.unwrap_or(retries),
                wait: millis(written.retry_wait_ms),
                retry_after_max: millis(written.retry_after_max_ms),
            },
            discovered: false,
        };
        match family {
            Family::Scripted => {
                let scripted = Scripted::new(written, Arc::clone(stage))?;
                route.models.extend(scripted.models());
                let script = written.script.as_ref();
                route.base = script.map_or_else(String::new, |path| path.display().to_string());
                route.provider = Some(Arc::new(scripted));
            }
            Family::Offline => {
                route.models.push("offline".to_owned());
                let name = route.name.clone();
                route.provider = Some(Arc::new(Offline { name }));
            }
            _ => route.host(written, entry)?,
        }
        Ok(route)
    }

    fn host(&mut self, written: &config::Provider, entry: Entry) -> Result<(), config::Error> {
        let own_host = written.base_url.is_none();
        let template = written.base_url.as_ref().unwrap_or(&entry.base);
        self.base = fill_in(template, written);
        if let Some((_, missing)) = self.base.split_once('{') {
            let param = missing.split('}').next().unwrap_or_default();
            let variable = entry.params_env.get(param);
            let or = variable.map_or_else(String::new, |name| format!(", or {name}"));
            self.remedy = format!("has no `{param}`: set `params.{param}` in config.yaml{or}");
            return Ok(());
        }
        let keyed = written.api_key.is_some()
            || written.aws.is_some()
            || written.api_keys.iter().any(|key| key.api_key.is_some());
        let wire = wire(self.family, written, &entry);
        let hosted = Hosted::new(written, &entry, self.family, &self.base, wire)?;
        // The table's own hosts want a key; other hosts may be local servers that want none.
        if own_host && !entry.local && !keyed {
            let variable = entry.env.first().map_or("api_key", String::as_str);
            self.remedy =
                format!("has no API key: set {variable}, or `api_key_env` in config.yaml");
            return Ok(());
        }
        self.provider = Some(Arc::new(hosted));
        Ok(())
    }

    /// The model in `provider/model`, when the provider is this one.
    pub(crate) fn own<'m>(&self, model: &'m str) -> Option<&'m str> {
        model.strip_prefix(self.name.as_str())?.strip_prefix('/')
    }

    pub(crate) fn not_configured(&self) -> Error {
        let message = format!("provider `{}` {}", self.name, self.remedy);
        let mut error = Error::worker(Code::Unavailable, message).reason("not_configured");
        error.retryable = false;
        error
    }

    /// Smoothed time until the first byte.
    pub(crate) fn latency_ms(&self) -> Option<u64> {
        self.provider.as_ref()?.condition()?.latency_ms
    }

    pub(crate) fn describe(&self) -> llm::Provider {
        let (breaker, wait) = self.breaker.state();
        let keys = self
            .provider
            .as_ref()
            .and_then(|provider| provider.condition());
        let (count, cooling, latency_ms) = keys.map_or((0, 0, None), |keys| {
            (keys.keys, keys.cooling, keys.latency_ms)
        });
        llm::Provider {
            name: self.name.clone(),
            family: self.family.as_str().to_owned(),
            base: self.base.clone(),
            configured: self.provider.is_some(),
            health: llm::Health {
                breaker,
                retry_after_ms: wait.map(|wait| wait.as_millis() as u64),
                latency_ms,
                keys: count,
                keys_cooling: cooling,
            },
        }
    }
}

fn wire(family: Family, written: &config::Provider, habits: &Entry) -> Box<dyn Wire> {
    let (provider, options) = (written.name.clone(), written.options.clone());
    match family {
        Family::Responses => Box::new(Responses { provider, options }),
        Family::Anthropic => Box::new(Anthropic { provider, options }),
        Family::Gemini => Box::new(Gemini { provider, options }),
        Family::Bedrock => Box::new(Bedrock { provider, options }),
        Family::Ollama => Box::new(Ollama { provider, options }),
        Family::Cohere => Box::new(Cohere { provider, options }),
        Family::OpenAi | Family::Scripted | Family::Offline => Box::new(OpenAi {
            provider,
            habits: habits.clone(),
            options,
        }),
    }
}

/// `{region}` and its like, from the provider's params.
fn fill_in(template: &str, written: &config::Provider) -> String {
    written
        .params
        .iter()
        .fold(template.to_owned(), |base, (name, value)| {
            base.replace(&format!("{{{name}}}"), value)
        })
}
