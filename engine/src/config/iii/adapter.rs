//! `adapter` of a module: where it keeps what it has, or who keeps it instead.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::config::{Error, place::Place};

/// Who does the work of a module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// This engine.
    Local(Store),
    /// Another engine, at this address.
    Bridge { url: String },
}

impl Default for Adapter {
    fn default() -> Self {
        Adapter::Local(Store::default())
    }
}

/// Where this engine keeps what a module has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In the data directory. Also where iii would forget by default.
    #[default]
    Durable,
    /// Nowhere: the file says `in_memory`.
    Memory,
}

/// What one module knows of adapters.
pub(super) struct Choice {
    /// The module in names of classes: `modules::state::adapters::KvStore`.
    pub(super) rooms: &'static [&'static str],
    /// The engine's own; what is meant when nothing is said.
    pub(super) own: &'static str,
    pub(super) bridge: bool,
    /// What to do instead of an adapter that is not there.
    pub(super) instead: &'static str,
}

/// What stands at `adapter`.
pub(super) enum Written<'a> {
    /// The engine's own, and its configuration.
    Own(Place<'a>),
    Bridge {
        url: String,
    },
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Keys {
    name: Option<String>,
    class: Option<String>,
    #[serde(rename = "config")]
    _config: IgnoredAny,
}

/// Last segments of classes, and the names of today.
const CLASSES: [(&str, &str); 10] = [
    ("KvStore", "kv"),
    ("KvCronAdapter", "kv"),
    ("BuiltinQueueAdapter", "builtin"),
    ("LocalAdapter", "local"),
    ("Bridge", "bridge"),
    ("BridgeAdapter", "bridge"),
    ("RedisAdapter", "redis"),
    ("RedisCronAdapter", "redis"),
    ("RabbitMQAdapter", "rabbitmq"),
    ("RabbitMqAdapter", "rabbitmq"),
];

/// Adapters of iii that are servers, which this engine does not talk to.
const SERVERS: [&str; 2] = ["redis", "rabbitmq"];

impl Choice {
    /// Reads the adapter of the module whose configuration is at `module`.
    pub(super) fn read<'a>(&self, module: &Place<'a>) -> Result<Written<'a>, Error> {
        let place = module.at("adapter");
        let keys: Keys = place.read()?;
        let (key, name) = match (keys.name, keys.class) {
            (Some(_), Some(_)) => {
                return Err(place.error("has a `name` and a `class`; one of them says what it is"));
            }
            (Some(name), None) => ("name", name),
            (None, Some(class)) => {
                let name = self.of_class(&class);
                ("class", name.map_or(class, str::to_owned))
            }
            (None, None) => ("name", self.own.to_owned()),
        };
        let config = place.at("config");
        match name.as_str() {
            own if own == self.own => Ok(Written::Own(config)),
            "bridge" if self.bridge => bridge(&config),
            other => Err(place.at(key).error(self.refusal(other))),
        }
    }

    fn of_class(&self, class: &str) -> Option<&'static str> {
        let inside = class.strip_prefix("modules::")?;
        let (room, rest) = inside.split_once("::")?;
        let last = rest.strip_prefix("adapters::").unwrap_or(rest);
        let known = CLASSES.iter().find(|(class, _)| *class == last);
        known
            .filter(|_| self.rooms.contains(&room))
            .map(|(_, name)| *name)
    }

    fn refusal(&self, name: &str) -> String {
        let expected = match self.bridge {
            true => format!("`{}` or `bridge`", self.own),
            false => format!("`{}`", self.own),
        };
        match SERVERS.contains(&name) {
            true => format!(
                "`{name}` is not supported yet; expected {expected}; {}, so leave `adapter` out",
                self.instead
            ),
            false => format!("`{name}` is no adapter of this module; expected {expected}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BridgeKeys {
    bridge_url: String,
}

impl Default for BridgeKeys {
    fn default() -> Self {
        BridgeKeys {
            bridge_url: "ws://localhost:49134".to_owned(),
        }
    }
}

fn bridge<'a>(config: &Place<'a>) -> Result<Written<'a>, Error> {
    let keys: BridgeKeys = config.read()?;
    check_url(&config.at("bridge_url"), &keys.bridge_url)?;
    Ok(Written::Bridge {
        url: keys.bridge_url,
    })
}

/// Refuses what is no address of an engine. The address itself may hold a token and is not told.
pub(super) fn check_url(place: &Place<'_>, url: &str) -> Result<(), Error> {
    match url.starts_with("ws://") || url.starts_with("wss://") {
        true => Ok(()),
        false => {
            Err(place.error("expected the address of an engine, for instance ws://10.0.0.7:49134"))
        }
    }
}

/// Where values are kept, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoreMethod {
    InMemory,
    FileBased,
}

impl StoreMethod {
    /// What is not said is kept: nothing that a client does can tell.
    pub(super) fn store(method: Option<StoreMethod>) -> Store {
        match method {
            Some(StoreMethod::InMemory) => Store::Memory,
            Some(StoreMethod::FileBased) | None => Store::Durable,
        }
    }
}

/// Configuration of the adapter `kv`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Kv {
    pub(super) store_method: Option<StoreMethod>,
    // The data directory has one store, and writes are on disk before they are acknowledged.
    #[serde(rename = "file_path")]
    _file_path: Option<String>,
    #[serde(rename = "save_interval_ms")]
    _save_interval_ms: Option<u64>,
    pub(super) channel_size: u64,
}

impl Default for Kv {
    fn default() -> Self {
        Kv {
            store_method: None,
            _file_path: None,
            _save_interval_ms: None,
            channel_size: 256,
        }
    }
}
