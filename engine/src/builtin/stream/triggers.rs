//! The trigger type `stream`: which functions hear of which streams.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentos_sdk::{Code, Error, TriggerProvider, TriggerSpec};
use parking_lot::RwLock;
use serde::Deserialize;

use super::{
    api::{CHANGED, Changes},
    row::Place,
};
use crate::builtin::firing::Target;

pub(super) struct Triggers {
    bindings: RwLock<Bindings<Arc<Target>>>,
    queue_max: AtomicUsize,
}

impl Triggers {
    pub(super) fn new(queue_max: usize) -> Self {
        Triggers {
            bindings: RwLock::default(),
            queue_max: AtomicUsize::new(queue_max),
        }
    }

    /// Room for events of triggers bound from now on.
    pub(super) fn resize(&self, queue_max: usize) {
        self.queue_max.store(queue_max, Ordering::Relaxed);
    }

    pub(super) fn matching(&self, place: Place<'_>) -> Vec<Arc<Target>> {
        self.bindings.read().matching(place)
    }
}

impl TriggerProvider for Triggers {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let refused = |why: String| {
            let message = format!("config of a {CHANGED} trigger: {why}");
            Error::caller(Code::InvalidInput, message)
        };
        let config =
            Changes::deserialize(&trigger.config).map_err(|why| refused(why.to_string()))?;
        if config.stream_name.is_empty() {
            return Err(refused("stream_name is empty".to_owned()));
        }
        let condition = config.condition_function_id.clone();
        let target = Target::new(&trigger, condition, self.queue_max.load(Ordering::Relaxed));
        let replaced = self.bindings.write().add(&trigger.id, config, target);
        if let Some(replaced) = replaced {
            replaced.close();
        }
        Ok(())
    }

    fn unbind(&self, id: &str) {
        let gone = self.bindings.write().remove(id);
        if let Some(gone) = gone {
            gone.close();
        }
    }
}

/// Bindings by the stream they name. `T` is whoever is called.
struct Bindings<T> {
    by_stream: HashMap<String, Vec<Binding<T>>>,
    stream_of: HashMap<Arc<str>, String>,
}

struct Binding<T> {
    id: Arc<str>,
    group: Option<String>,
    item: Option<String>,
    target: T,
}

impl<T> Default for Bindings<T> {
    fn default() -> Self {
        Bindings {
            by_stream: HashMap::new(),
            stream_of: HashMap::new(),
        }
    }
}

impl<T: Clone> Bindings<T> {
    /// Adds a binding; gives back the one of the same id that it replaces.
    fn add(&mut self, id: &Arc<str>, config: Changes, target: T) -> Option<T> {
        let replaced = self.remove(id);
        let stream = config.stream_name;
        self.stream_of.insert(Arc::clone(id), stream.clone());
        self.by_stream.entry(stream).or_default().push(Binding {
            id: Arc::clone(id),
            group: config.group_id,
            item: config.item_id,
            target,
        });
        replaced
    }

    fn remove(&mut self, id: &str) -> Option<T> {
        let stream = self.stream_of.remove(id)?;
        let bindings = self.by_stream.get_mut(&stream)?;
        let at = bindings.iter().position(|binding| *binding.id == *id)?;
        let gone = bindings.remove(at);
        if bindings.is_empty() {
            self.by_stream.remove(&stream);
        }
        Some(gone.target)
    }

    fn matching(&self, place: Place<'_>) -> Vec<T> {
        let bindings = self.by_stream.get(place.stream).into_iter().flatten();
        let wants = |binding: &&Binding<T>| {
            let group = binding.group.as_deref();
            let item = binding.item.as_deref();
            group.is_none_or(|group| group == place.group) && (item.is_none() || item == place.item)
        };
        let targets = bindings.filter(wants).map(|binding| &binding.target);
        targets.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn add(bindings: &mut Bindings<&'static str>, id: &'static str, config: serde_json::Value) {
        let config = Changes::deserialize(config).unwrap();
        bindings.add(&id.into(), config, id);
    }

    #[test]
    fn filters_are_honoured() {
        let mut bindings = Bindings::default();
        add(&mut bindings, "all", json!({ "stream_name": "s" }));
        add(
            &mut bindings,
            "group",
            json!({ "stream_name": "s", "group_id": "g" }),
        );
        add(
            &mut bindings,
            "item",
            json!({ "stream_name": "s", "group_id": "g", "item_id": "i" }),
        );
        add(
            &mut bindings,
            "item anywhere",
            json!({ "stream_name": "s", "item_id": "i" }),
        );
        for (stream, group, item, expect) in [
            (
                "s",
                "g",
                Some("i"),
                &["all", "group", "item", "item anywhere"][..],
            ),
            ("s", "g", Some("j"), &["all", "group"]),
            ("s", "g", None, &["all", "group"]),
            ("s", "h", Some("i"), &["all", "item anywhere"]),
            ("t", "g", Some("i"), &[]),
        ] {
            let place = Place {
                stream,
                group,
                item,
            };
            assert_eq!(bindings.matching(place), expect, "{place:?}");
        }
    }

    #[test]
    fn one_that_goes_leaves_the_others() {
        let mut bindings = Bindings::default();
        add(&mut bindings, "a", json!({ "stream_name": "s" }));
        add(&mut bindings, "b", json!({ "stream_name": "s" }));
        let place = |stream| Place {
            stream,
            group: "g",
            item: None,
        };
        assert_eq!(bindings.remove("a"), Some("a"));
        assert_eq!(bindings.remove("a"), None);
        assert_eq!(bindings.matching(place("s")), ["b"]);
        add(&mut bindings, "b", json!({ "stream_name": "t" }));
        assert!(bindings.matching(place("s")).is_empty());
        assert_eq!(bindings.matching(place("t")), ["b"]);
        assert_eq!(bindings.remove("b"), Some("b"));
        assert!(bindings.by_stream.is_empty() && bindings.stream_of.is_empty());
    }
}
