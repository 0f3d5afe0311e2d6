//! Where the table is published: control writes it, the workers read it and say that they did.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::table::Table;

/// Publications that are kept for those who must miss none. They look every few milliseconds, and
/// each publication waits for the workers.
const RECENT_MAX: usize = 16;

/// The table as it is published. Each publication has an epoch, counted from 1; a worker keeps the
/// table it read last and compares epochs once a request, which costs one Acquire load.
///
/// The law: a worker acknowledges an epoch only when every request it places from then on is
/// placed by that table or a later one. So of requests whose head arrives after
/// [`acknowledged`](Self::acknowledged) said yes none is placed by an older table.
pub struct Board {
    epoch: AtomicU64,
    published: Mutex<Published>,
    seats: Box<[Seat]>,
    /// Whether the last seat is that of another process, until it has left.
    has_guest: bool,
}

#[derive(Default)]
struct Published {
    table: Arc<Table>,
    /// The last ones with their epochs, oldest first; the table itself is the last of them.
    recent: VecDeque<(u64, Arc<Table>)>,
}

/// One worker's place at the board, on cache lines of its own.
#[repr(align(128))]
struct Seat {
    acknowledged: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// What makes an idle worker look at the board.
type Waker = Box<dyn Fn() + Send + Sync>;

impl Board {
    /// A board for `workers` workers with an empty table of epoch 0.
    pub fn new(workers: usize) -> Self {
        let seat = |_| Seat { acknowledged: AtomicU64::new(0), waker: Mutex::new(None) };
        Self {
            epoch: AtomicU64::new(0),
            published: Mutex::default(),
            seats: (0..workers).map(seat).collect(),
            has_guest: false,
        }
    }

    /// A board for `workers` workers and one more at the last seat: the process before, which still
    /// finishes requests.
    pub fn with_guest(workers: usize) -> Self {
        Self { has_guest: true, ..Self::new(workers + 1) }
    }

    /// Whether the process before still finishes requests by this board.
    pub fn has_guest(&self) -> bool {
        let last = self.seats.last().filter(|_| self.has_guest);
        last.is_some_and(|seat| seat.acknowledged.load(Ordering::Acquire) != u64::MAX)
    }

    /// How many workers read this board.
    pub fn workers(&self) -> usize {
        self.seats.len()
    }

    /// Publishes `table`, wakes every worker, and returns the epoch of the publication.
    pub fn publish(&self, table: Table) -> u64 {
        let epoch = {
            let mut published = self.lock();
            published.table = Arc::new(table);
            // Inside the lock, so that epoch and table cannot be read in different order.
            let epoch = self.epoch.fetch_add(1, Ordering::Release) + 1;
            let table = Arc::clone(&published.table);
            published.recent.push_back((epoch, table));
            if published.recent.len() > RECENT_MAX {
                published.recent.pop_front();
            }
            epoch
        };
        for seat in &self.seats {
            let waker = seat.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(wake) = waker.as_ref() {
                wake();
            }
        }
        epoch
    }

    /// Whether every worker serves the table of `epoch` or a later one.
    pub fn acknowledged(&self, epoch: u64) -> bool {
        self.seats.iter().all(|seat| seat.acknowledged.load(Ordering::Acquire) >= epoch)
    }

    /// The epoch of the last publication.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The table of the last publication and its epoch.
    pub fn current(&self) -> (u64, Arc<Table>) {
        let published = self.lock();
        (self.epoch.load(Ordering::Acquire), Arc::clone(&published.table))
    }

    /// The publications after that of `epoch`, in order, with their epochs: for whoever must know
    /// what was published in between, too. The oldest are missing where there were very many.
    pub fn since(&self, epoch: u64) -> Vec<(u64, Arc<Table>)> {
        self.lock().recent.iter().filter(|(later, _)| *later > epoch).cloned().collect()
    }

    /// Says that `worker` places every further request by the table of `epoch` or a later one.
    pub fn acknowledge(&self, worker: usize, epoch: u64) {
        self.seats[worker].acknowledged.fetch_max(epoch, Ordering::Release);
    }

    /// Has `waker` called after each publication, so that an idle `worker` acknowledges too.
    pub fn set_waker(&self, worker: usize, waker: Waker) {
        *self.seats[worker].waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Board").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_acknowledged_when_every_worker_serves_it_or_a_later_one() {
        let board = Board::new(2);
        assert!(board.acknowledged(0) && board.epoch() == 0);
        let first = board.publish(Table::default());
        assert!(!board.acknowledged(first));
        board.acknowledge(0, first);
        assert!(!board.acknowledged(first));
        let second = board.publish(Table::default());
        board.acknowledge(1, second);
        assert!(board.acknowledged(first) && !board.acknowledged(second));
        board.acknowledge(1, first);
        board.acknowledge(0, second);
        assert!(board.acknowledged(second), "an acknowledgement is never taken back");
    }

    #[test]
    fn a_publication_is_read_whole_and_wakes_every_worker() {
        let board = Board::new(2);
        let woken = Arc::new(AtomicU64::new(0));
        for worker in 0..2 {
            let woken = Arc::clone(&woken);
            let wake = move || _ = woken.fetch_add(1, Ordering::Relaxed);
            board.set_waker(worker, Box::new(wake));
        }
        let epoch = board.publish(Table::default());
        assert_eq!(board.current(), (epoch, Arc::new(Table::default())));
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_guest_is_there_until_it_has_left() {
        let board = Board::with_guest(1);
        assert_eq!(
            (board.workers(), board.has_guest(), Board::new(2).has_guest()),
            (2, true, false)
        );
        let epoch = board.publish(Table::default());
        (0..2).for_each(|seat| board.acknowledge(seat, epoch));
        assert!(board.has_guest(), "it follows");
        board.acknowledge(1, u64::MAX);
        assert!(!board.has_guest());
    }

    #[test]
    fn who_looks_late_misses_no_publication() {
        let board = Board::new(1);
        let first = board.publish(Table::default());
        let later = [board.publish(Table::default()), board.publish(Table::default())];
        let epochs = |since: u64| -> Vec<u64> {
            board.since(since).into_iter().map(|(epoch, _)| epoch).collect()
        };
        assert_eq!(epochs(first), later);
        assert!(epochs(later[1]).is_empty());
        (0..2 * RECENT_MAX).for_each(|_| _ = board.publish(Table::default()));
        let (last, kept) = (board.epoch(), epochs(first));
        assert_eq!((kept.len(), kept.last()), (RECENT_MAX, Some(&last)), "the oldest go");
    }
}
