//! What the parts of the engine have in common, and how a session of one is opened and let go.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentos_core::policy::Trust;
use agentos_protocol::Unregister;
use agentos_sdk::Worker;
use anyhow::bail;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, channel::Channels, config::Settings, session::LocalSession, storage::Storage, supervisor,
};

/// How long background work of one worker may take to stop.
pub(super) const WORKER_STOP: Duration = Duration::from_secs(2);

/// How often a session that leaves is looked at: whether it has finished what it had begun.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is there from the start to the end, whatever is set.
pub(super) struct Common {
    pub(super) bus: Arc<Bus>,
    pub(super) store: Arc<dyn Storage>,
    pub(super) channels: Arc<Channels>,
    pub(super) token: String,
    pub(super) message_bytes_max: usize,
    /// Set when the supervisor has started.
    pub(super) processes: Arc<OnceLock<supervisor::Handle>>,
    /// The port of stream clients may be another than the one asked for.
    pub(super) is_beside_another: bool,
}

/// Opens a session for `worker`.
pub(super) async fn open(
    bus: &Arc<Bus>,
    name: &str,
    trust: Trust,
    worker: Arc<dyn Worker>,
) -> anyhow::Result<LocalSession> {
    match LocalSession::open(bus, name, trust, worker).await {
        Ok(session) => Ok(session),
        Err(error) => bail!("the worker `{name}` cannot start: {error}"),
    }
}

/// Lets a session go: it gets nothing new, finishes what it has begun, and is closed. After
/// `patience`, or `at_once`, it is closed whatever it does.
pub(super) async fn retire(session: LocalSession, patience: Duration, at_once: &CancellationToken) {
    let bus = session.bus();
    let peer = bus.peer();
    let offered = peer.replay();
    let ids = Unregister {
        functions: offered.functions.into_iter().map(|spec| spec.id).collect(),
        triggers: offered.triggers.into_iter().map(|spec| spec.id).collect(),
        trigger_types: offered
            .trigger_types
            .into_iter()
            .map(|spec| spec.id)
            .collect(),
    };
    if let Err(error) = peer.unregister(ids) {
        tracing::debug!(%error, "a session that leaves is closed already");
    }
    let idle = async {
        while peer.running() + peer.pending() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(patience, idle) => {}
        () = at_once.cancelled() => {}
    }
    session.close(WORKER_STOP).await;
}

/// An address that a program on this machine can connect to.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        address => address,
    }
}

/// What to do about a port that cannot be had.
pub(super) fn busy(address: SocketAddr, key: &str, flag: &str) -> String {
    format!(
        "cannot listen on {address}; if another program has the port, choose another with `{key}` or {flag}"
    )
}

/// Which engine this is among several on one machine: one that was given a port for its bus.
pub(super) fn is_beside_another(settings: &Settings) -> bool {
    settings.bus.address.port() != super::BUS_PORT
}
