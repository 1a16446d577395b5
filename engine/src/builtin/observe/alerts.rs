//! Alerts: a metric beyond a threshold within a window. Pure; whoever calls keeps the time.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{
    calls::Counts,
    config::{Action, Alert, Operator},
};

const SECOND: u64 = 1_000_000_000;
/// States of the engine's counts that are kept, over the longest window.
const HISTORY_MAX: u64 = 256;

pub(super) struct Alerts {
    rows: Vec<Row>,
    /// The engine's counts at earlier moments.
    history: VecDeque<(u64, Counts)>,
}

struct Row {
    alert: Alert,
    state: State,
}

#[derive(Default)]
struct State {
    firing: bool,
    value: Option<f64>,
    evaluated_ms: Option<u64>,
    triggered_ns: Option<u64>,
    times: u64,
}

/// An alert that has just gone off.
#[derive(Debug)]
pub(super) struct Fired {
    pub(super) alert: Alert,
    pub(super) value: f64,
}

impl Alerts {
    pub(super) fn new(alerts: Vec<Alert>, now_ns: u64) -> Self {
        let row = |alert| Row {
            alert,
            state: State::default(),
        };
        Alerts {
            rows: alerts.into_iter().map(row).collect(),
            history: VecDeque::from([(now_ns, Counts::default())]),
        }
    }

    /// How often to evaluate; `None` when there is nothing to.
    pub(super) fn interval_ns(&self) -> Option<u64> {
        let windows = self.enabled().map(|alert| alert.window_seconds);
        windows
            .min()
            .map(|window| (window / 4).clamp(1, 15) * SECOND)
    }

    fn enabled(&self) -> impl Iterator<Item = &Alert> {
        self.rows
            .iter()
            .map(|row| &row.alert)
            .filter(|alert| alert.enabled)
    }

    /// Looks at every alert: at the engine's own counts, or at `reported(metric, since)` for what
    /// workers report. Returns those that go off now.
    pub(super) fn evaluate(
        &mut self,
        now_ns: u64,
        counts: Counts,
        reported: impl Fn(&str, u64) -> Option<f64>,
    ) -> Vec<Fired> {
        let mut fired = Vec::new();
        for row in self.rows.iter_mut().filter(|row| row.alert.enabled) {
            let since_ns = now_ns.saturating_sub(row.alert.window_seconds.saturating_mul(SECOND));
            let earlier = before(&self.history, since_ns);
            let value = counts
                .metric(&row.alert.metric, earlier)
                .or_else(|| reported(&row.alert.metric, since_ns));
            if row.look(now_ns, value)
                && let Some(value) = value
            {
                fired.push(Fired {
                    alert: row.alert.clone(),
                    value,
                });
            }
        }
        self.remember(now_ns, counts);
        fired
    }

    fn remember(&mut self, now_ns: u64, counts: Counts) {
        let window = self.enabled().map(|alert| alert.window_seconds).max();
        let Some(window_ns) = window.map(|seconds| seconds.max(1).saturating_mul(SECOND)) else {
            return;
        };
        let newest = self.history.back().map_or(0, |(at, _)| *at);
        if now_ns.saturating_sub(newest) >= window_ns / HISTORY_MAX {
            self.history.push_back((now_ns, counts));
        }
        // One at or before the window's start has to stay.
        let start = now_ns.saturating_sub(window_ns);
        while self.history.get(1).is_some_and(|(at, _)| *at <= start) {
            self.history.pop_front();
        }
    }

    pub(super) fn to_json(&self, now_ns: u64) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| row.to_json(now_ns)).collect();
        json!({ "alerts": rows, "timestamp": now_ns / 1_000_000 })
    }
}

/// The newest counts that are not newer than `moment`; the oldest there are, failing that.
fn before(history: &VecDeque<(u64, Counts)>, moment: u64) -> &Counts {
    let at = history
        .partition_point(|(at, _)| *at <= moment)
        .saturating_sub(1);
    &history[at].1
}

impl Row {
    /// Takes note of a value; true when the alert goes off.
    fn look(&mut self, now_ns: u64, value: Option<f64>) -> bool {
        let (alert, state) = (&self.alert, &mut self.state);
        state.evaluated_ms = Some(now_ns / 1_000_000);
        state.value = value;
        state.firing = value.is_some_and(|value| alert.operator.holds(value, alert.threshold));
        let cooling = state.triggered_ns.is_some_and(|then| {
            now_ns < then.saturating_add(alert.cooldown_seconds.saturating_mul(SECOND))
        });
        let goes_off = state.firing && !cooling;
        if goes_off {
            state.triggered_ns = Some(now_ns);
            state.times += 1;
        }
        goes_off
    }

    fn to_json(&self, now_ns: u64) -> Value {
        let (alert, state) = (&self.alert, &self.state);
        let cooling_until = state
            .triggered_ns
            .map(|then| then.saturating_add(alert.cooldown_seconds.saturating_mul(SECOND)))
            .filter(|until| *until > now_ns);
        json!({
            "name": alert.name,
            "metric": alert.metric,
            "threshold": alert.threshold,
            "operator": alert.operator.as_str(),
            "window_seconds": alert.window_seconds,
            "cooldown_seconds": alert.cooldown_seconds,
            "enabled": alert.enabled,
            "action": alert.action.to_json(),
            "firing": state.firing,
            "current_value": state.value,
            "last_evaluated": state.evaluated_ms,
            "last_triggered": state.triggered_ns.map(|at| at / 1_000_000),
            "triggered_count": state.times,
            "cooling_until": cooling_until.map(|at| at / 1_000_000),
        })
    }
}

