//! Whether a new build does worse than the old one. Plain decisions.

use super::traffic::Counts;

/// Calls from which on a rate means something.
const CALLS_MIN: u64 = 20;

/// Failures with which a build that answers nothing else is not waited for.
const ERRORS_MIN: u64 = 5;

/// What the calls so far say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing, or nothing bad.
    GoOn,
    Worse,
}

/// Judges in the middle of a trial, where few calls are no reason to end it, or at its `end`, where
/// there will be no more.
pub(super) fn judge(new: Counts, old: Counts, margin: f64, end: bool) -> Verdict {
    let enough =
        end || new.calls >= CALLS_MIN || (new.errors == new.calls && new.errors >= ERRORS_MIN);
    let worse = new.error_rate() > old.error_rate() + margin;
    if enough && worse {
        Verdict::Worse
    } else {
        Verdict::GoOn
    }
}

/// Shares that give `percent` of the calls to `new` instances, and the rest to `old` ones.
pub(super) fn shares(percent: u8, new: usize, old: usize) -> (u16, u16) {
    let percent = u64::from(percent.clamp(1, 100));
    let (new, old) = (new.max(1) as u64, old.max(1) as u64);
    // Each new one against each old one, scaled so that the larger is a full share.
    let (one, other) = (percent * old, (100 - percent) * new);
    let full = one.max(other);
    let scale = |share: u64| (share * 1_000 / full).clamp(u64::from(share > 0), 1_000) as u16;
    (scale(one), scale(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(calls: u64, errors: u64) -> Counts {
        Counts { calls, errors }
    }

    #[test]
    fn few_calls_say_nothing_before_the_end() {
        let check = |new, old, end, expect| {
            assert_eq!(judge(new, old, 0.05, end), expect, "{new:?} {old:?} {end}");
        };
        use Verdict::{GoOn, Worse};
        check(counts(0, 0), counts(100, 0), true, GoOn);
        check(counts(3, 1), counts(100, 0), false, GoOn);
        check(counts(3, 1), counts(100, 0), true, Worse);
        check(counts(20, 2), counts(100, 0), false, Worse);
        check(counts(20, 1), counts(100, 0), false, GoOn);
        check(counts(5, 5), counts(0, 0), false, Worse);
        // One that fails as much as the old one is not worse.
        check(counts(100, 30), counts(100, 30), true, GoOn);
    }

    #[test]
    fn shares_are_of_all_calls_however_many_instances_there_are() {
        let check = |percent, new, old, expect| {
            assert_eq!(shares(percent, new, old), expect, "{percent}% {new} {old}");
        };
        check(10, 1, 1, (111, 1000));
        check(50, 1, 1, (1000, 1000));
        check(100, 1, 1, (1000, 0));
        check(10, 1, 3, (333, 1000));
        check(1, 64, 1, (1, 1000));
    }
}
