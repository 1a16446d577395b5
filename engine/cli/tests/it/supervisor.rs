//! The supervisor alone, with small shell scripts as workers.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use agentos_engine::supervisor::{
    self, Config, Event, Handle, Manifest, State, Status, What, guard,
};
use tokio::sync::broadcast::Receiver;

use crate::{AGENTOS, FAMILY, PATIENCE, pids, shell_worker, wait_until_dead};

fn start(folder: &Path, names: &[&str]) -> Handle {
    let open = |name: &&str| Manifest::open(&folder.join(name), &BTreeMap::new()).unwrap();
    supervisor::start(Config {
        manifests: names.iter().map(open).collect(),
        env: vec![("AGENTOS_URL".into(), "ws://somewhere".into())],
        search_path: std::env::var("PATH").unwrap(),
        logs_dir: folder.join("logs"),
        log_bytes_max: 1 << 20,
        stop_timeout: Duration::from_millis(300),
        guard: vec![AGENTOS.into(), guard::ARGUMENT.into()],
    })
    .unwrap()
}

async fn wait<T>(
    events: &mut Receiver<Event>,
    what: &str,
    mut pick: impl FnMut(&What) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if let Some(found) = pick(&event.what) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("no {what}"))
}

async fn started(events: &mut Receiver<Event>) -> u32 {
    wait(events, "start", |what| {
        if let What::Started { pid } = what {
            Some(*pid)
        } else {
            None
        }
    })
    .await
}

fn status(handle: &Handle) -> Status {
    handle.statuses().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_its_environment_and_keeps_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "echo $AGENTOS_WORKER_NAME $AGENTOS_URL $OWN; echo err >&2; echo $$ > pids; sleep 600";
    shell_worker(folder.path(), "one", script, "env: { OWN: mine }\n");
    let handle = start(folder.path(), &["one"]);
    let pid = started(&mut handle.events()).await;
    assert_eq!(pids(&folder.path().join("one/pids"), 1), [pid]);
    let now = status(&handle);
    assert_eq!(
        (now.state, now.pid, now.restarts),
        (State::Running, Some(pid), 0)
    );
    handle.shutdown().await;
    assert_eq!(status(&handle).state, State::Stopped);
    let log = fs::read_to_string(now.log).unwrap();
    assert!(
        log.contains("one ws://somewhere mine\n") && log.contains("err\n"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_followed_by_longer_and_longer_waits_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(
        folder.path(),
        "one",
        "echo about to crash; exit 3",
        "restart: { backoff_ms: 20, backoff_ms_max: 200 }\n",
    );
    let handle = start(folder.path(), &["one"]);
    let mut events = handle.events();
    let mut waits = Vec::new();
    let said = wait(&mut events, "crash loop", |what| match what {
        What::Exited { how, retry_in } => {
            assert_eq!(how, "exit code 3");
            waits.push(*retry_in);
            None
        }
        What::CrashLoop { output, .. } => Some(output.clone()),
        _ => None,
    })
    .await;
    assert!(said.contains(&"about to crash".to_owned()), "{said:?}");
    assert!(waits.len() == 5 && waits[4] > 2 * waits[0], "{waits:?}");
    assert!(status(&handle).restarts >= 4);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_the_request_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(folder.path(), "one", &format!("trap '' TERM\n{FAMILY}"), "");
    let handle = start(folder.path(), &["one"]);
    let pids = pids(&folder.path().join("one/pids"), 3);
    handle.shutdown().await;
    wait_until_dead(&pids);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hears_the_request_may_finish() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(
        folder.path(),
        "one",
        "trap 'echo finished; exit 0' TERM\necho $$ > pids\nwhile true; do sleep 0.05; done",
        "",
    );
    let handle = start(folder.path(), &["one"]);
    pids(&folder.path().join("one/pids"), 1);
    handle.shutdown().await;
    // Not the last line always: some shells also tell of the `sleep` that the request ended.
    let log = fs::read_to_string(status(&handle).log).unwrap();
    assert!(log.lines().any(|line| line == "finished"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_guard_takes_the_worker_with_it() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(folder.path(), "one", FAMILY, "");
    let handle = start(folder.path(), &["one"]);
    let mut events = handle.events();
    let worker = started(&mut events).await;
    let family = pids(&folder.path().join("one/pids"), 3);
    let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    let guard = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(1)
        .unwrap();
    std::process::Command::new("kill")
        .args(["-9", guard])
        .status()
        .unwrap();
    let how = wait(&mut events, "end", |what| {
        if let What::Exited { how, .. } = what {
            Some(how.clone())
        } else {
            None
        }
    })
    .await;
    assert_eq!(how, "its guard process was killed");
    // The one that left the group has nobody to end it; the others are gone.
    wait_until_dead(&family[..2]);
    started(&mut events).await;
    handle.shutdown().await;
    let _ = std::process::Command::new("kill")
        .args(["-9", &family[2].to_string()])
        .status();
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_restarts_on_request() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(folder.path(), "one", "sleep 600", "");
    let handle = start(folder.path(), &["one"]);
    let mut events = handle.events();
    let first = started(&mut events).await;
    assert!(handle.stop("one").await && !handle.stop("other").await);
    wait_until_dead(&[first]);
    assert_eq!(
        (status(&handle).state, status(&handle).pid),
        (State::Stopped, None)
    );
    assert!(handle.restart("one").await);
    assert_ne!(started(&mut events).await, first);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepares_once_until_an_input_changes_or_an_output_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let prepare = "prepare: [[sh, -c, 'echo ran >> log; touch built']]\ninputs: ['src/*']\noutputs: [built]\n";
    shell_worker(folder.path(), "one", "sleep 600", prepare);
    let one = folder.path().join("one");
    fs::create_dir(one.join("src")).unwrap();
    let runs = || {
        fs::read_to_string(one.join("log"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let change = |number: u32| fs::write(one.join("src/a"), number.to_string()).unwrap();
    let steps: [(&dyn Fn(), usize); 5] = [
        (&|| change(1), 1),
        (&|| (), 1),
        (&|| change(2), 2),
        (&|| fs::remove_file(one.join("built")).unwrap(), 3),
        (&|| fs::write(one.join("src/b"), "").unwrap(), 4),
    ];
    for (step, expect) in steps {
        step();
        let handle = start(folder.path(), &["one"]);
        started(&mut handle.events()).await;
        handle.shutdown().await;
        assert_eq!(runs(), expect);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_supervisors_do_not_prepare_one_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let prepare = "prepare: [[sh, -c, 'mkdir busy && sleep 0.3 && rmdir busy && echo ran >> log']]\ninputs: [script.sh]\n";
    shell_worker(folder.path(), "one", "sleep 600", prepare);
    let handles = [
        start(folder.path(), &["one"]),
        start(folder.path(), &["one"]),
    ];
    for handle in &handles {
        started(&mut handle.events()).await;
    }
    for handle in &handles {
        handle.shutdown().await;
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("one/log")).unwrap(),
        "ran\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preparation_ends_with_the_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    shell_worker(
        folder.path(),
        "one",
        FAMILY,
        "prepare: [[sh, script.sh]]\ninputs: [script.sh]\n",
    );
    let handle = start(folder.path(), &["one"]);
    let pids = pids(&folder.path().join("one/pids"), 3);
    assert_eq!(status(&handle).state, State::Preparing);
    handle.shutdown().await;
    wait_until_dead(&pids);
}
