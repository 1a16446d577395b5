//! The socket client: one session with an engine, kept alive over reconnects.

mod connection;
mod limit;
mod options;

use std::{future::Future, sync::Arc, time::Duration};

use agentos_protocol::{CallRef, Code, ErrorBody, Frame, Unregister};
use agentos_wire::{Held, Limits, Outbox, Refusal};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::limit::Limit;
pub use self::{connection::State, options::Options};
use crate::{Bus, Context, Function, Link, Peer, Registrar, Worker, peer::result_of_nothing};

/// How long [`Client::close`] waits for calls that still run.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A session with an engine over a WebSocket. Cheap to clone; the session ends when it is closed.
///
/// When the connection breaks it is made again, with everything registered said again. Calls in
/// flight then fail with `unavailable`; calls made meanwhile wait until the connection is back or
/// their deadline has passed.
#[derive(Clone)]
pub struct Client {
    bus: Bus,
    outbox: Arc<Outbox>,
    state: watch::Receiver<(State, String)>,
    stop: CancellationToken,
}

struct OutboxLink {
    outbox: Arc<Outbox>,
    limit: Arc<Limit>,
}

impl Link for OutboxLink {
    fn send(&self, frame: Frame) -> Result<(), ErrorBody> {
        self.limit.check(&frame)?;
        self.outbox
            .push(frame)
            .map_err(|refused| refusal(refused.why))
    }

    fn done(&self, call: CallRef, function: Arc<str>) -> Result<(), ErrorBody> {
        let is_told = match call.number() {
            Some(number) => self.outbox.done(number).map_err(refusal)?,
            None => false,
        };
        if is_told {
            return Ok(());
        }
        self.send(result_of_nothing(call, function))
    }
}

fn refusal(why: Refusal) -> ErrorBody {
    match why {
        Refusal::Full => ErrorBody::engine(
            Code::Overloaded,
            "too many frames wait to be sent to the engine",
        ),
        Refusal::Closed => ErrorBody::engine(Code::Unavailable, "the client is closed"),
    }
}

impl Client {
    /// Opens a session and waits until the engine has welcomed it.
    ///
    /// # Errors
    /// `unauthenticated` when the token is refused; `unavailable` when no engine answers within
    /// [`Options::connect_timeout`].
    pub async fn connect(options: Options) -> Result<Self, ErrorBody> {
        let patience = options.patience();
        let client = Self::start(options);
        let welcomed = client.welcomed();
        let outcome = match patience {
            Some(patience) => tokio::time::timeout(patience, welcomed).await,
            None => Ok(welcomed.await),
        };
        match outcome {
            Ok(Ok(())) => Ok(client),
            Ok(Err(error)) => {
                client.stop.cancel();
                Err(error)
            }
            Err(_) => {
                client.stop.cancel();
                let why = client.state.borrow().1.clone();
                Err(ErrorBody::engine(
                    Code::Unavailable,
                    format!("no engine: {why}; start one with `agentos start`"),
                ))
            }
        }
    }

    /// Opens a session in the background. Must run inside a tokio runtime.
    pub fn start(options: Options) -> Self {
        let peer = Peer::new();
        let outbox = Arc::new(Outbox::new(Limits::default()));
        let limit = Arc::new(Limit::default());
        peer.attach(Arc::new(OutboxLink {
            outbox: Arc::clone(&outbox),
            limit: Arc::clone(&limit),
        }));
        let (tell, state) = watch::channel((State::Connecting, String::from("not connected yet")));
        let stop = CancellationToken::new();
        let deadlines = tokio::spawn(peer.clone().keep_deadlines());
        let connection = connection::Connection::new(
            options,
            peer.clone(),
            Arc::clone(&outbox),
            limit,
            tell,
            stop.clone(),
        );
        tokio::spawn(async move {
            connection.run().await;
            deadlines.abort();
        });
        Client {
            bus: Bus::new(peer),
            outbox,
            state,
            stop,
        }
    }

