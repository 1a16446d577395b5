//! The workers in the engine's process that are no built-ins. The engine knows them by name only;
//! whoever starts it makes them.

use std::{sync::Arc, time::Duration};

use agentos_core::policy::Trust;
use agentos_protocol::SessionId;
use agentos_sdk::Worker;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::common::{WORKER_STOP, open, retire};
use crate::{
    Bus,
    config::{Builtin, Error, Settings},
    session::LocalSession,
};

/// Makes a worker from its section of the settings.
pub type Hire =
    Arc<dyn Fn(&Builtin, &Settings) -> Result<Arc<dyn Worker>, Error> + Send + Sync + 'static>;

/// How long one that leaves may go on with what it has begun: the answer of a model takes its time.
const LEAVE: Duration = Duration::from_mins(10);

/// Those that run.
pub(super) struct Crew {
    bus: Arc<Bus>,
    hire: Hire,
    /// In the order in which they came.
    members: Vec<(String, LocalSession)>,
    leaving: TaskTracker,
    at_once: CancellationToken,
}

/// One that is made and not on the bus.
pub(super) struct Recruit {
    name: String,
    worker: Arc<dyn Worker>,
}

impl Recruit {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Crew {
    pub(super) fn new(bus: Arc<Bus>, hire: Hire) -> Self {
        Crew {
            bus,
            hire,
            members: Vec::new(),
            leaving: TaskTracker::new(),
            at_once: CancellationToken::new(),
        }
    }

    /// Makes the one that `settings` call `name`, if they do.
    pub(super) fn recruit(
        &self,
        name: &str,
        settings: &Settings,
    ) -> Result<Option<Recruit>, Error> {
        let mut builtin = settings.workers.builtin.iter();
        let Some(builtin) = builtin.find(|builtin| builtin.name == name) else {
            return Ok(None);
        };
        let worker = (self.hire)(builtin, settings)?;
        let name = name.to_owned();
        Ok(Some(Recruit { name, worker }))
    }

    /// Puts it on the bus; one of its name leaves once it is there.
    pub(super) async fn take(&mut self, recruit: Recruit) -> anyhow::Result<()> {
        let Recruit { name, worker } = recruit;
        let session = open(&self.bus, &name, Trust::Worker, worker).await?;
        self.dismiss(&name);
        self.members.push((name, session));
        Ok(())
    }

    /// Puts it on the bus, beside one of its name that is there.
    pub(super) async fn bring(&mut self, recruit: Recruit) -> anyhow::Result<SessionId> {
        let Recruit { name, worker } = recruit;
        let session = open(&self.bus, &name, Trust::Worker, worker).await?;
        let id = session.id();
        self.members.push((name, session));
        Ok(id)
    }

    /// As [`Crew::dismiss`], for the one of this session.
    pub(super) fn release(&mut self, id: SessionId) {
        self.let_go(|_, session| session.id() == id);
    }

    /// Names and sessions of those that run.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, SessionId)> {
        self.members
            .iter()
            .map(|(name, session)| (name.as_str(), session.id()))
    }

    /// The one of this name gets nothing new and leaves when it has finished.
    pub(super) fn dismiss(&mut self, name: &str) {
        self.let_go(|member, _| member == name);
    }

    fn let_go(&mut self, who: impl Fn(&str, &LocalSession) -> bool) {
        let leaving = self
            .members
            .extract_if(.., |(member, session)| who(member, session));
        for (_, session) in leaving {
            let at_once = self.at_once.clone();
            self.leaving
                .spawn(async move { retire(session, LEAVE, &at_once).await });
        }
    }

    pub(super) async fn shutdown(self) {
        self.at_once.cancel();
        for (_, session) in self.members.into_iter().rev() {
            session.close(WORKER_STOP).await;
        }
        self.leaving.close();
        self.leaving.wait().await;
    }
}
