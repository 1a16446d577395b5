//! Offers of functions, triggers and trigger types.

use std::sync::Arc;

use agentos_protocol::{
    BindTrigger, Code, ErrorBody, Frame, FunctionSpec, Register, Rejected, SessionId, TriggerSpec,
    TriggerTypeSpec, Unregister,
};

use super::Router;
use crate::{
    Effect, Effects, Event, policy,
    registry::{Binding, Session},
};

impl Router {
    pub(super) fn on_register(&self, from: SessionId, register: Register, out: &mut Effects) {
        let Register {
            request,
            functions,
            triggers,
            trigger_types,
        } = register;
        let changed = !functions.is_empty();
        let mut rejected = Vec::new();
        let mut keep = |id: Arc<str>, outcome: Result<(), ErrorBody>| {
            if let Err(error) = outcome {
                rejected.push(Rejected { id, error });
            }
        };
        for spec in trigger_types {
            keep(Arc::clone(&spec.id), self.provide(from, spec, out));
        }
        for spec in functions {
            keep(Arc::clone(&spec.id), self.offer(from, spec));
        }
        for spec in triggers {
            keep(Arc::clone(&spec.id), self.add_trigger(from, spec, out));
        }
        if request != 0 {
            out.push(Effect::Send {
                to: from,
                frame: Frame::Registered { request, rejected },
            });
        } else {
            for Rejected { id, mut error } in rejected {
                error.message = format!("{id}: {}", error.message);
                out.push(Effect::Send {
                    to: from,
                    frame: Frame::Fault(error),
                });
            }
        }
        if changed {
            out.push(Effect::Event(Event::FunctionsChanged));
        }
    }

    fn offer(&self, from: SessionId, spec: FunctionSpec) -> Result<(), ErrorBody> {
        let mut session = self.registry.sessions.get_mut(from).ok_or_else(closed)?;
        stays(&session)?;
        policy::may_offer(
            session.trust,
            &spec.id,
            self.registry.functions.offered_by_engine(&spec.id),
        )?;
        bounded(
            session.functions.len(),
            self.limits.functions_per_session_max,
            "functions",
        )?;
        session.functions.insert(Arc::clone(&spec.id));
        self.registry
            .functions
            .offer(from, session.trust, Arc::clone(&session.load), spec);
        Ok(())
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
        let by_engine = self.registry.triggers.provided_by_engine(&spec.id);
        policy::may_provide(session.trust, &spec.id, by_engine)?;
        let max = self.limits.triggers_per_session_max;
        bounded(session.trigger_types.len(), max, "trigger types")?;
        session.trigger_types.insert(Arc::clone(&spec.id));
        let bindings = self.registry.triggers.provide(from, session.trust, spec);
        out.extend(bindings.into_iter().map(bind));
        Ok(())
    }

    fn add_trigger(
        &self,
        from: SessionId,
        spec: TriggerSpec,
        out: &mut Effects,
    ) -> Result<(), ErrorBody> {
        policy::well_formed("trigger id", &spec.id)?;
        policy::well_formed("trigger type", &spec.trigger_type)?;
        policy::well_formed("function id", &spec.function)?;
        // As in `provide`.
        let mut session = self.registry.sessions.get_mut(from).ok_or_else(closed)?;
        stays(&session)?;
        let max = self.limits.triggers_per_session_max;
        bounded(session.triggers.len(), max, "triggers")?;
        session.triggers.insert(Arc::clone(&spec.id));
        let added = self.registry.triggers.add(from, spec);
        out.extend(added.undo.map(unbind));
        out.extend(added.bind.map(bind));
        Ok(())
    }

    pub(super) fn on_unregister(&self, from: SessionId, ids: Unregister, out: &mut Effects) {
        if let Some(mut session) = self.registry.sessions.get_mut(from) {
            for id in &ids.functions {
                session.functions.remove(id);
            }
            for id in &ids.triggers {
                session.triggers.remove(id);
            }
            for id in &ids.trigger_types {
                session.trigger_types.remove(id);
            }
        }
        self.withdraw(from, &ids.functions, &ids.triggers, &ids.trigger_types, out);
    }

    /// Takes back everything a session has registered.
    pub(super) fn withdraw_all(&self, session: SessionId, row: &Session, out: &mut Effects) {
        self.withdraw(
            session,
            &row.functions,
            &row.triggers,
            &row.trigger_types,
            out,
        );
    }

    fn withdraw<'a>(
        &self,
        session: SessionId,
        functions: impl IntoIterator<Item = &'a Arc<str>>,
        triggers: impl IntoIterator<Item = &'a Arc<str>>,
        trigger_types: impl IntoIterator<Item = &'a Arc<str>>,
        out: &mut Effects,
    ) {
        let mut changed = false;
        for id in functions {
            changed |= self.registry.functions.withdraw(session, id);
        }
        for id in triggers {
            out.extend(self.registry.triggers.remove(session, id).map(unbind));
        }
        for id in trigger_types {
            self.registry.triggers.withdraw(session, id);
        }
        if changed {
            out.push(Effect::Event(Event::FunctionsChanged));
        }
    }

    /// The worker wants no new calls: it disappears from the registry and finishes what it has.
    pub(super) fn on_goodbye(&self, from: SessionId, out: &mut Effects) {
        let offered = self.registry.sessions.get_mut(from).map(|mut session| {
            session.leaving = true;
            (
                std::mem::take(&mut session.functions),
                std::mem::take(&mut session.triggers),
                std::mem::take(&mut session.trigger_types),
            )
        });
        if let Some((functions, triggers, trigger_types)) = offered {
            self.withdraw(from, &functions, &triggers, &trigger_types, out);
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
        if let Some(owner) = self.registry.triggers.bound(from, &id, error.as_ref()) {
            out.push(Effect::Send {
                to: owner,
                frame: Frame::TriggerBound {
                    id,
                    trigger_type,
                    function,
                    error,
                },
            });
        }
    }
}

fn bind(Binding { provider, spec }: Binding) -> Effect {
    Effect::Send {
        to: provider,
        frame: Frame::BindTrigger(Box::new(BindTrigger { spec })),
    }
}

fn unbind(Binding { provider, spec }: Binding) -> Effect {
    let frame = Frame::UnbindTrigger {
        id: spec.id,
        trigger_type: spec.trigger_type,
    };
    Effect::Send {
        to: provider,
        frame,
    }
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
