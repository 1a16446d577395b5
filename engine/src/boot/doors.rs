//! The doors for workers: the bus's own listener and those beside it, each with its rules.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use agentos_core::policy::Trust;
use agentos_sdk::{Registrar, Worker};
use anyhow::Context;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::common::{Common, WORKER_STOP, busy, open};
use crate::{
    builtin::live::Live,
    config::{Access as Written, How, ListenerSettings, Settings},
    listener::{Bounds, Gate, Listener, Terms},
    session::{Access, IiiShared, LocalSession},
};

/// Everything that lets workers in.
pub(super) struct Doors {
    common: Arc<Common>,
    pub(super) shared: IiiShared,
    bounds: Bounds,
    /// Calls the functions that say who comes in; there when one of the doors asks.
    caller: Option<LocalSession>,
    bus: Door,
    bus_address: SocketAddr,
    /// By the addresses that the settings give.
    more: BTreeMap<SocketAddr, Door>,
    /// Those bound before the engine was up.
    closed: Vec<(Listener, CancellationToken)>,
    sessions: TaskTracker,
    stop: CancellationToken,
}

/// One listener, from outside.
struct Door {
    terms: Live<Terms>,
    /// Takes nobody more in, and shows out who is in.
    leave: CancellationToken,
}

/// What a change of a door comes to.
pub(super) enum Step {
    Open(SocketAddr, Listener, Live<Terms>),
    Terms(SocketAddr, Terms),
    /// Of the bus's own.
    BusTerms(Terms),
    Close(SocketAddr),
}

/// A worker that offers nothing.
struct Nothing;

impl Worker for Nothing {
    fn register(self: Arc<Self>, _: &mut Registrar) {}
}

impl Doors {
    /// Binds all of them, or none. Nobody comes in before they are opened.
    pub(super) async fn bind(
        common: Arc<Common>,
        shared: IiiShared,
        bounds: Bounds,
        settings: &Settings,
    ) -> anyhow::Result<Doors> {
        let mut caller = None;
        let own = ListenerSettings {
            listener: settings.bus.clone(),
            access: settings.bus_access.clone(),
        };
        let terms = Live::new(terms(&common, &mut caller, &own).await?);
        let listener = bind(&common, &shared, &bounds, settings.bus.address, &terms)
            .await
            .with_context(|| busy(settings.bus.address, "listen.bus.port", "--bus-port"))?;
        let bus_address = listener.address()?;
        let bus = Door::new(terms);
        let closed = vec![(listener, bus.leave.clone())];
        let mut doors = Doors {
            common,
            shared,
            bounds,
            caller,
            bus,
            bus_address,
            more: BTreeMap::new(),
            closed,
            sessions: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        for more in &settings.listeners {
            let address = more.listener.address;
            let (listener, terms) = doors.bind_more(more).await?;
            let door = Door::new(terms);
            doors.closed.push((listener, door.leave.clone()));
            doors.more.insert(address, door);
        }
        Ok(doors)
    }

    async fn bind_more(
        &mut self,
        more: &ListenerSettings,
    ) -> anyhow::Result<(Listener, Live<Terms>)> {
        let address = more.listener.address;
        let terms = Live::new(terms(&self.common, &mut self.caller, more).await?);
        let bound = bind(&self.common, &self.shared, &self.bounds, address, &terms).await;
        let listener = bound.with_context(|| {
            format!("cannot listen on {address}; if another program has the port, choose another in the settings")
        })?;
        Ok((listener, terms))
    }

    /// The address that worker processes are told.
    pub(super) fn address(&self) -> SocketAddr {
        self.bus_address
    }

    /// Lets workers in.
    pub(super) fn open(&mut self) {
        for (listener, leave) in std::mem::take(&mut self.closed) {
            self.sessions.spawn(listener.run(leave, self.stop.clone()));
        }
    }

    /// What a change of the bus's own listener comes to; `None` when only a start applies it.
    pub(super) async fn prepare_bus(
        &mut self,
        old: &Settings,
        new: &Settings,
    ) -> anyhow::Result<Option<Step>> {
        if old.bus.address != new.bus.address {
            return Ok(None);
        }
        let own = ListenerSettings {
            listener: new.bus.clone(),
            access: new.bus_access.clone(),
        };
        let terms = terms(&self.common, &mut self.caller, &own).await?;
        Ok(Some(Step::BusTerms(terms)))
    }

    /// What a change of another listener comes to.
    pub(super) async fn prepare(
        &mut self,
        address: SocketAddr,
        how: How,
        settings: &Settings,
    ) -> anyhow::Result<Step> {
        let mut listeners = settings.listeners.iter();
        let written = listeners.find(|more| more.listener.address == address);
        let Some(written) = written else {
            return Ok(Step::Close(address));
        };
        Ok(match how {
            How::Removed => Step::Close(address),
            How::Changed if self.more.contains_key(&address) => Step::Terms(
                address,
                terms(&self.common, &mut self.caller, written).await?,
            ),
            How::Changed | How::Added => {
                let (listener, terms) = self.bind_more(written).await?;
                Step::Open(address, listener, terms)
            }
        })
    }

    /// Does what was prepared.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Open(address, listener, terms) => {
                let door = Door::new(terms);
                let run = listener.run(door.leave.clone(), self.stop.clone());
                self.sessions.spawn(run);
                self.more.insert(address, door);
            }
            Step::Terms(address, terms) => {
                if let Some(door) = self.more.get(&address) {
                    door.terms.set(terms);
                }
            }
            Step::BusTerms(terms) => self.bus.terms.set(terms),
            Step::Close(address) => {
                if let Some(door) = self.more.remove(&address) {
                    door.leave.cancel();
                }
            }
        }
    }

    /// Lets nobody more in.
    pub(super) fn shut(&self) {
        self.stop.cancel();
        self.sessions.close();
    }

    /// Waits until everybody has left.
    pub(super) async fn empty(&self) {
        self.sessions.wait().await;
    }

    pub(super) async fn shutdown(self) {
        if let Some(caller) = self.caller {
            caller.close(WORKER_STOP).await;
        }
    }
}

impl Door {
    fn new(terms: Live<Terms>) -> Self {
        Door {
            terms,
            leave: CancellationToken::new(),
        }
    }
}

async fn bind(
    common: &Common,
    shared: &IiiShared,
    bounds: &Bounds,
    address: SocketAddr,
    terms: &Live<Terms>,
) -> std::io::Result<Listener> {
    let channels = Arc::clone(&common.channels);
    Listener::bind(
        address,
        shared.clone(),
        channels,
        terms.clone(),
        bounds.clone(),
    )
    .await
}

/// What holds for those who come in. A listener that asks needs somebody who asks.
async fn terms(
    common: &Common,
    caller: &mut Option<LocalSession>,
    door: &ListenerSettings,
) -> anyhow::Result<Terms> {
    if caller.is_none() && !door.access.is_open() {
        let session = open(&common.bus, "listeners", Trust::Engine, Arc::new(Nothing)).await?;
        *caller = Some(session);
    }
    let gate = Gate::new(&door.listener, &common.token, common.message_bytes_max);
    Ok(Terms {
        gate: Arc::new(gate),
        access: caller
            .as_ref()
            .and_then(|caller| access(&door.access, caller)),
        patience: door.access.handshake_timeout,
        conflicts: door.access.registration_conflicts,
    })
}

fn access(written: &Written, caller: &LocalSession) -> Option<Arc<Access>> {
    let config = written.asked()?;
    Some(Access::new(config, caller.bus()))
}
