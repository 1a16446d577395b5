use super::*;

fn schedule(text: &str, zone: Option<&str>) -> Schedule {
    Schedule::expression(text, zone).unwrap()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The moments of `schedule` after `after`, as `zone` writes them.
fn shown(schedule: &Schedule, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let first = schedule.next(time(after));
    let times = std::iter::successors(first, |time| schedule.next(*time));
    times
        .take(count)
        .map(|time| {
            time.with_timezone(&zone)
                .format("%m-%d %H:%M:%S %:z")
                .to_string()
        })
        .collect()
}

#[test]
fn five_six_and_seven_fields() {
    // A Friday.
    let after = "2026-11-20T10:05:00.5Z";
    let cases: [(&str, &[&str]); 16] = [
        ("*/5 * * * *", &["11-20 10:10:00", "11-20 10:15:00"]),
        ("0 */5 * * * *", &["11-20 10:10:00", "11-20 10:15:00"]),
        ("*/2 * * * * * *", &["11-20 10:05:02", "11-20 10:05:04"]),
        (
            "30 0 12 * * * 2026-2027",
            &["11-20 12:00:30", "11-21 12:00:30"],
        ),
        ("0 */6 * * *", &["11-20 12:00:00", "11-20 18:00:00"]),
        ("  0   0  1 * * ", &["12-01 00:00:00", "01-01 00:00:00"]),
        // crontab(5) counts from Sunday = 0, and 7 is Sunday too.
        ("0 0 * * 0", &["11-22 00:00:00", "11-29 00:00:00"]),
        ("0 0 * * 7", &["11-22 00:00:00", "11-29 00:00:00"]),
        (
            "0 0 * * 5-7",
            &["11-21 00:00:00", "11-22 00:00:00", "11-27 00:00:00"],
        ),
        (
            "0 0 * * 1-5/2",
            &["11-23 00:00:00", "11-25 00:00:00", "11-27 00:00:00"],
        ),
        ("0 0 * * MON,wed", &["11-23 00:00:00", "11-25 00:00:00"]),
        // Six fields count from Sunday = 1.
        ("0 0 0 * * 1", &["11-22 00:00:00", "11-29 00:00:00"]),
        // Five fields: either day. Six: both.
        (
            "0 0 1 * 1",
            &["11-23 00:00:00", "11-30 00:00:00", "12-01 00:00:00"],
        ),
        ("0 0 0 1 * Tue", &["12-01 00:00:00", "06-01 00:00:00"]),
        ("0 0 29 2 *", &["02-29 00:00:00", "02-29 00:00:00"]),
        ("@daily", &["11-21 00:00:00", "11-22 00:00:00"]),
    ];
    for (text, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|time| format!("{time} +00:00"))
            .collect();
        let found = shown(&schedule(text, None), Tz::UTC, after, expected.len());
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn clocks_that_are_set() {
    let spring = "2026-03-29T00:00:00Z"; // Berlin: 02:00 becomes 03:00 at 01:00Z
    let autumn = "2026-10-24T23:30:00Z"; // Berlin: 03:00 becomes 02:00 at 01:00Z on the 25th
    let cases: [(&str, &str, &str, &[&str]); 12] = [
        // A moment of the day that is skipped is the end of the gap; once, also if many are.
        (
            "30 2 * * *",
            "Europe/Berlin",
            spring,
            &["03-29 03:00:00 +02:00", "03-30 02:30:00 +02:00"],
        ),
        (
            "0,15,30 2 * * *",
            "Europe/Berlin",
            spring,
            &["03-29 03:00:00 +02:00", "03-30 02:00:00 +02:00"],
        ),
        (
            "0 2,3 * * *",
            "Europe/Berlin",
            spring,
            &["03-29 03:00:00 +02:00", "03-30 02:00:00 +02:00"],
        ),
        // What recurs within the day goes by the clock.
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:20:00Z",
            &[
                "03-29 01:30:00 +01:00",
                "03-29 03:00:00 +02:00",
                "03-29 03:30:00 +02:00",
            ],
        ),
        (
            "0 */2 * * *",
            "Europe/Berlin",
            spring,
            &["03-29 04:00:00 +02:00"],
        ),
        // A moment of the day that comes twice is the first.
        (
            "30 2 * * *",
            "Europe/Berlin",
            autumn,
            &["10-25 02:30:00 +02:00", "10-26 02:30:00 +01:00"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:45:00Z",
            &["10-26 02:30:00 +01:00"],
        ),
        (
            "15 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:05:00Z",
            &["10-26 02:15:00 +01:00"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            autumn,
            &[
                "10-25 02:00:00 +02:00",
                "10-25 02:00:00 +01:00",
                "10-25 03:00:00 +01:00",
            ],
        ),
        (
            "*/30 * * * *",
            "America/New_York",
            "2026-11-01T05:10:00Z",
            &[
                "11-01 01:30:00 -04:00",
                "11-01 01:00:00 -05:00",
                "11-01 01:30:00 -05:00",
                "11-01 02:00:00 -05:00",
            ],
        ),
        (
            "15 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:50:00Z",
            &["04-05 02:15:00 +10:30", "04-05 03:15:00 +10:30"],
        ),
        (
            "0 9 * * *",
            "Asia/Kolkata",
            spring,
            &["03-29 09:00:00 +05:30", "03-30 09:00:00 +05:30"],
        ),
    ];
    for (text, zone, after, expected) in cases {
        let found = shown(
            &schedule(text, Some(zone)),
            zone.parse().unwrap(),
            after,
            expected.len(),
        );
        assert_eq!(found, expected, "{text} in {zone} after {after}");
    }
}

#[test]
fn time_only_goes_forward() {
    for text in [
        "*/7 * * * *",
        "0 2 * * *",
        "*/20 30 1-3 * * *",
        "30 0,2 * * 0",
    ] {
        for zone in [
            "Europe/Berlin",
            "America/Santiago",
            "Australia/Lord_Howe",
            "UTC",
        ] {
            let schedule = schedule(text, Some(zone));
            let mut at = time("2026-01-01T00:00:00Z");
            for _ in 0..2_000 {
                let next = schedule.next(at).unwrap();
                assert!(next > at, "{text} in {zone}: {next} after {at}");
                // Whatever second we ask in, the answer is the same.
                let between = at + (next - at) / 2;
                assert_eq!(
                    schedule.next(between),
                    Some(next),
                    "{text} in {zone} at {between}"
                );
                at = next;
            }
        }
    }
}

#[test]
fn intervals() {
    let next = |text: &str| {
        Schedule::every(text)
            .unwrap()
            .next(time("2026-11-20T10:05:00.2Z"))
            .unwrap()
    };
    assert_eq!(next("6h"), time("2026-11-20T12:00:00Z"));
    assert_eq!(next("1h30m"), time("2026-11-20T10:30:00Z"));
    assert_eq!(next("10s"), time("2026-11-20T10:05:10Z"));
    for text in [
        "",
        "0s",
        "6",
        "h",
        "1y",
        "-1h",
        "367d",
        "99999999999999999999h",
        "1.5h",
        "9223372036854775807w",
    ] {
        assert_eq!(Schedule::every(text).unwrap_err().0, "interval", "{text}");
    }
}

#[test]
fn bad_expressions_say_what_is_wrong() {
    let cases = [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * * *", "8 fields"),
        ("61 * * * *", "the minute cannot be `61`"),
        ("0 0 25 * * *", "the hour cannot be `25`"),
        ("0 0 0 32 * *", "the day of month cannot be `32`"),
        ("0 0 0 * 13 *", "the month cannot be `13`"),
        ("0 0 0 * * 8", "the day of week cannot be `8`"),
        ("0 0 0 * * * 1", "the year cannot be `1`"),
        ("0 0 * * 8", "the day of week cannot be `8`"),
        ("0 0 * * 5-2", "the day of week cannot be `5-2`"),
        ("*/0 * * * *", "the minute cannot be `*/0`"),
        ("0-4294967295 * * * *", "the minute cannot be"),
        ("99999999999 * * * *", "the minute cannot be"),
        ("a b c d 1", "the minute cannot be `a`"),
        ("0 0 * * e", "the day of week cannot be `e`"),
        ("a 0 0 * * *", "the second cannot be `a`"),
        ("1, 2 3 * * *", "the second cannot be `1,`"),
        ("0 0 0 30 2 *", "there is no such day"),
        ("@sometimes", "`@sometimes` is not known"),
        ("\u{0} * * * *", "the minute cannot be"),
    ];
    for (text, expected) in cases {
        let (key, why) = Schedule::expression(text, None).unwrap_err();
        assert_eq!(key, "expression");
        assert!(why.contains(expected), "{text}: {why}");
        assert!(!why.contains('\n'), "{text}: {why}");
    }
    assert_eq!(
        Schedule::expression("* * * * *", Some("Mars/Olympus"))
            .unwrap_err()
            .0,
        "timezone"
    );
    let long = "*".repeat(10_000);
    assert!(
        Schedule::expression(&long, None)
            .unwrap_err()
            .1
            .contains("bytes")
    );
}

#[test]
fn the_last_moments_are_found_without_counting_all() {
    let every_second = schedule("* * * * * *", None);
    let (after, until) = (time("2020-01-01T00:00:00Z"), time("2026-11-20T10:00:00.7Z"));
    let last = every_second.last(after, until, 2);
    assert_eq!(
        last,
        Last {
            times: vec![time("2026-11-20T09:59:59Z"), time("2026-11-20T10:00:00Z")],
            more: true
        }
    );
    let yearly = schedule("@yearly", None);
    let last = yearly.last(time("2023-06-01T00:00:00Z"), until, 9);
    assert_eq!(last.times.len(), 3);
    assert!(!last.more);
    let none = yearly.last(time("2026-06-01T00:00:00Z"), until, 9);
    assert_eq!(
        none,
        Last {
            times: vec![],
            more: false
        }
    );
}
