//! A backup as a file: records one after the other, each with a checksum, and their number at the
//! end, so that a file that was cut short is seen.
//!
//! It knows no adapter: what one has written another can read back.

use std::io::{self, Read};

use bytes::{BufMut, Bytes};

use super::{Error, Record};

/// First bytes of the file. The number is raised when what follows changes its meaning.
const MAGIC: &[u8] = b"agentos-backup 1\n";

/// Larger than any record: a message on the bus is at most 1 GiB, and becomes one or two.
const ENTRY_BYTES_MAX: usize = 2 << 30;

/// One record of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    pub space: String,
    pub key: Bytes,
    pub record: Record,
}

/// Writes a backup, piece by piece.
pub struct Encoder {
    out: Vec<u8>,
    records: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            out: MAGIC.to_vec(),
            records: 0,
        }
    }
}

impl Encoder {
    pub fn push(&mut self, space: &str, key: &[u8], record: &Record) {
        let bytes = 1 + space.len() + 4 + key.len() + 8 + record.value.len();
        self.out.put_u32_le(bytes as u32);
        let from = self.out.len();
        self.out.put_u8(space.len() as u8);
        self.out.put_slice(space.as_bytes());
        self.out.put_u32_le(key.len() as u32);
        self.out.put_slice(key);
        self.out.put_u64_le(record.version);
        self.out.put_slice(&record.value);
        let checksum = crc32c::crc32c(&self.out[from..]);
        self.out.put_u32_le(checksum);
        self.records += 1;
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }

    /// The last bytes, and how many records there are.
    pub fn finish(mut self) -> (Bytes, u64) {
        self.out.put_u32_le(0);
        self.out.put_u64_le(self.records);
        self.out
            .put_u32_le(crc32c::crc32c(&self.records.to_le_bytes()));
        (self.out.into(), self.records)
    }
}

/// Reads a backup, record by record. After the last one it has checked that it is whole.
pub struct Decoder<R> {
    from: R,
    records: u64,
    is_over: bool,
}

impl<R: Read> Decoder<R> {
    /// # Errors
    /// When it is no backup, or one of a later build.
    pub fn new(mut from: R) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(cut_short)?;
        if magic != MAGIC {
            return Err(Error::damaged("this is no backup that this build can read"));
        }
        Ok(Decoder {
            from,
            records: 0,
            is_over: false,
        })
    }

    fn read(&mut self) -> Result<Option<Saved>, Error> {
        let bytes = u32::from_le_bytes(self.bytes()?) as usize;
        if bytes == 0 {
            return self.end().map(|()| None);
        }
        if bytes > ENTRY_BYTES_MAX {
            return Err(wrong());
        }
        let mut entry = Vec::new();
        let read = self
            .from
            .by_ref()
            .take(bytes as u64)
            .read_to_end(&mut entry);
        if read.map_err(cut_short)? != bytes {
            return Err(cut_short(io::ErrorKind::UnexpectedEof.into()));
        }
        if crc32c::crc32c(&entry) != u32::from_le_bytes(self.bytes()?) {
            return Err(wrong());
        }
        self.records += 1;
        parse(entry.into()).map(Some).ok_or_else(wrong)
    }

    fn end(&mut self) -> Result<(), Error> {
        let records = self.bytes()?;
        let checksum = u32::from_le_bytes(self.bytes()?);
        let is_whole =
            checksum == crc32c::crc32c(&records) && u64::from_le_bytes(records) == self.records;
        if is_whole { Ok(()) } else { Err(wrong()) }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(cut_short)?;
        Ok(bytes)
    }
}

impl<R: Read> Iterator for Decoder<R> {
    type Item = Result<Saved, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

fn parse(mut entry: Bytes) -> Option<Saved> {
    let mut take = |bytes: usize| (bytes <= entry.len()).then(|| entry.split_to(bytes));
    let space = usize::from(take(1)?[0]);
    let space = String::from_utf8(take(space)?.to_vec()).ok()?;
    let key = u32::from_le_bytes(take(4)?[..].try_into().ok()?);
    let key = take(key as usize)?;
    let version = u64::from_le_bytes(take(8)?[..].try_into().ok()?);
    let record = Record {
        version,
        value: entry,
    };
    Some(Saved { space, key, record })
}

fn wrong() -> Error {
    Error::damaged("the backup is damaged: a checksum is wrong")
}

fn cut_short(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::damaged("the backup is cut short"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(key: &'static str, value: &'static str, version: u64) -> Saved {
        let record = Record {
            version,
            value: Bytes::from_static(value.as_bytes()),
        };
        Saved {
            space: "test".to_owned(),
            key: Bytes::from_static(key.as_bytes()),
            record,
        }
    }

    fn backup(records: &[Saved]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for Saved { space, key, record } in records {
            encoder.push(space, key, record);
        }
        let (bytes, count) = encoder.finish();
        assert_eq!(count, records.len() as u64);
        bytes.to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Saved>, Error> {
        Decoder::new(bytes)?.collect()
    }

    #[test]
    fn what_is_saved_comes_back() {
        for records in [vec![], vec![saved("a", "1", 7), saved("b", "", u64::MAX)]] {
            assert_eq!(read(&backup(&records)), Ok(records));
        }
    }

    #[test]
    fn a_backup_that_is_not_whole_is_seen() {
        let bytes = backup(&[saved("a", "value", 7), saved("b", "", 8)]);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }
}
