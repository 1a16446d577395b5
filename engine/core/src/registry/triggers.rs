//! Triggers, the types they are of, and the sessions that provide those.

use std::{borrow::Cow, sync::Arc};

use agentos_protocol::{ErrorBody, SessionId, TriggerSpec, TriggerTypeSpec, namespace};
use dashmap::DashMap;

use super::{
    Hasher,
    namespace::key,
    twins::{Likeness, Twins, likeness},
};
use crate::policy::Trust;

/// Where a trigger stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerState {
    /// Nobody provides its type yet, or another instance of its worker stands for it.
    Parked,
    /// Given to the provider.
    Bound,
    /// The provider refused it.
    Refused(ErrorBody),
}

struct Row {
    spec: TriggerSpec,
    owner: SessionId,
    /// The owner's namespace: its own types come first.
    home: Option<Arc<str>>,
    /// Who has been given it.
    provider: Option<SessionId>,
    state: TriggerState,
    /// What it shares with those of other instances of its worker.
    likeness: Option<Likeness>,
}

struct Type {
    spec: TriggerTypeSpec,
    provider: SessionId,
    namespace: Option<Arc<str>>,
    trust: Trust,
}

#[derive(Default)]
pub(crate) struct Triggers {
    rows: DashMap<Arc<str>, Row, Hasher>,
    types: DashMap<Arc<str>, Type, Hasher>,
    twins: Twins,
}

/// A trigger and the session that is to bind or forget it.
pub(crate) struct Binding {
    pub(crate) provider: SessionId,
    pub(crate) spec: TriggerSpec,
}

/// What a change of triggers asks for.
#[derive(Default)]
pub(crate) struct Placed {
    /// Before anything is undone: somebody else stands for what goes.
    pub(crate) heirs: Vec<Binding>,
    pub(crate) undo: Vec<Binding>,
    pub(crate) bind: Vec<Binding>,
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
    /// `None` is the default namespace.
    pub namespace: Option<Arc<str>>,
    pub provider: SessionId,
}

impl Triggers {
    /// Adds a trigger, or replaces the one of the same id. Parked when nobody provides its type.
    /// What it replaced is to be undone if another provider had it.
    ///
    /// `worker` is what the owner is an instance of: of triggers that its instances bind alike one is
    /// bound, and the others wait for that one to go.
    pub(crate) fn add(
        &self,
        owner: SessionId,
        worker: Option<&str>,
        home: Option<Arc<str>>,
        spec: TriggerSpec,
    ) -> (Placed, TriggerState) {
        let likeness = likeness(worker, &spec);
        let row = Row {
            likeness: likeness.clone(),
            spec: spec.clone(),
            owner,
            home,
            provider: None,
            state: TriggerState::Parked,
        };
        let replaced = self.rows.insert(Arc::clone(&spec.id), row);
        // Only now: a provider that came before this look has not seen the row, one that comes
        // after it has. Binding twice does no harm.
        let mut placed = Placed::default();
        if let Some(mut row) = self.rows.get_mut(&spec.id) {
            placed.bind.extend(self.place(&mut row));
        }
        let now = placed.bind.first().map(|binding| binding.provider);
        if let Some(old) = replaced.as_ref().filter(|old| old.likeness != likeness) {
            placed.heirs.extend(self.heir(old));
        }
        if let Some(old) = replaced
            && let Some(provider) = old.provider
            && (now != Some(provider) || old.spec.trigger_type != spec.trigger_type)
        {
            let spec = old.spec;
            placed.undo.push(Binding { provider, spec });
        }
        let state = now.map_or(TriggerState::Parked, |_| TriggerState::Bound);
        (placed, state)
    }

    /// Removes a trigger if `owner` owns it; what is there to be undone.
    pub(crate) fn remove(&self, owner: SessionId, id: &str) -> Option<(TriggerSpec, Placed)> {
        let (_, row) = self.rows.remove_if(id, |_, row| row.owner == owner)?;
        let mut placed = Placed::default();
        placed.heirs.extend(self.heir(&row));
        if let Some(provider) = row.provider {
            let spec = row.spec.clone();
            placed.undo.push(Binding { provider, spec });
        }
        Some((row.spec, placed))
    }

    /// Who stands for the others when `gone` did, and does not any more.
    fn heir(&self, gone: &Row) -> Option<Binding> {
        let likeness = gone.likeness.as_ref()?;
        // One that was said again is still there, under its new owner.
        if !self.twins.leave(likeness, gone.owner, &gone.spec.id) {
            return None;
        }
        let mut rows = self.rows.iter_mut();
        let mut heir =
            rows.find(|row| row.likeness.as_ref() == Some(likeness) && row.provider.is_none())?;
        self.place(&mut heir)
    }

    /// Gives the row to whoever provides its type now.
    fn place(&self, row: &mut Row) -> Option<Binding> {
        let stands = row
            .likeness
            .as_ref()
            .is_none_or(|likeness| self.twins.stands(likeness, row.owner, &row.spec.id));
        row.provider = if stands { self.provider(row) } else { None };
        row.state = match row.provider {
            Some(_) => TriggerState::Bound,
            None => TriggerState::Parked,
        };
        let spec = row.spec.clone();
        row.provider.map(|provider| Binding { provider, spec })
    }

