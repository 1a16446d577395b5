//! When a job is due.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{expression::Expression, zone};

/// Longest interval; who wants a job less often names days.
const INTERVAL_SECONDS_MAX: i64 = 366 * 86_400;

/// When a job is due. Moments are whole seconds.
#[derive(Debug)]
pub(super) enum Schedule {
    Expression {
        text: String,
        expression: Expression,
        zone: Tz,
    },
    /// At multiples of so many seconds since 1970.
    Every { text: String, seconds: i64 },
}

/// Moments in order, and whether there were more before them.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Last {
    pub(super) times: Vec<DateTime<Utc>>,
    pub(super) more: bool,
}

impl Schedule {
    /// # Errors
    /// The key of the trigger's config that is wrong, and why.
    pub(super) fn expression(
        text: &str,
        timezone: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let expression = Expression::parse(text).map_err(|why| ("expression", why))?;
        let zone = timezone.map_or(Ok(Tz::UTC), |name| {
            name.parse().map_err(|_| {
                let why = format!("`{name}` is not a time zone; `Europe/Berlin` is one");
                ("timezone", why)
            })
        })?;
        Ok(Schedule::Expression {
            text: text.to_owned(),
            expression,
            zone,
        })
    }

    /// # Errors
    /// As [`Schedule::expression`].
    pub(super) fn every(text: &str) -> Result<Self, (&'static str, String)> {
        let seconds = seconds(text).ok_or_else(|| {
            (
                "interval",
                format!(
                    "`{text}` is not an interval; `6h`, `1h30m` and `10s` are, from 1s to 366d"
                ),
            )
        })?;
        Ok(Schedule::Every {
            text: text.to_owned(),
            seconds,
        })
    }

    /// The first moment after `after`; `None` when there is none to come.
    pub(super) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Schedule::Expression {
                expression, zone, ..
            } => zone::next(expression, *zone, after),
            Schedule::Every { seconds, .. } => {
                let number = after.timestamp().div_euclid(*seconds) + 1;
                DateTime::from_timestamp(number * seconds, 0)
            }
        }
    }

    /// The last moments after `after` and not after `until`, at most `max` of them.
    ///
    /// Looks back in growing steps, so that a job of every second that was away for a year costs
    /// no more than `max` asks for.
    pub(super) fn last(&self, after: DateTime<Utc>, until: DateTime<Utc>, max: usize) -> Last {
        let mut reach = TimeDelta::minutes(1);
        loop {
            let start = after.max(until - reach);
            let mut times = self.between(start, until);
            let whole = start == after;
            if whole || times.len() > max {
                let more = times.len() > max;
                times.drain(..times.len().saturating_sub(max));
                return Last { times, more };
            }
            reach = reach * 2;
        }
    }

    fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let times = std::iter::successors(self.next(after), |time| self.next(*time));
        times.take_while(|time| *time <= until).collect()
    }

    /// True when the job means moments of a day, not an ever recurring one.
    pub(super) fn is_fixed(&self) -> bool {
        match self {
            Schedule::Expression { expression, .. } => !expression.follows_clock(),
            Schedule::Every { .. } => false,
        }
    }
}

/// Reads `1h30m`.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?)?;
        rest = rest[digits + unit.len_utf8()..].trim_start();
    }
    (1..=INTERVAL_SECONDS_MAX).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests;
