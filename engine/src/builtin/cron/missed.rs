//! What a job does now: run, make up for missed runs, or wait.

use chrono::{DateTime, TimeDelta, Utc};

use super::{api::Missed, schedule::Schedule};

/// A clock that was put back by less than this repeats no run of a moment of the day; one that was
/// put back by more was wrong before. As cron(8) has it.
pub(super) const STEP_MAX: TimeDelta = TimeDelta::hours(3);

/// What to do.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Run for these moments, one after the other.
    Run {
        times: Vec<DateTime<Utc>>,
        /// Older moments that are not made up for.
        dropped: bool,
    },
    /// Nothing is due before then; `None`: never again.
    Wait(Option<DateTime<Utc>>),
}

/// Bounds of making up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) missed: Missed,
    pub(super) late_max: TimeDelta,
    pub(super) runs_max: usize,
}

/// False when `done` lies ahead because the clock was put back, and the job goes by the new time.
pub(super) fn holds(schedule: &Schedule, done: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    done <= now || (schedule.is_fixed() && done - now <= STEP_MAX)
}

/// Decides at `now`, when all moments up to `done` are settled.
pub(super) fn plan(
    schedule: &Schedule,
    terms: Terms,
    done: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Plan {
    if done > now {
        return Plan::Wait(schedule.next(done));
    }
    let max = match terms.missed {
        Missed::Skip | Missed::Once => 1,
        Missed::All => terms.runs_max.max(1),
    };
    let due = schedule.last(done, now, max);
    let late = due.times.last().map(|last| now - *last);
    match late {
        None => Plan::Wait(schedule.next(done)),
        Some(late) if terms.missed == Missed::Skip && late > terms.late_max => {
            Plan::Wait(schedule.next(now))
        }
        Some(_) => Plan::Run {
            times: due.times,
            dropped: due.more && terms.missed == Missed::All,
        },
    }
}

#[cfg(test)]
mod tests;
