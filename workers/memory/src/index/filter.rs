//! Which memories a question or a list is about.

use agentos_contract::memory::Memory;

/// Conversations and drawers.
#[derive(Clone, Default, Debug)]
pub(crate) struct Filter {
    pub(crate) session_id: Option<String>,
    /// `None` lets all pass, an empty list none.
    pub(crate) scopes: Option<Vec<String>>,
}

impl Filter {
    pub(crate) fn of(session_id: Option<String>, scope: Option<String>) -> Self {
        let scopes = scope.map(|scope| vec![scope]);
        Filter { session_id, scopes }
    }

    pub(crate) fn passes(&self, memory: &Memory) -> bool {
        let scope = memory.scope.as_deref().unwrap_or_default();
        let session = |wanted: &String| memory.session_id.as_ref() == Some(wanted);
        self.session_id.as_ref().is_none_or(session)
            && self
                .scopes
                .as_ref()
                .is_none_or(|scopes| scopes.iter().any(|wanted| wanted == scope))
    }

    pub(super) fn passes_all(&self) -> bool {
        self.session_id.is_none() && self.scopes.is_none()
    }
}
