//! How many tests passed and failed, read from what the runners of three languages print.

use std::{fmt, ops::AddAssign};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Count {
    /// Adds what a summary line says; other lines say nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        let words: Vec<&str> = line
            .split([' ', ',', ';'])
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            // cargo: `test result: ok. 3 passed; 0 failed; 0 ignored; …`
            ["test", "result:", ..] => self.read_pairs(&words),
            // node: `ℹ pass 3`, `ℹ fail 0`
            [_, "pass", count] if line.starts_with('ℹ') => self.passed += number(count),
            [_, "fail", count] if line.starts_with('ℹ') => self.failed += number(count),
            // pytest: `2 failed, 3 passed in 0.1s`, perhaps between `=`
            _ if words.contains(&"in")
                && (words.contains(&"passed") || words.contains(&"failed")) =>
            {
                self.read_pairs(&words);
            }
            _ => {}
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Count::default()
    }

    fn read_pairs(&mut self, words: &[&str]) {
        for pair in words.windows(2) {
            match pair[1] {
                "passed" => self.passed += number(pair[0]),
                "failed" | "error" | "errors" => self.failed += number(pair[0]),
                _ => {}
            }
        }
    }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summaries_of_every_runner() {
        let check = |line: &str, passed, failed| {
            let mut count = Count::default();
            count.read(line);
            assert_eq!(count, Count { passed, failed }, "{line}");
        };
        check(
            "test result: FAILED. 23 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 75.68s",
            23,
            3,
        );
        check("ℹ pass 12", 12, 0);
        check("ℹ fail 1", 0, 1);
        check("83 passed in 12.30s", 83, 0);
        check(
            "===== 1 failed, 82 passed, 2 warnings in 12.30s =====",
            82,
            1,
        );
        check("1 passed, 1 error in 0.2s", 1, 1);
        check("test args::tests::reads_times ... ok", 0, 0);
        check("the guard passed 3 in a row", 0, 0);
    }
}
