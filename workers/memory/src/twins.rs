//! Which memories say the same. Pure: it is given texts and vectors.
//!
//! A merge too few costs a row, one too many a fact. So two memories are only ever merged in one
//! drawer, one conversation and one role. There, the same words are enough; likeness of vectors is only
//! with the same names, numbers and negations in the same order: sentence models find "Ada owes Bob 20" and "Bob owes Ada 30" all but equal.

use std::{collections::HashMap, sync::Arc};

use crate::{
    index::Id,
    record::{Record, dot},
};

/// Comparisons of vectors in one run: some seconds. What is left out, the next run may find.
const PAIRS_MAX: usize = 20_000_000;

/// Drawer, conversation and role.
type Place = (Option<String>, Option<String>, Option<String>);

/// A memory as far as it matters here.
pub(crate) struct Saying {
    pub(crate) id: Id,
    place: Place,
    plain: String,
    particulars: Vec<String>,
    vector: Option<Arc<[f32]>>,
}

/// Memories of which one can stay for all.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Twins {
    pub(crate) kept: Id,
    pub(crate) others: Vec<Id>,
}

/// What was found.
pub(crate) struct Found {
    pub(crate) groups: Vec<Twins>,
    /// There was more to compare than [`PAIRS_MAX`].
    pub(crate) cut_short: bool,
}

impl Saying {
    pub(crate) fn new(record: &Record, vector: Option<&Arc<[f32]>>) -> Self {
        let memory = &record.memory;
        let words: Vec<Word<'_>> = words(&memory.content);
        Saying {
            id: memory.id.as_str().into(),
            place: (
                memory.scope.clone(),
                memory.session_id.clone(),
                memory.role.clone(),
            ),
            plain: plain(&words),
            particulars: particulars(&words),
            vector: vector.cloned(),
        }
    }

    /// Two sayings with one of these in common may be twins.
    fn keys(&self) -> ((&Place, &str), (&Place, &[String])) {
        let place = &self.place;
        ((place, &self.plain), (place, &self.particulars))
    }

    fn is_twin(&self, other: &Saying, similarity: f64) -> bool {
        let near = |(a, b): (&Arc<[f32]>, &Arc<[f32]>)| f64::from(dot(a, b)) >= similarity;
        self.plain == other.plain
            || self
                .vector
                .as_ref()
                .zip(other.vector.as_ref())
                .is_some_and(near)
    }
}

/// The twins among `sayings`, of which the first stays: give the newest first.
pub(crate) fn find(sayings: &[Saying], similarity: f64) -> Found {
    let mut by_words: HashMap<_, Vec<usize>> = HashMap::new();
    let mut by_particulars: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, saying) in sayings.iter().enumerate() {
        let (words, particulars) = saying.keys();
        by_words.entry(words).or_default().push(at);
        by_particulars.entry(particulars).or_default().push(at);
    }
    let mut left = PAIRS_MAX;
    let mut taken = vec![false; sayings.len()];
    let mut groups = Vec::new();
    for (at, kept) in sayings.iter().enumerate() {
        if taken[at] {
            continue;
        }
        let (words, particulars) = kept.keys();
        let later =
            |bucket: &Vec<usize>| bucket[bucket.partition_point(|other| *other <= at)..].to_vec();
        let candidates = [
            later(&by_words[&words]),
            later(&by_particulars[&particulars]),
        ]
        .concat();
        if candidates.len() > left {
            let cut_short = true;
            return Found { groups, cut_short };
        }
        left -= candidates.len();
        let mut others = Vec::new();
        for other in candidates {
            if !taken[other] && kept.is_twin(&sayings[other], similarity) {
                taken[other] = true;
                others.push(Arc::clone(&sayings[other].id));
            }
        }
        if !others.is_empty() {
            let kept = Arc::clone(&kept.id);
            groups.push(Twins { kept, others });
        }
    }
    let cut_short = false;
    Found { groups, cut_short }
}

// ── Texts ───────────────────────────────────────────────────────────────────────────────────

struct Word<'a> {
    text: &'a str,
    starts: bool,
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut starts = true;
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let word = part.trim_matches(|sign: char| !sign.is_alphanumeric());
        if !word.is_empty() {
            words.push(Word { text: word, starts });
            starts = false;
        }
        starts |= part.ends_with(['.', '!', '?', ':', ';']);
    }
    words
}

