//! Settings of a bridge.

use std::collections::HashSet;

use serde::Deserialize;

/// Where the other engine is, and what passes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `ws://…` or `wss://…`; the environment's `III_URL` when absent.
    pub url: Option<String>,
    /// The variable of the engine's environment that holds the other engine's token, if it wants one.
    pub token_key: String,
    /// What this engine is called over there.
    pub service_id: Option<String>,
    pub service_name: Option<String>,
    /// Functions of this engine that can be called over there.
    pub expose: Vec<Expose>,
    /// Functions over there that can be called here.
    pub forward: Vec<Forward>,
    /// Longest run of an exposed function: the other engine does not tell its deadlines.
    pub expose_timeout_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expose {
    pub local_function: String,
    /// Its id over there; the same unless given.
    #[serde(default)]
    pub remote_function: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub local_function: String,
    pub remote_function: String,
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            url: None,
            token_key: "III_TOKEN".to_owned(),
            service_id: None,
            service_name: None,
            expose: Vec::new(),
            forward: Vec::new(),
            expose_timeout_ms: 300_000,
        }
    }
}

impl Expose {
    pub(super) fn remote(&self) -> &str {
        self.remote_function
            .as_deref()
            .unwrap_or(&self.local_function)
    }
}

impl Config {
    /// # Errors
    /// The key that is wrong, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        let forwarded = self
            .forward
            .iter()
            .map(|forward| forward.local_function.as_str());
        distinct("forward", forwarded)?;
        distinct("expose", self.expose.iter().map(Expose::remote))
    }
}

fn distinct<'a>(key: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for id in ids {
        if id.is_empty() {
            return Err(format!("{key}: a function has an id"));
        }
        if !seen.insert(id) {
            return Err(format!("{key}: `{id}` is named twice"));
        }
    }
    Ok(())
}
