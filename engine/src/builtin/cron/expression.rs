//! Cron expressions of five, six and seven fields, on a clock that never jumps.
//!
//! The crate `cron` reads six and seven fields. Five fields are those of crontab(5), which counts
//! days of the week from Sunday = 0 and runs on either day when both kinds are restricted.

use std::str::FromStr;

use ::cron::Schedule;
use chrono::{DateTime, NaiveDateTime};

/// Longer than any expression that a person can read.
const BYTES_MAX: usize = 512;

const NAMES: [&str; 7] = [
    "second",
    "minute",
    "hour",
    "day of month",
    "month",
    "day of week",
    "year",
];

/// A checked expression.
#[derive(Debug)]
pub(super) struct Expression {
    /// Fires when any of them does.
    any: Vec<Schedule>,
    follows_clock: bool,
}

impl Expression {
    /// Reads `text`.
    ///
    /// # Errors
    /// Which field is wrong, and why.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        let expression = if text.starts_with('@') {
            Expression {
                any: vec![schedule(text).map_err(|_| {
                    format!(
                        "`{text}` is not known; @hourly, @daily, @weekly, @monthly and @yearly are"
                    )
                })?],
                follows_clock: text == "@hourly",
            }
        } else {
            Self::of_fields(&text.split_whitespace().collect::<Vec<_>>())?
        };
        let first = DateTime::UNIX_EPOCH.naive_utc();
        match expression.after(first) {
            Some(_) => Ok(expression),
            None => Err("there is no such day".to_owned()),
        }
    }

    fn of_fields(fields: &[&str]) -> Result<Self, String> {
        let days;
        let full: Vec<&str> = match fields {
            [minute, hour, day, month, weekday] => {
                days = crontab_days(weekday)
                    .ok_or_else(|| wrong(5, weekday, "0 to 7, or SUN to SAT"))?;
                vec!["0", minute, hour, day, month, &days]
            }
            _ if matches!(fields.len(), 6 | 7) => fields.to_vec(),
            _ => {
                return Err(format!(
                    "it has {} fields; 5, 6 or 7 are possible: [second] minute hour day-of-month month day-of-week [year]",
                    fields.len()
                ));
            }
        };
        for (place, field) in full.iter().enumerate() {
            let mut alone = ["*"; 7];
            alone[place] = field;
            schedule(&alone.join(" ")).map_err(|why| wrong(place, field, &why))?;
        }
        let any = if fields.len() == 5 && restricted(full[3]) && restricted(full[5]) {
            let (mut by_day, mut by_weekday) = (full.clone(), full.clone());
            by_day[5] = "*";
            by_weekday[3] = "*";
            vec![
                schedule(&by_day.join(" "))?,
                schedule(&by_weekday.join(" "))?,
            ]
        } else {
            vec![schedule(&full.join(" "))?]
        };
        Ok(Expression {
            any,
            follows_clock: full[1].starts_with('*') || full[2].starts_with('*'),
        })
    }

    /// The first time after `civil`, on a clock that never jumps.
    pub(super) fn after(&self, civil: NaiveDateTime) -> Option<NaiveDateTime> {
        let start = civil.and_utc();
        let next = |schedule: &Schedule| schedule.after(&start).next();
        Some(self.any.iter().filter_map(next).min()?.naive_utc())
    }

    /// True for a job that recurs within the day (a minute or hour field that begins with `*`): it
    /// goes by what the clock shows, also when the clock is set. Others mean moments of a day.
    pub(super) fn follows_clock(&self) -> bool {
        self.follows_clock
    }
}

fn schedule(text: &str) -> Result<Schedule, String> {
    // The reason is the last line; those before point at characters of a text that we made up.
    Schedule::from_str(text).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    })
}

fn wrong(place: usize, field: &str, why: &str) -> String {
    let name = NAMES[place];
    if why.is_empty() || why.contains('^') {
        format!("the {name} cannot be `{field}`")
    } else {
        format!("the {name} cannot be `{field}`: {why}")
    }
}

fn restricted(field: &str) -> bool {
    !field.starts_with(['*', '?'])
}

/// Days of the week counted from Sunday = 0 (and 7), as a list counted from Sunday = 1. Names stay.
fn crontab_days(field: &str) -> Option<String> {
    let items = field.split(',').map(|item| {
        if matches!(item, "*" | "?") || item.contains(|c: char| c.is_ascii_alphabetic()) {
            return Some(item.to_owned());
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok()?)),
            None => (item, None),
        };
        let day = |text: &str| text.parse::<u8>().ok().filter(|day| *day <= 7);
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((from, to)) => (day(from)?, day(to)?),
            None if step.is_some() => (day(range)?, 6),
            None => (day(range)?, day(range)?),
        };
        let step = step.unwrap_or(1);
        if from > to || step == 0 {
            return None;
        }
        let days = (from..=to)
            .step_by(step)
            .map(|day| (day % 7 + 1).to_string());
        Some(days.collect::<Vec<_>>().join(","))
    });
    Some(items.collect::<Option<Vec<_>>>()?.join(","))
}
