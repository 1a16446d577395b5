//! Offers of functions, triggers and trigger types.

use std::sync::Arc;

use agentos_protocol::{
    BindTrigger, Code, ErrorBody, Frame, FunctionSpec, Register, Rejected, SessionId, TriggerSpec,
    TriggerTypeSpec, Unregister, namespace,
};

use super::Router;
use crate::{
    Effect, Effects, Event, Now, policy,
    registry::{Binding, Offering, Placed, Session, TriggerState, WAITING_MAX},
};

impl Router {
    /// As [`Frame::Register`], with what was refused before it came here.
    pub fn register(
        &self,
        now: Now,
        from: SessionId,
        register: Register,
        mut refusals: Vec<Refused>,
        out: &mut Effects,
    ) {
        let Register {
            request,
            functions,
            triggers,
            trigger_types,
        } = register;
        for spec in trigger_types {
            let id = Arc::clone(&spec.id);
            let outcome = self.provide(from, spec, out);
            refusals.extend(outcome.err().map(|error| Refused::new(id, error)));
        }
        let mut offered = Vec::new();
        for spec in functions {
            let id = Arc::clone(&spec.id);
            match self.offer(now, from, spec, out) {
                Ok(id) => offered.push(id),
                Err(error) => refusals.push(Refused::new(id, error)),
            }
        }
        for spec in triggers {
            let (id, of) = (
                Arc::clone(&spec.id),
                Some((spec.trigger_type.clone(), spec.function.clone())),
            );
            let outcome = self.add_trigger(from, spec, out);
            refusals.extend(outcome.err().map(|error| Refused { id, error, of }));
        }
        let Some(worker) = self
            .registry
            .sessions
            .look(from, |session| Arc::clone(&session.standing.public_id))
        else {
            return;
        };
        if !offered.is_empty() {
            let worker = Arc::clone(&worker);
            out.push(Effect::Event(Event::FunctionsRegistered {
                worker,
                functions: offered,
            }));
        }
        self.tell_refusals(from, request, &worker, refusals, out);
    }

    /// Says what was refused: in the answer that was asked for, else one by one.
    fn tell_refusals(
        &self,
        to: SessionId,
        request: u64,
        worker: &Arc<str>,
        refusals: Vec<Refused>,
        out: &mut Effects,
    ) {
        for Refused { id, error, .. } in &refusals {
            out.push(Effect::Event(Event::RegistrationRefused {
                worker: Arc::clone(worker),
                id: Arc::clone(id),
                error: error.clone(),
            }));
        }
        if request != 0 {
            let rejected = refusals.into_iter();
            let rejected = rejected.map(|Refused { id, error, .. }| Rejected { id, error });
            let frame = Frame::Registered {
                request,
                rejected: rejected.collect(),
            };
            out.push(Effect::Send { to, frame });
            return;
        }
        out.extend(refusals.into_iter().map(|refused| Effect::Send {
            to,
            frame: refused.frame(),
        }));
    }

    /// Adds an offer; the id under which it can be called.
    fn offer(
        &self,
        now: Now,
        from: SessionId,
        mut spec: FunctionSpec,
        out: &mut Effects,
    ) -> Result<Arc<str>, ErrorBody> {
        limited(&spec)?;
        let mut session = self.registry.sessions.get_mut(from).ok_or_else(closed)?;
        stays(&session)?;
        let mut local = None;
        if let Some(rules) = &session.standing.rules {
            rules.may_offer()?;
            let id = rules.qualified(&spec.id);
            if id != spec.id {
                local = Some(std::mem::replace(&mut spec.id, id));
            }
        }
        let functions = &self.registry.functions;
        let by_engine = functions.offered_by_engine(session.namespace.as_deref(), &spec.id);
        policy::may_offer(session.trust, &spec.id, by_engine)?;
        bounded(
            session.functions.len(),
            self.limits.functions_per_session_max,
            "functions",
        )?;
        let id = Arc::clone(&spec.id);
        session.functions.insert(Arc::clone(&id));
        let line = functions.offer(Offering {
            session: from,
            trust: session.trust,
            spec: Arc::new(spec),
            local,
            namespace: session.namespace.clone(),
            standing: Arc::clone(&session.standing),
            gate: None,
        });
        drop(session);
        if let Some(line) = line {
            self.advance(now, &line, out);
        }
        Ok(id)
    }

