//! What the tables and the environment know of a provider, filled in where nothing was written.

use super::{Aws, Family, Provider, Secret};
use crate::table::{Entry, Table};

/// The providers whose variables are set, in the order that people expect. A base URL alone is
/// enough: local servers need no key.
pub(super) fn found(table: &Table, env: &impl Fn(&str) -> Option<String>) -> Vec<Provider> {
    let set = |entry: &&Entry| {
        let keyed = entry.env.iter().any(|name| env(name).is_some());
        let moved = || entry.base_env.as_deref().and_then(env).is_some();
        (keyed && !entry.models.is_empty()) || (moved() && !entry.local)
    };
    let provider = |name: &&str| {
        let entry = table.provider(name).filter(set)?;
        Some(Provider {
            models: entry.models.clone(),
            ..Provider::new(*name, entry.family)
        })
    };
    let providers: Vec<_> = FIRST.iter().filter_map(provider).collect();
    if providers.is_empty() {
        return vec![Provider::new("offline", Family::Offline)];
    }
    providers
}

/// Entries that become providers by themselves. Others hold keys for other purposes too
/// (`GITHUB_TOKEN`), or need a model to be named.
const FIRST: [&str; 2] = ["openai", "anthropic"];

pub(super) fn fill(provider: &mut Provider, table: &Table, env: &impl Fn(&str) -> Option<String>) {
    let (name, entry) = entry_of(provider, table);
    let Some(entry) = entry else { return };
    // Somebody else's host has nothing but the family in common with the entry.
    let elsewhere = provider.base_url.is_some() && provider.name != name;
    provider.provider = provider.provider.take().or((!elsewhere).then_some(name));
    let family = *provider.family.get_or_insert(entry.family);
    if !family.is_hosted() {
        return;
    }
    // The entry's own variables belong to its own host: a key must not go to another one.
    let own_host = provider.base_url.is_none();
    if own_host {
        provider.base_url = entry.base_env.as_deref().and_then(env).map(with_scheme);
        if provider.base_url.is_some() && !entry.local {
            provider.provider = None;
        }
        for (param, variable) in &entry.params_env {
            if let Some(value) = env(variable) {
                provider.params.entry(param.clone()).or_insert(value);
            }
        }
    }
    for key in &mut provider.api_keys {
        let variable = key.api_key_env.as_deref();
        key.api_key = key
            .api_key
            .take()
            .or(variable.and_then(env).map(Secret::new));
    }
    let named = provider.api_key_env.as_deref().and_then(env);
    let own = || {
        entry
            .env
            .iter()
            .find_map(|name| env(name))
            .filter(|_| own_host)
    };
    let wanted = provider.api_key.is_none() && provider.api_keys.is_empty();
    if wanted {
        let written = provider.api_key_env.is_some();
        provider.api_key = if written { named } else { own() }.map(Secret::new);
    }
    if family == Family::Bedrock && provider.aws.is_none() && provider.api_key.is_none() {
        provider.aws = aws(env);
    }
}

/// The entry of the table that a provider is like.
fn entry_of<'t>(provider: &Provider, table: &'t Table) -> (String, Option<&'t Entry>) {
    if let Some(written) = &provider.provider {
        return (written.clone(), table.provider(written));
    }
    let same = table
        .provider(&provider.name)
        .filter(|entry| provider.family.is_none_or(|family| family == entry.family));
    if same.is_some() {
        return (provider.name.clone(), same);
    }
    let Some(family) = provider.family else {
        return (provider.name.clone(), None);
    };
    (family.entry().to_owned(), table.provider(family.entry()))
}

/// `OLLAMA_HOST` is often just a host and a port.
fn with_scheme(base: String) -> String {
    if base.contains("://") {
        base
    } else {
        format!("http://{base}")
    }
}

fn aws(env: &impl Fn(&str) -> Option<String>) -> Option<Aws> {
    Some(Aws {
        access_key_id: env("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Secret::new(env("AWS_SECRET_ACCESS_KEY")?),
        session_token: env("AWS_SESSION_TOKEN").map(Secret::new),
    })
}
