//! What a session registers, held against what is there already: the refusals that SDKs of iii know
//! from 0.23 on (`registrationrejected`).
//!
//! Ids of the engine belong to the default namespace. Names of workers and functions that another live
//! worker has are shared, unless the listener is set to reject them: docs/decisions/005.

use std::sync::Arc;

use agentos_core::{Refused, policy::Rules};
use agentos_protocol::{
    Code, ErrorBody, Frame, FunctionSpec, Hello, Register, SessionId, namespace,
};
use agentos_wire::Close;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    bus::{Bus, Deliver},
    session::{JsonWay, access::Way},
};

const WORKER_CONFLICT: &str = "WORKER_NAMESPACE_CONFLICT";
const FUNCTION_CONFLICT: &str = "FUNCTION_NAMESPACE_CONFLICT";

/// SDKs from this version on know the refusals; for others they would be an unknown message.
const KNOWN_SINCE: (u64, u64) = (0, 23);

/// Ids of the engine remembered of a session that has not said where it belongs. Nobody means more
/// than a few of them.
const ENGINE_IDS_MAX: usize = 64;

/// A session's way to the bus, which looks at what it registers.
pub(super) struct Words {
    pub(super) way: Way,
    pub(super) bus: Arc<Bus>,
    pub(super) session: SessionId,
    pub(super) way_out: Arc<JsonWay>,
    pub(super) rules: Option<Arc<Rules>>,
    /// Where conflicts are rejected: whoever holds it finds out and registers. Frames are delivered
    /// meanwhile, none of which comes back here: only sockets bring words.
    pub(super) registering: Option<Arc<Mutex<()>>>,
    pub(super) who: Mutex<Who>,
}

/// Whose words they are.
pub(super) enum Who {
    /// Of somebody who may say it yet. What it registered of the engine's ids.
    Unsaid(Vec<Arc<str>>),
    /// Of an SDK that knows the refusals, with its namespace.
    Knows(Option<Arc<str>>),
    /// Of one to which they would mean nothing.
    Older,
    /// Of a worker whose name is taken.
    Refused,
}

impl Words {
    pub(super) fn take(&self, frame: Frame) {
        match frame {
            Frame::Hello(hello) => self.introduce(hello),
            Frame::Register(register) => self.register(*register),
            frame => self.way.take(frame),
        }
    }

    fn introduce(&self, hello: Box<Hello>) {
        let knows = version(&hello.sdk_version).is_some_and(|version| version >= KNOWN_SINCE);
        if !knows {
            *self.who.lock() = Who::Older;
            return self.way.take(Frame::Hello(hello));
        }
        self.way_out.knows_refusals();
        let place = hello.namespace.as_deref().and_then(namespace);
        let _turn = self.registering.as_ref().map(|turn| turn.lock());
        if self.registering.is_some()
            && let Some(owner) = self.namesake(&hello.name, place.as_deref())
        {
            *self.who.lock() = Who::Refused;
            return self.turn_away(&hello.name, place.as_deref(), &owner);
        }
        self.way.take(Frame::Hello(hello));
        let said = std::mem::replace(&mut *self.who.lock(), Who::Knows(place.clone()));
        if let (Who::Unsaid(ids), Some(place)) = (said, place) {
            let refused = ids.into_iter().map(|id| of_the_engine(id, &place));
            self.refuse(refused.collect());
        }
    }

    /// The other live worker of this name and namespace, by its public id.
    fn namesake(&self, name: &str, place: Option<&str>) -> Option<Arc<str>> {
        let workers = self.bus.workers();
        let other = workers.into_iter().find(|worker| {
            worker.session != self.session
                && !worker.leaving
                && worker.hello.name == name
                && worker.namespace.as_deref() == place
        });
        other
            .filter(|_| !name.is_empty())
            .map(|worker| worker.public_id)
    }

    fn turn_away(&self, name: &str, place: Option<&str>, owner: &str) {
        let message = format!("a worker `{name}` lives in the namespace already");
        let details = json!({
            "namespace": shown(place), "worker_name": name, "owner_worker_id": owner,
        });
        let error = ErrorBody::caller(Code::Conflict, message)
            .reason(WORKER_CONFLICT)
            .details(details);
        tracing::warn!(session = %self.session, %error, "a worker was turned away");
        // A worker that reads nothing is closed all the same.
        let _ = self.way_out.deliver(Frame::Fault(error));
        self.way_out.end(Close {
            code: 1008,
            reason: "the name of the worker is taken".into(),
        });
    }

