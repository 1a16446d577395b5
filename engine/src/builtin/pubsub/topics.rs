//! Who is subscribed to what.

use std::{collections::HashMap, sync::Arc};

/// Between the parts of a topic.
const DOT: char = '.';

/// Subscriptions by topic. `T` is whoever gets the message.
pub(super) struct Topics<T> {
    exact: HashMap<String, Vec<(Arc<str>, T)>>,
    patterns: Vec<(Pattern, Arc<str>, T)>,
    /// From a subscription to its topic as written.
    written: HashMap<Arc<str>, String>,
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Topics {
            exact: HashMap::new(),
            patterns: Vec::new(),
            written: HashMap::new(),
        }
    }
}

/// A topic with wildcards.
struct Pattern {
    parts: Vec<Part>,
    /// It ended in `>`: at least one more part follows.
    open: bool,
}

enum Part {
    Is(String),
    Any,
}

impl<T: Clone> Topics<T> {
    /// Adds a subscription; gives back the one of the same id that it replaces.
    pub(super) fn add(&mut self, id: &Arc<str>, topic: &str, subscriber: T) -> Option<T> {
        let replaced = self.remove(id);
        match Pattern::parse(topic) {
            Some(pattern) => self.patterns.push((pattern, Arc::clone(id), subscriber)),
            None => {
                let same = self.exact.entry(topic.to_owned()).or_default();
                same.push((Arc::clone(id), subscriber));
            }
        }
        self.written.insert(Arc::clone(id), topic.to_owned());
        replaced
    }

    /// Takes one subscription away, and no other.
    pub(super) fn remove(&mut self, id: &str) -> Option<T> {
        let topic = self.written.remove(id)?;
        if let Some(same) = self.exact.get_mut(&topic) {
            let at = same.iter().position(|(of, _)| **of == *id)?;
            let (_, gone) = same.remove(at);
            if same.is_empty() {
                self.exact.remove(&topic);
            }
            return Some(gone);
        }
        let at = self.patterns.iter().position(|(_, of, _)| **of == *id)?;
        Some(self.patterns.remove(at).2)
    }

    /// Everybody who gets a message on `topic`.
    pub(super) fn matching(&self, topic: &str) -> Vec<T> {
        let exact = self.exact.get(topic).into_iter().flatten();
        let exact = exact.map(|(_, subscriber)| subscriber);
        let patterns = self.patterns.iter();
        let patterns = patterns
            .filter(|(pattern, ..)| pattern.matches(topic))
            .map(|(_, _, subscriber)| subscriber);
        exact.chain(patterns).cloned().collect()
    }
}

impl Pattern {
    /// `None` for a topic without wildcards.
    fn parse(topic: &str) -> Option<Self> {
        let mut parts: Vec<&str> = topic.split(DOT).collect();
        let open = parts.last() == Some(&">") && parts.len() > 1;
        if open {
            parts.pop();
        }
        if !open && !parts.contains(&"*") {
            return None;
        }
        let part = |part: &str| match part {
            "*" => Part::Any,
            text => Part::Is(text.to_owned()),
        };
        Some(Pattern {
            parts: parts.into_iter().map(part).collect(),
            open,
        })
    }

    fn matches(&self, topic: &str) -> bool {
        let mut rest = topic.split(DOT);
        let fits = self.parts.iter().all(|part| match (part, rest.next()) {
            (Part::Any, Some(_)) => true,
            (Part::Is(text), Some(given)) => text == given,
            (_, None) => false,
        });
        fits && rest.next().is_some() == self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, topic: &str, expect: bool) {
        let mut topics = Topics::default();
        topics.add(&"s".into(), pattern, ());
        assert_eq!(
            topics.matching(topic).len(),
            usize::from(expect),
            "{pattern} {topic}"
        );
    }

    #[test]
    fn topics_and_wildcards() {
        for (pattern, topic, expect) in [
            ("chat", "chat", true),
            ("chat", "chat.room", false),
            ("chat.*", "chat.room", true),
            ("chat.*", "chat", false),
            ("chat.*", "chat.room.1", false),
            ("chat.*.1", "chat.room.1", true),
            ("chat.>", "chat.room.1", true),
            ("chat.>", "chat", false),
            ("*", "chat", true),
            ("*", "chat.room", false),
            // Inside a part they stand for themselves.
            ("chat*", "chatter", false),
            ("chat*", "chat*", true),
            (">", ">", true),
        ] {
            check(pattern, topic, expect);
        }
    }

    #[test]
    fn one_subscription_leaves_the_others() {
        let mut topics = Topics::default();
        for (id, topic) in [("a", "t"), ("b", "t"), ("c", "*"), ("d", "*")] {
            assert_eq!(topics.add(&id.into(), topic, id), None);
        }
        assert_eq!(topics.matching("t"), ["a", "b", "c", "d"]);
        assert_eq!(topics.remove("a"), Some("a"));
        assert_eq!(topics.remove("c"), Some("c"));
        assert_eq!(topics.remove("c"), None);
        assert_eq!(topics.matching("t"), ["b", "d"]);
        assert_eq!(topics.add(&"b".into(), "u", "b2"), Some("b"));
        assert_eq!(
            (topics.matching("t"), topics.matching("u")),
            (vec!["d"], vec!["b2", "d"])
        );
    }
}
