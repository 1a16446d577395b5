//! The steps of a swap: a line each; on a terminal, what goes on is shown on a line that changes.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::screen::{DIM, GREEN, RED, Screen, YELLOW, plain, styled};

/// Shows steps as they come.
pub(super) struct Steps {
    screen: Screen,
    began: Instant,
    /// On a terminal, what is waited for.
    spinner: Option<ProgressBar>,
}

impl Steps {
    pub(super) fn new(screen: Screen) -> Self {
        let on_terminal = screen.is_terminal() && !screen.json;
        Steps {
            screen,
            began: Instant::now(),
            spinner: on_terminal.then(spinner),
        }
    }

    pub(super) fn show(&self, step: &Value) {
        if self.screen.json {
            return self.screen.value(step);
        }
        let name = plain(&step["event"]);
        let Some(text) = text(&name, step) else {
            return;
        };
        // What comes again and again takes the place of what it said before.
        let passes = matches!(name.as_str(), "trial_goes_on" | "output");
        match &self.spinner {
            Some(spinner) if passes => spinner.set_message(text),
            Some(spinner) => {
                spinner.suspend(|| self.line(&name, &text));
                spinner.set_message(waits_for(&name));
            }
            None => self.line(&name, &text),
        }
    }

    fn line(&self, name: &str, text: &str) {
        let style = match name {
            "swap_failed" | "failed" | "crash_loop" | "process_ended" => RED,
            "functions_missing" | "dependency_missing" | "skipped" => YELLOW,
            "swap_done" | "health_passed" | "instance_ready" => GREEN,
            _ => DIM,
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let time = styled(DIM, format!("{seconds:7.2} s"));
        self.screen.line(format!("{time}  {}", styled(style, text)));
    }

    pub(super) fn close(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn waits_for(name: &str) -> &'static str {
    match name {
        "swap_started" | "preparing" => "building",
        "process_started" => "waiting for it to register",
        "instance_ready" => "asking whether it is well",
        "trial_started" => "trying it",
        "drain_started" => "waiting for the old build's calls",
        _ => "",
    }
}

/// What a step says to people; `None` for one that says nothing new.
fn text(name: &str, step: &Value) -> Option<String> {
    let field = |key: &str| match &step[key] {
        Value::Null => "-".to_owned(),
        value => plain(value),
    };
    let lines = |key: &str| -> String {
        let lines = step[key].as_array().into_iter().flatten();
        lines
            .map(|line| format!("\n             {}", plain(line)))
            .collect()
    };
    let tally = |side: &str| {
        let rate = step[side]["error_rate"].as_f64().unwrap_or_default();
        format!(
            "{} of {} failed ({:.1} %)",
            plain(&step[side]["errors"]),
            plain(&step[side]["calls"]),
            rate * 100.0
        )
    };
    Some(match name {
        "swap_started" => format!(
            "{}: build {} is to be replaced by {}",
            field("why"),
            field("from"),
            field("to")
        ),
        "preparing" => format!(
            "step {} of {}: {}",
            field("step"),
            field("of"),
            field("command")
        ),
        "output" => field("line"),
        "prepared" => format!("built in {} ms", field("took_ms")),
        "process_started" => format!("a process runs, pid {}", field("pid")),
        "process_ended" => format!("the process ended: {}", field("how")),
        "crash_loop" => format!("it ends again and again{}", lines("output")),
        "failed" => format!("{}{}", field("message"), lines("output")),
        "skipped" => field("message"),
        "instance_ready" => format!(
            "build {} has registered {} functions",
            field("build"),
            field("functions")
        ),
        "functions_missing" => format!("it does not offer any more: {}", list(&step["functions"])),
        "health_passed" => format!("{} says that it is well", field("function")),
        "trial_started" => format!(
            "it gets {} % of the calls for {} ms",
            field("percent"),
            field("hold_ms")
        ),
        "trial_goes_on" => format!("new: {}, old: {}", tally("new"), tally("old")),
        "traffic_shifted" => format!("all new calls go to build {}", field("build")),
        "drain_started" => format!("{} calls of the old build go on", field("calls")),
        "drained" => match step["cut"].as_u64() {
            Some(0) | None => format!("they have ended, in {} ms", field("took_ms")),
            Some(cut) => format!("{cut} of them had not ended, and are cut off"),
        },
        "process_stopped" => "the process is gone".to_owned(),
        "swap_done" => format!("done: build {} serves", field("build")),
        "swap_failed" => format!("{}{}", field("message"), lines("output")),
        "worker_scaled" => format!("{} instances run", field("replicas")),
        "dependency_missing" => format!(
            "it starts without {}, which does not serve after {} ms",
            field("dependency"),
            field("waited_ms")
        ),
        "worker_paused" => "it gets no calls".to_owned(),
        "worker_resumed" => "it gets calls again".to_owned(),
        "worker_started" => "it runs".to_owned(),
        "worker_stopped" => "it is stopped".to_owned(),
        _ => return None,
    })
}

fn list(value: &Value) -> String {
    let items = value.as_array().into_iter().flatten();
    items.map(plain).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_is_told_in_a_sentence() {
        let check = |step: Value, expect: Option<&str>| {
            let name = plain(&step["event"]);
            assert_eq!(text(&name, &step).as_deref(), expect, "{step}");
        };
        check(
            json!({ "event": "drained", "took_ms": 7, "cut": 0 }),
            Some("they have ended, in 7 ms"),
        );
        check(
            json!({ "event": "drained", "took_ms": 7, "cut": 2 }),
            Some("2 of them had not ended, and are cut off"),
        );
        check(
            json!({ "event": "trial_goes_on", "new": { "calls": 20, "errors": 1, "error_rate": 0.05 },
                "old": { "calls": 0, "errors": 0, "error_rate": 0.0 } }),
            Some("new: 1 of 20 failed (5.0 %), old: 0 of 0 failed (0.0 %)"),
        );
        check(json!({ "event": "of a later engine" }), None);
    }
}
