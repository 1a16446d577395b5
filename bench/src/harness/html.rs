//! A report as one page with plots. Nothing is fetched, nothing runs.

use std::fmt::Write;

use super::{
    outcome::{Outcome, Report, Row},
    table::{failures, hundredths, number, spread},
};

const STYLE: &str = "
:root { color-scheme: light dark; --own: #2f6fde; --other: #8b95a5; --line: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2.5rem 0 0; font-size: 1.15rem; } p { margin: 0 0 .6rem; opacity: .8; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; margin: .4rem 0; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.own { fill: var(--own); } .other { fill: var(--other); } .spread { stroke: currentColor; opacity: .7; }";

/// Of a plot, in its own units.
const WIDTH: f64 = 900.0;
const LABELS: f64 = 130.0;
const BARS: f64 = 620.0;
const ROW: f64 = 24.0;

pub(crate) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>AgentOS benchmarks</title><style>{STYLE}</style><h1>AgentOS benchmarks</h1>\
         <p>{} cores, {}, Linux {}. {} rounds of {} s each, contenders in turn; bars are medians, lines the spread. \
         Ratios travel, absolute numbers do not.</p>",
        report.cores,
        text(&report.processor),
        text(&report.kernel),
        report.rounds,
        report.seconds,
    );
    for outcome in &report.scenarios {
        let direction = if outcome.less_is_better {
            " (less is better)"
        } else {
            ""
        };
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "<h2>{}</h2><p>{}: {}{direction}</p>",
            outcome.name,
            text(outcome.about),
            outcome.unit
        );
        if !outcome.rows.is_empty() {
            page += &plot(outcome);
            page += &rows(outcome);
        }
        if !outcome.facts.is_empty() {
            page += &facts(outcome);
        }
    }
    page
}

fn plot(outcome: &Outcome) -> String {
    let most = outcome
        .rows
        .iter()
        .filter_map(|row| row.most)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * outcome.rows.len() as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for (index, row) in outcome.rows.iter().enumerate() {
        svg += &bar(row, index as f64 * ROW, BARS / most);
    }
    svg + "</svg>"
}

fn bar(row: &Row, top: f64, scale: f64) -> String {
    let length = |value: Option<f64>| value.unwrap_or(0.0) * scale;
    let end = LABELS + length(row.median);
    let (least, most) = (LABELS + length(row.least), LABELS + length(row.most));
    let baseline = top + ROW * 0.68;
    let middle = top + ROW / 2.0;
    let class = if is_reference(row) { "other" } else { "own" };
    let ratio = row
        .ratio
        .map_or_else(String::new, |ratio| format!(" ({ratio:.2})"));
    format!(
        "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>\
         <line class=\"spread\" x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
         <text x=\"{:.1}\" y=\"{baseline:.1}\">{}{ratio}</text>",
        LABELS - 8.0,
        text(&row.name),
        top + 3.0,
        end - LABELS,
        ROW - 6.0,
        end.max(most) + 6.0,
        number(row.median),
    )
}

/// Not one of the engines.
fn is_reference(row: &Row) -> bool {
    ["relay", "axum", "nats", "redis"]
        .iter()
        .any(|other| row.name.contains(other))
}

fn rows(outcome: &Outcome) -> String {
    let mut table = format!(
        "<table><tr><th></th><th>{}</th><th>spread</th><th>ratio</th><th>of</th><th>per s</th><th>p50 µs</th>\
         <th>p99 µs</th><th>CPU µs</th><th>RSS MiB</th><th>lost</th></tr>",
        outcome.unit
    );
    for row in &outcome.rows {
        let cells = [
            text(&row.name) + &failures(row),
            number(row.median),
            spread(row),
            hundredths(row.ratio),
            row.reference.to_owned(),
            number(row.per_second),
            number(row.p50_us),
            number(row.p99_us),
            hundredths(row.cpu_us),
            number(row.resident_mib),
            row.lost.to_string(),
        ];
        table += "<tr>";
        for cell in cells {
            let _ = write!(table, "<td>{cell}</td>");
        }
        table += "</tr>";
    }
    table + "</table>"
}

fn facts(outcome: &Outcome) -> String {
    let mut table = "<table>".to_owned();
    for fact in &outcome.facts {
        let _ = write!(
            table,
            "<tr><td>{}: {}</td><td>{} {}</td></tr>",
            text(&fact.contender),
            text(&fact.what),
            number(Some(fact.value)),
            fact.unit
        );
    }
    table + "</table>"
}

fn text(plain: &str) -> String {
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
