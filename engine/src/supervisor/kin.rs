//! Which instance of a worker a process belongs to.
//!
//! Every worker leads a session of its system, which what it starts belongs to. So the process that a
//! connected worker names tells which instance it is, even where a script or `npm` stands between.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use rustix::process::{Pid, getsid};

use super::{
    InstanceId,
    guard::{is_of_the_system, parent_of},
};

/// The guards and leaders of all instances.
#[derive(Default)]
pub(super) struct Kin(RwLock<HashMap<u32, InstanceId>>);

/// Forgets a process when it is dropped.
pub(super) struct Known {
    kin: Arc<Kin>,
    pid: u32,
}

impl Kin {
    /// `pid` is a guard or a leader of `instance` for as long as the result lives.
    pub(super) fn know(self: &Arc<Self>, pid: u32, instance: InstanceId) -> Known {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pid, instance);
        Known {
            kin: Arc::clone(self),
            pid,
        }
    }

    /// The instance that `pid` belongs to.
    pub(super) fn find(&self, pid: u32) -> Option<InstanceId> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        // A stranger may name any number, and that of such a thread has no leader: asking panics.
        if is_of_the_system(pid.as_raw_nonzero().get()) {
            return None;
        }
        let leader = getsid(Some(pid)).ok()?.as_raw_nonzero().get();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let find = |pid: i32| known.get(&u32::try_from(pid).ok()?).copied();
        // A quick worker may be here before its guard has told who leads.
        find(leader).or_else(|| find(parent_of(leader)?))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.kin
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.pid);
    }
}