impl Fired {
    /// What a function or a webhook is given.
    pub(super) fn to_json(&self, now_ns: u64) -> Value {
        json!({
            "type": "alert",
            "name": self.alert.name,
            "metric": self.alert.metric,
            "value": self.value,
            "threshold": self.alert.threshold,
            "operator": self.alert.operator.as_str(),
            "window_seconds": self.alert.window_seconds,
            "timestamp": now_ns / 1_000_000,
        })
    }
}

impl Operator {
    #[expect(
        clippy::float_cmp,
        reason = "the operator is there for counts, which are whole"
    )]
    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Operator::Above => value > threshold,
            Operator::AtLeast => value >= threshold,
            Operator::Below => value < threshold,
            Operator::AtMost => value <= threshold,
            Operator::Equal => value == threshold,
            Operator::NotEqual => value != threshold,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Operator::Above => ">",
            Operator::AtLeast => ">=",
            Operator::Below => "<",
            Operator::AtMost => "<=",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        }
    }
}

impl Action {
    /// Without the webhook's address, which may hold a secret.
    fn to_json(&self) -> Value {
        match self {
            Action::Log => json!({ "type": "log" }),
            Action::Webhook { .. } => json!({ "type": "webhook" }),
            Action::Function { path } => json!({ "type": "function", "path": path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(metric: &str, operator: Operator, threshold: f64) -> Alert {
        Alert {
            name: "a".to_owned(),
            metric: metric.to_owned(),
            threshold,
            operator,
            window_seconds: 60,
            cooldown_seconds: 30,
            enabled: true,
            action: Action::Log,
        }
    }

    fn errors(error: u64) -> Counts {
        Counts {
            error,
            ..Counts::default()
        }
    }

    #[test]
    fn operators() {
        let rows = [
            (Operator::Above, [false, false, true]),
            (Operator::AtLeast, [false, true, true]),
            (Operator::Below, [true, false, false]),
            (Operator::AtMost, [true, true, false]),
            (Operator::Equal, [false, true, false]),
            (Operator::NotEqual, [true, false, true]),
        ];
        for (operator, expected) in rows {
            assert_eq!(
                [1.0, 2.0, 3.0].map(|value| operator.holds(value, 2.0)),
                expected,
                "{operator:?}"
            );
        }
    }

    #[test]
    fn counts_are_those_of_the_window_and_it_cools_down() {
        let mut alerts = Alerts::new(
            vec![alert("iii.invocations.error", Operator::Above, 2.0)],
            0,
        );
        let mut at = |seconds: u64, count| {
            alerts
                .evaluate(seconds * SECOND, errors(count), |_, _| None)
                .len()
        };
        assert_eq!(at(10, 0), 0);
        assert_eq!(at(20, 3), 1);
        assert_eq!(at(30, 5), 0, "cooling down");
        assert_eq!(at(50, 5), 1, "still beyond");
        assert_eq!(at(79, 5), 0);
        assert_eq!(at(91, 5), 0, "all errors are older than the window");
        let shown = alerts.to_json(92 * SECOND);
        let row = &shown["alerts"][0];
        assert_eq!(
            (
                &row["firing"],
                &row["triggered_count"],
                &row["last_triggered"]
            ),
            (&json!(false), &json!(2), &json!(50_000))
        );
    }

    #[test]
    fn reported_metrics_and_unknown_ones() {
        let mut alerts = Alerts::new(
            vec![
                alert("queue.depth", Operator::AtLeast, 10.0),
                alert("nobody.reports", Operator::AtMost, 10.0),
            ],
            0,
        );
        let fired = alerts.evaluate(100 * SECOND, Counts::default(), |metric, since| {
            assert_eq!(since, 40 * SECOND);
            (metric == "queue.depth").then_some(11.0)
        });
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].to_json(1_000_000)["value"], 11.0);
    }

    #[test]
    fn nothing_to_do_means_no_timer() {
        assert_eq!(Alerts::new(vec![], 0).interval_ns(), None);
        let mut disabled = alert("m", Operator::Above, 0.0);
        disabled.enabled = false;
        let mut alerts = Alerts::new(vec![disabled], 0);
        assert_eq!(alerts.interval_ns(), None);
        assert!(alerts.evaluate(1, errors(5), |_, _| Some(5.0)).is_empty());
        assert_eq!(
            Alerts::new(vec![alert("m", Operator::Above, 0.0)], 0).interval_ns(),
            Some(15 * SECOND)
        );
    }

    #[test]
    fn the_history_is_bounded() {
        let mut alerts = Alerts::new(vec![alert("m", Operator::Above, 0.0)], 0);
        for ms in 0..10_000 {
            alerts.evaluate(ms * 10_000_000, Counts::default(), |_, _| None);
        }
        assert!(
            alerts.history.len() as u64 <= HISTORY_MAX + 2,
            "{}",
            alerts.history.len()
        );
    }
}