    fn register(&self, mut register: Register) {
        let place = match &mut *self.who.lock() {
            Who::Refused => return,
            Who::Older => return self.way.take(Frame::Register(Box::new(register))),
            Who::Unsaid(ids) => {
                let room = ENGINE_IDS_MAX - ids.len();
                let functions = register.functions.iter();
                let engine = functions.filter(|spec| is_of_the_engine(&spec.id));
                ids.extend(engine.map(|spec| Arc::clone(&spec.id)).take(room));
                return self.way.take(Frame::Register(Box::new(register)));
            }
            Who::Knows(place) => place.clone(),
        };
        let _turn = self.registering.as_ref().map(|turn| turn.lock());
        let mut refused = Vec::new();
        register.functions.retain(|spec| {
            let refusal = self.refusal(spec, place.as_ref());
            let is_free = refusal.is_none();
            refused.extend(refusal);
            is_free
        });
        self.way.take(Frame::Register(Box::new(register)));
        self.refuse(refused);
    }

    fn refusal(&self, spec: &FunctionSpec, place: Option<&Arc<str>>) -> Option<Refused> {
        if let Some(place) = place
            && is_of_the_engine(&spec.id)
        {
            return Some(of_the_engine(Arc::clone(&spec.id), place));
        }
        self.registering.as_ref()?;
        let id = match &self.rules {
            Some(rules) => rules.qualified(&spec.id),
            None => Arc::clone(&spec.id),
        };
        let place = place.map(|place| &**place);
        let offered = self.bus.function(place, &id)?.sessions;
        if offered.is_empty() || offered.contains(&self.session) {
            return None;
        }
        let workers = self.bus.workers();
        let owner = workers
            .iter()
            .find(|worker| offered.contains(&worker.session))?;
        Some(taken(Arc::clone(&spec.id), place, &owner.public_id))
    }

    fn refuse(&self, refused: Vec<Refused>) {
        if !refused.is_empty() {
            self.bus
                .register_inspected(self.session, Register::default(), refused);
        }
    }
}

fn is_of_the_engine(id: &str) -> bool {
    id.starts_with("engine::")
}

fn of_the_engine(id: Arc<str>, place: &str) -> Refused {
    let message = "ids of the engine can be registered in the default namespace only";
    conflict(id, Some(place), "", message)
}

fn taken(id: Arc<str>, place: Option<&str>, owner: &str) -> Refused {
    conflict(id, place, owner, "another live worker offers it")
}

fn conflict(id: Arc<str>, place: Option<&str>, owner: &str, message: &str) -> Refused {
    let details = json!({ "namespace": shown(place), "function_id": id, "owner_worker_id": owner });
    let error = ErrorBody::caller(Code::Conflict, message)
        .reason(FUNCTION_CONFLICT)
        .details(details);
    Refused::new(id, error)
}

fn shown(place: Option<&str>) -> &str {
    place.unwrap_or("default")
}

/// What has an SDK that knows the refusals stay away: another has taken its place.
pub(in crate::session) fn dismissal() -> ErrorBody {
    let details = json!({ "namespace": "default", "worker_name": "", "owner_worker_id": "" });
    ErrorBody::caller(Code::Conflict, "the worker was taken out")
        .reason(WORKER_CONFLICT)
        .details(details)
}

/// The message of the dialect that tells of one of the refusals.
pub(in crate::session) fn rejection(frame: &Frame) -> Option<String> {
    let Frame::Fault(error) = frame else {
        return None;
    };
    let code = error.reason.as_deref()?;
    if ![WORKER_CONFLICT, FUNCTION_CONFLICT].contains(&code) {
        return None;
    }
    let mut message = json!({ "type": "registrationrejected", "code": code });
    if let (Some(message), Some(Value::Object(details))) = (message.as_object_mut(), &error.details)
    {
        message.extend(details.clone());
    }
    Some(message.to_string())
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}
