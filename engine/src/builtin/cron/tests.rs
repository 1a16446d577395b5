//! Cron as its functions see it, in minutes of paused time that pass at once.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use agentos_sdk::{FunctionBuilder, Link, Peer, protocol::Frame};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::*;
use crate::storage::memory;

mod calendar;

const START: &str = "2026-11-20T10:00:00.25Z";

/// A clock on the wall that goes with the paused time of tokio, and can be set.
#[derive(Clone)]
struct Wall {
    began: Instant,
    set_ms: Arc<AtomicI64>,
    reads: Arc<AtomicUsize>,
}

impl Wall {
    fn new() -> Self {
        Wall {
            began: Instant::now(),
            set_ms: Arc::default(),
            reads: Arc::default(),
        }
    }

    fn clock(&self) -> Clock {
        let wall = self.clone();
        Arc::new(move || {
            wall.reads.fetch_add(1, Ordering::Relaxed);
            let passed = TimeDelta::from_std(wall.began.elapsed()).unwrap();
            time(START) + passed + TimeDelta::milliseconds(wall.set_ms.load(Ordering::Relaxed))
        })
    }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Hands every frame to the other end; registrations are confirmed at once.
struct Wire {
    own: Peer,
    other: Peer,
}

impl Link for Wire {
    fn send(&self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Register(register) => self.own.on_frame(Frame::Registered {
                request: register.request,
                rejected: Vec::new(),
            }),
            frame => self.other.on_frame(frame),
        }
        Ok(())
    }
}

/// An engine's cron, and a worker whose functions it calls.
struct Rig {
    cron: Arc<Cron>,
    bus: Bus,
    heard: Arc<Mutex<Vec<Value>>>,
    stop: Stop,
}

impl Rig {
    async fn new(store: &Arc<dyn Storage>, wall: &Wall) -> Rig {
        let cron = Cron::with_clock(Arc::clone(store), Config::default(), wall.clock());
        let (worker, engine) = (Peer::new(), Peer::new());
        for (own, other) in [(&worker, &engine), (&engine, &worker)] {
            own.attach(Arc::new(Wire {
                own: own.clone(),
                other: other.clone(),
            }));
        }
        let mut registrar = Registrar::new();
        Arc::clone(&cron).register(&mut registrar);
        engine.register(registrar).await.unwrap();
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let rig = Rig {
            cron: Arc::clone(&cron),
            bus: Bus::new(worker.clone()),
            heard: Arc::clone(&heard),
            stop: Stop::new(),
        };
        let mut registrar = Registrar::new();
        let _: FunctionBuilder<'_> = registrar.function("job::tick", move |_, event: Value| {
            heard.lock().push(event);
            async { Ok(()) }
        });
        let heard = Arc::clone(&rig.heard);
        registrar.function("job::slow", move |_, event: Value| {
            heard.lock().push(event);
            async {
                sleep(Duration::from_millis(2_500)).await;
                Ok(())
            }
        });
        registrar.function("job::fail", |_, _: Value| async {
            Err::<(), _>(Error::worker(Code::Failed, "no luck"))
        });
        registrar.function("is::odd", |_, event: Value| async move {
            let second = event["scheduled_time"].as_str().unwrap()[18..19]
                .parse::<u32>()
                .unwrap();
            Ok(second % 2 == 1)
        });
        worker.register(registrar).await.unwrap();
        tokio::spawn(cron.run(Bus::new(engine), rig.stop.clone()));
        rig
    }

    fn bind(&self, id: &str, function: &str, config: Value) {
        self.cron
            .bind(TriggerSpec::new(id, "cron", function, config))
            .unwrap();
    }

    /// The moments that functions have been called for since the last time somebody asked.
    fn due(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.heard.lock());
        heard
            .iter()
            .map(|event| event["scheduled_time"].as_str().unwrap()[11..19].to_owned())
            .collect()
    }

    async fn list(&self) -> Value {
        self.bus.trigger(api::LIST, &json!({})).await.unwrap()
    }
}