    /// What is sent while it lives leaves together.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.outbox.hold()
    }

    async fn welcomed(&self) -> Result<(), ErrorBody> {
        let mut state = self.state.clone();
        loop {
            {
                let now = state.borrow_and_update();
                match now.0 {
                    State::Connected => return Ok(()),
                    State::Refused => {
                        return Err(ErrorBody::caller(Code::Unauthenticated, now.1.clone()));
                    }
                    State::Closed => {
                        return Err(ErrorBody::engine(Code::Unavailable, now.1.clone()));
                    }
                    State::Connecting | State::Disconnected => {}
                }
            }
            if state.changed().await.is_err() {
                return Err(ErrorBody::engine(Code::Unavailable, "the client is closed"));
            }
        }
    }

    /// The session's bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Calls `function` and waits for its result.
    ///
    /// # Errors
    /// As [`Bus::trigger`].
    pub async fn trigger<O: DeserializeOwned>(
        &self,
        function: &str,
        input: &(impl Serialize + Sync + ?Sized),
    ) -> Result<O, ErrorBody> {
        self.bus.trigger(function, input).await
    }

    /// Offers one function; returns when the engine has it.
    ///
    /// # Errors
    /// The engine's refusal, for instance `forbidden` for an id that is reserved.
    pub async fn function<I, O, F, Fut>(&self, id: &str, handler: F) -> Result<(), ErrorBody>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ErrorBody>> + Send + 'static,
    {
        let mut registrar = Registrar::new();
        registrar.function(id, handler);
        self.register(registrar).await
    }

    /// Offers a function that [`crate::function`] was put on: `worker.offer::<greet>().await?`.
    ///
    /// # Errors
    /// As [`Client::function`].
    pub async fn offer<F: Function>(&self) -> Result<(), ErrorBody> {
        let mut registrar = Registrar::new();
        registrar.offer::<F>();
        self.register(registrar).await
    }

    /// Offers everything `registrar` collected; returns when the engine has it.
    ///
    /// # Errors
    /// The engine's first refusal.
    pub async fn register(&self, registrar: Registrar) -> Result<(), ErrorBody> {
        self.bus.peer().register(registrar).await
    }

    /// Takes a function back, while what runs of it goes on.
    ///
    /// # Errors
    /// `unavailable` when the client is closed.
    pub fn unregister(&self, function: &str) -> Result<(), ErrorBody> {
        self.bus.peer().unregister(Unregister {
            functions: vec![function.into()],
            ..Unregister::default()
        })
    }

    /// The state of the connection, and how it changes.
    pub fn state(&self) -> watch::Receiver<(State, String)> {
        self.state.clone()
    }

    /// Answers calls until SIGTERM, Ctrl-C or [`Client::close`], then drains.
    ///
    /// # Errors
    /// None so far; the signature leaves room for them.
    pub async fn serve(&self) -> Result<(), ErrorBody> {
        tokio::select! {
            () = terminated() => self.close().await,
            () = self.closed() => {}
        }
        Ok(())
    }

    /// Takes no new calls, lets running ones finish (10 s at most), then ends the session.
    pub async fn close(&self) {
        let connected = self.state.borrow().0 == State::Connected;
        if connected {
            // A full outbox or a lost connection only makes the goodbye less polite.
            let _ = self.bus.peer().send(Frame::Goodbye {
                reason: "the worker is stopping".into(),
            });
            let idle = async {
                while self.bus.peer().running() > 0 || self.bus.peer().pending() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, idle).await;
            self.outbox.close(agentos_wire::Close {
                code: 1000,
                reason: "done".into(),
            });
        }
        self.stop.cancel();
        self.closed().await;
    }

    async fn closed(&self) {
        let mut state = self.state.clone();
        while state.borrow_and_update().0 != State::Closed {
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Runs `worker` as a program of its own until SIGTERM or Ctrl-C.
///
/// # Errors
/// When a registration is refused, or the worker's background work fails.
pub async fn run(worker: Arc<dyn Worker>, options: Options) -> Result<(), ErrorBody> {
    let client = Client::connect(options.connect_timeout(None)).await?;
    let mut registrar = Registrar::new();
    Arc::clone(&worker).register(&mut registrar);
    client.register(registrar).await?;
    let stop = CancellationToken::new();
    let mut work = tokio::spawn(worker.run(client.bus().clone(), stop.clone()));
    let served = client.serve();
    tokio::pin!(served);
    tokio::select! {
        outcome = &mut served => outcome?,
        outcome = &mut work => {
            client.close().await;
            return outcome.unwrap_or_else(|panic| Err(ErrorBody::worker(Code::Failed, panic.to_string())));
        }
    }
    stop.cancel();
    match tokio::time::timeout(DRAIN_TIMEOUT, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(ErrorBody::worker(Code::Failed, panic.to_string())),
        Err(_) => Err(ErrorBody::worker(
            Code::Timeout,
            "the worker did not stop in 10 s",
        )),
    }
}

/// Resolves on SIGTERM or Ctrl-C.
async fn terminated() {
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
