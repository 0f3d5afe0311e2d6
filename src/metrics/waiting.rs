//! Requests that wait while a tier is held: how many there are over all workers, and whose turn it is
//! once it is over. It is locked by requests that wait, and by no other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of a request that waited, or wanted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Its client went away.
    Abandoned,
    /// It waited for as long as one may.
    Expired,
    /// There was no room for one more.
    Refused,
    /// It went on.
    Served,
    /// A maintenance began, or Weir stops.
    TurnedAway,
}

impl Waited {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Abandoned, Self::Expired, Self::Refused, Self::Served, Self::TurnedAway];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Served => "served",
            Self::TurnedAway => "turned_away",
        }
    }
}

/// The requests of one tier that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    queue: Mutex<Queue>,
    outcomes: [AtomicU64; Waited::ALL.len()],
}

#[derive(Debug, Default)]
struct Queue {
    /// The number of the next one, counted in the order of arrival.
    next: u64,
    /// The numbers of those that wait.
    numbers: BTreeSet<u64>,
    bytes: u64,
    /// When they began to go on, and which was the first then.
    moving: Option<(Instant, u64)>,
}

impl Waiting {
    /// The number of a request that takes `bytes`, if there is room for one more.
    pub fn enter(&self, bytes: u64, requests_max: usize, bytes_max: u64) -> Option<u64> {
        let mut queue = self.lock();
        if queue.numbers.len() >= requests_max || queue.bytes.saturating_add(bytes) > bytes_max {
            drop(queue);
            self.count(Waited::Refused);
            return None;
        }
        let number = queue.next;
        queue.next += 1;
        queue.bytes += bytes;
        queue.numbers.insert(number);
        Some(number)
    }

    /// When it is the turn of `number`, at `pace` a second from the moment on at which this was
    /// asked first.
    pub fn turn(&self, number: u64, pace: u32, now: Instant) -> Instant {
        let mut queue = self.lock();
        let first = queue.numbers.first().copied().unwrap_or(number);
        let (since, first) = *queue.moving.get_or_insert((now, first));
        let before = number.saturating_sub(first);
        since + Duration::from_micros(before.saturating_mul(1_000_000) / u64::from(pace.max(1)))
    }

    /// They go on waiting.
    pub fn stop(&self) {
        self.lock().moving = None;
    }

    /// `number`, which takes `bytes`, waits no more.
    pub fn leave(&self, number: u64, bytes: u64, outcome: Waited) {
        let mut queue = self.lock();
        if queue.numbers.remove(&number) {
            queue.bytes = queue.bytes.saturating_sub(bytes);
        }
        if queue.numbers.is_empty() {
            queue.moving = None;
        }
        drop(queue);
        self.count(outcome);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().numbers.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of this outcome there were.
    pub fn outcomes(&self, outcome: Waited) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    fn count(&self, outcome: Waited) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_the_order_of_arrival_at_the_pace() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let numbers: Vec<u64> = (0..4).map(|_| waiting.enter(10, 9, 99).unwrap()).collect();
        // The first has given up, so the second does not wait for its turn.
        waiting.leave(numbers[0], 10, Waited::Expired);
        let turn = |index: usize, at| waiting.turn(numbers[index], 4, at) - now;
        assert_eq!(turn(2, now), Duration::from_millis(250));
        assert_eq!(turn(1, now + Duration::from_secs(3)), Duration::ZERO);
        assert_eq!(turn(3, now + Duration::from_secs(9)), Duration::from_millis(500));
        waiting.stop();
        let later = now + Duration::from_mins(1);
        assert_eq!(turn(1, later), Duration::from_mins(1), "they were stopped meanwhile");
    }

    #[test]
    fn there_is_room_for_so_many_and_for_so_much() {
        let waiting = Waiting::default();
        let first = waiting.enter(60, 2, 100).unwrap();
        assert_eq!(waiting.enter(50, 2, 100), None, "too much");
        assert!(waiting.enter(40, 2, 100).is_some());
        assert_eq!(waiting.enter(0, 2, 100), None, "too many");
        waiting.leave(first, 60, Waited::Served);
        assert!(waiting.enter(50, 2, 100).is_some());
        let counts = [Waited::Refused, Waited::Served].map(|outcome| waiting.outcomes(outcome));
        assert_eq!((counts, waiting.len()), ([2, 1], 2));
    }
}
