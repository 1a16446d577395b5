//! The bus as the admin sees it.

use std::{sync::Arc, time::Duration};

use agentos_core::{
    Event, FunctionView, SessionView, Share, TriggerTypeView, TriggerView, policy::Rules,
};
use agentos_protocol::SessionId;
use agentos_sdk::{
    TriggerSpec,
    protocol::{Frame, Register, Unregister},
};
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use super::Directory;
use crate::{
    Bus,
    bus::{Drained, Parting},
};

impl Directory for Bus {
    fn functions(&self) -> Vec<FunctionView> {
        self.functions()
    }

    fn function(&self, namespace: Option<&str>, id: &str) -> Option<FunctionView> {
        self.function(namespace, id)
    }

    fn workers(&self) -> Vec<SessionView> {
        self.workers()
    }

    fn triggers(&self) -> Vec<TriggerView> {
        self.triggers()
    }

    fn trigger_types(&self) -> Vec<TriggerTypeView> {
        self.trigger_types()
    }

    fn calls_in_flight(&self) -> usize {
        self.calls_in_flight()
    }

    fn rules_of(&self, worker: &str) -> Option<Arc<Rules>> {
        self.rules_of(worker)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events()
    }

    fn set_share(&self, session: SessionId, share: Share, over: Duration) -> bool {
        self.set_share_over(session, share, over)
    }

    fn drain(&self, session: SessionId, patience: Duration) -> BoxFuture<'_, Drained> {
        Box::pin(self.drain(session, patience))
    }

    fn can_be_stopped(&self, session: SessionId) -> bool {
        self.can_be_stopped(session)
    }

    fn part(&self, session: SessionId, parting: Parting) {
        self.part(session, parting);
    }

    fn add_trigger(&self, worker: &str, trigger: TriggerSpec) -> bool {
        let Some(session) = self.session_of(worker) else {
            return false;
        };
        let register = Register {
            triggers: vec![trigger],
            ..Register::default()
        };
        self.on_frame(session, Frame::Register(Box::new(register)));
        true
    }

    fn remove_trigger(&self, worker: &str, id: &str) -> bool {
        let Some(session) = self.session_of(worker) else {
            return false;
        };
        let triggers = self.triggers();
        let owned = triggers
            .iter()
            .any(|trigger| *trigger.spec.id == *id && trigger.owner == session);
        if owned {
            let ids = Unregister {
                triggers: vec![id.into()],
                ..Unregister::default()
            };
            self.on_frame(session, Frame::Unregister(Box::new(ids)));
        }
        owned
    }
}
