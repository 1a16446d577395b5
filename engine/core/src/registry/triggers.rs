//! Triggers, the types they are of, and the sessions that provide those.

use std::sync::Arc;

use agentos_protocol::{ErrorBody, SessionId, TriggerSpec, TriggerTypeSpec};
use dashmap::DashMap;

use crate::policy::Trust;

/// Where a trigger stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerState {
    /// Nobody provides its type yet.
    Parked,
    /// Given to the provider.
    Bound,
    /// The provider refused it.
    Refused(ErrorBody),
}

struct Row {
    spec: TriggerSpec,
    owner: SessionId,
    state: TriggerState,
}

struct Type {
    spec: TriggerTypeSpec,
    provider: SessionId,
    trust: Trust,
}

#[derive(Default)]
pub(crate) struct Triggers {
    rows: DashMap<Arc<str>, Row>,
    types: DashMap<Arc<str>, Type>,
}

/// A trigger and the session that is to bind or forget it.
pub(crate) struct Binding {
    pub(crate) provider: SessionId,
    pub(crate) spec: TriggerSpec,
}

/// What adding a trigger asks for.
pub(crate) struct Added {
    pub(crate) bind: Option<Binding>,
    pub(crate) undo: Option<Binding>,
}

/// A trigger as it is listed.
#[derive(Clone, Debug)]
pub struct TriggerView {
    pub spec: TriggerSpec,
    pub owner: SessionId,
    pub state: TriggerState,
}

/// A trigger type as it is listed.
#[derive(Clone, Debug)]
pub struct TriggerTypeView {
    pub spec: TriggerTypeSpec,
    pub provider: SessionId,
}

impl Triggers {
    /// Adds a trigger, or replaces the one of the same id. Parked when nobody provides its type.
    /// What it replaced is to be undone if another provider had it.
    pub(crate) fn add(&self, owner: SessionId, spec: TriggerSpec) -> Added {
        let row = Row {
            spec: spec.clone(),
            owner,
            state: TriggerState::Parked,
        };
        let replaced = self.rows.insert(Arc::clone(&spec.id), row);
        // Only now: a provider that came before this look has not seen the row, one that comes
        // after it has. Binding twice does no harm.
        let bind = self.provider(&spec.trigger_type).map(|provider| {
            if let Some(mut row) = self.rows.get_mut(&spec.id) {
                row.state = TriggerState::Bound;
            }
            Binding {
                provider,
                spec: spec.clone(),
            }
        });
        let undo = replaced
            .filter(|old| old.spec.trigger_type != spec.trigger_type)
            .and_then(|old| {
                let provider = self.provider(&old.spec.trigger_type)?;
                Some(Binding {
                    provider,
                    spec: old.spec,
                })
            });
        Added { bind, undo }
    }

    /// Removes a trigger if `owner` owns it; the binding is there to be undone.
    pub(crate) fn remove(&self, owner: SessionId, id: &str) -> Option<Binding> {
        let (_, row) = self.rows.remove_if(id, |_, row| row.owner == owner)?;
        let provider = self.provider(&row.spec.trigger_type)?;
        Some(Binding {
            provider,
            spec: row.spec,
        })
    }

    fn provider(&self, trigger_type: &str) -> Option<SessionId> {
        self.types.get(trigger_type).map(|row| row.provider)
    }

    pub(crate) fn provided_by_engine(&self, id: &str) -> bool {
        self.types
            .get(id)
            .is_some_and(|row| row.trust == Trust::Engine)
    }

    /// Makes `provider` the one for a type; returns the triggers it has to bind.
    pub(crate) fn provide(
        &self,
        provider: SessionId,
        trust: Trust,
        spec: TriggerTypeSpec,
    ) -> Vec<Binding> {
        let id = Arc::clone(&spec.id);
        self.types.insert(
            Arc::clone(&id),
            Type {
                spec,
                provider,
                trust,
            },
        );
        let mut bindings = Vec::new();
        for mut row in self
            .rows
            .iter_mut()
            .filter(|row| row.spec.trigger_type == id)
        {
            row.state = TriggerState::Bound;
            bindings.push(Binding {
                provider,
                spec: row.spec.clone(),
            });
        }
        bindings
    }

    /// The session provides the type no more: its triggers wait for another provider.
    pub(crate) fn withdraw(&self, provider: SessionId, id: &str) {
        if self
            .types
            .remove_if(id, |_, row| row.provider == provider)
            .is_none()
        {
            return;
        }
        for mut row in self
            .rows
            .iter_mut()
            .filter(|row| &*row.spec.trigger_type == id)
        {
            row.state = TriggerState::Parked;
        }
    }

    /// Takes the provider's word on a trigger; returns the owner, if the word was the provider's.
    pub(crate) fn bound(
        &self,
        provider: SessionId,
        id: &str,
        error: Option<&ErrorBody>,
    ) -> Option<SessionId> {
        let trigger_type = self
            .rows
            .get(id)
            .map(|row| Arc::clone(&row.spec.trigger_type))?;
        if self.provider(&trigger_type) != Some(provider) {
            return None;
        }
        let mut row = self.rows.get_mut(id)?;
        row.state = error.map_or(TriggerState::Bound, |error| {
            TriggerState::Refused(error.clone())
        });
        Some(row.owner)
    }

    pub(crate) fn list(&self) -> Vec<TriggerView> {
        let mut list: Vec<TriggerView> = self
            .rows
            .iter()
            .map(|row| TriggerView {
                spec: row.spec.clone(),
                owner: row.owner,
                state: row.state.clone(),
            })
            .collect();
        list.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        list
    }

    pub(crate) fn types(&self) -> Vec<TriggerTypeView> {
        let mut list: Vec<TriggerTypeView> = self
            .types
            .iter()
            .map(|row| TriggerTypeView {
                spec: row.spec.clone(),
                provider: row.provider,
            })
            .collect();
        list.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        list
    }
}
