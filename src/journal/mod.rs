//! The log of events: the only durable truth. One thread writes it, so a disk that hangs never
//! holds up who decides.
//!
//! What raises waits for its append. What lowers is handed over with [`Journal::append_surely`]:
//! it is tried again until it is written, before anything else.

mod sample;
mod shelf;
mod sqlite;
mod unwritable;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::rollout::Event;
use crate::time::Timestamp;
use crate::traffic::TierName;

pub use sample::Sample;
pub use shelf::Shelf;
pub use sqlite::{earlier, examine, set_aside};

/// The place of a record in the journal, counted from 1.
pub type Seq = u64;

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The first of `records` that no gap parts. What lowers gets its number late: records behind a gap
/// wait until it is filled, or who reads on from the last one would never see it.
pub fn in_a_row(records: &[Record]) -> &[Record] {
    let gap = records.windows(2).position(|pair| pair[1].seq != pair[0].seq + 1);
    &records[..gap.map_or(records.len(), |at| at + 1)]
}

/// What the judge knows of one tier, beside the events: replaced, never appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When it was written.
    pub saved: Timestamp,
    /// JSON that only the control wing reads.
    pub body: String,
}

/// All that a journal holds when it is opened.
#[derive(Debug, Default)]
pub struct Kept {
    /// The records in order.
    pub records: Vec<Record>,
    /// The evidence by tier.
    pub evidence: BTreeMap<TierName, Evidence>,
    /// Notes by name.
    pub notes: BTreeMap<String, String>,
}

impl Kept {
    /// Those of `events` that it does not hold.
    pub fn without(&self, events: &[Event]) -> Vec<Event> {
        let holds = |event: &Event| self.records.iter().rev().any(|known| known.event == *event);
        events.iter().filter(|event| !holds(event)).cloned().collect()
    }
}

/// Events that were decided together, with the evidence they depend on: one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The events in order.
    pub events: Vec<Event>,
    /// The evidence by tier.
    pub evidence: BTreeMap<TierName, Evidence>,
}

/// The records of a batch once they are written, or why they are not.
pub type Written = oneshot::Receiver<Result<Vec<Record>, JournalError>>;

/// A journal that is ours again.
#[derive(Debug)]
pub enum Back {
    /// It was not given away yet.
    Stayed,
    /// It was; all that it holds now.
    Reopened(Kept),
}

/// Where the events are kept.
#[derive(Debug)]
pub struct Journal {
    writer: writer::Writer,
    path: Option<PathBuf>,
}

impl Journal {
    /// A journal that is gone with the process.
    pub fn memory() -> Self {
        let kept = Kept::default();
        let writer = writer::Writer::start(writer::Store::memory(), &kept, None);
        Self { writer, path: None }
    }

    /// Opens or makes the `SQLite` journal at `path` and reads all of it. One that can be read and
    /// not written is read: then [`trouble`](Self::trouble) says so, what raises fails, and what
    /// lowers is kept until the disk takes it.
    ///
    /// # Errors
    /// [`JournalError::Torn`] and [`JournalError::Foreign`] can be set aside ([`set_aside`]);
    /// the others are the operator's to mend.
    pub fn open(path: &Path) -> Result<(Self, Kept), JournalError> {
        let (store, kept) = writer::Store::open(path)?;
        let writer = writer::Writer::start(store, &kept, Some(path.into()));
        Ok((Self { writer, path: Some(path.into()) }, kept))
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Appends `batch` or says why not. For what raises.
    pub fn append(&self, batch: Batch) -> Written {
        self.writer.append(batch, false)
    }

    /// Appends `batch` as soon as the disk lets it, before anything that comes later. For what
    /// lowers: it has happened already.
    pub fn append_surely(&self, batch: Batch) -> Written {
        self.writer.append(batch, true)
    }

    /// Replaces the evidence. The newest wins if the disk is slower than the seconds.
    pub fn keep(&self, evidence: BTreeMap<TierName, Evidence>) {
        self.writer.keep(evidence);
    }

    /// The way to what is kept beside the events.
    pub fn shelf(&self) -> Shelf {
        self.writer.shelf()
    }

    /// Why the last write failed, if it did; what waits to be written, if something does.
    pub fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    /// Writes what is waiting, closes the file, and is its owner no more. Until
    /// [`take_back`](Self::take_back) what raises fails, and what lowers waits. The answer comes
    /// when the file is closed; none if there is no file, or it was taken back before.
    pub fn give_away(&self) -> oneshot::Receiver<()> {
        match self.path {
            Some(_) => self.writer.give_away(),
            None => oneshot::channel().1,
        }
    }

    /// Opens the file again, or prevents that it is given away. Tried until it works: whoever has
    /// the file may still live. What waits is written then, unless the new owner has written it.
    pub fn take_back(&self) -> oneshot::Receiver<Back> {
        self.writer.take_back()
    }

    /// Writes what is waiting and closes. Gives up after `WRITER_CLOSE_MAX` on a disk that hangs.
    pub fn close(self) {
        self.writer.close();
    }
}

/// What can go wrong with a journal.
#[derive(Clone, Debug, Error)]
pub enum JournalError {
    /// Too many appends wait for the disk.
    #[error("the journal is busy: {0} appends wait for the disk; nothing was raised, try again")]
    Busy(usize),
    /// The file is something else.
    #[error("{path} is not a journal of Weir: {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The file could not be opened.
    #[error("cannot open the journal {path}: {what}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// Another process has it.
    #[error(
        "the journal {path} belongs to a running weir; stop that one, replace it with `weir run \
         --replace`, or use another [state] path"
    )]
    Owned {
        /// The file.
        path: PathBuf,
    },
    /// The writer is gone.
    #[error("the journal is closed")]
    Closed,
    /// Written by a newer program.
    #[error(
        "journal {path} is at version {found}, this program knows {known}; upgrade the program"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file is damaged.
    #[error("the journal {path} is damaged: {what}")]
    Torn {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A record that this program does not know, in a file that is whole.
    #[error(
        "record {seq} of the journal {path} cannot be understood: {what}; it was written by a \
         newer weir, or edited; upgrade the program"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The place of the record.
        seq: i64,
        /// What is not understood.
        what: String,
    },
    /// The file cannot be written.
    #[error("the journal {path} cannot be written: {what}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// The append failed.
    #[error("the journal cannot be written ({0}); nothing was raised")]
    Write(String),
}

impl JournalError {
    /// Whether the file can be set aside and a new journal begun.
    pub const fn can_be_set_aside(&self) -> bool {
        matches!(self, Self::Torn { .. } | Self::Foreign { .. })
    }
}
