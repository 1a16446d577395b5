//! What one answer cost, counted however it ends.

use agentos_contract::llm::{Account, Usage};

use crate::{Llm, route::Target};

/// Dropped, it is counted: an answer that breaks off, or that nobody waits for, was consumed too.
pub(crate) struct Bill<'l> {
    llm: &'l Llm,
    account: &'l Account,
    target: &'l Target,
    /// The last that the provider said.
    pub(crate) usage: Option<Usage>,
}

impl Llm {
    pub(crate) fn bill<'l>(&'l self, account: &'l Account, target: &'l Target) -> Bill<'l> {
        Bill {
            llm: self,
            account,
            target,
            usage: None,
        }
    }
}

impl Bill<'_> {
    pub(crate) fn cost_usd(&self) -> Option<f64> {
        self.llm.cost_usd(self.target, self.usage.as_ref()?)
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        let (route, model) = (&self.target.route.name, &self.target.model);
        let (usage, cost) = (self.usage.as_ref(), self.cost_usd());
        self.llm
            .meter
            .count(self.account, route, model, usage, cost);
    }
}
