//! Days on which clocks are set, days that most years have not, and runs that were missed on them:
//! a whole worker whose days pass at once.

use super::*;

/// One job, from the moment `from` for `hours`: the moments that it was called for.
struct Case {
    zone: &'static str,
    expression: &'static str,
    from: &'static str,
    hours: f64,
    expected: &'static [&'static str],
}

/// A clock that shows `from` now.
fn wall_at(from: &str) -> Wall {
    let wall = Wall::new();
    let ahead = time(from) - time(START);
    wall.set_ms
        .store(ahead.num_milliseconds(), Ordering::Relaxed);
    wall
}

impl Rig {
    /// As `due`, with the day.
    fn due_days(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.heard.lock());
        let times = heard.iter();
        times
            .map(|event| event["scheduled_time"].as_str().unwrap()[..16].to_owned())
            .collect()
    }
}

async fn check(case: &Case) {
    let Case {
        zone,
        expression,
        from,
        hours,
        expected,
    } = case;
    let rig = Rig::new(&memory::open(), &wall_at(from)).await;
    let config = json!({ "expression": expression, "timezone": zone });
    rig.bind("job", "job::tick", config);
    pass(hours * 3600.0).await;
    assert_eq!(
        rig.due_days(),
        *expected,
        "{expression} in {zone} from {from}"
    );
    rig.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_put_forward() {
    let cases = [
        // Berlin has no 02:30 on that day: the end of the gap, 03:00, stands for it, once.
        Case {
            zone: "Europe/Berlin",
            expression: "30 2 * * *",
            from: "2026-03-27T23:00:00Z",
            hours: 72.0,
            expected: &["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"],
        },
        Case {
            zone: "Europe/Berlin",
            expression: "0 * * * *",
            from: "2026-03-28T23:10:00Z",
            hours: 3.0,
            expected: &["2026-03-29T00:00", "2026-03-29T01:00", "2026-03-29T02:00"],
        },
        Case {
            zone: "America/New_York",
            expression: "30 2 * * *",
            from: "2026-03-07T05:00:00Z",
            hours: 72.0,
            expected: &["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"],
        },
        Case {
            zone: "America/New_York",
            expression: "*/30 * * * *",
            from: "2026-03-08T06:10:00Z",
            hours: 1.5,
            expected: &["2026-03-08T06:30", "2026-03-08T07:00", "2026-03-08T07:30"],
        },
    ];
    for case in &cases {
        check(case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_put_back() {
    let cases = [
        // 02:30 comes twice: the first is meant. What recurs goes by what the clock shows.
        Case {
            zone: "Europe/Berlin",
            expression: "30 2 * * *",
            from: "2026-10-23T23:00:00Z",
            hours: 72.0,
            expected: &["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"],
        },
        Case {
            zone: "Europe/Berlin",
            expression: "30 * * * *",
            from: "2026-10-25T00:10:00Z",
            hours: 2.0,
            expected: &["2026-10-25T00:30", "2026-10-25T01:30"],
        },
        Case {
            zone: "America/New_York",
            expression: "15 1 * * *",
            from: "2026-10-31T04:00:00Z",
            hours: 72.0,
            expected: &["2026-10-31T05:15", "2026-11-01T05:15", "2026-11-02T06:15"],
        },
        Case {
            zone: "America/New_York",
            expression: "*/30 * * * *",
            from: "2026-11-01T05:10:00Z",
            hours: 2.0,
            expected: &[
                "2026-11-01T05:30",
                "2026-11-01T06:00",
                "2026-11-01T06:30",
                "2026-11-01T07:00",
            ],
        },
    ];
    for case in &cases {
        check(case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_29th_of_february() {
    let cases = [
        Case {
            zone: "UTC",
            expression: "0 6 29 2 *",
            from: "2028-02-27T00:00:00Z",
            hours: 4.0 * 24.0,
            expected: &["2028-02-29T06:00"],
        },
        // No such day in this year; nor is it made up for.
        Case {
            zone: "UTC",
            expression: "0 6 29 2 *",
            from: "2027-02-27T00:00:00Z",
            hours: 4.0 * 24.0,
            expected: &[],
        },
        Case {
            zone: "Asia/Tokyo",
            expression: "0 0 28-31 2,3 *",
            from: "2028-02-27T00:00:00Z",
            hours: 3.0 * 24.0,
            expected: &["2028-02-27T15:00", "2028-02-28T15:00"],
        },
    ];
    for case in &cases {
        check(case).await;
    }
}

/// An engine that is down while the clocks are set, and what each policy makes of it.
#[tokio::test(start_paused = true)]
async fn runs_missed_while_clocks_are_set() {
    // Berlin, 02:30: on the 28th, at the end of the gap on the 29th, on the 30th and 31st.
    let (skip, once) = (
        &["2026-03-31T00:30"],
        &["2026-03-30T00:30", "2026-03-31T00:30"],
    );
    let all = &["2026-03-29T01:00", "2026-03-30T00:30", "2026-03-31T00:30"];
    let cases: [(&str, &[&str]); 3] = [("skip", skip), ("once", once), ("all", all)];
    for (missed, expected) in cases {
        let (store, wall) = (memory::open(), wall_at("2026-03-28T00:00:00Z"));
        let config =
            json!({"expression": "30 2 * * *", "timezone": "Europe/Berlin", "missed": missed});
        let rig = Rig::new(&store, &wall).await;
        rig.bind("job", "job::tick", config.clone());
        pass(2.0 * 3600.0).await;
        assert_eq!(rig.due_days(), ["2026-03-28T01:30"], "{missed}");
        rig.stop.cancel();
        pass(48.0 * 3600.0).await;
        let rig = Rig::new(&store, &wall).await;
        rig.bind("job", "job::tick", config);
        pass(24.0 * 3600.0).await;
        assert_eq!(rig.due_days(), expected, "{missed}");
    }
}
