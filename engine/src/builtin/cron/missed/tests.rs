use super::*;

fn time(text: &str) -> DateTime<Utc> {
    format!("2026-11-20T{text}Z").parse().unwrap()
}

fn check(expression: &str, missed: Missed, done: &str, now: &str, expected: Result<&[&str], &str>) {
    let schedule = Schedule::expression(expression, None).unwrap();
    let terms = Terms {
        missed,
        late_max: TimeDelta::seconds(60),
        runs_max: 3,
    };
    let found = match plan(&schedule, terms, time(done), time(now)) {
        Plan::Run { times, .. } => Ok(times),
        Plan::Wait(next) => Err(next.unwrap()),
    };
    let expected = expected
        .map(|times| times.iter().map(|text| time(text)).collect::<Vec<_>>())
        .map_err(time);
    assert_eq!(
        found, expected,
        "{expression} {missed:?} done {done} now {now}"
    );
}

#[test]
fn what_a_job_does_now() {
    let hourly = "0 * * * *";
    // Nothing is due.
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        check(hourly, missed, "09:00:00", "09:30:00", Err("10:00:00"));
        check(
            hourly,
            missed,
            "09:00:00",
            "10:00:00.004",
            Ok(&["10:00:00"]),
        );
        check(hourly, missed, "10:00:00", "10:00:00.004", Err("11:00:00"));
    }
    // Late, and too late.
    check(
        hourly,
        Missed::Skip,
        "09:00:00",
        "10:00:59",
        Ok(&["10:00:00"]),
    );
    check(
        hourly,
        Missed::Skip,
        "09:00:00",
        "10:01:01",
        Err("11:00:00"),
    );
    check(
        hourly,
        Missed::Skip,
        "02:00:00",
        "10:00:05",
        Ok(&["10:00:00"]),
    );
    check(
        hourly,
        Missed::Once,
        "02:00:00",
        "10:30:00",
        Ok(&["10:00:00"]),
    );
    check(
        hourly,
        Missed::All,
        "08:00:00",
        "10:30:00",
        Ok(&["09:00:00", "10:00:00"]),
    );
    // No more than the bound, and those are the newest.
    check(
        hourly,
        Missed::All,
        "02:00:00",
        "10:30:00",
        Ok(&["08:00:00", "09:00:00", "10:00:00"]),
    );
}

#[test]
fn a_clock_that_was_put_back() {
    let (daily, hourly) = ("0 12 * * *", "0 * * * *");
    let holds = |expression, done, now| {
        let schedule = Schedule::expression(expression, None).unwrap();
        holds(&schedule, time(done), time(now))
    };
    // A moment of the day that has been is not repeated, unless the clock was far off.
    assert!(holds(daily, "12:00:00", "11:58:00"));
    assert!(!holds(daily, "23:00:00", "11:58:00"));
    // What recurs goes on by the new time.
    assert!(!holds(hourly, "12:00:00", "11:58:00"));
    assert!(holds(hourly, "12:00:00", "12:00:00"));
    check(
        hourly,
        Missed::Once,
        "12:00:00",
        "11:58:00",
        Err("13:00:00"),
    );
}
