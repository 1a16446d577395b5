//! What was found: medians, spread and ratios of what was measured.

use std::fs;

use anyhow::Result;
use serde::Serialize;

use super::{
    contender::Contender,
    scenario::{Figure, Scenario},
    table::number,
};
use crate::{args::Run, measured::Measured};

/// A whole run, as `--json` writes it.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) scenarios: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(options: &Run) -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(String::new, |(_, name)| name.to_owned());
        Report {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rounds: options.rounds,
            seconds: options.seconds,
            scenarios: Vec::new(),
        }
    }
}

/// A scenario and what was found.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) less_is_better: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Vec<Fact>,
    #[serde(skip)]
    figure: Figure,
}

/// A number that stands for itself.
#[derive(Serialize)]
pub(crate) struct Fact {
    pub(crate) contender: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// What was measured of one contender. All but the spread and the sums are medians.
#[derive(Serialize, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) reference: &'static str,
    /// Of the figure that the scenario is about.
    pub(crate) median: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) per_second: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) resident_mib: Option<f64>,
    /// Calls that failed or were never answered, in all rounds.
    pub(crate) lost: u64,
    /// Rounds that gave no measurement.
    pub(crate) failures: usize,
    pub(crate) measured: Vec<Measured>,
}

impl Outcome {
    pub(crate) fn new(scenario: &Scenario, contenders: &[&Contender]) -> Self {
        Outcome {
            name: scenario.name,
            about: scenario.about,
            unit: match scenario.figure {
                Figure::Rate => "per s",
                Figure::Bytes(_) => "MiB/s",
                Figure::Latency => "p50 µs",
            },
            less_is_better: scenario.figure == Figure::Latency,
            rows: contenders
                .iter()
                .map(|contender| Row {
                    name: contender.name.clone(),
                    reference: scenario.reference(contender),
                    ..Row::default()
                })
                .collect(),
            facts: Vec::new(),
            figure: scenario.figure,
        }
    }

    pub(crate) fn add(&mut self, contender: &str, measured: Option<Measured>) {
        for row in self.rows.iter_mut().filter(|row| row.name == contender) {
            match &measured {
                Some(measured) => row.measured.push(measured.clone()),
                None => row.failures += 1,
            }
        }
    }

    pub(crate) fn add_facts(&mut self, contender: &str, facts: Result<Vec<Fact>>) {
        self.rows.retain(|row| row.name != contender);
        match facts {
            Ok(facts) => self.facts.extend(facts),
            Err(error) => eprintln!("{} {contender}: {error:#}", self.name),
        }
    }

    /// Computes medians and ratios, once all is measured.
    pub(crate) fn finish(&mut self) {
        let figure = self.figure;
        for row in &mut self.rows {
            let values = row.sorted(|measured| of(figure, measured));
            row.least = values.first().copied();
            row.most = values.last().copied();
            row.median = row.middle(|measured| of(figure, measured));
            row.per_second = row.middle(|measured| Some(measured.per_second));
            row.p50_us = row.middle(|measured| measured.p50_us);
            row.p99_us = row.middle(|measured| measured.p99_us);
            row.cpu_us = row.middle(|measured| measured.cpu_us);
            row.resident_mib = row.middle(|measured| measured.resident_mib);
            row.lost = row.measured.iter().map(|measured| measured.lost).sum();
        }
        let medians: Vec<(String, Option<f64>)> = self
            .rows
            .iter()
            .map(|row| (row.name.clone(), row.median))
            .collect();
        for row in &mut self.rows {
            let reference = medians
                .iter()
                .find(|(name, _)| name == row.reference)
                .and_then(|(_, median)| *median);
            row.ratio = row.median.zip(reference).map(|(own, of)| own / of);
        }
    }

    /// One measurement in a few words.
    pub(crate) fn brief(&self, measured: &Measured) -> String {
        format!("{} {}", number(of(self.figure, measured)), self.unit)
    }
}

/// What the scenario is about.
fn of(figure: Figure, measured: &Measured) -> Option<f64> {
    match figure {
        Figure::Rate => Some(measured.per_second),
        Figure::Bytes(each) => Some(measured.per_second * each as f64 / f64::from(1 << 20)),
        Figure::Latency => measured.p50_us,
    }
}

impl Row {
    fn sorted(&self, field: impl Fn(&Measured) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.measured.iter().filter_map(field).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn middle(&self, field: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        median(&self.sorted(field))
    }
}

/// Of values in order.
fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length.is_multiple_of(2) => {
            Some(f64::midpoint(values[middle - 1], values[middle]))
        }
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0]), Some(1.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
    }
}
