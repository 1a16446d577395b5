//! Medians, spread and ratios of what was measured.

use std::fmt;

use super::{
    contender::Contender,
    scenario::{Figure, Scenario},
};
use crate::measured::Measured;

/// What was measured of one contender.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) reference: String,
    pub(crate) measured: Vec<Measured>,
    pub(crate) failures: usize,
}

impl Row {
    pub(crate) fn new(contender: &Contender) -> Self {
        Row {
            name: contender.name.clone(),
            reference: contender.reference.clone(),
            measured: Vec::new(),
            failures: 0,
        }
    }

    /// The values of a field that was measured, in order.
    fn sorted(&self, field: impl Fn(&Measured) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.measured.iter().filter_map(field).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, field: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        let values = self.sorted(field);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            even if even.is_multiple_of(2) => {
                Some(f64::midpoint(values[middle - 1], values[middle]))
            }
            _ => Some(values[middle]),
        }
    }
}

/// The figure that a scenario is about.
fn figure(scenario: &Scenario, measured: &Measured) -> Option<f64> {
    match scenario.figure {
        Figure::Rate => Some(measured.per_second),
        Figure::Bytes => {
            Some(measured.per_second * scenario.shape.payload_bytes as f64 / f64::from(1 << 20))
        }
        Figure::Latency => measured.p50_us,
    }
}

fn unit(scenario: &Scenario) -> &'static str {
    match scenario.figure {
        Figure::Rate => "per s",
        Figure::Bytes => "MiB/s",
        Figure::Latency => "p50 µs",
    }
}

/// One measurement in a few words.
pub(crate) fn brief(scenario: &Scenario, measured: &Measured) -> String {
    format!("{} {}", number(figure(scenario, measured)), unit(scenario))
}

pub(crate) struct Table<'a> {
    scenario: &'a Scenario,
    rows: &'a [Row],
}

impl<'a> Table<'a> {
    pub(crate) fn new(scenario: &'a Scenario, rows: &'a [Row]) -> Self {
        Table { scenario, rows }
    }

    /// How the row's median compares with its reference's.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let median = |row: &Row| row.median(|measured| figure(self.scenario, measured));
        let reference = self.rows.iter().find(|one| one.name == row.reference)?;
        Some(median(row)? / median(reference)?)
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenario = self.scenario;
        writeln!(out, "\n{}: {}", scenario.name, scenario.about)?;
        writeln!(
            out,
            "{:<18}{:>11} {:>21}{:>8}{:>10}{:>10}{:>10}{:>10}{:>9}{:>6}",
            "",
            unit(scenario),
            "spread",
            "ratio",
            "per s",
            "p50 µs",
            "p99 µs",
            "CPU µs",
            "RSS MiB",
            "lost"
        )?;
        for row in self.rows {
            let values = row.sorted(|measured| figure(scenario, measured));
            let spread = match (values.first(), values.last()) {
                (Some(least), Some(most)) => {
                    format!("{}..{}", number(Some(*least)), number(Some(*most)))
                }
                _ => "failed".to_owned(),
            };
            writeln!(
                out,
                "{:<18}{:>11} {:>21}{:>8}{:>10}{:>10}{:>10}{:>10}{:>9}{:>6}{}",
                row.name,
                number(row.median(|measured| figure(scenario, measured))),
                spread,
                self.ratio(row)
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                number(row.median(|measured| Some(measured.per_second))),
                number(row.median(|measured| measured.p50_us)),
                number(row.median(|measured| measured.p99_us)),
                row.median(|measured| measured.cpu_us)
                    .map_or_else(String::new, |us| format!("{us:.2}")),
                number(row.median(|measured| measured.resident_mib)),
                row.measured
                    .iter()
                    .map(|measured| measured.lost)
                    .sum::<u64>(),
                if row.failures > 0 {
                    format!("  {} failed", row.failures)
                } else {
                    String::new()
                },
            )?;
        }
        Ok(())
    }
}

/// Three digits of what is small, thousands in groups of what is large.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
