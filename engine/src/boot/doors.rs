//! The doors for workers: the bus's own listener and those beside it, each with its rules.

use std::{net::SocketAddr, sync::Arc};

use agentos_core::policy::Trust;
use agentos_sdk::{Registrar, Worker};
use anyhow::Context;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::busy;
use crate::{
    channel::Channels,
    config::{Access as Written, ListenerSettings, Settings},
    listener::{Bounds, Gate, Listener},
    session::{Access, IiiShared, LocalSession},
};

/// Everything that lets workers in.
pub(super) struct Doors {
    bus: Listener,
    more: Vec<Listener>,
    /// Calls the functions that say who comes in.
    pub(super) caller: Option<LocalSession>,
}

/// What the doors have in common.
pub(super) struct Common<'a> {
    pub(super) shared: IiiShared,
    pub(super) channels: Arc<Channels>,
    pub(super) bounds: Bounds,
    pub(super) token: &'a str,
    pub(super) message_bytes_max: usize,
}

/// A worker that offers nothing.
struct Nothing;

impl Worker for Nothing {
    fn register(self: Arc<Self>, _: &mut Registrar) {}
}

impl Doors {
    /// Binds all of them, or none.
    pub(super) async fn bind(settings: &Settings, common: Common<'_>) -> anyhow::Result<Doors> {
        let more = settings.listeners.iter();
        let is_open =
            settings.bus_access.is_open() && more.clone().all(|more| more.access.is_open());
        let caller = match is_open {
            true => None,
            false => {
                let bus = &common.shared.bus;
                Some(super::open(bus, "listeners", Trust::Engine, Arc::new(Nothing)).await?)
            }
        };
        let bus = ListenerSettings {
            listener: settings.bus.clone(),
            access: settings.bus_access.clone(),
        };
        let bus = common
            .bind(&bus, caller.as_ref())
            .await
            .with_context(|| busy(settings.bus.address, "listen.bus.port", "--bus-port"))?;
        let mut doors = Doors {
            bus,
            more: Vec::new(),
            caller,
        };
        for more in &settings.listeners {
            let door = common.bind(more, doors.caller.as_ref()).await;
            let door = door.with_context(|| {
                let address = more.listener.address;
                format!("cannot listen on {address}; if another program has the port, choose another in the settings")
            })?;
            doors.more.push(door);
        }
        Ok(doors)
    }

    /// The address that worker processes are told.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.bus.address()
    }

    /// Lets workers in until `stop`, then waits for them to leave.
    pub(super) async fn run(self, stop: CancellationToken) {
        let doors = self.more.into_iter().chain([self.bus]);
        join_all(doors.map(|door| door.run(stop.clone()))).await;
    }
}

impl Common<'_> {
    async fn bind(
        &self,
        door: &ListenerSettings,
        caller: Option<&LocalSession>,
    ) -> std::io::Result<Listener> {
        let gate = Gate::new(&door.listener, self.token, self.message_bytes_max);
        let listener = Listener::bind(
            door.listener.address,
            self.shared.clone(),
            Arc::clone(&self.channels),
            gate,
            caller.and_then(|caller| access(&door.access, caller)),
            self.bounds.clone(),
        )
        .await?;
        Ok(listener.with_patience(door.access.handshake_timeout))
    }
}

fn access(written: &Written, caller: &LocalSession) -> Option<Arc<Access>> {
    let config = written.asked()?;
    Some(Access::new(config, caller.bus()))
}
