//! A journal that can be read and not written: the disk is full or read-only, or the file is not
//! ours to write. What it holds is served; nothing is raised until it can be written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sqlite::{self, Sqlite};
use super::{JournalError, Kept, Seq};

/// Pause between two tries to open it for writing: each try reads all of it.
const REOPEN: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 3_000 });

/// A journal that could not be opened for writing.
#[derive(Debug)]
pub(super) struct Unwritable {
    path: PathBuf,
    /// Why.
    what: String,
    /// The place of its last record; 0 without any.
    last: Seq,
    lock: Option<File>,
    tried: Instant,
}

impl Unwritable {
    /// Reads the journal at `path`, which cannot be written because of `what`.
    pub(super) fn open(path: &Path, what: String) -> Result<(Self, Kept), JournalError> {
        let (lock, kept) = match sqlite::read_only(path) {
            Ok((lock, Some(kept))) => (lock, kept),
            // There is none yet, and none can be made.
            Ok((_, None)) => return Err(JournalError::Unwritable { path: path.into(), what }),
            Err(JournalError::Open { path, .. } | JournalError::Unwritable { path, .. })
                if !path.exists() =>
            {
                return Err(JournalError::Unwritable { path, what });
            }
            Err(
                JournalError::Open { path, what: unreadable }
                | JournalError::Unwritable { path, what: unreadable },
            ) => {
                let what = format!("it cannot be written ({what}), nor read ({unreadable})");
                return Err(JournalError::Open { path, what });
            }
            Err(error) => return Err(error),
        };
        tracing::error!(
            "the journal {} cannot be written ({what}); what it holds is served, and nothing is \
             raised",
            path.display()
        );
        let last = last(&kept);
        let tried = Instant::now();
        Ok((Self { path: path.into(), what, last, lock, tried }, kept))
    }

    /// Why it cannot be written.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// Tries now and then whether it can be written by now, and gives it then; else why not.
    pub(super) fn open_again(&mut self) -> Result<Sqlite, String> {
        if self.tried.elapsed() < REOPEN {
            return Err(self.what.clone());
        }
        self.tried = Instant::now();
        // The new owner takes the lock anew.
        self.lock = None;
        match Sqlite::open(&self.path) {
            Ok((sqlite, kept)) if last(&kept) == self.last => return Ok(sqlite),
            Ok(_) => {
                self.what = "another program has written to it; start weir again".into();
            }
            Err(JournalError::Unwritable { what, .. }) => self.what = what,
            Err(error) => self.what = error.to_string(),
        }
        Err(self.what.clone())
    }
}

fn last(kept: &Kept) -> Seq {
    kept.records.last().map_or(0, |record| record.seq)
}
