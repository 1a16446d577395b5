//! The dead letters of one queue, in the order in which they died.

use std::collections::{BTreeMap, HashMap};

use crate::builtin::queue::{name::Number, record::Head};

/// Heads by death; their errors stay on disk.
#[derive(Default)]
pub(in crate::builtin::queue) struct Dead {
    letters: BTreeMap<Number, Head>,
    by_id: HashMap<u128, Number>,
    /// Taken out to be revived or thrown away, and not settled yet.
    lifted: usize,
}

impl Dead {
    /// How many there are, those lifted among them.
    pub(in crate::builtin::queue) fn len(&self) -> usize {
        self.letters.len() + self.lifted
    }

    pub(in crate::builtin::queue) fn insert(&mut self, death: Number, head: Head) {
        self.by_id.insert(head.id, death);
        self.letters.insert(death, head);
    }

    /// All deaths, oldest first.
    pub(in crate::builtin::queue) fn deaths(&self) -> impl Iterator<Item = Number> {
        self.letters.keys().copied()
    }

    /// Takes out up to `max` of those that died before `before`, oldest first, so that nobody else
    /// does. [`Dead::settle`] or [`Dead::put_back`] must follow.
    pub(in crate::builtin::queue) fn lift(
        &mut self,
        before: Number,
        max: usize,
    ) -> Vec<(Number, Head)> {
        let letters = self.letters.range(..before).take(max);
        let lifted: Vec<_> = letters.map(|(death, head)| (*death, *head)).collect();
        for (death, head) in &lifted {
            self.take(*death, head.id);
        }
        lifted
    }

    /// As [`Dead::lift`], the one letter with this id.
    pub(in crate::builtin::queue) fn lift_one(&mut self, id: u128) -> Option<(Number, Head)> {
        let death = *self.by_id.get(&id)?;
        let head = *self.letters.get(&death)?;
        self.take(death, id);
        Some((death, head))
    }

    fn take(&mut self, death: Number, id: u128) {
        self.letters.remove(&death);
        if self.by_id.get(&id) == Some(&death) {
            self.by_id.remove(&id);
        }
        self.lifted += 1;
    }

    /// What was lifted is gone for good.
    pub(in crate::builtin::queue) fn settle(&mut self, letters: usize) {
        self.lifted = self.lifted.saturating_sub(letters);
    }

    /// What was lifted stays dead.
    pub(in crate::builtin::queue) fn put_back(&mut self, letters: Vec<(Number, Head)>) {
        self.settle(letters.len());
        for (death, head) in letters {
            self.insert(death, head);
        }
    }
}
