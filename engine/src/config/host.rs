//! An address to listen on, as it may be written.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IP address, or `localhost`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host(pub IpAddr);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "localhost" => Ok(Host(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            other => other.parse().map(Host).map_err(|_| {
                format!("`{other}` is no IP address; expected one such as 127.0.0.1, ::1 or 0.0.0.0, or localhost")
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
