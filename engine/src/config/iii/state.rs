//! `iii-state`.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::adapter::{Adapter, Choice, Kv, StoreMethod, Written};
use crate::config::{Error, place::Place};

/// What `iii-state` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct State {
    pub adapter: Adapter,
    /// Whether writes fire triggers.
    pub triggers_enabled: bool,
    pub max_value_bytes: Option<u64>,
}

impl Default for State {
    fn default() -> Self {
        State {
            adapter: Adapter::default(),
            triggers_enabled: true,
            max_value_bytes: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
    triggers_enabled: bool,
    max_value_bytes: Option<u64>,
    // Writes are on disk before they are acknowledged.
    #[serde(rename = "save_interval_ms")]
    _save_interval_ms: Option<u64>,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            _adapter: IgnoredAny,
            triggers_enabled: true,
            max_value_bytes: None,
            _save_interval_ms: None,
        }
    }
}

const ADAPTERS: Choice = Choice {
    rooms: &["state"],
    own: "kv",
    bridge: true,
    instead: "the engine keeps values on its own disk",
};

pub(super) fn read(place: &Place<'_>) -> Result<State, Error> {
    let keys: Keys = place.read()?;
    if let Some(bytes) = keys.max_value_bytes {
        place.within("max_value_bytes", bytes, 1..=1 << 30)?;
    }
    let adapter = match ADAPTERS.read(place)? {
        Written::Own(config) => {
            Adapter::Local(StoreMethod::store(config.read::<Kv>()?.store_method))
        }
        Written::Bridge { url } => Adapter::Bridge { url },
    };
    Ok(State {
        adapter,
        triggers_enabled: keys.triggers_enabled,
        max_value_bytes: keys.max_value_bytes,
    })
}
