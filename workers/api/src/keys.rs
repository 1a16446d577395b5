//! Keys of the gateway: made, listed, taken back, and asked for at each request.
//!
//! Only hashes are kept. A secret has 244 random bits, so that its plain SHA-256 tells nothing.

use std::{collections::BTreeMap, sync::Arc};

use agentos_contract::{
    keys::{Key, KeyRef, MadeKey, NewKey, Scope},
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    Api,
    chat::now_s,
    error::Failure,
    http::{Request, Top, fields},
};
pub(crate) use meter::{Charge, Meters};

mod meter;

const STATE: &str = "api-keys";
const PREFIX: &str = "sk-agentos-";
const PAGE: u32 = 500;

/// Who sent a request.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Who {
    /// Whoever has the engine's own token may do everything.
    Owner,
    Key(Box<Key>),
}

/// A row under the hash of its secret.
#[derive(Serialize, Deserialize)]
struct Row {
    key: Key,
}

impl Who {
    /// Whose things these are: what one key keeps, no other sees.
    pub(crate) fn id(&self) -> String {
        match self {
            Who::Owner => String::new(),
            Who::Key(key) => key.id.clone(),
        }
    }

    /// Whether it may ask `model`, as the request names it.
    pub(crate) fn may_ask(&self, model: &str) -> bool {
        match self {
            Who::Owner => true,
            Who::Key(key) => key.models.iter().any(|pattern| matches(pattern, model)),
        }
    }

    fn may(&self, scope: Scope) -> bool {
        match self {
            Who::Owner => true,
            Who::Key(key) => key.scopes.contains(&scope),
        }
    }
}

/// Whether `text` is `pattern`, where `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|after| {
            let ends = after.char_indices().map(|(index, _)| index);
            ends.chain([after.len()])
                .any(|index| matches(rest, &after[index..]))
        }),
    }
}

/// Who sent a request that was let in, and what it costs them.
pub(crate) struct Pass {
    pub(crate) who: Who,
    pub(crate) charge: Option<Arc<Charge>>,
}

impl Pass {
    /// Public id of the key, for accounts.
    pub(crate) fn key(&self) -> Option<String> {
        Some(self.who.id()).filter(|id| !id.is_empty())
    }
}

/// A request that was let in.
pub(crate) struct Entered {
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as it came: an object.
    pub(crate) text: Box<RawValue>,
    pub(crate) top: Top,
    pub(crate) pass: Pass,
}

impl Entered {
    /// The body, read whole.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, Failure> {
        fields(&self.text)
    }
}

impl Api {
    /// Lets in whoever may ask the model that the request names, and reserves what it may cost.
    ///
    /// # Errors
    /// 400 when the body is no object; 401, 403 or 429.
    pub(crate) async fn enter(&self, bus: &Bus, mut request: Request) -> Result<Entered, Failure> {
        let who = who(bus, &request, Scope::Chat).await?;
        let headers = std::mem::take(&mut request.headers);
        let text = request.text()?;
        let top: Top = fields(&text)?;
        let model = top
            .model
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !who.may_ask(model) {
            return Err(Failure::model_not_allowed(model));
        }
        let charge = self.meters.admit(bus, &who, &top, text.get().len()).await?;
        Ok(Entered {
            headers,
            text,
            top,
            pass: Pass { who, charge },
        })
    }
}

/// Who sent the request, if they may do this at all.
///
/// # Errors
/// 401 without a good key, 403 without the scope.
pub(crate) async fn who(bus: &Bus, request: &Request, scope: Scope) -> Result<Who, Failure> {
    let who = if request.authenticated.unwrap_or(true) {
        Who::Owner
    } else {
        let secret = secret(request).unwrap_or_default();
        let key = find(bus, secret).await?;
        Who::Key(Box::new(key.ok_or_else(|| Failure::wrong_key(secret))?))
    };
    if who.may(scope) {
        Ok(who)
    } else {
        Err(Failure::no_scope(&json!(scope)))
    }
}

