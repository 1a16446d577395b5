//! `iii-worker-manager`: a listener for workers.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::config::{Conflicts, Error, Rbac, host::Host, place::Place};

/// What one `iii-worker-manager` is asked for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WorkerManager {
    pub host: Host,
    pub port: u16,
    /// Called in place of every function.
    pub middleware_function_id: Option<String>,
    pub rbac: Option<Rbac>,
    pub handshake_timeout_ms: u64,
    /// Ours; iii always rejects.
    pub registration_conflicts: Conflicts,
}

impl Default for WorkerManager {
    fn default() -> Self {
        WorkerManager {
            host: Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: 49134,
            middleware_function_id: None,
            rbac: None,
            handshake_timeout_ms: 10_000,
            registration_conflicts: Conflicts::Share,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    host: Host,
    port: u16,
    middleware_function_id: Option<String>,
    #[serde(rename = "rbac")]
    _rbac: IgnoredAny,
    handshake_timeout_ms: u64,
    registration_conflicts: Conflicts,
}

impl Default for Keys {
    fn default() -> Self {
        let default = WorkerManager::default();
        Keys {
            host: default.host,
            port: default.port,
            middleware_function_id: None,
            _rbac: IgnoredAny,
            handshake_timeout_ms: default.handshake_timeout_ms,
            registration_conflicts: default.registration_conflicts,
        }
    }
}

pub(super) fn read(place: &Place<'_>) -> Result<WorkerManager, Error> {
    let keys: Keys = place.read()?;
    place.within(
        "handshake_timeout_ms",
        keys.handshake_timeout_ms,
        1..=600_000,
    )?;
    Ok(WorkerManager {
        host: keys.host,
        port: keys.port,
        middleware_function_id: keys.middleware_function_id,
        rbac: Rbac::read(&place.at("rbac"))?,
        handshake_timeout_ms: keys.handshake_timeout_ms,
        registration_conflicts: keys.registration_conflicts,
    })
}
