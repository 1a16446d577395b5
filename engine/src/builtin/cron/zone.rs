//! From what a clock on the wall shows to moments, in zones that set their clocks.
//!
//! Jobs that mean a moment of the day run once a day: a time that the spring skips is the end of the
//! skipped hour, one that the autumn repeats is the first. Jobs that recur within the day go by what
//! the clock shows: nothing in the hour that is not there, and twice in the hour that is there twice.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::expression::Expression;

/// No zone is farther from UTC.
const OFFSET_MAX: TimeDelta = TimeDelta::hours(16);

/// The first moment after `after` at which `expression` fires on a clock in `zone`.
pub(super) fn next(
    expression: &Expression,
    zone: Tz,
    after: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let shown = after.with_timezone(&zone).naive_local();
    if zone == Tz::UTC {
        return Some(expression.after(shown)?.and_utc());
    }
    let found = walk(expression, zone, shown, after);
    let Some(repeat) = repeat_of(zone, after) else {
        return found;
    };
    if !expression.follows_clock() || found.is_some_and(|found| repeat_of(zone, found).is_some()) {
        return found;
    }
    // The hour is about to be repeated, and nothing is left in its first pass.
    walk(expression, zone, shown - (repeat - after), after)
}

/// When the clock will show the same again, if `moment` is in an hour that is repeated.
fn repeat_of(zone: Tz, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let shown = moment.with_timezone(&zone).naive_local();
    match zone.from_local_datetime(&shown) {
        MappedLocalTime::Ambiguous(_, second) if moment < second => Some(second.to_utc()),
        _ => None,
    }
}

/// Goes through the times that clocks show after `shown`, up to one that means a moment behind `after`.
fn walk(
    expression: &Expression,
    zone: Tz,
    mut shown: NaiveDateTime,
    after: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    loop {
        shown = expression.after(shown)?;
        let moments = moments(zone, shown, expression.follows_clock());
        if let Some(moment) = moments.into_iter().flatten().find(|moment| *moment > after) {
            return Some(moment);
        }
    }
}

fn moments(zone: Tz, shown: NaiveDateTime, follows_clock: bool) -> [Option<DateTime<Utc>>; 2] {
    match zone.from_local_datetime(&shown) {
        MappedLocalTime::Single(moment) => [Some(moment.to_utc()), None],
        MappedLocalTime::Ambiguous(first, second) => {
            [Some(first.to_utc()), follows_clock.then(|| second.to_utc())]
        }
        MappedLocalTime::None if follows_clock => [None, None],
        MappedLocalTime::None => [Some(end_of_gap(zone, shown)), None],
    }
}

/// The moment at which a clock in `zone` jumps over `shown`.
fn end_of_gap(zone: Tz, shown: NaiveDateTime) -> DateTime<Utc> {
    let middle = shown.and_utc();
    let (mut before, mut behind) = (middle - OFFSET_MAX, middle + OFFSET_MAX);
    while behind - before > TimeDelta::seconds(1) {
        let between = before + TimeDelta::seconds((behind - before).num_seconds() / 2);
        if between.with_timezone(&zone).naive_local() < shown {
            before = between;
        } else {
            behind = between;
        }
    }
    behind
}
