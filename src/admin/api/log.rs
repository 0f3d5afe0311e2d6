//! Parts of the journal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::journal;

/// A part of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Log {
    /// Oldest first.
    pub records: Vec<LogRecord>,
    /// The place of the newest record there is; 0: the journal is empty.
    pub latest: u64,
    /// The time zone in which people say its times, if the file names one.
    #[serde(default)]
    pub zone: Option<String>,
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// The record as one sentence.
    pub sentence: String,
    /// Its place, and the event (docs/journal.md).
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub record: journal::Record,
}

impl From<&journal::Record> for LogRecord {
    fn from(record: &journal::Record) -> Self {
        let event = record.event.without_secret();
        Self { sentence: event.sentence(), record: journal::Record { seq: record.seq, event } }
    }
}
