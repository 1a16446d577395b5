//! Jobs that run at their times, also those that passed while the engine was away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::{Engine, Iii, eventually};

/// Binds `job::tick` under the id `job` and says nothing more.
async fn bind(client: &mut Iii, config: Value) -> Result<()> {
    client
        .say(&json!({"type": "registerfunction", "id": "job::tick"}))
        .await?;
    let trigger = json!({"type": "registertrigger", "id": "job", "trigger_type": "cron", "function_id": "job::tick", "config": config});
    client.say(&trigger).await
}

/// Waits for the job's call, answers it, and gives what the function got.
async fn tick(client: &mut Iii) -> Result<Value> {
    let call = client.hear_text().await?;
    assert_eq!(call["type"], "invokefunction", "{call}");
    assert_eq!(call["function_id"], "job::tick", "{call}");
    let answer = json!({"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "job::tick"});
    client.say(&answer).await?;
    Ok(call["data"].clone())
}

fn second_of_day(time: &Value) -> Result<i64> {
    let text = time.as_str().context("a time is a text")?;
    let part = |from: usize| text[from..from + 2].parse::<i64>();
    Ok(part(11)? * 3600 + part(14)? * 60 + part(17)?)
}

/// Seconds from one second of a day to another that is not far away, over midnight too.
fn seconds_between(from: i64, to: i64) -> i64 {
    (to - from + 43_200).rem_euclid(86_400) - 43_200
}

#[tokio::test]
async fn a_job_of_every_second() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    bind(&mut client, json!({"expression": "* * * * * *"})).await?;
    let mut earlier = None;
    for _ in 0..3 {
        let event = tick(&mut client).await?;
        assert_eq!(
            (&event["trigger"], &event["job_id"]),
            (&json!("cron"), &json!("job"))
        );
        let due = second_of_day(&event["scheduled_time"])?;
        assert!(
            seconds_between(due, second_of_day(&event["actual_time"])?) >= 0,
            "{event}"
        );
        if let Some(earlier) = earlier.replace(due) {
            assert!(seconds_between(earlier, due) >= 1, "{event}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_run_missed_while_the_engine_was_away() -> Result<()> {
    let engine = Engine::bare().await?;
    let config = json!({"interval": "2s", "missed": "once"});
    let mut client = Iii::connect(&engine).await?;
    bind(&mut client, config.clone()).await?;
    let ran = tick(&mut client).await?["scheduled_time"].clone();
    let looker = engine.worker("looker").await?;
    eventually("the run is settled", async || {
        let jobs: Value = looker.trigger("cron::list", &json!({})).await.ok()?;
        (jobs["jobs"][0]["last_run"]["scheduled_time"] == ran).then_some(())
    })
    .await?;
    let folder = engine.kill()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let engine = Engine::start_in(folder, "", &["--no-workers"]).await?;
    let mut client = Iii::connect(&engine).await?;
    let back = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())? % 86_400;
    bind(&mut client, config).await?;
    let event = tick(&mut client).await?;
    let due = second_of_day(&event["scheduled_time"])?;
    assert!(
        seconds_between(due, back) >= 0,
        "{event} came due after the engine was back"
    );
    assert!(
        seconds_between(second_of_day(&ran)?, due) >= 2,
        "{event} had run before"
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_expression_is_refused() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    bind(&mut client, json!({"expression": "61 * * * *"})).await?;
    let refusal = client.hear_text().await?;
    assert_eq!(refusal["type"], "triggerregistrationresult");
    assert_eq!(
        (&refusal["id"], &refusal["trigger_type"]),
        (&json!("job"), &json!("cron"))
    );
    assert_eq!(refusal["error"]["code"], "trigger_registration_failed");
    let message = refusal["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("`expression`: the minute cannot be `61`"),
        "{message}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_and_run_from_a_shell() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut client = Iii::connect(&engine).await?;
    bind(
        &mut client,
        json!({"expression": "0 0 1 1 *", "jitter": "1h", "overlap": "queue"}),
    )
    .await?;
    let list = async || {
        let (code, list, complaint) = engine.cli(&["cron", "ls", "--json"], "").ok()?;
        assert_eq!(code, 0, "{complaint}");
        let jobs: Value = serde_json::from_str(&list).ok()?;
        jobs[0].is_object().then_some(jobs)
    };
    let jobs = eventually("the job is listed", list).await?;
    assert_eq!(
        (&jobs[0]["job_id"], &jobs[0]["overlap"]),
        (&json!("job"), &json!("queue"))
    );
    let late = jobs[0]["jitter_ms"].as_u64().context("a jitter")?;
    assert!((1..=3_600_000).contains(&late), "{jobs}");
    let (code, table, _) = engine.cli(&["cron", "ls"], "")?;
    assert_eq!(code, 0);
    assert!(
        table.contains("NEXT RUN") && table.contains("0 0 1 1 *"),
        "{table}"
    );
    let by_hand = std::thread::scope(|scope| {
        let run = scope.spawn(|| engine.cli(&["cron", "run", "job"], ""));
        let ticked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(tick(&mut client))
        });
        ticked.and_then(|_| run.join().expect("the shell does not panic"))
    });
    let (code, said, complaint) = by_hand?;
    assert_eq!(code, 0, "{complaint}");
    assert!(said.starts_with("job: done in "), "{said}");
    Ok(())
}
