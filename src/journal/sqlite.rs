//! The journal in an `SQLite` file. The only user of rusqlite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::sample::SAMPLES_MAX;
use super::shelf::Notes;
use super::{Batch, Evidence, JournalError, Kept, Record, Sample};
use crate::rollout::Event;
use crate::time::Timestamp;

/// `Weir` in ASCII, in the header of the file, so that a foreign database is recognised.
const APPLICATION_ID: i64 = 0x5765_6972;

/// The form of the tables.
const VERSION: i64 = 1;

/// How long a write waits for somebody who reads the file with another program.
const BUSY_MAX: Duration = Duration::from_secs(2);

/// What the name of a journal that was set aside has behind it, before the time.
const ASIDE_SUFFIX: &str = ".set-aside-";

const TABLES: &str = "
    CREATE TABLE events (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        at      INTEGER NOT NULL,
        actor   TEXT NOT NULL,
        reason  TEXT,
        rollout INTEGER,
        tier    TEXT NOT NULL,
        event   TEXT NOT NULL
    ) STRICT;
    CREATE TABLE evidence (
        tier  TEXT PRIMARY KEY,
        saved INTEGER NOT NULL,
        body  TEXT NOT NULL
    ) STRICT;
";

/// Tables that came later; a program that does not know them leaves them alone.
const LATER_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS notes (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS samples (
        place   INTEGER PRIMARY KEY,
        rollout INTEGER NOT NULL,
        body    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS samples_by_rollout ON samples (rollout);
";

/// Where a journal that can only be read is copied to, with its log, if `SQLite` cannot read it
/// where it is: memory first, since the disk may be what is full.
const COPIES: &str = "/dev/shm";

/// An open journal file and the lock that makes this process its owner.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    _lock: File,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<(Self, Kept), JournalError> {
        let lock = lock(path)?;
        let connection = connect(path)?;
        prepare(&connection, path)?;
        let kept = read(&connection, path)?;
        Ok((Self { connection, _lock: lock }, kept))
    }

    /// Writes a batch in one transaction: events durably, evidence alone without waiting for
    /// the disk (a crash of the machine may cost its last seconds, a crash of the program not).
    pub(super) fn write(&mut self, batch: &Batch) -> Result<Vec<Record>, rusqlite::Error> {
        let level = if batch.events.is_empty() { "NORMAL" } else { "FULL" };
        self.connection.pragma_update(None, "synchronous", level)?;
        let transaction = self.connection.transaction()?;
        let mut records = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            let seq = insert(&transaction, event)?;
            records.push(Record { seq, event: event.clone() });
        }
        for (tier, evidence) in &batch.evidence {
            transaction.execute(
                "INSERT OR REPLACE INTO evidence (tier, saved, body) VALUES (?, ?, ?)",
                params![tier.as_str(), signed(evidence.saved.millis()), evidence.body],
            )?;
        }
        transaction.commit()?;
        Ok(records)
    }

    /// Appends samples and forgets the oldest, without waiting for the disk.
    pub(super) fn write_samples(&mut self, samples: &[Sample]) -> Result<(), rusqlite::Error> {
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = self.connection.transaction()?;
        for sample in samples {
            let body = serde_json::to_string(sample)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            transaction.execute(
                "INSERT INTO samples (rollout, body) VALUES (?, ?)",
                params![signed(sample.rollout), body],
            )?;
        }
        transaction.execute(
            "DELETE FROM samples WHERE place <= (SELECT max(place) FROM samples) - ?",
            [SAMPLES_MAX],
        )?;
        transaction.commit()
    }

    /// The samples of `rollout`; those that a newer program wrote in another form are left out.
    pub(super) fn samples(&self, rollout: u64) -> Result<Vec<Sample>, rusqlite::Error> {
        let query = "SELECT body FROM samples WHERE rollout = ? ORDER BY place";
        let mut rows = self.connection.prepare(query)?;
        let bodies = rows.query_map([signed(rollout)], |row| row.get::<_, String>(0))?;
        let bodies = bodies.collect::<Result<Vec<String>, _>>()?;
        Ok(bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).collect())
    }

    /// Replaces notes, without waiting for the disk, as with evidence.
    pub(super) fn write_notes(&mut self, notes: &Notes) -> Result<(), rusqlite::Error> {
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = self.connection.transaction()?;
        for (name, body) in notes {
            transaction.execute(
                "INSERT OR REPLACE INTO notes (name, body) VALUES (?, ?)",
                params![name, body],
            )?;
        }
        transaction.commit()
    }
}

fn insert(connection: &Connection, event: &Event) -> Result<u64, rusqlite::Error> {
    let change = serde_json::to_string(&event.change)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.execute(
        "INSERT INTO events (at, actor, reason, rollout, tier, event) VALUES (?, ?, ?, ?, ?, ?)",
        params![
            signed(event.at.millis()),
            event.by.as_str(),
            event.because,
            event.rollout.map(signed),
            // What is in no tier alone has no name there.
            event.tier.as_ref().map_or("", |name| name.as_str()),
            change
        ],
    )?;
    Ok(connection.last_insert_rowid().unsigned_abs())
}

