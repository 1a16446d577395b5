use std::collections::HashSet;

use agentos_contract::memory::{Hit, NewMemory, Source};

use super::*;
use crate::{config::Config, decay::Decay};

fn vector(model: &str, values: &[f32]) -> Option<Vector> {
    Vector::new(&model.into(), values.to_vec())
}

fn record(content: &str, age: u64, values: Option<&[f32]>) -> Record {
    let new = NewMemory {
        content: content.into(),
        ..NewMemory::default()
    };
    let mut record = Record::new(new, age);
    record.embedding = values.and_then(|values| vector("m", values));
    record
}

fn index(records: impl IntoIterator<Item = Record>) -> Index {
    let mut index = Index::new(16_384);
    records.into_iter().for_each(|record| index.insert(record));
    index
}

fn question<'a>(query: &'a str, vector: Option<&'a Vector>, filter: &'a Filter) -> Question<'a> {
    Question {
        query,
        vector,
        filter,
        limit: 10,
        similarity_min: 0.2,
        decay: Decay::new(&Config::default()),
        now_ms: 5,
    }
}

fn search(index: &Index, query: &str, vector: Option<&Vector>) -> Vec<Hit> {
    let filter = Filter::default();
    index.search(&question(query, vector, &filter)).unwrap()
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
    let hits = search(&index, "on which day do we run deployments?", None);
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
    let query = vector("m", &[1.0, 0.05]);
    let hits = search(&index, "green tea?", query.as_ref());
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
    let hits = search(&index, "tea", None);
    assert_eq!(contents(&hits)[..2], ["tea number4", "tea number3"]);
}

#[test]
fn of_equals_the_one_in_use_comes_first_and_the_oldest_is_still_found() {
    let mut index = index([record("tea one", 1, None), record("tea two", 2, None)]);
    let year = 365 * decay::USE_MS;
    assert_eq!(index.used(["none"].into_iter(), year), [""; 0]);
    let first = index.oldest(1);
    assert_eq!(index.used(first.iter().map(String::as_str), year), first);
    // Once a day is enough.
    assert!(
        index
            .used(first.iter().map(String::as_str), year + 1)
            .is_empty()
    );
    let filter = Filter::default();
    let mut question = question("tea", None, &filter);
    question.now_ms = year;
    let hits = index.search(&question).unwrap();
    assert_eq!(contents(&hits), ["tea one", "tea two"]);
    assert!(hits[1].score > 0.85 * hits[0].score);
}

#[test]
fn a_new_model_means_embedding_again() {
    let mut index = index([record("a", 1, Some(&[1.0])), record("b", 2, None)]);
    assert_eq!(index.pending(10).len(), 1);
    index.set_model(&"m".into());
    assert_eq!(index.pending(10).len(), 1);
    index.set_model(&"n".into());
    let pending = index.pending(10);
    assert_eq!((pending.len(), index.waiting()), (2, 2));
    for (id, _) in pending {
        assert!(index.embedded(&id, vector("n", &[1.0])).is_some());
    }
    assert!(index.pending(10).is_empty());
    // What another model made is of no use to a question of this one.
    assert!(search(&index, "x", vector("m", &[1.0]).as_ref()).is_empty());
    assert_eq!(search(&index, "x", vector("n", &[1.0]).as_ref()).len(), 2);
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
    let query = vector("m", &[1.0]);
    assert_eq!(search(&index, "tea", query.as_ref()).len(), 2);
    index.remove(&index.oldest(1)[0].clone());
    assert_eq!(
        contents(&search(&index, "tea", query.as_ref())),
        ["more tea"]
    );
    assert_eq!(index.newest(&Filter::default()).count(), 1);
    assert_eq!(index.len(), 1);
}

