//! The built-ins that a file may switch on, off, or configure: how each is changed while it runs, and
//! let go.
//!
//! Most take their new settings where they stand, so no call of theirs ever finds nobody. Those that
//! cannot get a successor: it is there before they leave. What can fail is done in `prepare`, which
//! changes nothing that can be seen.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use agentos_core::policy::Trust;
use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    common::{Common, WORKER_STOP, busy, open, retire},
    making::{Kind, Made, Maker},
};
use crate::{
    builtin::{
        http::Http,
        observe::{self, Observe},
        stream::Stream,
    },
    config::{How, Module, Settings},
    session::LocalSession,
};

/// In which they are opened; they are closed the other way round.
const ORDER: [Module; 10] = [
    Module::Observe,
    Module::State,
    Module::Queue,
    Module::Http,
    Module::Configuration,
    Module::Pubsub,
    Module::Cron,
    Module::HttpFunctions,
    Module::Stream,
    Module::Bridge,
];

/// How long one that is switched off may take to finish what it has begun.
const LEAVE: Duration = Duration::from_secs(5);

/// The modules that run.
pub(super) struct Modules {
    common: Arc<Common>,
    open: BTreeMap<Module, Open>,
    /// Those that have a successor and finish what they have begun.
    leaving: TaskTracker,
    at_once: CancellationToken,
}

struct Open {
    session: LocalSession,
    kind: Kind,
}

/// What a change of a module comes to.
pub(super) enum Step {
    Open(Module, Made),
    Replace(Module, Made),
    Adjust(Module, Adjustment),
    Close(Module),
    /// It takes its settings at the start of the engine only.
    Restart,
}

/// New settings for a module that goes on.
type Adjustment = Box<dyn FnOnce(&mut Kind) -> Result<(), agentos_sdk::Error> + Send>;