/// `SQLite` has signed integers only; times and numbers of rollouts never reach the sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(|error| cannot_open(path, &error))?;
    own(file, path)
}

/// The same where nothing can be written: who else has the journal open holds the lock.
fn lock_to_read(path: &Path) -> Result<Option<File>, JournalError> {
    match File::open(beside(path, ".lock")) {
        Ok(file) => own(file, path).map(Some),
        // Nobody has it open for writing who could not make the lock.
        Err(_) => Ok(None),
    }
}

fn own(file: File, path: &Path) -> Result<File, JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Owned { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(cannot_open(path, &error)),
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> JournalError {
    let hint = if error.kind() == io::ErrorKind::NotFound {
        "; make its folder, or set [state] path"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; give weir's user the right to write there"
    } else {
        ""
    };
    let (path, what) = (path.into(), format!("{error}{hint}"));
    let unwritable = matches!(
        error.kind(),
        io::ErrorKind::FileTooLarge
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
    );
    if unwritable {
        JournalError::Unwritable { path, what }
    } else {
        JournalError::Open { path, what }
    }
}

/// A file named like `path` with something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    // Made by hand first, since the salts in it are nobody else's business.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| cannot_open(path, &error))?;
    let connection = Connection::open(path).map_err(|error| wrong(path, &error))?;
    connection.busy_timeout(BUSY_MAX).map_err(|error| wrong(path, &error))?;
    Ok(connection)
}

/// Tells a file that is not ours or damaged from one that cannot be reached.
fn wrong(path: &Path, error: &rusqlite::Error) -> JournalError {
    let (path, what) = (path.to_path_buf(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => JournalError::Foreign { path, what },
        Some(ErrorCode::DatabaseCorrupt) => JournalError::Torn { path, what },
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => JournalError::Unwritable { path, what },
        _ => JournalError::Open { path, what },
    }
}

/// Reads a journal that cannot be written, and holds its lock if there is one. `None`: there is
/// nothing in the file.
pub(super) fn read_only(path: &Path) -> Result<(Option<File>, Option<Kept>), JournalError> {
    let lock = lock_to_read(path)?;
    Ok((lock, read_unlocked(path)?))
}

/// Looks at a journal that may be another process's, and changes nothing: how many records are in
/// it. It is whole where there is an answer.
///
/// # Errors
/// It is damaged, not ours, or cannot be read.
pub fn examine(path: &Path) -> Result<usize, JournalError> {
    File::open(path).map_err(|error| cannot_open(path, &error))?;
    Ok(read_unlocked(path)?.map_or(0, |kept| kept.records.len()))
}

fn read_unlocked(path: &Path) -> Result<Option<Kept>, JournalError> {
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    // Without a log nothing has to be made beside the file; with one it must not be overlooked.
    let way = if has_log { "mode=ro" } else { "immutable=1" };
    match read_at(&uri(path, way), path) {
        Err(JournalError::Open { .. } | JournalError::Unwritable { .. }) if has_log => {
            read_copy(path)
        }
        outcome => outcome,
    }
}

fn read_at(uri: &str, path: &Path) -> Result<Option<Kept>, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection =
        Connection::open_with_flags(uri, flags).map_err(|error| wrong(path, &error))?;
    connection.busy_timeout(BUSY_MAX).map_err(|error| wrong(path, &error))?;
    if is_new(&connection, path)? {
        return Ok(None);
    }
    check(&connection, path)?;
    read(&connection, path).map(Some)
}

/// Reads a copy of the file and its log: `SQLite` needs a third file beside them, which may be
/// impossible to make where they are.
fn read_copy(path: &Path) -> Result<Option<Kept>, JournalError> {
    let failed = |error: &io::Error| cannot_open(path, error);
    let folder = private_folder().map_err(|error| failed(&error))?;
    let copy = folder.join("journal");
    let copied = fs::copy(path, &copy)
        .and_then(|_| fs::copy(beside(path, "-wal"), beside(&copy, "-wal")))
        .map_err(|error| failed(&error));
    let kept = copied.and_then(|_| {
        let connection = Connection::open(&copy).map_err(|error| wrong(path, &error))?;
        check(&connection, path)?;
        read(&connection, path).map(Some)
    });
    let _ = fs::remove_dir_all(&folder);
    kept
}

/// A new folder for nobody else's eyes.
fn private_folder() -> io::Result<PathBuf> {
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for place in [PathBuf::from(COPIES), std::env::temp_dir()] {
        for number in 0..8 {
            let folder = place.join(format!("weir-{}-{number}", std::process::id()));
            outcome = fs::DirBuilder::new().mode(0o700).create(&folder).map(|()| folder);
            if outcome.is_ok() {
                return outcome;
            }
        }
    }
    outcome
}

/// The file as `SQLite` wants to be told of it, when there is something to add.
fn uri(path: &Path, option: &str) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?" + option
}