#[test]
fn drawers_are_separate_and_no_drawer_means_nothing() {
    let mut stored = record("tea", 1, Some(&[1.0]));
    stored.memory.scope = Some("work".into());
    stored.memory.session_id = Some("s1".into());
    let index = index([stored, record("tea outside", 2, Some(&[1.0]))]);
    let query = vector("m", &[1.0]);
    let found = |session: Option<&str>, scopes: Option<&[&str]>| {
        let filter = Filter {
            session_id: session.map(Into::into),
            scopes: scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect()),
        };
        let by_words = index.search(&question("tea", None, &filter)).unwrap();
        let by_both = index.search(&question("tea", query.as_ref(), &filter));
        assert_eq!(by_words.len(), by_both.unwrap().len());
        by_words.len()
    };
    assert_eq!(found(None, None), 2);
    assert_eq!(found(None, Some(&["work"])), 1);
    assert_eq!(found(None, Some(&["work", ""])), 2);
    assert_eq!(found(None, Some(&["home"])), 0);
    assert_eq!(found(None, Some(&[])), 0);
    assert_eq!(found(Some("s1"), None), 1);
    assert_eq!(found(Some("s1"), Some(&[""])), 0);
}

#[test]
fn a_damaged_index_of_words_is_an_error_and_made_anew() {
    let mut index = index([record("green tea", 1, None)]);
    index.words.damage();
    let filter = Filter::default();
    assert!(index.search(&question("tea", None, &filter)).is_err());
    index.renew_words();
    assert_eq!(contents(&search(&index, "tea", None)), ["green tea"]);
}

#[test]
fn what_others_wrote_comes_in_and_what_they_forgot_goes() {
    let (tea, moon) = (record("tea", 1, None), record("the moon", 2, None));
    let index = tokio::sync::RwLock::new(index([tea.clone(), moon.clone()]));
    let embedded = record("tea", 1, Some(&[1.0]));
    reconcile(&index, vec![record("more tea", 3, None), embedded]);
    let index = index.into_inner();
    assert_eq!(
        contents(&search(&index, "tea moon", None)),
        ["tea", "more tea"]
    );
    assert_eq!(index.waiting(), 1);
    assert!(index.vector(&tea.memory.id).is_some() && index.get(&moon.memory.id).is_none());
}

// ── The graph ───────────────────────────────────────────────────────────────────────────────

const COUNT: usize = 1_200;

fn noise(random: &mut fastrand::Rng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| random.f32() - 0.5).collect()
}

fn near(centre: &[f32], noise: &[f32]) -> Vec<f32> {
    let both = centre.iter().zip(noise);
    both.map(|(a, b)| a + 0.5 * b).collect()
}

/// Vectors in clusters, as those of sentences are.
fn clustered(random: &mut fastrand::Rng, count: usize) -> Vec<Vec<f32>> {
    let centres: Vec<_> = (0..count / 20).map(|_| noise(random, 48)).collect();
    let one = |_| near(&centres[random.usize(..centres.len())], &noise(random, 48));
    (0..count).map(one).collect()
}

fn large(exact_max: usize) -> Index {
    let mut random = fastrand::Rng::with_seed(7);
    let mut index = Index::new(exact_max);
    for (number, values) in clustered(&mut random, COUNT).into_iter().enumerate() {
        let mut record = record(&format!("n{number}"), number as u64, Some(&values));
        record.memory.scope = (number % 2 == 0).then(|| "even".to_owned());
        index.insert(record);
    }
    index
}

fn grow(index: &mut Index) {
    let wanted = index.graph_wanted().expect("there are many");
    let graph = Graph::new(wanted.vectors).unwrap();
    index.install_graph(wanted.generation, graph);
    assert!(index.graph_wanted().is_none());
}

/// The share of the ten nearest that `index` finds, of those that `exact` finds.
fn recall(index: &Index, exact: &Index, filter: &Filter) -> f64 {
    let mut random = fastrand::Rng::with_seed(8);
    let queries = clustered(&mut random, 100);
    let mut found = 0;
    for query in &queries {
        let query = vector("m", query);
        let mut question = question("", query.as_ref(), filter);
        question.similarity_min = -1.0;
        let ids = |index: &Index| -> HashSet<String> {
            let hits = index.search(&question).unwrap();
            hits.into_iter().map(|hit| hit.memory.id).collect()
        };
        let expected = ids(exact);
        assert_eq!(expected.len(), 10);
        found += ids(index).intersection(&expected).count();
    }
    found as f64 / (10.0 * queries.len() as f64)
}

