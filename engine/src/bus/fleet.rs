//! The bus as the fleet sees it: shares, draining, and a question to one very session.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentos_core::{Caller, Effects, Event, SessionSpec, SessionView, Share, policy::Trust};
use agentos_protocol::{Call, CallRef, Code, ErrorBody, Frame, Hello, Payload, SessionId};
use agentos_sdk::async_trait;
use dashmap::DashMap;
use tokio::sync::{broadcast, oneshot};

use super::{Bus, Deliver, Drained, Parting, Undelivered};
use crate::fleet::{Doorkeeper, FULL, Traffic};

/// Who decides what share sessions come with.
#[derive(Default)]
pub(super) struct Door(OnceLock<Arc<dyn Doorkeeper>>);

impl Bus {
    /// Sessions that come from now on get the share that `keeper` says.
    pub(crate) fn ask_doorkeeper(&self, keeper: Arc<dyn Doorkeeper>) {
        let _ = self.door.0.set(keeper);
    }

    /// A session that may register before it says who it is has been opened.
    pub(super) fn let_in(&self, session: SessionId) {
        if let Some(keeper) = self.door.0.get() {
            let share = keeper.stranger(session);
            if share != FULL {
                self.set_share(session, share_of(share));
            }
        }
    }

    /// A session says who it is, and nothing of what it has to offer after that is known yet.
    pub(super) fn greeted(&self, session: SessionId, hello: &Hello) {
        let Some(keeper) = self.door.0.get() else {
            return;
        };
        let peer: Option<IpAddr> = self.router.peer(session);
        let greeting = keeper.greeted(session, hello, peer);
        if let Some(share) = greeting.share {
            self.set_share_over(session, share_of(share), greeting.over);
        }
        if let Some(worker) = greeting.worker {
            self.put_among(session, worker);
        }
    }

    fn put_among(&self, session: SessionId, worker: Arc<str>) {
        let mut out = Effects::new();
        self.router.belongs(session, worker, &mut out);
        self.perform(out);
    }
}

fn share_of(weight: u16) -> Share {
    Share {
        weight,
        ready: weight > 0,
    }
}

/// Asks questions in the engine's name, whoever else could answer them.
#[derive(Default)]
pub(super) struct Questions {
    way: Arc<Answers>,
    next: AtomicU64,
    caller: OnceLock<Caller>,
}

/// Waits for the answers.
#[derive(Default)]
struct Answers(DashMap<u64, oneshot::Sender<Result<Payload, ErrorBody>>>);

impl Deliver for Answers {
    fn deliver(&self, frame: Frame) -> Result<(), (Frame, Undelivered)> {
        if let Frame::Reply { call, outcome, .. } = frame
            && let Some((_, waiting)) = call.number().and_then(|number| self.0.remove(&number))
        {
            // Whoever asked may have lost patience.
            let _ = waiting.send(outcome);
        }
        Ok(())
    }

    fn close(&self, _: &ErrorBody) {
        self.0.clear();
    }
}

impl Bus {
    fn questioner(&self) -> &Caller {
        self.questions.caller.get_or_init(|| {
            let way = Arc::clone(&self.questions.way);
            let opened = self.open(way, |public_id| SessionSpec {
                public_id,
                trust: Trust::Engine,
                named: false,
                timeout_default: Duration::from_secs(30),
                rules: None,
                peer: None,
                instance: None,
                share: Share::default(),
            });
            let hello = Hello {
                name: "engine".to_owned(),
                language: "rust".to_owned(),
                pid: Some(std::process::id()),
                features: vec!["in-process".to_owned()],
                ..Hello::default()
            };
            self.on_frame(opened.id, Frame::Hello(Box::new(hello)));
            opened.caller
        })
    }

    async fn ask_session(
        &self,
        to: SessionId,
        function: &str,
        patience: Duration,
    ) -> Result<Payload, ErrorBody> {
        let caller = self.questioner();
        let number = self.questions.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, answer) = oneshot::channel();
        self.questions.way.0.insert(number, tell);
        let mut call = Call::new(Some(CallRef::Number(number)), function, Payload::json("{}"));
        call.timeout_ms = u32::try_from(patience.as_millis()).ok();
        let (now, mut out) = (self.clock.now(), Effects::new());
        let routed = self.router.call_at(now, caller, to, &call.view(), &mut out);
        match routed {
            Ok(Some(routed)) => self.send(now, &routed, &call.view(), &mut out),
            // Whoever is asked by name is asked at once.
            Ok(None) => {}
            Err(error) => {
                self.questions.way.0.remove(&number);
                return Err(error);
            }
        }
        self.perform(out);
        // The bus keeps the deadline, and tells.
        answer.await.unwrap_or_else(|_| {
            Err(ErrorBody::engine(
                Code::Unavailable,
                "the engine is stopping",
            ))
        })
    }
}

#[async_trait]
impl Traffic for Bus {
    fn sessions(&self) -> Vec<SessionView> {
        self.workers()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events()
    }

    fn give(&self, session: SessionId, share: u16, over: Duration) {
        self.set_share_over(session, share_of(share), over);
    }

    fn belongs(&self, session: SessionId, worker: &str) {
        self.put_among(session, worker.into());
    }

    async fn drain(&self, session: SessionId, patience: Duration) -> u32 {
        match self.drain(session, patience).await {
            Drained::Late(left) => left,
            Drained::Finished | Drained::Gone => 0,
        }
    }

    fn cut(&self, session: SessionId) {
        self.part(session, Parting::Stop);
    }

    async fn ask(
        &self,
        session: SessionId,
        function: &str,
        patience: Duration,
    ) -> Result<Payload, ErrorBody> {
        self.ask_session(session, function, patience).await
    }
}
