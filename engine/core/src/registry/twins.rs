//! Triggers that several instances of one worker bind alike. One of them stands for all: otherwise each
//! event would be handled as many times as there are instances.

use std::sync::Arc;

use agentos_protocol::{SessionId, TriggerSpec};
use dashmap::{DashMap, mapref::entry::Entry};

use super::Hasher;

/// What makes two triggers of one worker the same.
pub(crate) type Likeness = Arc<str>;

/// Which of triggers that are alike is bound.
#[derive(Default)]
pub(crate) struct Twins(DashMap<Likeness, (SessionId, Arc<str>), Hasher>);

/// `worker` is what the owner is an instance of, where that is known.
pub(crate) fn likeness(worker: Option<&str>, spec: &TriggerSpec) -> Option<Likeness> {
    let TriggerSpec {
        trigger_type,
        function,
        config,
        metadata,
        namespace,
        trigger_namespace,
        ..
    } = spec;
    let text = format!(
        "{:?}",
        (
            worker?,
            trigger_type,
            function,
            namespace,
            trigger_namespace,
            config,
            metadata
        )
    );
    Some(text.into())
}

impl Twins {
    /// Whether the trigger is to be bound: it is the first of its kind, or its owner binds it twice.
    pub(crate) fn stands(&self, likeness: &Likeness, owner: SessionId, id: &Arc<str>) -> bool {
        match self.0.entry(Arc::clone(likeness)) {
            Entry::Vacant(vacant) => {
                vacant.insert((owner, Arc::clone(id)));
                true
            }
            Entry::Occupied(mut first) => {
                // A worker that has reconnected says the same trigger again.
                if first.get().1 == *id {
                    first.get_mut().0 = owner;
                }
                first.get().0 == owner
            }
        }
    }

    /// The trigger is gone; true when it stood for others.
    pub(crate) fn leave(&self, likeness: &Likeness, owner: SessionId, id: &str) -> bool {
        let is_it =
            |_: &Likeness, first: &(SessionId, Arc<str>)| first.0 == owner && *first.1 == *id;
        self.0.remove_if(likeness, is_it).is_some()
    }
}
