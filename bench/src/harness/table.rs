//! An outcome as text.

use std::fmt;

use super::outcome::{Outcome, Row};

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}: {}", self.name, self.about)?;
        if !self.rows.is_empty() {
            writeln!(
                out,
                "{:<18}{:>11} {:>21}{:>8}{:>11}{:>10}{:>10}{:>10}{:>9}{:>6}",
                "",
                self.unit,
                "spread",
                "ratio",
                "per s",
                "p50 µs",
                "p99 µs",
                "CPU µs",
                "RSS MiB",
                "lost"
            )?;
        }
        for row in &self.rows {
            writeln!(
                out,
                "{:<18}{:>11} {:>21}{:>8}{:>11}{:>10}{:>10}{:>10}{:>9}{:>6}{}",
                row.name,
                number(row.median),
                spread(row),
                hundredths(row.ratio),
                number(row.per_second),
                number(row.p50_us),
                number(row.p99_us),
                hundredths(row.cpu_us),
                number(row.resident_mib),
                row.lost,
                failures(row),
            )?;
        }
        for fact in &self.facts {
            writeln!(
                out,
                "{:<18}{:<42}{:>12} {}",
                fact.contender,
                fact.what,
                number(Some(fact.value)),
                fact.unit
            )?;
        }
        Ok(())
    }
}

pub(crate) fn spread(row: &Row) -> String {
    match (row.least, row.most) {
        (Some(least), Some(most)) => format!("{}..{}", number(Some(least)), number(Some(most))),
        _ => "failed".to_owned(),
    }
}

pub(crate) fn failures(row: &Row) -> String {
    if row.failures == 0 {
        return String::new();
    }
    format!("  {} failed", row.failures)
}

pub(crate) fn hundredths(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.2}"))
}

/// Three digits of what is small, thousands in groups of what is large.
pub(crate) fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    if value.abs() < 100.0 {
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

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_easy_to_read() {
        for (value, expect) in [
            (Some(0.04), "0.0"),
            (Some(17.94), "17.9"),
            (Some(308.4), "308"),
            (Some(1_234_567.0), "1,234,567"),
            (Some(903_000.4), "903,000"),
            (None, ""),
        ] {
            assert_eq!(number(value), expect);
        }
    }
}
