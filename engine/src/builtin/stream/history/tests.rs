use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::builtin::stream::{frame::Join, hub::Hub, mailbox::Mailbox, subscription::Subscription};

const PLACE: Place<'static> = Place {
    stream: "s",
    group: "g",
    item: None,
};

fn history(config: Config) -> (History, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let clock: Clock = Arc::new(move || clock.load(Ordering::Relaxed));
    (History::new(Live::new(config), clock), now)
}

fn tell(history: &History, text: &str) {
    let event = Event {
        item: None,
        version: None,
        text: format!("{{\"x\":{text}}}").into(),
        numbered: None,
    };
    history.tell(PLACE, event, |_| {});
}

/// How many events came after `after`; `None` for a gap.
fn missed(history: &History, after: Number) -> Option<usize> {
    history.since(PLACE, after, |missed, _| missed.len())
}

#[test]
fn what_is_too_much_or_too_old_is_forgotten() {
    let config = Config {
        history_events_max: 3,
        history_ms_max: 1000,
        ..Config::default()
    };
    let (history, now) = history(config);
    tell(&history, "0");
    assert_eq!(missed(&history, 0), None, "nobody had asked");
    let begun = history.watch(PLACE);
    for number in ["1", "2", "3"] {
        tell(&history, number);
    }
    assert_eq!(missed(&history, begun), Some(3));
    tell(&history, "4");
    assert_eq!(missed(&history, begun), None);
    assert_eq!(missed(&history, begun + 1), Some(3));
    assert_eq!(missed(&history, begun + 4), Some(0));
    assert_eq!(missed(&history, begun + 5), None, "that is to come");
    now.fetch_add(1000, Ordering::Relaxed);
    assert_eq!(missed(&history, begun + 3), None);
    assert_eq!(missed(&history, begun + 4), Some(0));
    // Nobody watches, and the group is forgotten.
    history.unwatch(PLACE);
    now.fetch_add(SWEEP_MS + 1000, Ordering::Relaxed);
    let elsewhere = Place {
        group: "h",
        ..PLACE
    };
    history.watch(elsewhere);
    assert!(!history.keeps(PLACE));
    history.watch(PLACE);
    assert_eq!(missed(&history, begun + 4), None, "it may have missed some");
}

#[test]
fn offsets_of_another_life_mean_nothing() {
    let (one, _) = history(Config::default());
    let (other, _) = history(Config::default());
    let frame = one.numbered("{\"a\":1}", 255).to_string();
    let (_, rest) = frame.split_once("offset\":\"").unwrap();
    let (offset, rest) = rest.split_once('"').unwrap();
    assert_eq!(rest, ",\"a\":1}");
    assert_eq!(one.read(offset), Some(255));
    assert_eq!(other.read(offset), None);
    for odd in ["", "-", "x-1", "1", "ä"] {
        assert_eq!(one.read(odd), None, "{odd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever a client leaves and comes back, it hears everything once and in order, or is told
    /// that it cannot.
    #[test]
    fn a_client_that_comes_back_hears_the_rest(
        steps in prop::collection::vec(0..4_u8, 1..120),
        kept in 1..20_usize,
    ) {
        let config = Config { history_events_max: kept, ..Config::default() };
        let (history, _) = history(config);
        let hub = Hub::default();
        let keeps_it = history.watch(PLACE);
        let mut known = keeps_it;
        let mut told: Vec<Number> = Vec::new();
        let mut heard: Vec<Number> = Vec::new();
        let mut here: Option<(Arc<Subscription>, Arc<Mailbox>)> = None;
        for (number, step) in steps.into_iter().enumerate() {
            match (step, &here) {
                // It hears what it was sent, or a part of it, and is gone.
                (0, Some((subscription, mailbox))) => {
                    for _ in 0..number % 5 {
                        let Some(text) = mailbox.take() else { break };
                        let text = text.to_string();
                        if !text.contains("resumed") {
                            let (_, offset) = text.split_once("offset\":\"").unwrap();
                            known = history.read(offset.split_once('"').unwrap().0).unwrap();
                            heard.push(known);
                        }
                    }
                    hub.remove(subscription);
                    here = None;
                }
                (0 | 1, None) => {
                    let mailbox = Arc::new(Mailbox::new(1000, usize::MAX));
                    let wish = Join {
                        stream_name: "s".into(),
                        group_id: "g".into(),
                        offsets: true,
                        ..Join::default()
                    };
                    let subscription = Arc::new(Subscription::new(wish, Arc::clone(&mailbox), 1));
                    hub.add(&subscription);
                    let resumed = history.since(PLACE, known, |missed, _| {
                        subscription.go_on("resumed".into(), missed);
                    });
                    let since_then = told.iter().filter(|told| **told > known).count();
                    prop_assert_eq!(resumed.is_some(), since_then <= kept);
                    if resumed.is_none() {
                        // It is shown how things are.
                        known = told.last().copied().unwrap_or(known);
                        heard.clone_from(&told);
                        history.since(PLACE, known, |missed, _| {
                            subscription.go_on("resumed".into(), missed);
                        });
                    }
                    here = Some((subscription, mailbox));
                }
                _ => {
                    let event = Event {
                        item: None,
                        version: None,
                        text: "{\"x\":1}".into(),
                        numbered: None,
                    };
                    history.tell(PLACE, event, |event| {
                        told.push(event.number().unwrap());
                        hub.publish(PLACE, event);
                    });
                }
            }
            prop_assert_eq!(&heard[..], &told[..heard.len()]);
        }
    }
}
