//! What is known of one upstream, over all workers: its health, and how many connections it has.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Longest error text that is kept of an upstream, in bytes.
const ERROR_BYTES_MAX: usize = 160;

/// How an upstream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Not yet known: it or Weir has just started.
    Unknown,
    /// It passes its checks.
    Healthy,
    /// It fails its checks.
    Unhealthy,
    /// Its checks pass, but requests failed; it is left out for a while.
    Ejected,
}

/// How an upstream is doing, since when, and what was last wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How it is doing.
    pub state: HealthState,
    /// Since when.
    pub since: Instant,
    /// Its last error.
    pub error: Option<String>,
}

/// What `/metrics` shows of an upstream beside its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamShown {
    /// Connections that are open.
    pub connections: usize,
    /// Requests that wait for one.
    pub pending: usize,
    /// How often it was left out because requests failed.
    pub ejections: u64,
    /// How often the resolver failed on its name.
    pub resolve_failures: u64,
}

/// What is known of one upstream: written by the checks and by workers whose requests fail. It
/// counts the connections of all workers too, so that a limit of them is one limit; that costs an
/// atomic operation when a connection is opened or closed, and nothing for a request.
#[derive(Debug)]
pub struct UpstreamCells {
    start: Instant,
    checked: AtomicU8,
    healthy_since: AtomicU64,
    ejected_until: AtomicU64,
    failures: AtomicU32,
    ejections: AtomicU64,
    resolve_failures: AtomicU64,
    /// Which silence it is; odd while somebody wants to know when it ends.
    silence: AtomicU32,
    connections: AtomicUsize,
    pending: AtomicUsize,
    waiting: Mutex<Vec<Waiter>>,
    story: Mutex<(Instant, Option<String>)>,
    ejecting: Arc<Mutex<()>>,
}

/// A worker that waits for a connection to be closed.
#[derive(Debug)]
struct Waiter {
    worker: usize,
    /// How many it has itself.
    connections: usize,
    waker: Waker,
}

impl UpstreamCells {
    /// An upstream of which nothing is known yet. All that share `ejecting` are left out one at a
    /// time, so that a share of them is never exceeded.
    pub(super) fn new(now: Instant, ejecting: Arc<Mutex<()>>) -> Self {
        Self {
            start: now,
            checked: AtomicU8::new(HealthState::Unknown as u8),
            healthy_since: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            resolve_failures: AtomicU64::new(0),
            silence: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            waiting: Mutex::default(),
            story: Mutex::new((now, None)),
            ejecting,
        }
    }

    /// How it is doing at `now`.
    pub fn state(&self, now: Instant) -> HealthState {
        let checked = self.checked.load(Ordering::Acquire);
        if checked == HealthState::Unhealthy as u8 {
            HealthState::Unhealthy
        } else if self.since_start(now) < self.ejected_until.load(Ordering::Acquire) {
            HealthState::Ejected
        } else if checked == HealthState::Healthy as u8 {
            HealthState::Healthy
        } else {
            HealthState::Unknown
        }
    }

    /// How it is doing, since when, and its last error.
    pub(super) fn health(&self) -> Health {
        let (since, error) = self.story().clone();
        Health { state: self.state(Instant::now()), since, error }
    }

    /// What `/metrics` shows of it beside that.
    pub(super) fn shown(&self) -> UpstreamShown {
        UpstreamShown {
            connections: self.connections.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            ejections: self.ejections.load(Ordering::Relaxed),
            resolve_failures: self.resolve_failures.load(Ordering::Relaxed),
        }
    }

    /// For how long it has been served to at `now`: since its checks pass, or since it is let in
    /// again.
    pub fn back_for(&self, now: Instant) -> Duration {
        let ejected_until = self.ejected_until.load(Ordering::Acquire);
        let back = self.healthy_since.load(Ordering::Acquire).max(ejected_until);
        Duration::from_micros(self.since_start(now).saturating_sub(back))
    }