    /// The type is looked for where the trigger says; else in its owner's namespace and then in
    /// the default one.
    fn provider(&self, row: &Row) -> Option<SessionId> {
        let at = |namespace: Option<&str>| {
            let key = key(namespace, &row.spec.trigger_type);
            self.types.get(&*key).map(|kind| kind.provider)
        };
        match row.spec.trigger_namespace.as_deref() {
            Some(named) => at(namespace(named).as_deref()),
            None => row
                .home
                .as_deref()
                .and_then(|home| at(Some(home)))
                .or_else(|| at(None)),
        }
    }

    pub(crate) fn provided_by_engine(&self, namespace: Option<&str>, id: &str) -> bool {
        self.types
            .get(&*key(namespace, id))
            .is_some_and(|row| row.trust == Trust::Engine)
    }

    /// Makes `provider` the one for a type; returns what changes for the triggers of that type.
    pub(crate) fn provide(
        &self,
        provider: SessionId,
        trust: Trust,
        namespace: Option<Arc<str>>,
        spec: TriggerTypeSpec,
    ) -> Placed {
        let id = Arc::clone(&spec.id);
        let key = match key(namespace.as_deref(), &id) {
            Cow::Borrowed(_) => Arc::clone(&id),
            Cow::Owned(key) => key.into(),
        };
        let kind = Type {
            spec,
            provider,
            namespace,
            trust,
        };
        self.types.insert(key, kind);
        let mut placed = Placed::default();
        for mut row in self.of_type(&id) {
            let before = row.provider;
            if self.provider(&row) != Some(provider) {
                continue;
            }
            if let Some(before) = before.filter(|before| *before != provider) {
                let spec = row.spec.clone();
                placed.undo.push(Binding {
                    provider: before,
                    spec,
                });
            }
            placed.bind.extend(self.place(&mut row));
        }
        placed
    }

    /// The session provides the type no more: its triggers go to another provider, or wait.
    pub(crate) fn withdraw(
        &self,
        provider: SessionId,
        namespace: Option<&str>,
        id: &str,
    ) -> Option<(TriggerTypeSpec, Placed)> {
        let (_, kind) = self
            .types
            .remove_if(&*key(namespace, id), |_, row| row.provider == provider)?;
        let mut placed = Placed::default();
        for mut row in self.of_type(id) {
            if row.provider == Some(provider) {
                placed.bind.extend(self.place(&mut row));
            }
        }
        Some((kind.spec, placed))
    }

    fn of_type<'a>(
        &'a self,
        id: &'a str,
    ) -> impl Iterator<Item = dashmap::mapref::multiple::RefMutMulti<'a, Arc<str>, Row>> {
        self.rows
            .iter_mut()
            .filter(move |row| &*row.spec.trigger_type == id)
    }

    /// Takes the provider's word on a trigger; returns the owner and the trigger, if the word was
    /// the provider's.
    pub(crate) fn bound(
        &self,
        provider: SessionId,
        id: &str,
        error: Option<&ErrorBody>,
    ) -> Option<(SessionId, TriggerSpec, TriggerState)> {
        let mut row = self.rows.get_mut(id)?;
        if row.provider != Some(provider) {
            return None;
        }
        row.state = error.map_or(TriggerState::Bound, |error| {
            TriggerState::Refused(error.clone())
        });
        Some((row.owner, row.spec.clone(), row.state.clone()))
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
                namespace: row.namespace.clone(),
                provider: row.provider,
            })
            .collect();
        list.sort_by(|a, b| (&a.spec.id, &a.namespace).cmp(&(&b.spec.id, &b.namespace)));
        list
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLOCK: SessionId = SessionId(1);

    fn bound(placed: &[Binding]) -> Vec<&str> {
        placed.iter().map(|binding| &*binding.spec.id).collect()
    }

    #[test]
    fn of_instances_of_one_worker_one_binds_and_another_inherits() {
        let triggers = Triggers::default();
        let kind = TriggerTypeSpec {
            id: "clock".into(),
            description: String::new(),
            config_schema: None,
            payload_schema: None,
        };
        triggers.provide(CLOCK, Trust::Engine, None, kind);
        let tick = |id: &str, every: u64| {
            TriggerSpec::new(id, "clock", "shop::tick", json!({ "every": every }))
        };
        let add = |owner: u64, worker: Option<&str>, spec: TriggerSpec| {
            let (placed, state) = triggers.add(SessionId(owner), worker, None, spec);
            (placed.bind.len(), state == TriggerState::Bound)
        };
        let shop = Some("shop");
        assert_eq!(add(2, shop, tick("a", 1)), (1, true));
        assert_eq!(add(3, shop, tick("b", 1)), (0, false));
        // Said again; of another kind; of somebody whom nobody has started.
        assert_eq!(add(2, shop, tick("a", 1)), (1, true));
        assert_eq!(add(3, shop, tick("c", 2)), (1, true));
        assert_eq!(add(4, None, tick("d", 1)), (1, true));

        let (_, placed) = triggers.remove(SessionId(2), "a").unwrap();
        assert_eq!(
            (bound(&placed.heirs), bound(&placed.undo)),
            (vec!["b"], vec!["a"])
        );
        let (_, placed) = triggers.remove(SessionId(3), "b").unwrap();
        assert_eq!(
            (bound(&placed.heirs), bound(&placed.undo)),
            (vec![], vec!["b"])
        );
        // It was the last; the next one is the first again.
        assert_eq!(add(5, shop, tick("e", 1)), (1, true));
    }
}