impl Modules {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Modules {
            common,
            open: BTreeMap::new(),
            leaving: TaskTracker::new(),
            at_once: CancellationToken::new(),
        }
    }

    fn maker<'a>(&'a self, settings: &'a Settings) -> Maker<'a> {
        Maker {
            common: &self.common,
            settings,
        }
    }

    /// Makes all that `settings` ask for. `observe` was made before, for it hears of everything.
    pub(super) async fn prepare_all(
        &self,
        settings: &Settings,
        observe: Arc<Observe>,
    ) -> anyhow::Result<Vec<Step>> {
        let mut observe = Some(observe);
        let mut steps = Vec::new();
        for module in ORDER {
            if !settings.modules.runs(module) {
                continue;
            }
            let made = match (module, observe.take_if(|_| module == Module::Observe)) {
                (Module::Observe, Some(worker)) => Made::plain(worker),
                _ => self.maker(settings).make(module).await?,
            };
            steps.push(Step::Open(module, made));
        }
        Ok(steps)
    }

    /// Finds out what a change comes to, and does of it what can fail.
    pub(super) async fn prepare(
        &self,
        old: &Settings,
        settings: &Settings,
        module: Module,
        how: How,
    ) -> anyhow::Result<Step> {
        let kind = self.open.get(&module).map(|open| open.kind.clone());
        let modules = &settings.modules;
        Ok(match (how, kind) {
            (How::Removed, _) => Step::Close(module),
            _ if module == Module::Observe => match observes_alike(old, settings)? {
                true => adjust(module, || {}),
                false => Step::Restart,
            },
            (_, None) => Step::Open(module, self.maker(settings).make(module).await?),
            (_, Some(Kind::Plain)) => {
                Step::Replace(module, self.maker(settings).make(module).await?)
            }
            (_, Some(Kind::State(state))) => {
                let config = modules.state()?;
                adjust(module, move || state.reconfigure(config))
            }
            (_, Some(Kind::Queue(queue))) => {
                let config = modules.queue()?;
                adjust(module, move || queue.reconfigure(config))
            }
            (_, Some(Kind::Pubsub(pubsub))) => {
                let config = modules.pubsub()?;
                adjust(module, move || pubsub.reconfigure(config))
            }
            (_, Some(Kind::Configuration(configuration))) => {
                let config = modules.configuration()?;
                adjust(module, move || configuration.reconfigure(config))
            }
            (_, Some(Kind::Http(http, _))) => self.move_http(old, settings, http).await?,
            (_, Some(Kind::Stream(stream, _))) => self.move_stream(old, settings, stream).await?,
        })
    }

    async fn move_http(
        &self,
        old: &Settings,
        settings: &Settings,
        http: Arc<Http>,
    ) -> anyhow::Result<Step> {
        let wanted = settings.http.listener.address;
        let place = elsewhere(old.http.listener.address, wanted)
            .await
            .with_context(|| busy(wanted, "listen.http.port", "--http-port"))?;
        let maker = self.maker(settings);
        let (gate, config) = (maker.http_gate(), maker.http_config()?);
        let adjustment: Adjustment = Box::new(move |kind| {
            http.reconfigure(gate, config);
            let Some((listener, address)) = place else {
                return Ok(());
            };
            http.move_to(listener)?;
            *kind = Kind::Http(http, address);
            Ok(())
        });
        Ok(Step::Adjust(Module::Http, adjustment))
    }

    async fn move_stream(
        &self,
        old: &Settings,
        settings: &Settings,
        stream: Arc<Stream>,
    ) -> anyhow::Result<Step> {
        let wanted = settings.stream.address;
        let place = elsewhere(old.stream.address, wanted)
            .await
            .with_context(|| busy(wanted, "listen.stream.port", "--stream-port"))?;
        let gate = self.maker(settings).stream_gate();
        let config = settings.modules.stream()?;
        let adjustment: Adjustment = Box::new(move |kind| {
            stream.reconfigure(gate, config);
            let Some((listener, address)) = place else {
                return Ok(());
            };
            stream.move_to(listener)?;
            *kind = Kind::Stream(stream, address);
            Ok(())
        });
        Ok(Step::Adjust(Module::Stream, adjustment))
    }

    /// Does what was prepared.
    pub(super) async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Open(module, made) => self.open(module, made).await?,
            Step::Replace(module, made) => {
                let before = self.open.remove(&module);
                if let Err(error) = self.open(module, made).await {
                    // Its predecessor goes on.
                    self.open.extend(before.map(|before| (module, before)));
                    return Err(error);
                }
                if let Some(before) = before {
                    let (patience, at_once) = (patience(module), self.at_once.clone());
                    self.leaving
                        .spawn(async move { retire(before.session, patience, &at_once).await });
                }
            }
            Step::Adjust(module, adjustment) => {
                if let Some(open) = self.open.get_mut(&module) {
                    adjustment(&mut open.kind).map_err(anyhow::Error::msg)?;
                }
            }
            Step::Close(module) => {
                if let Some(open) = self.open.remove(&module) {
                    self.close(open).await;
                }
            }
            // Said, not done.
            Step::Restart => {}
        }
        Ok(())
    }

    async fn open(&mut self, module: Module, made: Made) -> anyhow::Result<()> {
        let Made { worker, kind } = made;
        let session = open(&self.common.bus, module.name(), Trust::Engine, worker).await?;
        self.open.insert(module, Open { session, kind });
        Ok(())
    }

    async fn close(&self, open: Open) {
        let Open { session, kind } = open;
        match kind {
            // Whoever comes in through a port is told by the worker itself.
            Kind::Http(..) | Kind::Stream(..) => session.close(WORKER_STOP).await,
            Kind::Queue(queue) => {
                queue.halt();
                retire(session, LEAVE, &self.at_once).await;
            }
            _ => retire(session, LEAVE, &self.at_once).await,
        }
    }

    /// Does the module go on with the store it was opened on when it changes?
    pub(super) fn keeps_its_store(&self, module: Module) -> bool {
        let open = self.open.get(&module);
        open.is_some_and(|open| {
            matches!(
                open.kind,
                Kind::State(_) | Kind::Queue(_) | Kind::Stream(..)
            )
        })
    }

    pub(super) fn http_address(&self) -> Option<SocketAddr> {
        self.open
            .get(&Module::Http)
            .and_then(|open| match open.kind {
                Kind::Http(_, address) => Some(address),
                _ => None,
            })
    }

    pub(super) fn stream_address(&self) -> Option<SocketAddr> {
        self.open
            .get(&Module::Stream)
            .and_then(|open| match open.kind {
                Kind::Stream(_, address) => Some(address),
                _ => None,
            })
    }

    /// The engine ends: messages in work must not count as failed because of it.
    pub(super) fn halt(&self) {
        if let Some(Kind::Queue(queue)) = self.open.get(&Module::Queue).map(|open| &open.kind) {
            queue.halt();
        }
    }

    pub(super) async fn shutdown(mut self) {
        self.at_once.cancel();
        for module in ORDER.into_iter().rev() {
            if let Some(open) = self.open.remove(&module) {
                open.session.close(WORKER_STOP).await;
            }
        }
        self.leaving.close();
        self.leaving.wait().await;
    }
}

fn adjust(module: Module, change: impl FnOnce() + Send + 'static) -> Step {
    let adjustment: Adjustment = Box::new(move |_| {
        change();
        Ok(())
    });
    Step::Adjust(module, adjustment)
}

/// How long one that has a successor may take to finish: as long as what it does usually may.
fn patience(module: Module) -> Duration {
    match module {
        Module::Cron => Duration::from_hours(1),
        // Meanwhile it exposes what it did.
        Module::Bridge => Duration::from_secs(30),
        _ => Duration::from_mins(1),
    }
}

/// Is there nothing new but the level and the form of lines, which are the log's?
fn observes_alike(old: &Settings, new: &Settings) -> anyhow::Result<bool> {
    let config = |settings: &Settings| {
        let config = settings.modules.observe()?;
        anyhow::Ok(observe::Config {
            level: None,
            format: None,
            ..config
        })
    };
    Ok(config(old)? == config(new)?)
}

/// Binds `wanted`, if it is another place than was wanted before.
async fn elsewhere(
    before: SocketAddr,
    wanted: SocketAddr,
) -> std::io::Result<Option<(TcpListener, SocketAddr)>> {
    if before == wanted {
        return Ok(None);
    }
    let listener = TcpListener::bind(wanted).await?;
    let address = listener.local_addr()?;
    Ok(Some((listener, address)))
}
