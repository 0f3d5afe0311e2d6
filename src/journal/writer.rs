//! The one thread that writes, and the queue before it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::sample::SAMPLES_WAITING_MAX;
use super::shelf::{Notes, Shelf};
use super::sqlite::{self, EvidenceByTier, Sqlite};
use super::unwritable::Unwritable;
use super::{Back, Batch, JournalError, Kept, Record, Sample, Seq, Written};
use crate::rollout::{Event, RolloutId};

/// Raises that wait for the disk; the control loop hands over one at a time.
const APPENDS_MAX: usize = 64;

/// Pause between two tries to write what must be written.
const RETRY: Duration = Duration::from_millis(250);

/// How long closing waits for a disk that hangs.
const WRITER_CLOSE_MAX: Duration = Duration::from_secs(5);

/// Where the thread writes.
#[derive(Debug)]
pub(super) enum Store {
    Memory {
        seq: Seq,
        samples: Vec<Sample>,
    },
    Sqlite(Sqlite),
    Unwritable(Unwritable),
    /// Another process has it.
    Away,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<(Self, Kept), JournalError> {
        match Sqlite::open(path) {
            Ok((sqlite, kept)) => Ok((Self::Sqlite(sqlite), kept)),
            Err(JournalError::Unwritable { path, what }) => {
                let (journal, kept) = Unwritable::open(&path, what)?;
                Ok((Self::Unwritable(journal), kept))
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<Record>, String> {
        match self {
            Self::Memory { seq, .. } => {
                let next = |event: &Event| {
                    *seq += 1;
                    Record { seq: *seq, event: event.clone() }
                };
                Ok(batch.events.iter().map(next).collect())
            }
            Self::Sqlite(sqlite) => sqlite.write(batch).map_err(|error| sqlite::in_words(&error)),
            Self::Unwritable(journal) => {
                *self = Self::Sqlite(journal.open_again()?);
                self.write(batch)
            }
            Self::Away => Err("another process has it".into()),
        }
    }

    /// A journal that is gone with the process.
    pub(super) const fn memory() -> Self {
        Self::Memory { seq: 0, samples: Vec::new() }
    }

    fn write_samples(&mut self, more: Vec<Sample>) -> Result<(), String> {
        match self {
            Self::Memory { samples, .. } => {
                samples.extend(more);
                let surplus = samples.len().saturating_sub(SAMPLES_WAITING_MAX);
                samples.drain(..surplus);
                Ok(())
            }
            Self::Sqlite(sqlite) => {
                sqlite.write_samples(&more).map_err(|error| sqlite::in_words(&error))
            }
            Self::Unwritable(journal) => {
                *self = Self::Sqlite(journal.open_again()?);
                self.write_samples(more)
            }
            Self::Away => Err("another process has it".into()),
        }
    }

    fn samples(&self, rollout: RolloutId) -> Result<Vec<Sample>, String> {
        match self {
            Self::Memory { samples, .. } => {
                Ok(samples.iter().filter(|one| one.rollout == rollout).cloned().collect())
            }
            Self::Sqlite(sqlite) => {
                sqlite.samples(rollout).map_err(|error| sqlite::in_words(&error))
            }
            // A report without a picture is better than none.
            Self::Unwritable(_) | Self::Away => Ok(Vec::new()),
        }
    }

    fn write_notes(&mut self, notes: &Notes) -> Result<(), String> {
        match self {
            // They are in the queue's memory already.
            Self::Memory { .. } => Ok(()),
            Self::Sqlite(sqlite) => {
                sqlite.write_notes(notes).map_err(|error| sqlite::in_words(&error))
            }
            Self::Unwritable(journal) => {
                *self = Self::Sqlite(journal.open_again()?);
                self.write_notes(notes)
            }
            Self::Away => Err("another process has it".into()),
        }
    }

    /// Why nothing can be written, if that is known from the start.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Memory { .. } | Self::Sqlite(_) | Self::Away => None,
            Self::Unwritable(journal) => Some(journal.what().to_owned()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    opened_at: Seq,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    pub(super) work: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    appends: VecDeque<Append>,
    /// The newest evidence that is not written yet.
    evidence: EvidenceByTier,
    /// The newest notes.
    pub(super) notes: Notes,
    /// Those of them that are not written yet.
    pub(super) unwritten: Notes,
    /// Samples that are not written yet.
    pub(super) samples: Vec<Sample>,
    /// Rollouts whose samples somebody waits for.
    pub(super) asked: Vec<(RolloutId, SamplesReply)>,
    /// Since when the thread has been busy with one write, and how many events in it have
    /// happened already.
    busy: Option<(Instant, usize)>,
    /// Why the last write failed.
    failure: Option<String>,
    /// Whoever waits that the file is closed and another process may have it.
    giving: Option<oneshot::Sender<()>>,
    /// Whether another process may have it: nothing is written.
    away: bool,
    /// Whoever waits that it is ours again.
    returning: Option<oneshot::Sender<Back>>,
    closing: bool,
}

#[derive(Debug)]
struct Append {
    batch: Batch,
    surely: bool,
    reply: oneshot::Sender<Result<Vec<Record>, JournalError>>,
}

impl Append {
    /// How many of its events have happened already.
    fn happened(&self) -> usize {
        if self.surely { self.batch.events.len() } else { 0 }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// `path`: where the journal is opened again after it was given away.
    pub(super) fn start(store: Store, kept: &Kept, path: Option<PathBuf>) -> Self {
        let (failure, notes) = (store.failure(), kept.notes.clone());
        let queue = Queue { notes, failure, ..Queue::default() };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), work: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(store, path.as_deref(), &theirs))
            .expect("the system starts a thread at boot");
        let opened_at = kept.records.last().map_or(0, |record| record.seq);
        Self { shared, thread, opened_at }
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf { shared: Arc::clone(&self.shared), opened_at: self.opened_at }
    }

    pub(super) fn append(&self, batch: Batch, surely: bool) -> Written {
        let (reply, written) = oneshot::channel();
        let mut queue = self.shared.lock();
        let waiting = queue.appends.len();
        if surely || waiting < APPENDS_MAX {
            queue.appends.push_back(Append { batch, surely, reply });
            self.shared.work.notify_one();
        } else {
            let _ = reply.send(Err(JournalError::Busy(waiting)));
        }
        written
    }

    pub(super) fn keep(&self, evidence: EvidenceByTier) {
        let mut queue = self.shared.lock();
        queue.evidence.extend(evidence);
        self.shared.work.notify_one();
    }

    pub(super) fn give_away(&self) -> oneshot::Receiver<()> {
        let (reply, given) = oneshot::channel();
        let mut queue = self.shared.lock();
        queue.giving = Some(reply);
        self.shared.work.notify_one();
        given
    }

    pub(super) fn take_back(&self) -> oneshot::Receiver<Back> {
        let (reply, returned) = oneshot::channel();
        let mut queue = self.shared.lock();
        queue.giving = None;
        if queue.away {
            queue.returning = Some(reply);
            self.shared.work.notify_one();
        } else {
            let _ = reply.send(Back::Stayed);
        }
        returned
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let queue = self.shared.lock();
        let in_queue: usize = queue.appends.iter().map(Append::happened).sum();
        let waiting = in_queue + queue.busy.map_or(0, |(_, happened)| happened);
        let hangs = queue.busy.map(|(since, _)| since.elapsed()).filter(|d| d.as_secs() >= 2);
        match (&queue.failure, hangs) {
            (Some(failure), _) => Some(format!("{failure}; {waiting} events wait to be written")),
            (None, Some(span)) => Some(format!(
                "the disk has not answered for {} s; {waiting} events wait to be written",
                span.as_secs()
            )),
            (None, None) => None,
        }
    }

    pub(super) fn close(self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        let until = Instant::now() + WRITER_CLOSE_MAX;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The way back to whoever asked for samples.
pub(super) type SamplesReply = oneshot::Sender<Result<Vec<Sample>, String>>;

/// One piece of work.
enum Work {
    Append(Append),
    Evidence(EvidenceByTier),
    Notes(Notes),
    Samples(Vec<Sample>),
    Look(RolloutId, SamplesReply),
    Give(oneshot::Sender<()>),
    Return(oneshot::Sender<Back>),
    Close,
}

impl Work {
    fn happened(&self) -> usize {
        match self {
            Self::Append(append) => append.happened(),
            Self::Evidence(_)
            | Self::Notes(_)
            | Self::Samples(_)
            | Self::Look(..)
            | Self::Give(_)
            | Self::Return(_)
            | Self::Close => 0,
        }
    }
}

fn run(mut store: Store, path: Option<&Path>, shared: &Shared) {
    loop {
        match next(shared) {
            Work::Append(append) => write(&mut store, shared, append),
            Work::Evidence(evidence) => {
                let batch = Batch { events: vec![], evidence };
                let outcome = store.write(&batch);
                done(shared, outcome.err());
            }
            Work::Notes(notes) => {
                let outcome = store.write_notes(&notes);
                let failed = outcome.is_err();
                done(shared, outcome.err());
                if failed {
                    put_back(shared, notes);
                }
            }
            Work::Samples(samples) => {
                // Lost where the disk does not take them, as windows of the judge are.
                let outcome = store.write_samples(samples);
                done(shared, outcome.err());
            }
            Work::Look(rollout, reply) => {
                let _ = reply.send(store.samples(rollout));
                shared.lock().busy = None;
            }
            Work::Give(reply) => {
                // Closes the file, and then its lock.
                store = Store::Away;
                done(shared, None);
                let _ = reply.send(());
            }
            Work::Return(reply) => {
                if let Some(path) = path {
                    store = come_back(path, shared, reply);
                }
            }
            Work::Close => return,
        }
    }
}

/// Opens the journal that another process has had; waits until that one lets it go. Away still if
/// the program stops meanwhile.
fn come_back(path: &Path, shared: &Shared, reply: oneshot::Sender<Back>) -> Store {
    loop {
        match Store::open(path) {
            Ok((store, kept)) => {
                let mut queue = shared.lock();
                queue.busy = None;
                queue.away = false;
                queue.failure = store.failure();
                queue.notes.clone_from(&kept.notes);
                queue.unwritten.clear();
                for append in &mut queue.appends {
                    append.batch.events = kept.without(&append.batch.events);
                }
                let _ = reply.send(Back::Reopened(kept));
                return store;
            }
            Err(error) => done(shared, Some(error.to_string())),
        }
        if shared.lock().closing {
            return Store::Away;
        }
        std::thread::sleep(RETRY);
    }
}

fn next(shared: &Shared) -> Work {
    let mut queue = shared.lock();
    loop {
        let work = if queue.away {
            let returning = queue.returning.take().map(Work::Return);
            returning.or_else(|| queue.closing.then_some(Work::Close))
        } else if let Some(append) = queue.appends.pop_front() {
            Some(Work::Append(append))
        } else if !queue.evidence.is_empty() {
            Some(Work::Evidence(std::mem::take(&mut queue.evidence)))
        } else if !queue.unwritten.is_empty() {
            Some(Work::Notes(std::mem::take(&mut queue.unwritten)))
        } else if !queue.samples.is_empty() {
            Some(Work::Samples(std::mem::take(&mut queue.samples)))
        } else if let Some((rollout, reply)) = queue.asked.pop() {
            Some(Work::Look(rollout, reply))
        } else if let Some(reply) = queue.giving.take() {
            // At once, so that nothing comes in between.
            queue.away = true;
            Some(Work::Give(reply))
        } else {
            queue.closing.then_some(Work::Close)
        };
        if let Some(work) = work {
            queue.busy = Some((Instant::now(), work.happened()));
            return work;
        }
        queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

fn write(store: &mut Store, shared: &Shared, append: Append) {
    let outcome = store.write(&append.batch);
    done(shared, outcome.as_ref().err().cloned());
    match outcome {
        Ok(records) => {
            let _ = append.reply.send(Ok(records));
        }
        Err(failure) if append.surely => retry(shared, append, &failure),
        Err(failure) => {
            let _ = append.reply.send(Err(JournalError::Write(failure)));
        }
    }
}

/// Puts what must be written back to the front and fails the raises behind it: they would be
/// written after something that is not.
fn retry(shared: &Shared, append: Append, failure: &str) {
    let mut queue = shared.lock();
    let (sure, raises): (VecDeque<_>, VecDeque<_>) =
        queue.appends.drain(..).partition(|append| append.surely);
    for raise in raises {
        let _ = raise.reply.send(Err(JournalError::Write(failure.to_owned())));
    }
    queue.appends = sure;
    queue.appends.push_front(append);
    if queue.closing {
        tracing::error!(failure, "the journal closes with unwritten events");
        queue.appends.clear();
        return;
    }
    drop(queue);
    std::thread::sleep(RETRY);
}

/// Notes are not repeated by those who wrote them.
fn put_back(shared: &Shared, notes: Notes) {
    let mut queue = shared.lock();
    if queue.closing {
        return;
    }
    for (name, body) in notes {
        queue.unwritten.entry(name).or_insert(body);
    }
    drop(queue);
    std::thread::sleep(RETRY);
}

fn done(shared: &Shared, failure: Option<String>) {
    let mut queue = shared.lock();
    queue.busy = None;
    match (&failure, &queue.failure) {
        (Some(now), None) => {
            tracing::error!(failure = now.as_str(), "the journal cannot be written");
        }
        (None, Some(_)) => tracing::info!("the journal can be written again"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    queue.failure = failure;
}

#[cfg(test)]
mod tests {
    use super::super::Journal;
    use super::*;

    /// Every kind of event that there is.
    fn events() -> Vec<Event> {
        let lines = include_str!("../../tests/journals/0.1.jsonl").lines();
        lines.map(|line| serde_json::from_str::<Record>(line).unwrap().event).collect()
    }

    fn batch(events: &[Event]) -> Batch {
        Batch { events: events.to_vec(), ..Batch::default() }
    }

    #[test]
    fn a_journal_changes_hands_and_comes_back_with_what_was_written_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.db");
        let events = events();
        let (journal, _) = Journal::open(&path).unwrap();
        drop(journal.append_surely(batch(&events[..1])));
        journal.give_away().blocking_recv().unwrap();
        // What lowers now waits.
        let (mine, both) = (&events[3], &events[2]);
        let mut waiting = journal.append_surely(batch(&[both.clone(), mine.clone()]));
        let (heir, kept) = Journal::open(&path).unwrap();
        assert_eq!(kept.records.len(), 1, "what came before is written");
        heir.append(batch(&events[1..3])).blocking_recv().unwrap().unwrap();
        let mut back = journal.take_back();
        std::thread::sleep(RETRY * 2);
        assert!(back.try_recv().is_err() && waiting.try_recv().is_err(), "another has it");
        assert!(journal.trouble().unwrap().contains("belongs to a running weir"));
        heir.close();
        let Back::Reopened(kept) = back.blocking_recv().unwrap() else { panic!("it was away") };
        let seen: Vec<&Event> = kept.records.iter().map(|record| &record.event).collect();
        assert_eq!(seen, events[..3].iter().collect::<Vec<_>>());
        let written = waiting.blocking_recv().unwrap().unwrap();
        assert_eq!(written.len(), 1, "what the other has written is not written twice");
        assert_eq!((written[0].seq, &written[0].event), (4, mine));
        assert_eq!(journal.trouble(), None);
        journal.close();
        assert_eq!(Journal::open(&path).unwrap().1.records.len(), 4);
    }

    #[test]
    fn notes_are_kept_beside_the_events_and_change_hands_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.db");
        let (journal, _) = Journal::open(&path).unwrap();
        let shelf = journal.shelf();
        assert_eq!((shelf.opened_at(), shelf.note("chat")), (0, None));
        shelf.keep("chat", "1".into());
        shelf.keep("chat", "2".into());
        drop(journal.append_surely(batch(&events()[..1])));
        journal.give_away().blocking_recv().unwrap();
        let (heir, kept) = Journal::open(&path).unwrap();
        assert_eq!(kept.notes.get("chat").map(String::as_str), Some("2"));
        assert_eq!(heir.shelf().opened_at(), 1);
        heir.shelf().keep("chat", "3".into());
        heir.close();
        // What is noted while another has the journal is not written over that one's.
        shelf.keep("chat", "2 again".into());
        let Back::Reopened(_) = journal.take_back().blocking_recv().unwrap() else { panic!() };
        assert_eq!(shelf.note("chat").as_deref(), Some("3"));
        journal.close();
        assert_eq!(Journal::open(&path).unwrap().1.notes["chat"], "3");
        let memory = Journal::memory();
        memory.shelf().keep("chat", "1".into());
        assert_eq!(memory.shelf().note("chat").as_deref(), Some("1"));
    }

    #[test]
    fn a_journal_that_was_not_given_away_yet_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&folder.path().join("weir.db")).unwrap();
        assert!(matches!(journal.take_back().blocking_recv(), Ok(Back::Stayed)));
        assert!(Journal::memory().give_away().blocking_recv().is_err(), "there is no file");
        // Closed while it is away, nothing more is written.
        journal.give_away().blocking_recv().unwrap();
        let waiting = journal.append_surely(batch(&events()));
        journal.close();
        assert!(waiting.blocking_recv().is_err());
    }
}
