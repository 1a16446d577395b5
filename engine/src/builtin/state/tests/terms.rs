//! `ttl_ms`: values that are forgotten.

use super::*;

async fn set(rig: &Rig, key: &str, ttl_ms: Option<u64>) {
    let input = json!({"scope": "s", "key": key, "value": key, "ttl_ms": ttl_ms});
    rig.call(api::SET, input).await.unwrap();
}

/// Entries in the space of terms.
async fn terms(rig: &Rig) -> usize {
    let scan = crate::storage::Scan::all(row::TERMS);
    rig.state
        .writes
        .store
        .scan(scan)
        .await
        .unwrap()
        .entries
        .len()
}

#[tokio::test]
async fn nobody_sees_a_value_after_its_term() {
    let rig = Rig::new().await;
    set(&rig, "a", Some(100)).await;
    set(&rig, "b", None).await;
    rig.pass_ms(99);
    assert_eq!(rig.get("a").await, json!("a"));
    rig.pass_ms(1);
    assert_eq!(rig.get("a").await, json!(null));
    rig.check(api::LIST, json!({"scope": "s"}), json!(["b"]))
        .await;
    let page = rig.call(api::ENTRIES, json!({"scope": "s"})).await.unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), 1);
    rig.check(api::DELETE, json!({"scope": "s", "key": "a"}), json!(null))
        .await;
}

#[tokio::test]
async fn a_scope_of_expired_values_is_no_scope() {
    let rig = Rig::new().await;
    set(&rig, "a", Some(100)).await;
    rig.pass_ms(100);
    rig.check(api::LIST_GROUPS, json!({}), json!({"groups": []}))
        .await;
}

#[tokio::test]
async fn a_key_begins_anew_after_its_term() {
    let rig = Rig::new().await;
    set(&rig, "a", Some(100)).await;
    rig.pass_ms(100);
    let input = json!({"scope": "s", "key": "a", "value": 1, "expected_version": 0});
    rig.check(api::SET, input, json!({"old_value": null, "new_value": 1}))
        .await;
    rig.pass_ms(1000);
    expiry::sweep(&rig.state.writes, None).await.unwrap();
    assert_eq!((rig.get("a").await, terms(&rig).await), (json!(1), 0));
}

#[tokio::test]
async fn the_sweep_removes_what_is_due_and_nothing_else() {
    let rig = Rig::new().await;
    set(&rig, "a", Some(100)).await;
    set(&rig, "b", Some(101)).await;
    set(&rig, "c", None).await;
    rig.pass_ms(100);
    expiry::sweep(&rig.state.writes, None).await.unwrap();
    assert_eq!(terms(&rig).await, 1);
    let stored = rig
        .state
        .writes
        .store
        .scan(crate::storage::Scan::all(row::VALUES))
        .await
        .unwrap();
    assert_eq!(stored.entries.len(), 2);
}

#[tokio::test]
async fn a_new_term_replaces_the_old_one() {
    let rig = Rig::new().await;
    set(&rig, "a", Some(100)).await;
    set(&rig, "a", Some(300)).await;
    assert_eq!(terms(&rig).await, 1);
    rig.pass_ms(200);
    assert_eq!(rig.get("a").await, json!("a"));
    set(&rig, "a", None).await;
    assert_eq!(terms(&rig).await, 0);
}

#[tokio::test]
async fn an_update_keeps_the_term_unless_it_names_one() {
    let rig = Rig::new().await;
    let update = |ttl_ms: Option<u64>| {
        let ops = json!([{"type": "append", "path": "", "value": "!"}]);
        json!({"scope": "s", "key": "a", "ops": ops, "ttl_ms": ttl_ms})
    };
    set(&rig, "a", Some(100)).await;
    rig.call(api::UPDATE, update(None)).await.unwrap();
    rig.pass_ms(100);
    assert_eq!(rig.get("a").await, json!(null));
    set(&rig, "a", Some(100)).await;
    rig.call(api::UPDATE, update(Some(500))).await.unwrap();
    rig.pass_ms(400);
    assert_eq!(rig.get("a").await, json!("a!"));
}

#[tokio::test]
async fn a_term_of_zero_is_refused() {
    let rig = Rig::new().await;
    let input = json!({"scope": "s", "key": "a", "value": 1, "ttl_ms": 0});
    rig.refuse(
        api::SET,
        input,
        Code::InvalidInput,
        "SET_ERROR",
        "ttl_ms is 0",
    )
    .await;
}

#[tokio::test]
async fn the_worker_sweeps_by_itself() {
    let rig = Rig::with(Config {
        sweep_interval_ms: 1,
        ..Config::default()
    })
    .await;
    let stop = Stop::new();
    let work = tokio::spawn(Arc::clone(&rig.state).run(rig.bus.clone(), stop.clone()));
    set(&rig, "a", Some(100)).await;
    rig.pass_ms(100);
    while terms(&rig).await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.cancel();
    work.await.unwrap().unwrap();
}
