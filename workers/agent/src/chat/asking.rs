//! Asking a person before a tool runs.

use agentos_contract::agent::{Approval, ApprovalStatus, Event};
use agentos_sdk::Error;

use super::Chat;
use crate::{
    approvals,
    roster::now_ms,
    turn::{Action, Planned},
};

impl Chat<'_> {
    /// The plan for a call, which is not run where a person has to say yes and does not.
    pub(super) async fn approved(&self, planned: Planned) -> Result<Planned, Error> {
        let runs = matches!(planned.action, Action::Run(_));
        let asks = self
            .caller
            .line
            .needs_approval(&self.agent, &planned.function);
        let Some(run) = self.run.as_ref().filter(|_| runs && asks) else {
            return Ok(planned);
        };
        let now = now_ms();
        let question = Approval {
            id: approvals::id(&run.id, &planned.call.id),
            run_id: run.id.clone(),
            agent_id: self.agent.id.clone(),
            session_id: self.request.session_id.clone(),
            call_id: planned.call.id.clone(),
            name: planned.function.clone(),
            arguments: planned.call.arguments.clone(),
            status: ApprovalStatus::Pending,
            created_at: now,
            expires_at: now + self.agents.config.approval_timeout_ms,
            by: None,
            reason: None,
            begun: false,
        };
        run.waits(true).await?;
        self.tell(&Event::ApprovalNeeded(question.clone())).await?;
        let asking = self
            .agents
            .approvals
            .ask(&self.bus, question, self.time_left());
        let answer = asking.await?;
        self.tell(&Event::ApprovalDecided(answer.clone())).await?;
        run.waits(false).await?;
        if answer.status == ApprovalStatus::Approved && !answer.begun {
            self.agents.approvals.begin(&self.bus, answer).await?;
            return Ok(planned);
        }
        Ok(Planned {
            action: Action::Refuse(refusal(&answer)),
            ..planned
        })
    }
}

/// What the model is told.
fn refusal(answer: &Approval) -> String {
    let because = answer.reason.as_deref().unwrap_or_default();
    match answer.status {
        ApprovalStatus::Denied if because.is_empty() => {
            "error: not run: a person was asked and said no".to_owned()
        }
        ApprovalStatus::Denied => {
            format!("error: not run: a person was asked and said no: {because}")
        }
        ApprovalStatus::Approved => "error: the call was begun before and interrupted".to_owned(),
        _ => "error: not run: a person was asked and did not answer in time".to_owned(),
    }
}
