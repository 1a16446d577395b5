use agentos_contract::memory::StoreRequest;

use super::*;

fn record(content: &str, age: u64, vector: Option<&[f32]>) -> Record {
    let request = StoreRequest {
        content: content.into(),
        ..StoreRequest::default()
    };
    let mut record = Record::new(request, age);
    record.embedding = vector.and_then(|values| Vector::new("m", values.to_vec()));
    record
}

fn index(records: impl IntoIterator<Item = Record>) -> Index {
    let mut index = Index::default();
    records.into_iter().for_each(|record| index.insert(record));
    index
}

fn contents(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.memory.content.as_str()).collect()
}

#[test]
fn words_are_found_in_other_forms_and_in_long_questions() {
    let index = index([
        record("the deployment runs on Fridays", 1, None),
        record("Ada likes green tea", 2, None),
    ]);
    let hits = index.search(
        "on which day do we run deployments?",
        None,
        &Filter::default(),
        10,
        0.2,
    );
    assert_eq!(contents(&hits), ["the deployment runs on Fridays"]);
    assert_eq!(hits[0].sources, [Source::Keyword]);
    assert!(hits[0].similarity.is_none());
}

#[test]
fn meaning_finds_what_words_do_not_and_both_together_win() {
    let index = index([
        record("green tea", 1, Some(&[1.0, 0.1])),
        record("a warm drink", 2, Some(&[1.0, 0.0])),
        record("tea leaves", 3, Some(&[0.0, 1.0])),
        record("the moon", 4, Some(&[-1.0, 0.0])),
    ]);
    let query = Vector::new("m", vec![1.0, 0.05]).unwrap();
    let hits = index.search("green tea?", Some(&query), &Filter::default(), 10, 0.2);
    assert_eq!(contents(&hits)[0], "green tea");
    assert_eq!(hits[0].sources, [Source::Keyword, Source::Vector]);
    assert!(contents(&hits).contains(&"a warm drink"));
    assert!(
        !contents(&hits).contains(&"the moon"),
        "what is unlike stays out"
    );
}

#[test]
fn the_order_of_equals_is_newest_first() {
    let index = index((0..5).map(|age| record(&format!("tea number{age}"), age, None)));
    let hits = index.search("tea", None, &Filter::default(), 2, 0.2);
    assert_eq!(contents(&hits), ["tea number4", "tea number3"]);
}

#[test]
fn a_new_model_means_embedding_again() {
    let mut index = index([record("a", 1, Some(&[1.0])), record("b", 2, None)]);
    assert_eq!(index.pending(10).len(), 1);
    index.set_model("m");
    assert_eq!(index.pending(10).len(), 1);
    index.set_model("n");
    let pending = index.pending(10);
    assert_eq!(pending.len(), 2);
    for (id, _) in pending {
        assert!(index.embedded(&id, Vector::new("n", vec![1.0])).is_some());
    }
    assert!(index.pending(10).is_empty());
}

#[test]
fn what_cannot_be_embedded_does_not_wait_for_ever() {
    let mut index = index([record("a", 1, None)]);
    let (id, _) = index.pending(1).remove(0);
    assert_eq!(index.embedded(&id, None), None);
    assert!(index.pending(1).is_empty());
}

#[test]
fn removed_means_not_found_by_any_way() {
    let mut index = index([
        record("tea", 1, Some(&[1.0])),
        record("more tea", 2, Some(&[1.0])),
    ]);
    let oldest = index.oldest().unwrap();
    index.remove(&oldest);
    let query = Vector::new("m", vec![1.0]).unwrap();
    let hits = index.search("tea", Some(&query), &Filter::default(), 10, 0.2);
    assert_eq!(contents(&hits), ["more tea"]);
    assert_eq!(index.newest(&Filter::default()).count(), 1);
    assert_eq!(index.len(), 1);
}

#[test]
fn drawers_are_separate_and_no_drawer_means_nothing() {
    let mut stored = record("tea", 1, None);
    stored.memory.scope = Some("work".into());
    let index = index([stored]);
    let found = |scopes: Option<&[&str]>| {
        let scopes = scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect());
        index
            .search(
                "tea",
                None,
                &Filter {
                    scopes,
                    session_id: None,
                },
                10,
                0.2,
            )
            .len()
    };
    assert_eq!(found(None), 1);
    assert_eq!(found(Some(&["work"])), 1);
    assert_eq!(found(Some(&["home"])), 0);
    assert_eq!(found(Some(&[])), 0);
}
