//! Where responses are kept, each for whoever asked for it.

use agentos_contract::state;
use agentos_sdk::{Bus, Error};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::error::Failure;

/// As long as OpenAI keeps them.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A response that is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Whose it is; empty for the engine's own token.
    pub(super) owner: String,
    /// Everything that was said before this response's own input.
    pub(super) earlier: Vec<Value>,
    pub(super) input: Vec<Value>,
    pub(super) response: Value,
}

impl Kept {
    /// Everything that a next response builds on.
    pub(super) fn conversation(self) -> Vec<Value> {
        let Kept {
            mut earlier,
            input,
            mut response,
            ..
        } = self;
        earlier.extend(input);
        if let Value::Array(output) = response["output"].take() {
            earlier.extend(output);
        }
        earlier
    }
}

/// An item that later requests may refer to by its id alone.
#[derive(Serialize, Deserialize)]
struct Item {
    owner: String,
    item: Value,
}

const RESPONSES: &str = "api:responses";
const ITEMS: &str = "api:response-items";

/// Keeps a response and, when it is done, what it put out; on disk when this returns.
pub(super) async fn keep(bus: &Bus, kept: &Kept) -> Result<(), Error> {
    let id = kept.response["id"].as_str().unwrap_or_default();
    let output = kept.response["output"].as_array();
    let items = output.into_iter().flatten().filter_map(|item| {
        let owner = kept.owner.clone();
        let value = json!(Item {
            owner,
            item: item.clone()
        });
        Some(set(bus, ITEMS, item["id"].as_str()?, value))
    });
    try_join_all(items).await?;
    set(bus, RESPONSES, id, json!(kept)).await
}

async fn set(bus: &Bus, scope: &str, key: &str, value: Value) -> Result<(), Error> {
    let set = json!({ "scope": scope, "key": key, "value": value, "ttl_ms": KEPT_MS });
    bus.trigger::<Value>(state::SET, &set).await.map(drop)
}

async fn read<T: DeserializeOwned>(bus: &Bus, scope: &str, key: &str) -> Result<Option<T>, Error> {
    bus.trigger(state::GET, &named(scope, key)).await
}

fn named(scope: &str, key: &str) -> state::Key {
    state::Key {
        scope: scope.to_owned(),
        key: key.to_owned(),
    }
}

/// The response with this id; that of somebody else is not there.
pub(super) async fn get(bus: &Bus, owner: &str, id: &str) -> Result<Option<Kept>, Error> {
    let kept: Option<Kept> = read(bus, RESPONSES, id).await?;
    Ok(kept.filter(|kept| kept.owner == owner))
}

/// As [`get`], where there must be one.
pub(super) async fn find(bus: &Bus, owner: &str, id: &str) -> Result<Kept, Failure> {
    let kept = get(bus, owner, id).await?;
    kept.ok_or_else(|| Failure::not_found(format!("there is no response `{id}`")))
}

/// Removes a response with its items.
pub(super) async fn remove(bus: &Bus, kept: &Kept) -> Result<(), Error> {
    let output = kept.response["output"].as_array();
    let items = output.into_iter().flatten();
    let mut keys: Vec<_> = items
        .filter_map(|item| Some(named(ITEMS, item["id"].as_str()?)))
        .collect();
    let id = kept.response["id"].as_str().unwrap_or_default();
    keys.push(named(RESPONSES, id));
    let deletes = keys
        .iter()
        .map(|key| bus.trigger::<Value>(state::DELETE, key));
    try_join_all(deletes).await.map(drop)
}

/// Puts the items that `input` refers to in their places.
pub(super) async fn resolve(bus: &Bus, owner: &str, input: &mut [Value]) -> Result<(), Failure> {
    for (index, item) in input.iter_mut().enumerate() {
        if item["type"] != "item_reference" {
            continue;
        }
        let id = item["id"].as_str().unwrap_or_default();
        let found: Option<Item> = read(bus, ITEMS, id).await?;
        let Some(found) = found.filter(|found| found.owner == owner) else {
            let message = format!("there is no item `{id}`; it was not stored, or is another's");
            return Err(Failure::invalid(&format!("input[{index}].id"), message));
        };
        *item = found.item;
    }
    Ok(())
}