/// The key as the clients of model gateways send it.
fn secret(request: &Request) -> Option<&str> {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    let bearer = header("authorization").and_then(|value| {
        let (kind, secret) = value.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then_some(secret)
    });
    bearer
        .or_else(|| header("x-api-key"))
        .or_else(|| header("api-key"))
        .map(str::trim)
}

async fn find(bus: &Bus, secret: &str) -> Result<Option<Key>, Error> {
    if !secret.starts_with(PREFIX) {
        return Ok(None);
    }
    let key = state::Key {
        scope: STATE.to_owned(),
        key: hash(secret),
    };
    let row: Option<Row> = bus.trigger(state::GET, &key).await?;
    Ok(row
        .map(|row| row.key)
        .filter(|key| key.revoked_at.is_none()))
}

fn hash(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn create(bus: &Bus, wanted: NewKey) -> Result<MadeKey, Error> {
    let invalid = |field: &str, message: &str| {
        Error::caller(Code::InvalidInput, format!("{field}: {message}"))
            .details(json!({ "field": field }))
    };
    let name = wanted.name.trim();
    if name.is_empty() || name.len() > 128 {
        return Err(invalid("name", "1 to 128 bytes"));
    }
    if wanted.requests_per_minute == Some(0) {
        return Err(invalid(
            "requestsPerMinute",
            "at least 1; to take a key back, revoke it",
        ));
    }
    let good = |pattern: &String| pattern.len() <= 256 && pattern.matches('*').count() <= 4;
    if !wanted.models.iter().all(good) {
        return Err(invalid(
            "models",
            "patterns of at most 256 bytes and four `*`",
        ));
    }
    let taken = rows(bus).await?;
    if taken
        .iter()
        .any(|(_, key)| key.name == name && key.revoked_at.is_none())
    {
        let message = format!("there is a key `{name}` already");
        return Err(Error::worker(Code::Conflict, message));
    }
    let random = || Uuid::new_v4().simple().to_string();
    let secret = format!("{PREFIX}{}{}", random(), random());
    let key = Key {
        id: format!("key_{}", &random()[..16]),
        name: name.to_owned(),
        ends_with: secret[secret.len() - 4..].to_owned(),
        scopes: wanted.scopes,
        models: wanted.models,
        requests_per_minute: wanted.requests_per_minute,
        tokens_per_day: wanted.tokens_per_day,
        created_at: now_s() * 1000,
        revoked_at: None,
    };
    save(bus, &hash(&secret), &key).await?;
    Ok(MadeKey { secret, key })
}

pub(crate) async fn list(bus: &Bus) -> Result<Vec<Key>, Error> {
    let mut keys: Vec<Key> = rows(bus).await?.into_iter().map(|(_, key)| key).collect();
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(keys)
}

pub(crate) async fn revoke(bus: &Bus, wanted: &KeyRef) -> Result<Key, Error> {
    let named = |key: &Key| key.id == wanted.key || key.name == wanted.key;
    let live = |key: &Key| named(key) && key.revoked_at.is_none();
    let found = rows(bus).await?.into_iter().find(|(_, key)| live(key));
    let Some((hash, mut key)) = found else {
        let message = format!(
            "there is no key `{}`, or it was taken back already",
            wanted.key
        );
        return Err(Error::worker(Code::NotFound, message));
    };
    key.revoked_at = Some(now_s() * 1000);
    save(bus, &hash, &key).await?;
    Ok(key)
}

async fn save(bus: &Bus, hash: &str, key: &Key) -> Result<(), Error> {
    let set = json!({ "scope": STATE, "key": hash, "value": { "key": key } });
    bus.trigger::<Value>(state::SET, &set).await.map(drop)
}

/// Keys under the hashes of their secrets.
async fn rows(bus: &Bus) -> Result<Vec<(String, Key)>, Error> {
    let mut request = ListEntries {
        scope: STATE.to_owned(),
        limit: Some(PAGE),
        ..ListEntries::default()
    };
    let mut rows = Vec::new();
    loop {
        let page: Entries<Row> = bus.trigger(state::ENTRIES, &request).await?;
        rows.extend(
            page.entries
                .into_iter()
                .map(|entry| (entry.key, entry.value.key)),
        );
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            return Ok(rows);
        }
    }
}
