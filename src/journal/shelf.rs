//! What is kept beside the events: notes of other tasks, the newest of each name. They are written
//! by the thread that writes the events, so they change hands with the journal and survive what it
//! survives.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::sample::SAMPLES_WAITING_MAX;
use super::writer::Shared;
use super::{JournalError, Sample, Seq};
use crate::rollout::RolloutId;

/// Notes by name.
pub(super) type Notes = BTreeMap<String, String>;

/// The way to what is kept beside the events. Nothing here waits for a disk.
#[derive(Clone, Debug)]
pub struct Shelf {
    pub(super) shared: Arc<Shared>,
    pub(super) opened_at: Seq,
}

impl Shelf {
    /// The place of the newest record when the journal was opened; 0: it was empty.
    pub const fn opened_at(&self) -> Seq {
        self.opened_at
    }

    /// The newest note of this name.
    pub fn note(&self, name: &str) -> Option<String> {
        self.shared.lock().notes.get(name).cloned()
    }

    /// Replaces the note of this name. Where the disk is slower than the notes the newest wins.
    pub fn keep(&self, name: &str, body: String) {
        let mut queue = self.shared.lock();
        queue.notes.insert(name.to_owned(), body.clone());
        queue.unwritten.insert(name.to_owned(), body);
        self.shared.work.notify_one();
    }

    /// Adds samples.
    pub fn add(&self, samples: Vec<Sample>) {
        let mut queue = self.shared.lock();
        queue.samples.extend(samples);
        let surplus = queue.samples.len().saturating_sub(SAMPLES_WAITING_MAX);
        queue.samples.drain(..surplus);
        self.shared.work.notify_one();
    }

    /// The samples of `rollout` that are kept, in order.
    ///
    /// # Errors
    /// The journal cannot be read, or is closed.
    pub async fn samples(&self, rollout: RolloutId) -> Result<Vec<Sample>, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.shared.lock().asked.push((rollout, reply));
        self.shared.work.notify_one();
        let answer = answer.await.map_err(|_| JournalError::Closed)?;
        answer.map_err(JournalError::Write)
    }
}