    /// The checks found it to be in `state` (not [`HealthState::Ejected`], which is not theirs).
    pub fn checked(&self, state: HealthState, now: Instant) {
        if self.checked.load(Ordering::Acquire) == state as u8 {
            return;
        }
        if state == HealthState::Healthy {
            // First, or there would be a moment in which it has been back for ever.
            self.healthy_since.store(self.since_start(now), Ordering::Release);
        }
        self.checked.store(state as u8, Ordering::Release);
        self.story().0 = now;
    }

    /// What the checks have said counts no more: something else is about to run there.
    pub fn begin_anew(&self) {
        self.checked.store(HealthState::Unknown as u8, Ordering::Release);
        self.story().1 = None;
    }

    /// Connections that are open, and requests that wait for one.
    pub(super) fn in_use(&self) -> usize {
        self.connections.load(Ordering::SeqCst) + self.pending.load(Ordering::SeqCst)
    }

    /// Whether the checks have said nothing of it so far.
    pub fn is_unknown(&self) -> bool {
        self.checked.load(Ordering::Acquire) == HealthState::Unknown as u8
    }

    /// For how long it has been known.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// What was last wrong with it.
    pub fn failed(&self, error: &str) {
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        self.story().1 = Some(error[..end].to_owned());
    }

    /// Its name could not be looked up.
    pub fn resolve_failed(&self, error: &str) {
        self.resolve_failures.fetch_add(1, Ordering::Relaxed);
        self.failed(error);
    }

