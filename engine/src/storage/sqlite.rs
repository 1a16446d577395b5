//! A store in one SQLite file: the best tested of all, and open to every tool.
//!
//! `WAL` and `synchronous=FULL`: a commit is one fsync of the log. One connection writes; readers
//! have a few of their own, so a long scan holds up nobody.

use std::{fs::File, ops::ControlFlow, path::Path, path::PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::{
    Durability, Error,
    local::{Files, Raw, Visit, VisitAll, directory},
};

const FILE: &str = "records.sqlite";

/// Connections that are kept for readers; more are opened when more read at once, and closed after.
const READERS_KEPT: usize = 4;

/// Pages of the log before they are moved to the file: SQLite's own default, said here because it
/// bounds the log at 4 MiB.
const SETTINGS: &str = "
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 1000;
CREATE TABLE IF NOT EXISTS records (
    space TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
";

pub(super) struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    _lock: File,
}

impl Files for Sqlite {
    const NAME: &'static str = "sqlite";
    type Value = Vec<u8>;

    fn open(path: &Path) -> Result<Self, Error> {
        let lock = directory::lock(path)?;
        let path = path.join(FILE);
        let writer = Connection::open(&path).map_err(failure)?;
        writer.execute_batch(SETTINGS).map_err(failure)?;
        // The name of a file just made must survive a power cut, too.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Sqlite {
            path,
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            _lock: lock,
        })
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|reader| {
            let mut query =
                reader.prepare_cached("SELECT value FROM records WHERE space = ?1 AND key = ?2")?;
            let row = query.query_row(params![space, key], |row| row.get(0));
            Ok(row.optional()?)
        })
    }

    fn visit(
        &self,
        space: &str,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.read(|reader| {
            let mut query = reader.prepare_cached(
                "SELECT key, value FROM records WHERE space = ?1 AND key >= ?2 \
                 AND (?3 IS NULL OR key < ?3) ORDER BY key",
            )?;
            let mut rows = query.query(params![space, start, end])?;
            while let Some(row) = rows.next()? {
                if let ControlFlow::Break(()) = visit(blob(row, 0)?, blob(row, 1)?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn copy(&self, visit: &mut VisitAll<'_>) -> Result<(), Error> {
        self.read(|reader| {
            // One statement sees one moment.
            let mut query = reader
                .prepare_cached("SELECT space, key, value FROM records ORDER BY space, key")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let space: String = row.get(0)?;
                visit(&space, blob(row, 1)?, blob(row, 2)?)?;
            }
            Ok(())
        })
    }

    fn write(&self, writes: Vec<Raw>, durability: Durability) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let write = |writer: &mut Connection| {
            ask_for(writer, durability)?;
            let transaction = writer.transaction()?;
            {
                let mut put = transaction
                    .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)")?;
                let mut delete = transaction
                    .prepare_cached("DELETE FROM records WHERE space = ?1 AND key = ?2")?;
                for Raw { space, key, value } in &writes {
                    match value {
                        Some(value) => put.execute(params![space, &key[..], value])?,
                        None => delete.execute(params![space, &key[..]])?,
                    };
                }
            }
            transaction.commit()
        };
        write(&mut writer).map_err(failure)
    }

    /// A commit that writes nothing but the header of the file syncs the log with all before it.
    fn sync(&self) -> Result<(), Error> {
        let writer = self.writer.lock();
        ask_for(&writer, Durability::Durable).map_err(failure)?;
        writer
            .execute_batch("PRAGMA user_version = 1")
            .map_err(failure)
    }
}

/// What stands in the way of a read: the library, or who looks at the records.
enum Failed {
    Sqlite(rusqlite::Error),
    Store(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sqlite(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Store(error)
    }
}

impl Sqlite {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Failed>) -> Result<T, Error> {
        let kept = self.readers.lock().pop();
        let reader = match kept {
            Some(reader) => reader,
            None => Connection::open(&self.path).map_err(failure)?,
        };
        let outcome = work(&reader);
        let mut readers = self.readers.lock();
        if readers.len() < READERS_KEPT {
            readers.push(reader);
        }
        outcome.map_err(|failed| match failed {
            Failed::Sqlite(error) => failure(error),
            Failed::Store(error) => error,
        })
    }
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], Failed> {
    let bytes = row.get_ref(column)?.as_blob();
    bytes.map_err(|_| Failed::Store(Error::damaged("a record is no blob")))
}

/// `NORMAL` hands a commit to the system and leaves the sync to a later one.
fn ask_for(writer: &Connection, durability: Durability) -> rusqlite::Result<()> {
    writer.execute_batch(match durability {
        Durability::Durable => "PRAGMA synchronous = FULL",
        Durability::Relaxed => "PRAGMA synchronous = NORMAL",
    })
}

fn failure(error: rusqlite::Error) -> Error {
    let what = error.to_string().into();
    let extended = error.sqlite_error().map(|error| error.extended_code);
    if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
        // No room for the index of the log, which is a file beside it.
        return Error::Short(what);
    }
    match error.sqlite_error_code() {
        // `CannotOpen` is what a lack of file descriptors looks like.
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            Error::Short(what)
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged { what },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Unavailable(what),
        _ => Error::Io(what),
    }
}