    fn provide(
        &self,
        from: SessionId,
        spec: TriggerTypeSpec,
        out: &mut Effects,
    ) -> Result<(), ErrorBody> {
        // Held until the row is in: a session that closes meanwhile finds it then.
        let mut session = self.registry.sessions.get_mut(from).ok_or_else(closed)?;
        stays(&session)?;
        if let Some(rules) = &session.standing.rules {
            rules.may_provide()?;
        }
        let triggers = &self.registry.triggers;
        let by_engine = triggers.provided_by_engine(session.namespace.as_deref(), &spec.id);
        policy::may_provide(session.trust, &spec.id, by_engine)?;
        let max = self.limits.triggers_per_session_max;
        bounded(session.trigger_types.len(), max, "trigger types")?;
        session.trigger_types.insert(Arc::clone(&spec.id));
        out.push(Effect::Event(Event::TriggerTypeRegistered {
            worker: Arc::clone(&session.standing.public_id),
            id: Arc::clone(&spec.id),
        }));
        let placed = triggers.provide(from, session.trust, session.namespace.clone(), spec);
        push_placed(placed, out);
        Ok(())
    }

    fn add_trigger(
        &self,
        from: SessionId,
        mut spec: TriggerSpec,
        out: &mut Effects,
    ) -> Result<(), ErrorBody> {
        policy::well_formed("trigger id", &spec.id)?;
        policy::well_formed("trigger type", &spec.trigger_type)?;
        policy::well_formed("function id", &spec.function)?;
        // As in `provide`.
        let mut session = self.registry.sessions.get_mut(from).ok_or_else(closed)?;
        stays(&session)?;
        if let Some(rules) = &session.standing.rules {
            rules.may_bind(&spec.trigger_type)?;
            spec.function = rules.qualified(&spec.function);
        }
        spec.namespace = match spec.namespace.as_deref() {
            None => session.namespace.clone(),
            Some(named) => namespace(named),
        };
        let max = self.limits.triggers_per_session_max;
        bounded(session.triggers.len(), max, "triggers")?;
        session.triggers.insert(Arc::clone(&spec.id));
        let (id, trigger_type, function) = (
            Arc::clone(&spec.id),
            Arc::clone(&spec.trigger_type),
            Arc::clone(&spec.function),
        );
        let triggers = &self.registry.triggers;
        let worker = session.worker.as_deref();
        let (placed, state) = triggers.add(from, worker, session.namespace.clone(), spec);
        // Given to a provider: its word is the event.
        if state == TriggerState::Parked {
            out.push(Effect::Event(Event::TriggerRegistered {
                id,
                trigger_type,
                function,
                state,
            }));
        }
        push_placed(placed, out);
        Ok(())
    }

    pub(super) fn on_unregister(
        &self,
        now: Now,
        from: SessionId,
        mut ids: Unregister,
        out: &mut Effects,
    ) {
        let Some(from_where) = self.registry.sessions.get_mut(from).map(|mut session| {
            if let Some(rules) = &session.standing.rules {
                for id in &mut ids.functions {
                    *id = rules.qualified(id);
                }
            }
            for id in &ids.functions {
                session.functions.remove(id);
            }
            for id in &ids.triggers {
                session.triggers.remove(id);
            }
            for id in &ids.trigger_types {
                session.trigger_types.remove(id);
            }
            Owner::of(from, &session)
        }) else {
            return;
        };
        self.withdraw(
            now,
            &from_where,
            &ids.functions,
            &ids.triggers,
            &ids.trigger_types,
            out,
        );
    }

    /// Takes back everything a session has registered.
    pub(super) fn withdraw_all(
        &self,
        now: Now,
        session: SessionId,
        row: &Session,
        out: &mut Effects,
    ) {
        let owner = Owner::of(session, row);
        self.withdraw(
            now,
            &owner,
            &row.functions,
            &row.triggers,
            &row.trigger_types,
            out,
        );
    }

