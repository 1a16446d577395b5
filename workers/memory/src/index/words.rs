//! Memories by their words: BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework",
//! 2009; k1 = 1.2, b = 0.75) by tantivy, whose index is kept in memory.
//!
//! Changes wait until somebody searches, because a commit costs milliseconds however little it holds.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term,
    collector::TopDocs,
    indexer::IndexWriterOptions,
    query::{BooleanQuery, ConstScoreQuery, Occur, Query, TermQuery},
    schema::{
        FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions,
    },
    tokenizer::{Language, LowerCaser, RemoveLongFilter, Stemmer, StopWordFilter, TextAnalyzer},
};

use super::{Filter, Slot, tokens::Tokens};

/// The name under which the index knows how texts become words.
const ENGLISH: &str = "english";

/// Longer ones are no words: tantivy's own bound.
const WORD_BYTES_MAX: usize = 40;

/// Distinct words of a question that are looked up; a question is a sentence, not a book.
const QUERY_WORDS_MAX: usize = 64;

/// What tantivy asks for at least. It is reached by some 100,000 memories, and used while a commit
/// lasts.
const WRITER_BYTES: usize = 15_000_000;

pub(super) struct Words {
    index: Index,
    reader: IndexReader,
    analyzer: TextAnalyzer,
    fields: Fields,
    /// What the index does not know yet. At most one entry per memory that is or was in the index.
    waiting: Mutex<BTreeMap<Slot, Change>>,
}

#[derive(Clone, Copy)]
struct Fields {
    slot: Field,
    content: Field,
    scope: Field,
    session: Field,
}

enum Change {
    Add(TantivyDocument),
    Remove,
}

impl Words {
    pub(super) fn new() -> Self {
        let mut schema = Schema::builder();
        let words = TextFieldIndexing::default()
            .set_tokenizer(ENGLISH)
            .set_index_option(IndexRecordOption::WithFreqs);
        let fields = Fields {
            slot: schema.add_u64_field("slot", INDEXED | FAST),
            content: schema.add_text_field(
                "content",
                TextOptions::default().set_indexing_options(words),
            ),
            scope: schema.add_text_field("scope", STRING),
            session: schema.add_text_field("session", STRING),
        };
        let index = Index::create_in_ram(schema.build());
        let analyzer = english();
        index.tokenizers().register(ENGLISH, analyzer.clone());
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .expect("an index in memory that was just made can be read");
        Words {
            index,
            reader,
            analyzer,
            fields,
            waiting: Mutex::default(),
        }
    }

    pub(super) fn insert(&self, slot: Slot, content: &str, scope: &str, session: Option<&str>) {
        let mut document = TantivyDocument::default();
        document.add_u64(self.fields.slot, slot);
        document.add_text(self.fields.content, content);
        document.add_text(self.fields.scope, exact(scope));
        if let Some(session) = session {
            document.add_text(self.fields.session, exact(session));
        }
        self.waiting.lock().insert(slot, Change::Add(document));
    }

    pub(super) fn remove(&self, slot: Slot) {
        let mut waiting = self.waiting.lock();
        if !matches!(waiting.remove(&slot), Some(Change::Add(_))) {
            waiting.insert(slot, Change::Remove);
        }
    }

    /// Makes everything searchable that was inserted, and nothing that was removed.
    pub(super) fn flush(&self) -> Result<(), TantivyError> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return Ok(());
        }
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .build();
        let mut writer: IndexWriter = self.index.writer_with_options(options)?;
        for (slot, change) in std::mem::take(&mut *waiting) {
            match change {
                Change::Add(document) => drop(writer.add_document(document)?),
                Change::Remove => {
                    writer.delete_term(Term::from_field_u64(self.fields.slot, slot));
                }
            }
        }
        writer.commit()?;
        // Otherwise every commit would leave a segment behind. It also ends the writer's threads.
        writer.wait_merging_threads()?;
        self.reader.reload()
    }

    /// The memories that share words with `query` and pass `filter`, best first.
    pub(super) fn search(
        &self,
        query: &str,
        filter: &Filter,
        depth: usize,
    ) -> Result<Vec<(Slot, f64)>, TantivyError> {
        self.flush()?;
        let words = self.query(query);
        if words.is_empty() || depth == 0 {
            return Ok(Vec::new());
        }
        let mut clauses: Vec<(Occur, Box<dyn Query>)> =
            vec![(Occur::Must, Box::new(BooleanQuery::union(words)))];
        clauses.extend(self.conditions(filter).map(|one| (Occur::Must, one)));
        let searcher = self.reader.searcher();
        let best = TopDocs::with_limit(depth).order_by_score();
        let found = searcher.search(&BooleanQuery::new(clauses), &best)?;
        let mut slots = Vec::with_capacity(found.len());
        for (score, address) in found {
            let segment = searcher.segment_reader(address.segment_ord);
            let column = segment.fast_fields().u64("slot")?;
            if let Some(slot) = column.first(address.doc_id) {
                slots.push((slot, rounded(score)));
            }
        }
        Ok(slots)
    }

    fn query(&self, text: &str) -> Vec<Box<dyn Query>> {
        let mut analyzer = self.analyzer.clone();
        let mut words = Vec::new();
        let mut stream = analyzer.token_stream(text);
        while words.len() < QUERY_WORDS_MAX && stream.advance() {
            let word = &stream.token().text;
            if !words.contains(word) {
                words.push(word.clone());
            }
        }
        let by_word = |word: String| -> Box<dyn Query> {
            let term = Term::from_field_text(self.fields.content, &word);
            Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
        };
        words.into_iter().map(by_word).collect()
    }

    /// What a filter asks for, as queries that do not touch the score.
    fn conditions(&self, filter: &Filter) -> impl Iterator<Item = Box<dyn Query>> {
        let is = |field: Field, value: &String| -> Box<dyn Query> {
            let term = Term::from_field_text(field, &exact(value));
            Box::new(TermQuery::new(term, IndexRecordOption::Basic))
        };
        let session = filter.session_id.as_ref();
        let session = session.map(|session| is(self.fields.session, session));
        let scopes = filter.scopes.as_ref().map(|scopes| -> Box<dyn Query> {
            let any = scopes.iter().map(|scope| is(self.fields.scope, scope));
            Box::new(BooleanQuery::union(any.collect()))
        });
        session
            .into_iter()
            .chain(scopes)
            .map(|query| -> Box<dyn Query> { Box::new(ConstScoreQuery::new(query, 0.0)) })
    }
}

/// The last places of a sum depend on the order in which it was made, which is another in an index that
/// was made anew: what is equal must stay so.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e4).round() / 1e4
}

/// A name as one term, the empty one too.
fn exact(name: &str) -> String {
    format!("={name}")
}

fn english() -> TextAnalyzer {
    let stop_words =
        StopWordFilter::new(Language::English).expect("the feature `stopwords` has English ones");
    TextAnalyzer::builder(Tokens)
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(stop_words)
        .filter(Stemmer::new(Language::English))
        .build()
}

#[cfg(test)]
impl Words {
    /// Damages the index as nothing outside a test can.
    pub(super) fn damage(&self) {
        let path = std::path::Path::new("meta.json");
        let directory = self.index.directory();
        tantivy::Directory::atomic_write(directory, path, b"{").unwrap();
        self.insert(Slot::MAX, "damaged", "", None);
    }
}
