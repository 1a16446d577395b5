//! What is carried: a JSON object `{"n":"NUMBER","text":"xxx…"}`.

use std::ops::Range;

const START: &str = r#"{"n":""#;
const DIGITS: usize = 16;
const MIDDLE: &str = r#"","text":""#;
const END: &str = r#""}"#;

/// Where the number is, from where the object begins.
pub(crate) const NUMBER: Range<usize> = START.len()..START.len() + DIGITS;

/// An object of so many bytes, or the smallest that there is.
pub(crate) fn of_bytes(bytes: usize) -> Vec<u8> {
    let frame = START.len() + DIGITS + MIDDLE.len() + END.len();
    let text = "x".repeat(bytes.saturating_sub(frame));
    format!("{START}{:0DIGITS$}{MIDDLE}{text}{END}", 0).into_bytes()
}

/// Writes the low digits of `value`, as many as there is room for.
pub(crate) fn write_hex(value: u64, at: &mut [u8]) {
    let mut value = value;
    for digit in at.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

pub(crate) fn read_hex(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| {
        number << 4 | (*digit as char).to_digit(16).map_or(0, u64::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_where_it_is_said_to_be() {
        let mut payload = of_bytes(64);
        assert_eq!(payload.len(), 64);
        write_hex(0xbeef, &mut payload[NUMBER]);
        assert_eq!(read_hex(&payload[NUMBER]), 0xbeef);
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
    }
}
