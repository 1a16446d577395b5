//! Shortens long text and keeps its head and its tail: errors stand at the end of a log.

use std::borrow::Cow;

/// Share of the room that goes to the head.
const HEAD: f64 = 0.6;

/// `text`, or its head and tail with a note between them. At most `bytes_max` bytes of it stay.
pub(crate) fn clip(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary((bytes_max as f64 * HEAD) as usize);
    let tail = text.ceil_char_boundary(text.len() - (bytes_max - head));
    let left_out = tail - head;
    Cow::Owned(format!(
        "{}\n[... {left_out} bytes left out ...]\n{}",
        &text[..head],
        &text[tail..]
    ))
}

/// The beginning of `text`, on one line, for people.
pub(crate) fn preview(text: &str) -> String {
    let start = &text[..text.floor_char_boundary(200)];
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    if start.len() < text.len() {
        line + " ..."
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn head_and_tail_stay() {
        assert_eq!(clip("short", 5), "short");
        assert_eq!(
            clip("0123456789abcdefghij", 10),
            "012345\n[... 10 bytes left out ...]\nghij"
        );
        assert_eq!(preview("a\n  b"), "a b");
    }

    proptest! {
        #[test]
        fn no_character_is_cut(text in "\\PC{0,80}", max in 0usize..100) {
            let clipped = clip(&text, max);
            if text.len() <= max {
                prop_assert_eq!(&*clipped, &text);
            } else {
                let (head, rest) = clipped.split_once("\n[... ").unwrap();
                let (count, tail) = rest.split_once(" bytes left out ...]\n").unwrap();
                prop_assert!(text.starts_with(head) && text.ends_with(tail));
                prop_assert!(head.len() + tail.len() <= max);
                prop_assert_eq!(count.parse::<usize>().unwrap(), text.len() - head.len() - tail.len());
            }
        }
    }
}