async fn pass(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_at_its_times() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    rig.bind("j1", "job::tick", json!({"expression": "*/2 * * * * *"}));
    rig.bind("j2", "job::tick", json!({"schedule": "* * * * *"}));
    rig.bind("j3", "job::tick", json!({"interval": "40s"}));
    pass(6.0).await;
    let first = rig.heard.lock()[0].clone();
    assert_eq!(first["trigger"], "cron");
    assert_eq!(first["job_id"], "j1");
    assert_eq!(first["scheduled_time"], "2026-11-20T10:00:02+00:00");
    assert_eq!(
        first["actual_time"].as_str().unwrap()[..19],
        *"2026-11-20T10:00:02"
    );
    assert_eq!(first.as_object().unwrap().len(), 4);
    assert_eq!(rig.due(), ["10:00:02", "10:00:04", "10:00:06"]);
    rig.cron.unbind("j1");
    pass(60.0).await;
    assert_eq!(rig.due(), ["10:00:40", "10:01:00"]);
    rig.cron.unbind("j2");
    rig.cron.unbind("j3");
    pass(3600.0).await;
    assert_eq!(rig.due(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_itself_and_for_nobody_else() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    rig.bind("slow", "job::slow", json!({"expression": "* * * * * *"}));
    pass(8.5).await;
    // Each run takes 2.5 s; what comes due meanwhile is missed.
    assert_eq!(rig.due(), ["10:00:01", "10:00:04", "10:00:07"]);
    rig.cron.unbind("slow");
    rig.bind("slow", "job::slow", json!({"expression": "*/30 * * * * *"}));
    rig.bind(
        "quick",
        "job::tick",
        json!({"expression": "*/30 * * * * *"}),
    );
    pass(30.0).await;
    assert_eq!(rig.due(), ["10:00:30", "10:00:30"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_due_while_a_job_runs_can_wait_or_run_beside_it() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    let slow = |overlap: &str| json!({"expression": "* * * * * *", "overlap": overlap});
    rig.bind("slow", "job::slow", slow("queue"));
    pass(8.5).await;
    // Each run takes 2.5 s; the next one begins when it ends.
    let expected = ["10:00:01", "10:00:02", "10:00:03", "10:00:04"];
    assert_eq!(rig.due(), expected);
    rig.cron.unbind("slow");
    // The run that was under way ends, and those that wait for it.
    pass(60.0).await;
    rig.due();
    let rig = Rig::new(&memory::open(), &Wall::new()).await;
    rig.bind("slow", "job::slow", slow("allow"));
    pass(4.0).await;
    assert_eq!(rig.due(), expected);
    let jobs = rig.list().await;
    let last = &jobs["jobs"][0]["last_run"];
    assert_eq!(
        (&last["outcome"], &last["duration_ms"]),
        (&json!("done"), &json!(2_500))
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_of_one_moment_begin_apart_and_always_so() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    let config = json!({"expression": "* * * * *", "jitter": "30s"});
    rig.bind("a", "job::tick", config.clone());
    rig.bind("b", "job::tick", config);
    let jobs = rig.list().await;
    let late = |place: usize| jobs["jobs"][place]["jitter_ms"].as_i64().unwrap();
    assert_ne!(late(0), late(1));
    // That of ten o'clock has not begun yet.
    let first: DateTime<Utc> = time("2026-11-20T10:00:00Z");
    for place in [0, 1] {
        let next = jobs["jobs"][place]["next_run"].as_str().unwrap();
        assert_eq!(time(next), first + TimeDelta::milliseconds(late(place)));
    }
    pass(180.0).await;
    let heard = std::mem::take(&mut *rig.heard.lock());
    assert_eq!(heard.len(), 6);
    for event in heard {
        let at = |key: &str| time(event[key].as_str().unwrap());
        let waited = (at("actual_time") - at("scheduled_time")).num_milliseconds();
        let late = late(usize::from(event["job_id"] == "b"));
        assert!((late..late + 5).contains(&waited), "{waited} of {late}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_decides_and_a_failure_only_logs() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    rig.bind(
        "odd",
        "job::tick",
        json!({"expression": "* * * * * *", "condition_function_id": "is::odd"}),
    );
    rig.bind(
        "lost",
        "job::tick",
        json!({"expression": "* * * * * *", "condition_function_id": "is::missing"}),
    );
    rig.bind("fail", "job::fail", json!({"expression": "* * * * * *"}));
    pass(4.0).await;
    assert_eq!(rig.due(), ["10:00:01", "10:00:03"]);
    let jobs = rig.list().await["jobs"].clone();
    let outcome = |place: usize| jobs[place]["last_run"]["outcome"].clone();
    assert_eq!(
        (&jobs[0]["job_id"], outcome(0)),
        (&json!("fail"), json!("failed"))
    );
    assert_eq!(jobs[0]["last_run"]["error"], "failed: no luck");
    assert_eq!(
        (&jobs[1]["job_id"], outcome(1)),
        (&json!("lost"), json!("failed"))
    );
    assert_eq!(
        (&jobs[2]["job_id"], outcome(2)),
        (&json!("odd"), json!("skipped"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_missed_while_it_was_down() {
    let cases: [(&str, &[&str]); 3] = [
        ("skip", &["10:08:00"]),
        ("once", &["10:07:00", "10:08:00"]),
        (
            "all",
            &[
                "10:03:00", "10:04:00", "10:05:00", "10:06:00", "10:07:00", "10:08:00",
            ],
        ),
    ];
    for (missed, expected) in cases {
        let (store, wall) = (memory::open(), Wall::new());
        let config = json!({"expression": "* * * * *", "missed": missed});
        let rig = Rig::new(&store, &wall).await;
        rig.bind("job", "job::tick", config.clone());
        pass(150.0).await;
        assert_eq!(rig.due(), ["10:01:00", "10:02:00"], "{missed}");
        rig.stop.cancel();
        pass(300.5).await;
        assert_eq!(rig.due(), [""; 0], "{missed}");
        let rig = Rig::new(&store, &wall).await;
        rig.bind("job", "job::tick", config);
        pass(40.0).await;
        assert_eq!(rig.due(), expected, "{missed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_very_first_run_can_be_missed_and_names_outlive_ids() {
    let (store, wall) = (memory::open(), Wall::new());
    let config = json!({"expression": "0 12 * * *", "missed": "once", "name": "noon"});
    let rig = Rig::new(&store, &wall).await;
    rig.bind("id-1", "job::tick", config.clone());
    pass(10.0).await;
    rig.stop.cancel();
    pass(86_400.0).await;
    let rig = Rig::new(&store, &wall).await;
    rig.bind("id-2", "job::tick", config);
    pass(1.0).await;
    assert_eq!(rig.due(), ["12:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn several_engines_run_a_job_once() {
    let (store, wall) = (memory::open(), Wall::new());
    let mut rigs = Vec::new();
    for _ in 0..3 {
        let rig = Rig::new(&store, &wall).await;
        rig.bind(
            "job",
            "job::slow",
            json!({"expression": "*/10 * * * * *", "missed": "all"}),
        );
        rigs.push(rig);
    }
    pass(65.0).await;
    let mut due: Vec<String> = rigs.iter().flat_map(Rig::due).collect();
    due.sort();
    let expected = [
        "10:00:10", "10:00:20", "10:00:30", "10:00:40", "10:00:50", "10:01:00",
    ];
    assert_eq!(due, expected);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_died_with_its_engine_is_made_up_for() {
    let (store, wall) = (memory::open(), Wall::new());
    let config = json!({"expression": "0 * * * * *", "missed": "once"});
    let rig = Rig::new(&store, &wall).await;
    rig.bind("job", "job::slow", config.clone());
    pass(60.5).await;
    assert_eq!(rig.due(), ["10:01:00"]);
    // In the middle of the run.
    rig.stop.cancel();
    let rig = Rig::new(&store, &wall).await;
    rig.bind("job", "job::slow", config);
    pass(20.0).await;
    assert_eq!(rig.due(), [""; 0], "the lock still stands");
    pass(15.0).await;
    assert_eq!(rig.due(), ["10:01:00"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    rig.bind("job", "job::tick", json!({"expression": "0 */30 * * * *"}));
    rig.bind("noon", "job::tick", json!({"expression": "0 0 12 * * *"}));
    pass(5.0).await;
    wall.set_ms.store(2 * 3_600_000 - 20_000, Ordering::Relaxed);
    pass(60.0).await;
    assert_eq!(rig.due(), ["12:00:00", "12:00:00"]);
    // Back to 11:31: noon has been; the half hours go on by what the clock shows.
    wall.set_ms.store(90 * 60_000, Ordering::Relaxed);
    pass(1_800.0).await;
    assert_eq!(rig.due(), ["12:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn idle_jobs_cost_nothing() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    for number in 0..20 {
        rig.bind(
            &format!("job-{number}"),
            "job::tick",
            json!({"expression": "@yearly"}),
        );
    }
    pass(1.0).await;
    wall.reads.store(0, Ordering::Relaxed);
    pass(3_600.0).await;
    let reads = wall.reads.load(Ordering::Relaxed);
    assert!(reads <= 200, "the clock was read {reads} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn bad_configs_are_refused() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    let cases = [
        (json!(null), "expression", "missing"),
        (json!({}), "expression", "missing"),
        (json!({"expression": "every day"}), "expression", "2 fields"),
        (
            json!({"schedule": "61 * * * *"}),
            "schedule",
            "the minute cannot be `61`",
        ),
        (
            json!({"interval": "soon"}),
            "interval",
            "`soon` is not an interval",
        ),
        (
            json!({"expression": "@daily", "interval": "1h"}),
            "expression",
            "only one",
        ),
        (
            json!({"expression": "@daily", "timezone": "Nowhere"}),
            "timezone",
            "`Nowhere`",
        ),
        (
            json!({"expression": "@daily", "missed": "never"}),
            "missed",
            "`skip`, `once`, `all`",
        ),
        (
            json!({"expression": "@daily", "overlap": "maybe"}),
            "overlap",
            "`skip`, `queue`, `allow`",
        ),
        (
            json!({"expression": "@daily", "jitter": "2d"}),
            "jitter",
            "1s to 1d",
        ),
        (json!({"expression": 5}), "expression", "expected a string"),
        (json!({"expression": "@daily", "name": ""}), "name", "256"),
    ];
    for (config, key, expected) in cases {
        let spec = TriggerSpec::new("bad", "cron", "job::tick", config.clone());
        let error = rig.cron.bind(spec).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput, "{config}");
        assert_eq!(error.details.unwrap()["field"], key, "{config}");
        assert!(
            error.message.contains(expected),
            "{config}: {}",
            error.message
        );
    }
    assert_eq!(rig.list().await, json!({"jobs": []}));
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_and_run_by_hand() {
    let (store, wall) = (memory::open(), Wall::new());
    let rig = Rig::new(&store, &wall).await;
    rig.bind(
        "daily",
        "job::tick",
        json!({"expression": "0 9 * * *", "timezone": "Europe/Berlin"}),
    );
    rig.bind("slow", "job::slow", json!({"interval": "1h"}));
    pass(1.0).await;
    let expected = json!({
        "job_id": "daily", "function_id": "job::tick", "expression": "0 9 * * *", "timezone": "Europe/Berlin",
        "missed": "skip", "overlap": "skip", "next_run": "2026-11-21T08:00:00+00:00", "last_run": null, "running": false,
    });
    assert_eq!(rig.list().await["jobs"][0], expected);
    let run = |id: &'static str| {
        let bus = rig.bus.clone();
        async move {
            bus.trigger::<Value>(api::RUN, &json!({ "job_id": id }))
                .await
        }
    };
    assert_eq!(run("daily").await.unwrap()["outcome"], "done");
    assert_eq!(rig.due(), ["10:00:01"]);
    assert_eq!(run("none").await.unwrap_err().code, Code::NotFound);
    let first = tokio::spawn(run("slow"));
    pass(0.1).await;
    assert_eq!(run("slow").await.unwrap_err().code, Code::Conflict);
    assert_eq!(rig.list().await["jobs"][1]["running"], true);
    assert_eq!(first.await.unwrap().unwrap()["duration_ms"], 2_500);
    assert_eq!(rig.due().len(), 1);
    pass(3_600.0).await;
    assert_eq!(rig.due(), ["11:00:00"]);
}