/// Makes the tables, if there are none.
fn prepare(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    if !is_new(connection, path)? {
        check(connection, path)?;
        return connection.execute_batch(LATER_TABLES).map_err(|error| wrong(path, &error));
    }
    let make = format!(
        "PRAGMA journal_mode = WAL; BEGIN; {TABLES} {LATER_TABLES} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {VERSION}; COMMIT;"
    );
    connection.execute_batch(&make).map_err(|error| wrong(path, &error))
}

/// Whether nobody has written anything yet.
fn is_new(connection: &Connection, path: &Path) -> Result<bool, JournalError> {
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema");
    let application = tables.and_then(|tables| {
        if tables == 0 { number("PRAGMA application_id") } else { Ok(APPLICATION_ID) }
    });
    application.map(|application| application == 0).map_err(|error| wrong(path, &error))
}

/// Tells a journal of ours from all else.
fn check(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let failed = |error: &rusqlite::Error| wrong(path, error);
    let number = |name: &str| -> Result<i64, JournalError> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| failed(&e))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION_ID {
        let what = "it is a database of another program".to_owned();
        return Err(JournalError::Foreign { path: path.into(), what });
    }
    if version > VERSION {
        let (path, known) = (path.into(), VERSION);
        return Err(JournalError::TooNew { path, found: version, known });
    }
    let check: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failed(&error))?;
    if check != "ok" {
        return Err(JournalError::Torn { path: path.into(), what: check });
    }
    Ok(())
}

/// The file is whole by now, so what cannot be understood is no damage.
fn read(connection: &Connection, path: &Path) -> Result<Kept, JournalError> {
    let failed = |error: rusqlite::Error| wrong(path, &error);
    let mut kept = Kept::default();
    let mut events = connection
        .prepare("SELECT seq, at, actor, reason, rollout, tier, event FROM events ORDER BY seq")
        .map_err(failed)?;
    let mut rows = events.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let seq: i64 = row.get(0).map_err(failed)?;
        let unknown = |what| JournalError::Unknown { path: path.into(), seq, what };
        kept.records.push(record(row).map_err(unknown)?);
    }
    let mut evidence =
        connection.prepare("SELECT tier, saved, body FROM evidence").map_err(failed)?;
    let mut rows = evidence.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let tier: String = row.get(0).map_err(failed)?;
        let saved: i64 = row.get(1).map_err(failed)?;
        let body = row.get(2).map_err(failed)?;
        let saved = Timestamp::from_millis(saved.unsigned_abs());
        match tier.parse() {
            Ok(tier) => {
                kept.evidence.insert(tier, Evidence { saved, body });
            }
            Err(error) => tracing::warn!(tier, %error, "evidence of an unknown tier is left out"),
        }
    }
    kept.notes = notes(connection).map_err(failed)?;
    Ok(kept)
}

/// None in a journal of before that cannot be written.
fn notes(connection: &Connection) -> Result<Notes, rusqlite::Error> {
    if !connection.table_exists(None, "notes")? {
        return Ok(Notes::new());
    }
    let mut notes = connection.prepare("SELECT name, body FROM notes")?;
    let rows = notes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn record(row: &rusqlite::Row<'_>) -> Result<Record, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let number = |at: usize| row.get(at).map(i64::unsigned_abs).map_err(text);
    let string = |at: usize| row.get::<_, String>(at).map_err(text);
    let rollout: Option<i64> = row.get(4).map_err(text)?;
    let event = Event {
        at: Timestamp::from_millis(number(1)?),
        by: string(2)?.parse().map_err(|error| format!("{error}"))?,
        because: row.get(3).map_err(text)?,
        tier: match string(5)?.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error| format!("{error}"))?),
        },
        rollout: rollout.map(i64::unsigned_abs),
        change: serde_json::from_str(&string(6)?).map_err(|error| error.to_string())?,
    };
    Ok(Record { seq: number(0)?, event })
}

/// Renames a journal that cannot be read, so that a new one can begin and nothing is lost.
/// Gives the new name.
///
/// # Errors
/// The file cannot be renamed.
pub fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let aside = beside(path, &format!("{ASIDE_SUFFIX}{}", now.millis()));
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// The newest journal that was set aside from `path`, if there is one.
pub fn earlier(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let stem = beside(Path::new(path.file_name()?), ASIDE_SUFFIX);
    let time = |found: &PathBuf| {
        let name = found.file_name()?.as_bytes().strip_prefix(stem.as_os_str().as_bytes())?;
        std::str::from_utf8(name).ok()?.parse::<u64>().ok()
    };
    let files = fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    files.filter_map(|found| Some((time(&found)?, found))).max().map(|(_, found)| found)
}

/// What the writer needs to know of an error.
pub(super) fn in_words(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::DatabaseBusy) => "another program keeps it locked".into(),
        _ => error.to_string(),
    }
}

/// The evidence of a batch, as the queue keeps it.
pub(super) type EvidenceByTier = BTreeMap<crate::traffic::TierName, Evidence>;

#[cfg(test)]
mod tests;
