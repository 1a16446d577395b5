//! Text in which each `${…}` is one inert word, so that YAML neither splits it nor takes a part of
//! it for its own: `{ port: ${PORT:3111} }` is a mapping then. Knows nothing of what variables mean.

/// Around a masked variable's number. For private use, so no file has a reason to hold them.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// A text without its variables.
pub(super) struct Masked {
    text: String,
    variables: Vec<String>,
}

impl Masked {
    /// `None` when there is nothing to mask, or the text holds the marks itself.
    pub(super) fn of(text: &str) -> Option<Masked> {
        if !text.contains("${") || text.contains([OPEN, CLOSE]) {
            return None;
        }
        let mut masked = Masked {
            text: String::with_capacity(text.len()),
            variables: Vec::new(),
        };
        for line in text.split_inclusive('\n') {
            masked.push(line);
        }
        Some(masked)
    }

    /// A variable ends on its line, as one without a closing brace does not end at all.
    fn push(&mut self, line: &str) {
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                break;
            };
            let end = start + length + 1;
            self.text.push_str(&rest[..start]);
            self.text.push(OPEN);
            self.text.push_str(&self.variables.len().to_string());
            self.text.push(CLOSE);
            self.variables.push(rest[start..end].to_owned());
            rest = &rest[end..];
        }
        self.text.push_str(rest);
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A part of the text with its variables again.
    pub(super) fn unmasked(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            out.push_str(before);
            let Some((number, behind)) = after.split_once(CLOSE) else {
                break;
            };
            let variable = number
                .parse()
                .ok()
                .and_then(|index: usize| self.variables.get(index));
            out.push_str(variable.map_or("", String::as_str));
            rest = behind;
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_comes_back() {
        for text in [
            "a: ${A}\nb: { c: ${B:1}, d: \"${C:x y}-${D}\" }\n",
            "${OPEN\n${A}",
            "$${A} ${}",
        ] {
            let masked = Masked::of(text).unwrap();
            assert_eq!(masked.unmasked(masked.text()), text);
        }
        assert!(Masked::of("plain: 1").is_none());
        assert!(Masked::of("\u{E000}0\u{E001} ${A}").is_none());
        let masked = Masked::of("{ port: ${PORT:3111} }").unwrap();
        assert_eq!(masked.text(), "{ port: \u{E000}0\u{E001} }");
    }
}
