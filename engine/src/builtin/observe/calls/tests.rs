use agentos_core::{EndedCall, Now, Watcher};
use agentos_sdk::{
    Code, Error, Payload, Trace,
    protocol::{Call, Delivery},
};

use super::*;
use crate::builtin::observe::config::{Config, Sampling};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn calls(config: &Config) -> Arc<Calls> {
    Calls::new(Arc::new(Sampler::new(config)), true, 1000)
}

fn call(function: &str, parent: Option<&str>) -> Call {
    let mut call = Call::new(None, function, Payload::NULL);
    call.trace = Trace {
        parent: parent.map(Arc::from),
        baggage: Some("user=ada".into()),
    };
    call
}

/// What the callee is told, and the span.
fn run(
    calls: &Arc<Calls>,
    call: Call,
    error: Option<&Error>,
) -> (Option<String>, Option<CallSpan>) {
    let ear = Ear(Arc::clone(calls));
    let took = Duration::from_millis(1);
    let told = ear
        .call_started(Now(0), &call.view(), None)
        .map(|recording| {
            recording.watched.ended(took, error);
            recording.trace_parent
        });
    ear.call_ended(&ended(&call, error.is_some()));
    let told = told.or(call.trace.parent);
    (
        told.map(|parent| parent.to_string()),
        calls.take_spans().pop(),
    )
}

fn ended(call: &Call, failed: bool) -> EndedCall<'_> {
    EndedCall {
        function: &call.function,
        delivery: &call.delivery,
        took: Duration::from_millis(1),
        failed,
    }
}

#[test]
fn a_sampled_caller_gets_a_child_and_the_callee_is_told_of_it() {
    let calls = calls(&Config::default());
    let (told, span) = run(&calls, call("f", Some(PARENT)), None);
    let (told, span) = (Place::parse(&told.unwrap()).unwrap(), span.unwrap());
    let parent = Place::parse(PARENT).unwrap();
    assert_eq!((told.trace, span.place.trace), (parent.trace, parent.trace));
    assert_eq!(span.parent, Some(parent.span));
    assert_eq!(span.place.span, told.span);
    assert_ne!(told.span, parent.span);
}

#[test]
fn what_is_not_recorded_is_passed_on_untouched() {
    let off = Calls::new(Arc::new(Sampler::new(&Config::default())), false, 1000);
    let none = calls(&Config {
        sampling_ratio: 0.0,
        ..Config::default()
    });
    let all = calls(&Config::default());
    let rows = [
        (&off, "f", Some(PARENT)),
        (&off, "f", None),
        (&none, "f", None),
        (&all, "f", Some(UNSAMPLED)),
        (&all, "f", Some("no traceparent")),
        (&all, "engine::log::info", Some(PARENT)),
        (&all, "engine::log::info", None),
    ];
    for (calls, function, parent) in rows {
        let (told, span) = run(calls, call(function, parent), None);
        assert_eq!(told.as_deref(), parent, "{function}");
        assert!(span.is_none(), "{function} {parent:?}");
    }
}

#[test]
fn without_a_parent_the_ratio_decides_and_with_one_too_when_so_configured() {
    let calls_of = |parent_based| {
        calls(&Config {
            sampling: Some(Sampling {
                default: Some(1.0),
                parent_based: Some(parent_based),
                ..Sampling::default()
            }),
            ..Config::default()
        })
    };
    let (told, span) = run(&calls_of(true), call("f", None), None);
    assert!(told.is_some() && span.unwrap().parent.is_none());
    let (_, span) = run(&calls_of(false), call("f", Some(UNSAMPLED)), None);
    assert!(span.is_some());
}

#[test]
fn of_traces_that_nobody_asked_for_so_many_a_second_are_recorded() {
    let calls = calls(&Config::default());
    let ear = Ear(Arc::clone(&calls));
    let recorded = |second: u64, parent: Option<&str>| {
        let call = call("f", parent);
        ear.call_started(Now(second * 1_000_000), &call.view(), None)
            .is_some()
    };
    assert_eq!((0..1000).filter(|_| recorded(7, None)).count(), 100);
    assert!(recorded(7, Some(PARENT)), "whoever asks gets it");
    assert_eq!((0..1000).filter(|_| recorded(8, None)).count(), 100);
}

#[test]
fn every_outcome_is_counted_once() {
    let calls = calls(&Config::default());
    let error = Error::worker(Code::Failed, "no");
    run(&calls, call("f", None), None);
    let (_, span) = run(&calls, call("f", None), Some(&error));
    let (code, message) = span.unwrap().error.unwrap();
    assert_eq!((code, &*message), (Code::Failed, "no"));
    let mut void = call("g", None);
    void.delivery = Delivery::Void;
    run(&calls, void, None);
    let ear = Ear(Arc::clone(&calls));
    // Its caller goes away.
    let gone = call("f", None);
    drop(ear.call_started(Now(0), &gone.view(), None));
    ear.call_ended(&ended(&gone, true));
    ear.call_refused(&error);
    ear.worker_connected();
    ear.worker_connected();
    ear.worker_gone();
    let shown = calls.to_json();
    assert_eq!(
        shown["invocations"],
        serde_json::json!({"total":5,"success":2,"error":3,"deferred":1,"by_function":{"f":3,"g":1}})
    );
    assert_eq!(
        shown["workers"],
        serde_json::json!({"spawns":2,"deaths":1,"active":1})
    );
    assert!(shown["performance"]["max_duration_ms"].is_number());
}

#[test]
fn spans_and_names_are_bounded() {
    // Whoever says what is to be sampled gets all of it, not so many a second.
    let all = Config {
        sampling: Some(Sampling {
            default: Some(1.0),
            ..Sampling::default()
        }),
        ..Config::default()
    };
    let calls = Calls::new(Arc::new(Sampler::new(&all)), true, 1);
    for at in 0..FUNCTIONS_MAX + 10 {
        let ear = Ear(Arc::clone(&calls));
        let call = call(&format!("f{at}"), None);
        drop(ear.call_started(Now(0), &call.view(), None));
        ear.call_ended(&ended(&call, false));
    }
    assert_eq!(calls.by_function().len(), FUNCTIONS_MAX + 1);
    assert_eq!(calls.by_function()[OTHER].calls, 10);
    assert_eq!(calls.take_spans().len(), 16);
    assert_eq!(calls.lost(), (FUNCTIONS_MAX + 10 - 16) as u64);
}

#[tokio::test]
async fn an_eager_reader_is_woken() {
    let calls = calls(&Config::default());
    calls.set_eager(true);
    run(&calls, call("f", None), None);
    tokio::time::timeout(Duration::from_secs(5), calls.more())
        .await
        .expect("woken");
}

#[test]
fn alerts_find_metrics_in_either_spelling() {
    let calls = calls(&Config::default());
    let before = calls.counts();
    run(&calls, call("f", None), None);
    run(
        &calls,
        call("f", None),
        Some(&Error::worker(Code::Failed, "no")),
    );
    let counts = calls.counts();
    for name in [
        "iii.invocations.total",
        "iii_invocations_total",
        "invocations.total",
    ] {
        assert_eq!(counts.metric(name, &before), Some(2.0), "{name}");
    }
    assert_eq!(counts.metric("error_rate", &before), Some(0.5));
    assert_eq!(counts.metric("invocations.error", &counts), Some(0.0));
    assert_eq!(counts.metric("unheard.of", &before), None);
}
