//! Where a text's words are: runs of letters and digits, and each sign of Chinese or Japanese, which
//! put no space between words, by itself.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Tokens;

/// The tokens of one text.
pub(super) struct Stream<'a> {
    text: &'a str,
    next: usize,
    token: Token,
}

impl Tokenizer for Tokens {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        Stream {
            text,
            next: 0,
            token: Token::default(),
        }
    }
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.next..];
        let Some(skip) = rest.find(char::is_alphanumeric) else {
            return false;
        };
        let word = &rest[skip..];
        let length = length(word);
        let from = self.next + skip;
        self.next = from + length;
        self.token.position = self.token.position.wrapping_add(1);
        (self.token.offset_from, self.token.offset_to) = (from, self.next);
        self.token.text.clear();
        self.token.text.push_str(&word[..length]);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// The bytes of the word that `text` begins with.
fn length(text: &str) -> usize {
    let mut signs = text.char_indices();
    let first = signs.next().map_or(0, |(_, sign)| sign.len_utf8());
    if text.starts_with(stands_alone) {
        return first;
    }
    let end = signs.find(|(_, sign)| !sign.is_alphanumeric() || stands_alone(*sign));
    end.map_or(text.len(), |(at, _)| at)
}

/// Hiragana, Katakana, and the ideographs of all planes.
fn stands_alone(sign: char) -> bool {
    matches!(sign, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let mut tokens = Tokens;
        let mut stream = tokens.token_stream(text);
        let mut found = Vec::new();
        while stream.advance() {
            found.push(stream.token().text.clone());
        }
        assert_eq!(found, expect);
    }

    #[test]
    fn words_are_runs_and_ideographs_are_words() {
        check("", &[]);
        check(" -- ", &[]);
        check("Ada's key: 42b.", &["Ada", "s", "key", "42b"]);
        check("Straße über", &["Straße", "über"]);
        check("東京に住むAda", &["東", "京", "に", "住", "む", "Ada"]);
    }
}
