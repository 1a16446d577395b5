//! `agentos cron`: what runs when, and running it now.

use agentos_sdk::Payload;
use serde_json::{Value, json};

use crate::{
    args::{Common, Cron},
    client,
    failure::Failure,
    screen::{BOLD, Cell, DIM, GREEN, RED, Screen, plain},
};

pub(crate) async fn run(verb: Cron, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let (job, timeout) = match verb {
        Cron::Ls => {
            let list: Value = client.trigger("cron::list", &json!({})).await?;
            show(&list["jobs"], screen);
            return Ok(());
        }
        Cron::Run { job, timeout } => (job, timeout),
    };
    let input = Payload::encode(&json!({ "job_id": job })).map_err(std::io::Error::other)?;
    let call = client.bus().call("cron::run").timeout(timeout);
    let last = call.send_payload(input).await?;
    let last: Value = last.decode().map_err(std::io::Error::other)?;
    if screen.json {
        screen.value(&last);
    } else {
        let took = plain(&last["duration_ms"]);
        screen.line(format!("{job}: {} in {took} ms", plain(&last["outcome"])));
    }
    Ok(())
}

fn show(jobs: &Value, screen: &Screen) {
    if screen.json {
        return screen.value(jobs);
    }
    let rows: Vec<Vec<Cell>> = jobs.as_array().into_iter().flatten().map(row).collect();
    let heads = [
        "JOB", "FUNCTION", "WHEN", "ZONE", "NEXT RUN", "LAST RUN", "OUTCOME",
    ];
    screen.table(&heads, &rows);
}

fn row(job: &Value) -> Vec<Cell> {
    let text = |value: &Value| match value {
        Value::Null => Cell::new("-").style(DIM),
        value => Cell::new(plain(value)),
    };
    let when = match &job["expression"] {
        Value::Null => &job["interval"],
        expression => expression,
    };
    let last = &job["last_run"];
    let (outcome, style) = match last["outcome"].as_str() {
        _ if job["running"] == true => ("running", GREEN),
        Some("failed") => ("failed", RED),
        Some("done") => ("done", GREEN),
        Some(other) => (other, DIM),
        None => ("-", DIM),
    };
    vec![
        text(&job["job_id"]).style(BOLD),
        text(&job["function_id"]),
        text(when),
        text(&job["timezone"]),
        text(&job["next_run"]),
        text(&last["scheduled_time"]),
        Cell::new(outcome).style(style),
    ]
}