/// The text without case, punctuation and articles.
fn plain(words: &[Word<'_>]) -> String {
    let words = words.iter().map(|word| word.text.to_lowercase());
    let words: Vec<String> = words
        .filter(|word| !matches!(word.as_str(), "a" | "an" | "the"))
        .collect();
    words.join(" ")
}

/// Names, numbers and negations, in their order.
fn particulars(words: &[Word<'_>]) -> Vec<String> {
    let tells = |word: &&Word<'_>| {
        let lower = word.text.to_lowercase();
        let capital = word.text.starts_with(char::is_uppercase);
        word.text.contains(char::is_numeric)
            || NEGATIONS.contains(&lower.as_str())
            || lower.ends_with("n't")
            || lower.ends_with("n’t")
            || capital && !(word.starts && OPENERS.contains(&lower.as_str()))
    };
    let words = words.iter().filter(tells);
    words.map(|word| word.text.to_lowercase()).collect()
}

const NEGATIONS: [&str; 10] = [
    "no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot",
];

/// Words that begin a sentence without naming anything. One that is missing here costs a merge.
const OPENERS: [&str; 36] = [
    "a", "an", "and", "as", "at", "by", "during", "each", "every", "for", "from", "he", "her",
    "his", "if", "in", "it", "its", "my", "of", "on", "our", "she", "since", "that", "the",
    "their", "there", "they", "this", "to", "user", "we", "when", "with", "your",
];

#[cfg(test)]
mod tests {
    use agentos_contract::memory::NewMemory;

    use super::*;

    fn saying(content: &str, scope: Option<&str>, vector: Option<&[f32]>) -> Saying {
        let new = NewMemory {
            content: content.into(),
            scope: scope.map(Into::into),
            ..NewMemory::default()
        };
        let vector: Option<Arc<[f32]>> = vector.map(Into::into);
        Saying::new(&Record::new(new, 1), vector.as_ref())
    }

    /// Whether two texts are merged, whose vectors are the same.
    fn check(a: &str, b: &str, expect: bool) {
        let sayings = [saying(a, None, Some(&[1.0])), saying(b, None, Some(&[1.0]))];
        let found = find(&sayings, 0.95);
        assert_eq!(!found.groups.is_empty(), expect, "{a} / {b}");
    }

    #[test]
    fn other_names_numbers_and_negations_are_other_facts() {
        check(
            "In spring Ada drinks tea",
            "Ada has tea during spring",
            true,
        );
        check("Ada owes Bob money", "Bob owes Ada money", false);
        check("the code of Ada is 4711", "the code of Ada is 4712", false);
        check("Ada likes tea", "Ada does not like tea", false);
        check("she likes tea", "she doesn't like tea", false);
        check("Tea is for Ada", "Coffee is for Ada", false);
        check("Tea is for Ada", "tea is for Ada!", true);
    }

    #[test]
    fn wording_alone_is_enough_without_vectors_and_likeness_is_not_without_likeness() {
        let same = [
            saying("The tea is hot.", None, None),
            saying("tea is HOT", None, None),
        ];
        assert_eq!(find(&same, 0.95).groups.len(), 1);
        let near = |other: f32| {
            let b: [f32; 2] = [other, (1.0 - other * other).sqrt()];
            let pair = [
                saying("tea is hot", None, Some(&[1.0, 0.0])),
                saying("hot is what tea is", None, Some(&b)),
            ];
            find(&pair, 0.95).groups.len()
        };
        assert_eq!((near(0.96), near(0.94)), (1, 0));
    }

    #[test]
    fn drawers_are_not_mixed_and_the_first_stays() {
        let sayings = [
            saying("tea", Some("work"), None),
            saying("Tea", None, None),
            saying("the tea", None, None),
            saying("tea!", None, None),
        ];
        let groups = find(&sayings, 0.95).groups;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].kept, sayings[1].id);
        let others = [&sayings[2], &sayings[3]].map(|other| Arc::clone(&other.id));
        assert_eq!(groups[0].others, others);
    }
}