    fn withdraw<'a>(
        &self,
        now: Now,
        owner: &Owner,
        functions: impl IntoIterator<Item = &'a Arc<str>>,
        triggers: impl IntoIterator<Item = &'a Arc<str>>,
        trigger_types: impl IntoIterator<Item = &'a Arc<str>>,
        out: &mut Effects,
    ) {
        let Owner {
            session,
            worker,
            namespace,
        } = owner;
        let namespace = namespace.as_deref();
        let registry = &self.registry;
        let mut withdrawn: Vec<Arc<str>> = Vec::new();
        for id in functions {
            if let Some(offer) = registry.functions.withdraw(*session, namespace, id) {
                withdrawn.push(Arc::clone(id));
                if let Some(gate) = offer.gate {
                    self.advance(now, &gate.line, out);
                }
            }
        }
        for id in triggers {
            if let Some((spec, placed)) = registry.triggers.remove(*session, id) {
                push_placed(placed, out);
                out.push(Effect::Event(Event::TriggerUnregistered {
                    id: spec.id,
                    trigger_type: spec.trigger_type,
                }));
            }
        }
        for id in trigger_types {
            if let Some((_, placed)) = registry.triggers.withdraw(*session, namespace, id) {
                push_placed(placed, out);
                out.push(Effect::Event(Event::TriggerTypeUnregistered {
                    worker: Arc::clone(worker),
                    id: Arc::clone(id),
                }));
            }
        }
        if !withdrawn.is_empty() {
            out.push(Effect::Event(Event::FunctionsUnregistered {
                worker: Arc::clone(worker),
                functions: withdrawn,
            }));
        }
    }

    /// Moves everything a session has registered to another namespace: it said late where it
    /// belongs.
    pub(super) fn relocate(
        &self,
        now: Now,
        from: SessionId,
        session: &mut Session,
        to: Option<Arc<str>>,
        out: &mut Effects,
    ) {
        let registry = &self.registry;
        let old = std::mem::replace(&mut session.namespace, to);
        for id in &session.functions {
            if let Some(mut offer) = registry.functions.withdraw(from, old.as_deref(), id) {
                offer.namespace.clone_from(&session.namespace);
                let left = offer.gate.take();
                let joined = registry.functions.offer(offer);
                for line in left.map(|gate| gate.line).into_iter().chain(joined) {
                    self.advance(now, &line, out);
                }
            }
        }
        for id in &session.trigger_types {
            if let Some((spec, placed)) = registry.triggers.withdraw(from, old.as_deref(), id) {
                push_placed(placed, out);
                let namespace = session.namespace.clone();
                let placed = registry
                    .triggers
                    .provide(from, session.trust, namespace, spec);
                push_placed(placed, out);
            }
        }
        self.rebind(from, session, old.as_deref(), out);
    }

    /// Places everything that a session has bound once more: what is known of it has changed.
    pub(super) fn rebind(
        &self,
        from: SessionId,
        session: &Session,
        old: Option<&str>,
        out: &mut Effects,
    ) {
        let triggers = &self.registry.triggers;
        for id in &session.triggers {
            if let Some((mut spec, placed)) = triggers.remove(from, id) {
                push_placed(placed, out);
                if spec.namespace.as_deref() == old {
                    spec.namespace.clone_from(&session.namespace);
                }
                let (worker, home) = (session.worker.as_deref(), session.namespace.clone());
                let (placed, _) = triggers.add(from, worker, home, spec);
                push_placed(placed, out);
            }
        }
    }

    /// The worker wants no new calls: it disappears from the registry and finishes what it has.
    pub(super) fn on_goodbye(&self, now: Now, from: SessionId, out: &mut Effects) {
        let offered = self.registry.sessions.get_mut(from).map(|mut session| {
            session.leaving = true;
            (
                Owner::of(from, &session),
                std::mem::take(&mut session.functions),
                std::mem::take(&mut session.triggers),
                std::mem::take(&mut session.trigger_types),
            )
        });
        if let Some((owner, functions, triggers, trigger_types)) = offered {
            self.withdraw(now, &owner, &functions, &triggers, &trigger_types, out);
        }
    }

    pub(super) fn on_trigger_bound(
        &self,
        from: SessionId,
        id: Arc<str>,
        trigger_type: Arc<str>,
        function: Arc<str>,
        error: Option<ErrorBody>,
        out: &mut Effects,
    ) {
        let bound = self.registry.triggers.bound(from, &id, error.as_ref());
        let Some((owner, spec, state)) = bound else {
            return;
        };
        out.push(Effect::Event(Event::TriggerRegistered {
            id: spec.id,
            trigger_type: spec.trigger_type,
            function: spec.function,
            state,
        }));
        let frame = Frame::TriggerBound {
            id,
            trigger_type,
            function,
            error,
        };
        out.push(Effect::Send { to: owner, frame });
    }
}