#[test]
fn the_graph_finds_what_comparing_all_finds() {
    let exact = large(usize::MAX);
    assert!(exact.graph_wanted().is_none());
    let mut graph = large(100);
    grow(&mut graph);
    let all = Filter::default();
    let even = Filter::of(None, Some("even".to_owned()));
    for filter in [&all, &even] {
        let share = recall(&graph, &exact, filter);
        assert!(share >= 0.95, "recall@10 is {share}");
    }
}

#[test]
fn every_memory_in_the_graph_is_found_by_its_own_vector() {
    let mut index = large(100);
    grow(&mut index);
    let filter = Filter::default();
    let lost = index.newest_records(&filter).filter(|record| {
        let hits = search(&index, "", record.embedding.as_ref());
        hits.iter().all(|hit| hit.memory.id != record.memory.id)
    });
    assert_eq!(lost.count(), 0);
}

#[test]
fn what_changes_after_the_graph_was_made_is_found_and_forgotten() {
    let mut index = large(100);
    let wanted = index.graph_wanted().unwrap();
    let graph = Graph::new(wanted.vectors).unwrap();
    // While it was made, one was forgotten and one stored.
    let first = index.oldest(1).remove(0);
    let gone = index.get(&first).unwrap().embedding.clone();
    index.remove(&first);
    let values: Vec<f32> = (0..48).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
    index.insert(record("new", 10_000, Some(&values)));
    index.install_graph(wanted.generation, graph);
    let hits = search(&index, "", gone.as_ref());
    assert!(hits.iter().all(|hit| hit.memory.id != first));
    assert_eq!(
        contents(&search(&index, "", vector("m", &values).as_ref()))[0],
        "new"
    );

    // A quarter is gone: it is made anew.
    for id in index.oldest(COUNT / 4) {
        index.remove(&id);
    }
    grow(&mut index);

    // A graph of another model's vectors is not taken.
    let wanted = index.graph_wanted();
    assert!(wanted.is_none());
    let (generation, graph) = (0, Graph::new(Vec::new()).unwrap());
    index.set_model(&"n".into());
    index.install_graph(generation, graph);
    let id = index.newest(&filter_all()).next().unwrap().id.clone();
    index.embedded(&id, vector("n", &[1.0, 0.0]));
    assert_eq!(
        search(&index, "", vector("n", &[1.0, 0.0]).as_ref()).len(),
        1
    );
}

fn filter_all() -> Filter {
    Filter::default()
}

/// The figures of docs/decisions/007-memory-indexes.md:
/// `cargo test --release -p agentos-memory -- --ignored figures --nocapture`.
#[test]
#[ignore = "takes minutes and asserts nothing"]
fn figures() {
    let mut random = fastrand::Rng::with_seed(9);
    for count in [4_000, 16_000, 50_000] {
        let centres: Vec<Vec<f32>> = (0..count / 20).map(|_| noise(&mut random, 384)).collect();
        let mut exact = Vectors::new(usize::MAX);
        let mut one = || {
            let centre = &centres[random.usize(..centres.len())];
            let values = near(centre, &noise(&mut random, 384));
            vector("m", &values).unwrap().values
        };
        let queries: Vec<_> = (0..200).map(|_| one()).collect();
        for slot in 0..count as Slot {
            exact.insert(slot, one());
        }
        let ask = |vectors: &Vectors| {
            let start = std::time::Instant::now();
            let found: Vec<HashSet<Slot>> = queries
                .iter()
                .map(|query| {
                    vectors
                        .search(query, None, 10, -1.0)
                        .into_iter()
                        .map(|(slot, _)| slot)
                        .collect()
                })
                .collect();
            (found, start.elapsed() / queries.len() as u32)
        };
        let (expected, exact_time) = ask(&exact);
        exact.exact_max = 0;
        let wanted = exact.wanted().unwrap();
        let start = std::time::Instant::now();
        let graph = Graph::new(wanted.vectors).unwrap();
        let made = start.elapsed();
        exact.install(wanted.generation, Arc::new(graph));
        let (found, graph_time) = ask(&exact);
        let same: usize = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| a.intersection(b).count())
            .sum();
        let share = same as f64 / (10 * queries.len()) as f64;
        println!(
            "{count}: one by one {exact_time:?}; graph {graph_time:?}, recall@10 {share:.3}, made in {made:?}"
        );
    }
}
