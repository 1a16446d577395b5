//! `iii-stream`.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::adapter::{Adapter, Choice, Kv, StoreMethod, Written};
use crate::config::{Error, host::Host, place::Place};

/// What `iii-stream` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stream {
    pub host: Host,
    pub port: u16,
    /// Asked at every connection.
    pub auth_function: Option<String>,
    pub adapter: Adapter,
    /// Events that may wait for one client.
    pub channel_size: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            host: Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: 3112,
            auth_function: None,
            adapter: Adapter::default(),
            channel_size: 256,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    host: Host,
    port: u16,
    auth_function: Option<String>,
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
}

impl Default for Keys {
    fn default() -> Self {
        let Stream { host, port, .. } = Stream::default();
        Keys {
            host,
            port,
            auth_function: None,
            _adapter: IgnoredAny,
        }
    }
}

const ADAPTERS: Choice = Choice {
    rooms: &["stream", "streams"],
    own: "kv",
    bridge: true,
    instead: "the engine keeps streams on its own disk",
};

pub(super) fn read(place: &Place<'_>) -> Result<Stream, Error> {
    let keys: Keys = place.read()?;
    let mut stream = Stream {
        host: keys.host,
        port: keys.port,
        auth_function: keys.auth_function,
        ..Stream::default()
    };
    match ADAPTERS.read(place)? {
        Written::Own(config) => {
            let kv: Kv = config.read()?;
            config.within("channel_size", kv.channel_size, 1..=1 << 20)?;
            stream.channel_size = kv.channel_size;
            stream.adapter = Adapter::Local(StoreMethod::store(kv.store_method));
        }
        Written::Bridge { url } => stream.adapter = Adapter::Bridge { url },
    }
    Ok(stream)
}
