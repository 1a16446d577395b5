//! A small embedder for tests, which knows what words mean from a table and how they are spelt from
//! their letters. No model: what it shows is what the memory does with vectors, not how good vectors
//! are. Texts become 384 numbers, as many as those of `all-MiniLM-L6-v2`: every word adds a direction
//! of its own, or that of its row in the table, and a weaker one for each three letters.

use agentos_sdk::Client;
use anyhow::Result;
use serde_json::{Value, json};

const DIMENSIONS: usize = 384;

/// Words of one row mean the same. Written from a thesaurus' point of view, topic by topic.
const SYNONYMS: [&str; 20] = [
    "works work occupation profession job",
    "lives live town reside residence city",
    "owns own animal keep pet",
    "favourite dish meal food like likes best pleases most",
    "allergic tolerate intolerance cooking",
    "drinks beverage breakfast morning sip waking",
    "drives drive vehicle car registered",
    "plays weekends sport hobby saturdays sundays",
    "practises musical instrument learning music",
    "speaks fluently language tongue mastered converse foreign",
    "born birthday month celebrate",
    "wears shoes size feet footwear big fit",
    "reading novel book author nightstand occupies",
    "telephone extension number called ring phone",
    "books seat plane flying reserve comfortable",
    "painted kitchen colour walls cooks shade stove room",
    "studied university degree graduate hold",
    "married spouse partner wife husband",
    "meeting every appointment recurs regularly confer colleagues",
    "holiday spent vacation travel destination latest",
];

/// Words without which a sentence means the same.
const EMPTY: &str = "a an the is of to in on by at as was and with what which where when who whose how does did do has \
                     have are be can it one must not would my go now after always last have named done";

/// Offers `embedding::generate` on the bus.
pub(super) async fn offer(worker: &Client) -> Result<()> {
    let generate = |_, request: Value| async move {
        let texts = request["texts"].as_array().cloned().unwrap_or_default();
        let vectors = texts
            .iter()
            .map(|text| embed(text.as_str().unwrap_or_default()));
        let vectors: Vec<_> = vectors.collect();
        Ok(
            json!({ "embeddings": vectors, "model": "letters-and-synonyms", "dimensions": DIMENSIONS }),
        )
    };
    worker.function("embedding::generate", generate).await?;
    Ok(())
}

fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    let words = text.split(|sign: char| !sign.is_alphanumeric());
    for word in words.map(str::to_lowercase) {
        if word.is_empty() || EMPTY.split_whitespace().any(|empty| empty == word) {
            continue;
        }
        let row = SYNONYMS
            .iter()
            .position(|row| row.split(' ').any(|one| one == word));
        match row {
            Some(row) => add(&mut vector, &format!("meaning {row}"), 1.0),
            None => add(&mut vector, &format!("word {word}"), 1.0),
        }
        let signs: Vec<char> = format!("<{word}>").chars().collect();
        let weight = 0.5 / (signs.len() as f32).sqrt();
        for three in signs.windows(3) {
            add(&mut vector, &String::from_iter(three), weight);
        }
    }
    vector
}

/// Adds a direction that is the feature's own: a few numbers whose places and signs are its hash.
fn add(vector: &mut [f32], feature: &str, weight: f32) {
    const PLACES: usize = 8;
    let mut hash = fnv(feature);
    for _ in 0..PLACES {
        hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let sign = if hash >> 63 == 0 { weight } else { -weight };
        vector[(hash % DIMENSIONS as u64) as usize] += sign;
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every build.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
