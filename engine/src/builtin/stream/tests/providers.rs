//! Streams that somebody else keeps.

use super::*;

/// A provider of the stream `s` that remembers what it is asked, and answers with `answers`.
async fn provide(rig: &Rig, answers: &[(&str, Value)]) -> mpsc::Receiver<(String, Value)> {
    let (tell, asked) = mpsc::channel(64);
    let mut registrar = Registrar::new();
    for (function, answer) in answers {
        let (tell, answer) = (tell.clone(), answer.clone());
        registrar.function(&format!("{function}(s)"), move |context, input: Value| {
            let asked = (context.function().to_owned(), input);
            tell.try_send(asked).unwrap();
            let answer = answer.clone();
            async move {
                match answer.as_str() {
                    Some("throw") => Err(Error::worker(Code::Failed, "no disk").reason("MY_OWN")),
                    _ => Ok(answer),
                }
            }
        });
    }
    rig.offer(registrar).await;
    asked
}

#[tokio::test]
async fn everything_is_asked_of_the_provider() {
    let rig = Rig::new().await;
    let answers = [
        (
            api::SET,
            json!({ "old_value": 1, "new_value": 2, "more": true }),
        ),
        (api::GET, json!("got")),
        (api::DELETE, json!({ "old_value": 3 })),
        (api::LIST, json!(["a", "b"])),
        (api::LIST_GROUPS, json!(["g"])),
        (api::UPDATE, json!({ "new_value": 4 })),
    ];
    let mut asked = provide(&rig, &answers).await;
    let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
    let ops = json!([{ "type": "append", "path": "log", "value": "x" }]);
    for (function, answer) in &answers {
        let input = match *function {
            api::SET => item("i", json!({ "data": { "b": 1, "a": 2 } })),
            api::UPDATE => item("i", json!({ "ops": ops })),
            api::LIST => json!({ "stream_name": "s", "group_id": "g" }),
            api::LIST_GROUPS => json!({ "stream_name": "s" }),
            _ => item("i", json!({})),
        };
        rig.check(function, input.clone(), answer.clone()).await;
        let expect = (format!("{function}(s)"), input);
        assert_eq!(asked.recv().await, Some(expect));
    }
    for (kind, data) in [("update", 2), ("delete", 3), ("create", 4)] {
        let expect = event(json!("i"), json!({ "type": kind, "data": data }));
        assert_eq!(next(&mut heard).await, expect);
    }
    // Nothing of it is ours, and other streams are.
    rig.check(
        api::LIST_ALL,
        json!({}),
        json!({ "stream": [], "count": 0 }),
    )
    .await;
    let other = json!({ "stream_name": "t", "group_id": "g", "item_id": "i", "data": 1 });
    rig.call(api::SET, other).await.unwrap();
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_set_without_new_value_tells_what_was_set() {
    let rig = Rig::new().await;
    let _asked = provide(&rig, &[(api::SET, json!({}))]).await;
    let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
    rig.check(api::SET, item("i", json!({ "data": 7 })), json!({}))
        .await;
    let expect = event(json!("i"), json!({ "type": "create", "data": 7 }));
    assert_eq!(next(&mut heard).await, expect);
}

#[tokio::test]
async fn a_provider_that_says_nothing_or_fails() {
    for (answer, message) in [
        (json!(null), "returned nothing"),
        (json!(true), "cannot be used"),
        (json!("throw"), "no disk"),
    ] {
        let rig = Rig::new().await;
        let answers = [
            (api::SET, answer.clone()),
            (api::DELETE, answer.clone()),
            (api::UPDATE, answer.clone()),
        ];
        let _asked = provide(&rig, &answers).await;
        let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
        for (function, reason) in [
            (api::SET, "STREAM_SET_ERROR"),
            (api::DELETE, "STREAM_DELETE_ERROR"),
            (api::UPDATE, "STREAM_UPDATE_ERROR"),
        ] {
            let input = item("i", json!({ "data": 1, "ops": [] }));
            rig.refuse(function, input, Code::Failed, reason, message)
                .await;
        }
        silence(&mut heard).await;
    }
    let rig = Rig::new().await;
    let answers = [(api::GET, json!(null)), (api::LIST, json!(null))];
    let _asked = provide(&rig, &answers).await;
    rig.check(api::GET, item("i", json!({})), json!(null)).await;
    let group = json!({ "stream_name": "s", "group_id": "g" });
    rig.check(api::LIST, group, json!([])).await;
}

#[tokio::test]
async fn an_update_that_nobody_provides_reads_changes_and_writes() {
    let rig = Rig::new().await;
    let kept = Arc::new(Mutex::new(json!({ "n": 0 })));
    let mut registrar = Registrar::new();
    let read = Arc::clone(&kept);
    registrar.function("stream::get(s)", move |_, _: Value| {
        let value = read.lock().clone();
        async move {
            tokio::task::yield_now().await;
            Ok(value)
        }
    });
    let write = Arc::clone(&kept);
    registrar.function("stream::set(s)", move |_, mut input: Value| {
        let write = Arc::clone(&write);
        async move {
            tokio::task::yield_now().await;
            let new = input["data"].take();
            let old = std::mem::replace(&mut *write.lock(), new.clone());
            Ok(json!({ "old_value": old, "new_value": new }))
        }
    });
    rig.offer(registrar).await;
    let mut heard = rig.listen(json!({ "stream_name": "s" })).await;
    let ops = json!({ "ops": [{ "type": "increment", "path": "n", "by": 1 }] });
    let updates = (0..20).map(|_| rig.call(api::UPDATE, item("i", ops.clone())));
    for updated in futures_util::future::join_all(updates).await {
        assert!(updated.unwrap()["new_value"]["n"].is_u64());
    }
    assert_eq!(*kept.lock(), json!({ "n": 20 }));
    for expect in 1..=20 {
        let told = next(&mut heard).await;
        assert_eq!(
            told["event"],
            json!({ "type": "update", "data": { "n": expect } })
        );
    }
}
