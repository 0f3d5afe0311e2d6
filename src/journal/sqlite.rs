//! The journal in an `SQLite` file. The only user of rusqlite.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::{Batch, Evidence, JournalError, Kept, Record};
use crate::rollout::Event;
use crate::time::Timestamp;

/// `Weir` in ASCII, in the header of the file, so that a foreign database is recognised.
const APPLICATION_ID: i64 = 0x5765_6972;

/// The form of the tables.
const VERSION: i64 = 1;

/// How long a write waits for somebody who reads the file with another program.
const BUSY_MAX: Duration = Duration::from_secs(2);

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
            event.tier.as_str(),
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
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(name))
        .map_err(|error| cannot_open(path, &error))?;
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
    JournalError::Open { path: path.into(), what: format!("{error}{hint}") }
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
        _ => JournalError::Open { path, what },
    }
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let failed = |error: &rusqlite::Error| wrong(path, error);
    let number = |name: &str| -> Result<i64, JournalError> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| failed(&e))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| failed(&error))?;
    let (application, version) = (number("application_id")?, number("user_version")?);
    if tables == 0 && application == 0 {
        let make = format!(
            "PRAGMA journal_mode = WAL; BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {VERSION}; COMMIT;"
        );
        return connection.execute_batch(&make).map_err(|error| failed(&error));
    }
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

fn read(connection: &Connection, path: &Path) -> Result<Kept, JournalError> {
    let torn = |what: String| JournalError::Torn { path: path.into(), what };
    let failed = |error: rusqlite::Error| wrong(path, &error);
    let mut kept = Kept::default();
    let mut events = connection
        .prepare("SELECT seq, at, actor, reason, rollout, tier, event FROM events ORDER BY seq")
        .map_err(failed)?;
    let mut rows = events.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let seq: i64 = row.get(0).map_err(failed)?;
        let record = record(row).map_err(|what| torn(format!("record {seq}: {what}")))?;
        kept.records.push(record);
    }
    let mut evidence =
        connection.prepare("SELECT tier, saved, body FROM evidence").map_err(failed)?;
    let mut rows = evidence.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let tier: String = row.get(0).map_err(failed)?;
        let saved: i64 = row.get(1).map_err(failed)?;
        let body = row.get(2).map_err(failed)?;
        let tier = tier.parse().map_err(|error| torn(format!("evidence: {error}")))?;
        let saved = Timestamp::from_millis(saved.unsigned_abs());
        kept.evidence.insert(tier, Evidence { saved, body });
    }
    Ok(kept)
}

fn record(row: &rusqlite::Row<'_>) -> Result<Record, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let number = |at: usize| row.get(at).map(i64::unsigned_abs).map_err(text);
    let string = |at: usize| row.get::<_, String>(at).map_err(text);
    let rollout: Option<i64> = row.get(4).map_err(text)?;
    let event = Event {
        at: Timestamp::from_millis(number(1)?),
        by: string(2)?.parse().map_err(|error| format!("{error}"))?,
        because: row.get(3).optional().map_err(text)?.flatten(),
        tier: string(5)?.parse().map_err(|error| format!("{error}"))?,
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
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(path, &format!(".set-aside-{}", now.millis()));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
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
