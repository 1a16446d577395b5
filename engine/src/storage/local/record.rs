//! How a record lies on disk: format, version, checksum, value.
//!
//! The checksum covers space and key too, so a record that turns up under another key is found
//! like one with a flipped bit.

use bytes::Bytes;

use crate::storage::{Error, Record};

/// First byte of every record: tells later builds how to read the rest.
const FORMAT: u8 = 1;

/// Format (1), version (8, little endian), CRC-32C (4, little endian).
const HEADER_BYTES: usize = 13;

pub(super) fn encode(space: &str, key: &[u8], record: &Record) -> Vec<u8> {
    let version = record.version.to_le_bytes();
    let checksum = checksum(space, key, version, &record.value);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.value.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&version);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&record.value);
    bytes
}

pub(super) fn decode(space: &str, key: &[u8], bytes: &[u8]) -> Result<Record, Error> {
    let damaged = |what| {
        Error::damaged(format!(
            "{what} under key `{}` of space `{space}`",
            key.escape_ascii(),
        ))
    };
    let (head, value) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| damaged("a record cut short"))?;
    let [format, v0, v1, v2, v3, v4, v5, v6, v7, crc @ ..] = *head;
    if format != FORMAT {
        return Err(damaged("a record of unknown format"));
    }
    let version = [v0, v1, v2, v3, v4, v5, v6, v7];
    if checksum(space, key, version, value) != u32::from_le_bytes(crc) {
        return Err(damaged("a record with a wrong checksum"));
    }
    Ok(Record {
        version: u64::from_le_bytes(version),
        value: Bytes::copy_from_slice(value),
    })
}

fn checksum(space: &str, key: &[u8], version: [u8; 8], value: &[u8]) -> u32 {
    let space = crc32c::crc32c(space.as_bytes());
    let key_bytes = (key.len() as u64).to_le_bytes();
    [&[FORMAT], &version[..], &key_bytes, key, value]
        .into_iter()
        .fold(space, crc32c::crc32c_append)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "test";

    #[test]
    fn every_flipped_bit_is_found() {
        let record = Record {
            version: 7,
            value: Bytes::from_static(b"{\"a\":1}"),
        };
        let bytes = encode(SPACE, b"key", &record);
        assert_eq!(decode(SPACE, b"key", &bytes), Ok(record));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(SPACE, b"key", &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_belongs_to_its_key_and_space() {
        let bytes = encode(
            SPACE,
            b"key",
            &Record {
                version: 1,
                value: Bytes::new(),
            },
        );
        assert!(decode(SPACE, b"kez", &bytes).is_err());
        assert!(decode("other", b"key", &bytes).is_err());
        assert!(decode(SPACE, b"key", &bytes[..12]).is_err());
    }
}