/// Whose registrations are taken back.
struct Owner {
    session: SessionId,
    worker: Arc<str>,
    namespace: Option<Arc<str>>,
}

impl Owner {
    fn of(session: SessionId, row: &Session) -> Self {
        Owner {
            session,
            worker: Arc::clone(&row.standing.public_id),
            namespace: row.namespace.clone(),
        }
    }
}

/// A registration that was refused.
#[derive(Debug)]
pub struct Refused {
    pub id: Arc<str>,
    pub error: ErrorBody,
    /// Type and function, when it was a trigger.
    pub of: Option<(Arc<str>, Arc<str>)>,
}

impl Refused {
    pub fn new(id: Arc<str>, error: ErrorBody) -> Self {
        Refused {
            id,
            error,
            of: None,
        }
    }

    fn frame(self) -> Frame {
        let Refused { id, mut error, of } = self;
        match of {
            Some((trigger_type, function)) => Frame::TriggerBound {
                id,
                trigger_type,
                function,
                error: Some(error),
            },
            None => {
                error.message = format!("{id}: {}", error.message);
                Frame::Fault(error)
            }
        }
    }
}

fn push_placed(Placed { heirs, undo, bind }: Placed, out: &mut Effects) {
    let give = |Binding { provider, spec }| Effect::Send {
        to: provider,
        frame: Frame::BindTrigger(Box::new(BindTrigger { spec })),
    };
    out.extend(heirs.into_iter().map(give));
    out.extend(
        undo.into_iter()
            .map(|Binding { provider, spec }| Effect::Send {
                to: provider,
                frame: Frame::UnbindTrigger {
                    id: spec.id,
                    trigger_type: spec.trigger_type,
                },
            }),
    );
    out.extend(bind.into_iter().map(give));
}

/// A worker that has said goodbye gets nothing new.
fn stays(session: &Session) -> Result<(), ErrorBody> {
    if session.leaving {
        return Err(ErrorBody::caller(
            Code::Conflict,
            "the session has said goodbye",
        ));
    }
    Ok(())
}

/// A limit has to let something through, and a line has to end.
fn limited(spec: &FunctionSpec) -> Result<(), ErrorBody> {
    let problem = match (spec.concurrency, spec.waiting_max) {
        (Some(0), _) => "`concurrency` is 0; at least 1 call has to be able to run".to_owned(),
        (_, Some(waiting)) if waiting > WAITING_MAX => {
            format!("`waiting_max` is {waiting}, at most {WAITING_MAX}")
        }
        (None, Some(_)) => "`waiting_max` is of use with `concurrency` only".to_owned(),
        _ => return Ok(()),
    };
    Err(ErrorBody::caller(Code::InvalidInput, problem))
}

fn bounded(count: usize, max: usize, what: &str) -> Result<(), ErrorBody> {
    if count < max {
        return Ok(());
    }
    Err(ErrorBody::engine(
        Code::Overloaded,
        format!("a session has at most {max} {what}"),
    ))
}

fn closed() -> ErrorBody {
    ErrorBody::engine(Code::Unavailable, "the session is closed")
}