    /// A request failed; the number of failures in a row.
    pub fn failure(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// A request was answered.
    pub fn success(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// From here on it is noted whether anything is answered; gives the silence to ask for. Where
    /// nobody asks, an answer costs a look, and no worker takes the cell from another.
    pub fn listens(&self) -> u32 {
        let mut silence = self.silence.load(Ordering::Acquire);
        while silence.is_multiple_of(2) {
            let next = silence.wrapping_add(1);
            let order = Ordering::AcqRel;
            match self.silence.compare_exchange(silence, next, order, Ordering::Acquire) {
                Ok(_) => return next,
                Err(now) => silence = now,
            }
        }
        silence
    }

    /// The head of an answer came from it, whatever it says, or a check passed.
    pub fn speaks(&self) {
        let silence = self.silence.load(Ordering::Acquire);
        if !silence.is_multiple_of(2) {
            let (next, order) = (silence.wrapping_add(1), Ordering::AcqRel);
            // Otherwise another has said so.
            _ = self.silence.compare_exchange(silence, next, order, Ordering::Relaxed);
        }
    }

    /// Whether nothing was answered since it was said to be this `silence`.
    pub fn is_silent(&self, silence: u32) -> bool {
        self.silence.load(Ordering::Acquire) == silence
    }

    /// Holds back every other thread that would leave an upstream out.
    pub fn ejecting(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves it out until `until`.
    pub fn eject(&self, now: Instant, until: Instant) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.ejected_until.store(self.since_start(until), Ordering::Release);
        self.story().0 = now;
    }

    /// Counts a connection more, unless there are `most`.
    pub fn open(&self, most: Option<usize>) -> bool {
        // SeqCst here and below: who waits must not miss who leaves.
        let Some(most) = most else {
            self.connections.fetch_add(1, Ordering::SeqCst);
            return true;
        };
        let more = |open: usize| (open < most).then_some(open + 1);
        self.connections.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Counts a connection less, and wakes those who wait for one.
    pub fn close(&self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) > 0 {
            self.waiters().drain(..).for_each(|waiter| waiter.waker.wake());
        }
    }

    /// Counts a request more that waits for a connection, unless there are `most`.
    pub fn waits(&self, most: usize) -> bool {
        let more = |pending: usize| (pending < most).then_some(pending + 1);
        self.pending.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Counts one less.
    pub fn waited(&self) {
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }

    /// Has `waker` of `worker`, which has so many `connections`, woken once one is closed. Who then
    /// looks whether one may be opened misses none.
    pub fn listen(&self, worker: usize, connections: usize, waker: &Waker) {
        let mut waiters = self.waiters();
        waiters.retain(|waiter| waiter.worker != worker);
        waiters.push(Waiter { worker, connections, waker: waker.clone() });
    }

    /// Has nobody of `worker` woken any more.
    pub fn forget(&self, worker: usize) {
        self.waiters().retain(|waiter| waiter.worker != worker);
    }

    /// Whether another worker waits for a connection that `worker`, which has so many
    /// `connections`, should leave to it: because it `needs` none, because the other has none, or
    /// because it has at least two more.
    pub fn is_wanted(&self, worker: usize, connections: usize, needs: bool) -> bool {
        let poorer = |waiter: &Waiter| {
            let other = waiter.connections;
            waiter.worker != worker && (!needs || other == 0 || other + 1 < connections)
        };
        self.pending.load(Ordering::Relaxed) > 0 && self.waiters().iter().any(poorer)
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn story(&self) -> MutexGuard<'_, (Instant, Option<String>)> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    fn cells(now: Instant) -> UpstreamCells {
        UpstreamCells::new(now, Arc::default())
    }

    #[test]
    fn an_ejected_upstream_comes_back_and_an_unhealthy_one_does_not() {
        let now = Instant::now();
        let cells = cells(now);
        assert_eq!(cells.state(now), HealthState::Unknown);
        cells.checked(HealthState::Healthy, now);
        assert_eq!((cells.failure(), cells.failure()), (1, 2));
        cells.success();
        assert_eq!(cells.failure(), 1);
        cells.eject(now, now + Duration::from_secs(10));
        assert_eq!(cells.state(now), HealthState::Ejected);
        assert_eq!(cells.state(now + Duration::from_secs(11)), HealthState::Healthy);
        cells.checked(HealthState::Unhealthy, now);
        cells.failed(&"ä".repeat(200));
        assert_eq!(cells.state(now + Duration::from_secs(11)), HealthState::Unhealthy);
        assert!(cells.health().error.unwrap().len() <= ERROR_BYTES_MAX);
    }

    #[test]
    fn an_upstream_is_back_since_it_passed_its_checks_or_was_let_in_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let back = |cells: &UpstreamCells, seconds| cells.back_for(at(seconds)).as_secs();
        let cells = cells(start);
        cells.checked(HealthState::Healthy, at(5));
        cells.checked(HealthState::Healthy, at(6));
        assert_eq!(back(&cells, 8), 3);
        cells.eject(at(10), at(20));
        assert_eq!((back(&cells, 15), back(&cells, 24)), (0, 4));
        cells.checked(HealthState::Unhealthy, at(30));
        cells.checked(HealthState::Healthy, at(40));
        assert_eq!(back(&cells, 41), 1);
    }

    #[test]
    fn a_silence_ends_with_the_first_answer_for_all_who_wait() {
        let cells = cells(Instant::now());
        cells.speaks();
        let (one, other) = (cells.listens(), cells.listens());
        assert!(cells.is_silent(one) && cells.is_silent(other));
        cells.speaks();
        assert!(!cells.is_silent(one) && !cells.is_silent(other));
        let next = cells.listens();
        assert!(cells.is_silent(next) && !cells.is_silent(one));
        cells.speaks();
        cells.speaks();
        assert!(!cells.is_silent(next));
    }

    #[test]
    fn who_waits_for_a_connection_is_woken_when_one_is_closed() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (cells, woken) = (cells(Instant::now()), Arc::new(Woken(AtomicBool::new(false))));
        assert!(cells.open(Some(1)) && !cells.open(Some(1)));
        assert!(cells.waits(1) && !cells.waits(1), "one may wait");
        assert!(!cells.is_wanted(0, 1, false));
        cells.listen(1, 2, &Arc::clone(&woken).into());
        assert!(!cells.open(Some(1)));
        assert!(!cells.is_wanted(1, 2, false), "by itself");
        assert!(cells.is_wanted(0, 1, false), "by another, and it needs none");
        assert!(!cells.is_wanted(0, 3, true) && cells.is_wanted(0, 4, true), "by a poorer one");
        cells.close();
        assert!(woken.0.load(Ordering::SeqCst) && cells.open(Some(1)) && cells.open(None));
        cells.waited();
        let shown = cells.shown();
        assert_eq!((shown.connections, shown.pending), (2, 0));
    }
}
