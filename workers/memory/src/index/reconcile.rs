//! Making an index what the state says.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::RwLock;

use super::{Id, Index};
use crate::record::Record;

/// Makes it what `records` say, which are all that there are. The lock is taken for moments: others wait
/// for one memory, not for all.
pub(crate) fn reconcile(index: &RwLock<Index>, mut records: Vec<Record>) {
    // In the order in which they were made, so that the same memories make the same index.
    records.sort_by(|a, b| {
        let age = a.memory.created_at.cmp(&b.memory.created_at);
        age.then_with(|| a.memory.id.cmp(&b.memory.id))
    });
    index.blocking_write().prepare(&records);
    for record in records {
        index.blocking_write().update(record);
    }
}

impl Index {
    /// Forgets what is not among `records`, which come oldest first.
    fn prepare(&mut self, records: &[Record]) {
        let ids = records.iter().map(|record| record.memory.id.as_str());
        let kept: HashSet<&str> = ids.collect();
        let gone = self.shelved.keys().filter(|id| !kept.contains(id.as_ref()));
        let gone: Vec<Id> = gone.cloned().collect();
        for id in gone {
            self.remove(&id);
        }
        if self.model.is_none() {
            // Until somebody embeds, the newest vector tells best which model does.
            let vectors = records
                .iter()
                .rev()
                .filter_map(|record| record.embedding.as_ref());
            self.model = vectors.map(|vector| Arc::clone(&vector.model)).next();
        }
    }

    fn update(&mut self, record: Record) {
        if self.get(&record.memory.id) != Some(&record) {
            self.insert(record);
        }
    }
}
