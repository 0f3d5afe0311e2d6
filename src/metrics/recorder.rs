//! The register of all counts: cells with one writer each, read without stopping anybody.
//!
//! Order: a writer counts the request first, then its outcome (Release); a reader takes the
//! outcomes first (Acquire), then the requests. So outcomes never exceed requests. A request is
//! counted together with its outcome, so that both fall into the same window.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::caches::CacheLedger;
use super::events::EventLedger;
use super::keys::Sketch;
use super::latency::{BUCKETS, bucket};
use super::memory::MemoryCells;
use super::signals::SignalLedger;
use super::tiers::TierCells;
use super::upstream::{Health, UpstreamCells, UpstreamShown};
use crate::traces::Tracer;
use crate::traffic::{Address, TierName, Track, Version};

/// Watches of one tier that are counted; the configuration refuses more.
pub const WATCHES_MAX: usize = 8;

/// A number with one writer: written by a load and a store, which cost what plain memory costs.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, number: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(number), Ordering::Release);
    }

    fn take_away(&self, number: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(number), Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Kinds of [`Outcome`]: five classes of answers, and five ways to give none.
const OUTCOMES: usize = 10;

/// How an attempt on a release ended, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status.
    Answered(u16),
    /// Its upstreams have as many connections and waiting requests as they may have.
    Full,
    /// No connection could be made, or no upstream was healthy.
    Refused,
    /// The connection broke, before or in the answer.
    Reset,
    /// It took too long.
    TimedOut,
    /// Anything else, such as an answer that is not HTTP.
    Other,
}

impl Outcome {
    /// Whether the judge counts it as an error.
    pub const fn is_error(self) -> bool {
        match self {
            Self::Answered(status) => status >= 500,
            Self::Full | Self::Refused | Self::Reset | Self::TimedOut | Self::Other => true,
        }
    }

    /// Its place among [`OUTCOMES`].
    const fn index(self) -> usize {
        match self {
            Self::Answered(status) => class(status),
            Self::Refused => 5,
            Self::Reset => 6,
            Self::TimedOut => 7,
            Self::Other => 8,
            Self::Full => 9,
        }
    }
}

/// The class of a status, 1xx being 0.
const fn class(status: u16) -> usize {
    let hundreds = (status / 100) as usize;
    if hundreds == 0 {
        0
    } else if hundreds > 5 {
        4
    } else {
        hundreds - 1
    }
}

/// One worker's cells of one release, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Cells {
    requests: Count,
    errors: Count,
    watches: [Count; WATCHES_MAX],
    latency: [Count; BUCKETS],
    stable: TrackCells,
    canary: TrackCells,
    in_flight: Count,
    rescues: Count,
    retries: Count,
    refused_retries: Count,
    stale_connections: Count,
    previews: Count,
    switches: Count,
    abandoned: Count,
    upgraded_open: Count,
}

#[derive(Debug)]
struct TrackCells {
    attempts: [Count; OUTCOMES],
    responses: [Count; 5],
    latency: [Count; BUCKETS],
    latency_nanoseconds: Count,
}

impl TrackCells {
    fn new() -> Self {
        Self {
            attempts: Default::default(),
            responses: Default::default(),
            latency: std::array::from_fn(|_| Count::default()),
            latency_nanoseconds: Count::default(),
        }
    }
}

impl Cells {
    fn new() -> Self {
        Self {
            requests: Count::default(),
            errors: Count::default(),
            watches: Default::default(),
            latency: std::array::from_fn(|_| Count::default()),
            stable: TrackCells::new(),
            canary: TrackCells::new(),
            in_flight: Count::default(),
            rescues: Count::default(),
            retries: Count::default(),
            refused_retries: Count::default(),
            stale_connections: Count::default(),
            previews: Count::default(),
            switches: Count::default(),
            abandoned: Count::default(),
            upgraded_open: Count::default(),
        }
    }

    fn track(&self, track: Track) -> &TrackCells {
        match track {
            Track::Canary => &self.canary,
            Track::Stable => &self.stable,
        }
    }
}

/// The one writer of a worker's cells of a release. It stays on its thread.
#[derive(Clone, Debug)]
pub struct Writer {
    cells: Arc<Cells>,
    thread: PhantomData<Rc<()>>,
}

impl Writer {
    /// Counts a judged request with its outcome. `watches` has a bit for each watch that matched;
    /// `latency` is given where the answer may count as slow.
    pub fn judged(&self, error: bool, watches: u8, latency: Option<Duration>) {
        self.cells.requests.add(1);
        if error {
            self.cells.errors.add(1);
        }
        if watches != 0 {
            for (watch, count) in self.cells.watches.iter().enumerate() {
                count.add(u64::from(watches >> watch & 1));
            }
        }
        if let Some(latency) = latency {
            self.cells.latency[bucket(latency)].add(1);
        }
    }

    /// Counts an attempt on the release, whoever saw its answer.
    pub fn attempt(&self, track: Track, outcome: Outcome) {
        self.cells.track(track).attempts[outcome.index()].add(1);
    }

    /// Counts an answer that a user of `track` saw from this release, and how long its head took.
    pub fn response(&self, track: Track, status: u16, latency: Duration) {
        let cells = self.cells.track(track);
        cells.responses[class(status)].add(1);
        cells.latency[bucket(latency)].add(1);
        cells.latency_nanoseconds.add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A request is on its way to the release.
    pub fn begins(&self) {
        self.cells.in_flight.add(1);
    }

    /// A request that [began](Self::begins) is over.
    pub fn ends(&self) {
        self.cells.in_flight.take_away(1);
    }

    /// A request that failed here was served by stable.
    pub fn rescued(&self) {
        self.cells.rescues.add(1);
    }

    /// A request was sent again, on a fresh connection or to another upstream.
    pub fn retried(&self) {
        self.cells.retries.add(1);
    }

    /// A request was not sent again, since too many of the others were.
    pub fn retry_refused(&self) {
        self.cells.refused_retries.add(1);
    }

    /// A kept-alive connection had died while it was idle.
    pub fn stale_connection(&self) {
        self.cells.stale_connections.add(1);
    }

    /// A tester asked for this release.
    pub fn previewed(&self) {
        self.cells.previews.add(1);
    }

    /// A client came here because its key changed at login.
    pub fn switched(&self) {
        self.cells.switches.add(1);
    }

    /// A client went away before its answer.
    pub fn abandoned(&self) {
        self.cells.abandoned.add(1);
    }

    /// A connection was upgraded.
    pub fn upgrade_opened(&self) {
        self.cells.upgraded_open.add(1);
    }

    /// An upgraded connection was closed.
    pub fn upgrade_closed(&self) {
        self.cells.upgraded_open.take_away(1);
    }
}

/// The judged sums of a release since the program started, over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Requests with an outcome.
    pub requests: u64,
    /// Those with 5xx, refused, reset, timed out, hanging or cut short.
    pub errors: u64,
    /// Outcomes by watch, in the order of the tier's watches.
    pub watches: [u64; WATCHES_MAX],
    /// Latencies of the answers that may count as slow, by [`bucket_edges`](super::bucket_edges).
    pub latency: [u64; BUCKETS],
}

/// Attempts by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Answers by class, 1xx first.
    pub classes: [u64; 5],
    /// No connection, or no healthy upstream.
    pub refused: u64,
    /// Broken connections.
    pub reset: u64,
    /// Took too long.
    pub timeout: u64,
    /// Anything else.
    pub other: u64,
    /// No upstream could take it.
    pub full: u64,
}

/// What a release did on one track, for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackShown {
    /// Attempts, rescued ones included.
    pub attempts: Attempts,
    /// Answers that users saw, by class, 1xx first.
    pub responses: [u64; 5],
    /// Their latencies by [`bucket_edges`](super::bucket_edges).
    pub latency: [u64; BUCKETS],
    /// The sum of their latencies.
    pub latency_sum: Duration,
}

/// Everything of a release that `/metrics` shows, judged or not. A tester's requests are counted
/// under the track on which the release stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As stable.
    pub stable: TrackShown,
    /// As canary, or reached by preview.
    pub canary: TrackShown,
    /// Requests on their way.
    pub in_flight: u64,
    /// Requests that failed here and were served by stable.
    pub rescues: u64,
    /// Requests sent again, on a fresh connection or to another upstream.
    pub retries: u64,
    /// Requests not sent again, since too many of the others were.
    pub refused_retries: u64,
    /// Kept-alive connections that had died while idle.
    pub stale_connections: u64,
    /// Requests of testers.
    pub previews: u64,
    /// Clients that came here because their key changed at login.
    pub switches: u64,
    /// Clients that went away before their answer.
    pub abandoned: u64,
    /// Upgraded connections that are open.
    pub upgraded_open: u64,
}

/// The register: who is counted, and the cells. Shared by all; the lock is taken only when a
/// table is read and when counts are, never for a request.
#[derive(Debug)]
pub struct Register {
    workers: usize,
    memory: MemoryCells,
    caches: Arc<CacheLedger>,
    signals: Arc<SignalLedger>,
    events: EventLedger,
    tracer: Tracer,
    slots: RwLock<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    releases: Vec<ReleaseSlot>,
    upstreams: Vec<(usize, Address, Arc<UpstreamCells>)>,
    tiers: BTreeMap<TierName, Arc<TierCells>>,
    ejecting: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct ReleaseSlot {
    tier: TierName,
    version: Version,
    workers: Vec<Arc<Cells>>,
}

impl Register {
    /// An empty register for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            memory: MemoryCells::default(),
            caches: Arc::default(),
            signals: Arc::default(),
            events: EventLedger::default(),
            tracer: Tracer::default(),
            slots: RwLock::default(),
        }
    }

    /// Memory of the process.
    pub const fn memory(&self) -> &MemoryCells {
        &self.memory
    }

    /// The ports of caches.
    pub const fn caches(&self) -> &Arc<CacheLedger> {
        &self.caches
    }

    /// What is heard from outside.
    pub const fn signals(&self) -> &Arc<SignalLedger> {
        &self.signals
    }

    /// Where spans wait.
    pub const fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// What happened.
    pub const fn events(&self) -> &EventLedger {
        &self.events
    }

    /// The slot of `version` of `tier`; the same for ever.
    pub fn release(&self, tier: &TierName, version: &Version) -> usize {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let same = |slot: &ReleaseSlot| slot.tier == *tier && slot.version == *version;
        if let Some(known) = slots.releases.iter().position(same) {
            return known;
        }
        let workers = (0..self.workers).map(|_| Arc::new(Cells::new())).collect();
        slots.releases.push(ReleaseSlot { tier: tier.clone(), version: version.clone(), workers });
        slots.releases.len() - 1
    }

    /// The slot of `address` as an upstream of the release in slot `release`; the same for ever.
    pub fn upstream(&self, release: usize, address: &Address) -> usize {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let same = |slot: &(usize, Address, _)| slot.0 == release && slot.1 == *address;
        if let Some(known) = slots.upstreams.iter().position(same) {
            return known;
        }
        let ejecting = Arc::clone(&slots.ejecting);
        let cells = Arc::new(UpstreamCells::new(Instant::now(), ejecting));
        slots.upstreams.push((release, address.clone(), cells));
        slots.upstreams.len() - 1
    }

    /// The cells of a tier as a whole.
    pub fn tier(&self, tier: &TierName) -> Arc<TierCells> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TierCells::new(self.workers));
        Arc::clone(slots.tiers.entry(tier.clone()).or_insert_with(new))
    }

    /// The writer of `worker` for a release. There must be one thread a worker.
    ///
    /// # Panics
    /// A slot or worker that does not exist.
    pub fn writer(&self, release: usize, worker: usize) -> Writer {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let cells = Arc::clone(&slots.releases[release].workers[worker]);
        Writer { cells, thread: PhantomData }
    }

    /// What is known of an upstream, for the data wing.
    ///
    /// # Panics
    /// A slot that does not exist.
    pub fn upstream_cells(&self, upstream: usize) -> Arc<UpstreamCells> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&slots.upstreams[upstream].2)
    }

    /// The judged sums of a release.
    ///
    /// # Panics
    /// A slot that does not exist.
    pub fn totals(&self, release: usize) -> Totals {
        let mut totals =
            Totals { requests: 0, errors: 0, watches: [0; WATCHES_MAX], latency: [0; BUCKETS] };
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        for cells in &slots.releases[release].workers {
            // Outcomes first: see the order above.
            totals.errors += cells.errors.get();
            add(&mut totals.watches, &cells.watches);
            add(&mut totals.latency, &cells.latency);
            totals.requests += cells.requests.get();
        }
        totals
    }

    /// Everything of a release that `/metrics` shows.
    ///
    /// # Panics
    /// A slot that does not exist.
    pub fn shown(&self, release: usize) -> Shown {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let workers = &slots.releases[release].workers;
        let sum = |count: fn(&Cells) -> &Count| workers.iter().map(|c| count(c).get()).sum();
        Shown {
            stable: track_shown(workers, Track::Stable),
            canary: track_shown(workers, Track::Canary),
            in_flight: sum(|cells| &cells.in_flight),
            rescues: sum(|cells| &cells.rescues),
            retries: sum(|cells| &cells.retries),
            refused_retries: sum(|cells| &cells.refused_retries),
            stale_connections: sum(|cells| &cells.stale_connections),
            previews: sum(|cells| &cells.previews),
            switches: sum(|cells| &cells.switches),
            abandoned: sum(|cells| &cells.abandoned),
            upgraded_open: sum(|cells| &cells.upgraded_open),
        }
    }

    /// The versions of `tier` with upgraded connections that are open, and how many.
    pub fn upgraded(&self, tier: &TierName) -> Vec<(Version, u64)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let of_tier = slots.releases.iter().filter(|slot| slot.tier == *tier);
        let open = of_tier.map(|slot| {
            let open = slot.workers.iter().map(|cells| cells.upgraded_open.get()).sum();
            (slot.version.clone(), open)
        });
        open.filter(|(_, open)| *open > 0).collect()
    }

    /// The share of the tier's requests that came from its heaviest key lately, at most 1/33 too
    /// small; none while there are too few requests to say.
    pub fn key_share(&self, tier: &TierName) -> Option<f64> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let lock =
            |sketch: &Mutex<Sketch>| sketch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sketches: Vec<Sketch> = slots.tiers.get(tier)?.sketches.iter().map(lock).collect();
        Sketch::heaviest(&sketches)
    }

    /// Connections to `address` that are open in whatever release of `tier`, and requests that wait
    /// for one.
    pub fn in_use(&self, tier: &TierName, address: &Address) -> usize {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let here = slots.upstreams.iter().filter(|(release, at, _)| {
            let release = slots.releases.get(*release);
            at == address && release.is_some_and(|release| release.tier == *tier)
        });
        here.map(|(.., cells)| cells.in_use()).sum()
    }

    /// How an upstream is doing.
    ///
    /// # Panics
    /// A slot that does not exist.
    pub fn health(&self, upstream: usize) -> Health {
        self.upstream_cells(upstream).health()
    }

    /// What `/metrics` shows of an upstream beside its health.
    ///
    /// # Panics
    /// A slot that does not exist.
    pub fn upstream_shown(&self, upstream: usize) -> UpstreamShown {
        self.upstream_cells(upstream).shown()
    }
}

fn add<const N: usize>(sums: &mut [u64; N], counts: &[Count; N]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.get();
    }
}

fn track_shown(workers: &[Arc<Cells>], track: Track) -> TrackShown {
    let mut ends = [0; OUTCOMES];
    let mut responses = [0; 5];
    let mut latency = [0; BUCKETS];
    let mut nanoseconds = 0;
    for cells in workers {
        let cells = cells.track(track);
        nanoseconds += cells.latency_nanoseconds.get();
        add(&mut latency, &cells.latency);
        add(&mut responses, &cells.responses);
        add(&mut ends, &cells.attempts);
    }
    let [one, two, three, four, five, refused, reset, timeout, other, full] = ends;
    TrackShown {
        attempts: Attempts {
            classes: [one, two, three, four, five],
            refused,
            reset,
            timeout,
            other,
            full,
        },
        responses,
        latency,
        latency_sum: Duration::from_nanos(nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> (Register, usize) {
        let register = Register::new(2);
        let release = register.release(&"web".parse().unwrap(), &"1.0".parse().unwrap());
        (register, release)
    }

    #[test]
    fn outcomes_never_exceed_requests_whoever_reads_when() {
        let (register, release) = register();
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let register = &register;
                scope.spawn(move || {
                    let writer = register.writer(release, worker);
                    for _ in 0..300_000 {
                        writer.judged(true, 0b1000_0001, Some(Duration::from_millis(3)));
                    }
                });
            }
            let mut seen = 0;
            while seen < 600_000 {
                let totals = register.totals(release);
                assert!(totals.errors <= totals.requests);
                assert!(totals.watches.iter().all(|watch| *watch <= totals.requests));
                assert!(totals.latency.iter().sum::<u64>() <= totals.requests);
                assert!(totals.requests >= seen);
                seen = totals.requests;
            }
        });
        let totals = register.totals(release);
        assert_eq!((totals.requests, totals.errors), (600_000, 600_000));
        assert_eq!(totals.watches, [600_000, 0, 0, 0, 0, 0, 0, 600_000]);
    }

    #[test]
    fn a_slot_is_kept_for_good() {
        let (register, release) = register();
        let other = register.release(&"web".parse().unwrap(), &"1.1".parse().unwrap());
        assert_eq!(register.release(&"web".parse().unwrap(), &"1.0".parse().unwrap()), release);
        assert_ne!(other, release);
        let address: Address = "127.0.0.1:3000".parse().unwrap();
        let upstream = register.upstream(release, &address);
        assert_ne!(register.upstream(other, &address), upstream);
        assert_eq!(register.upstream(release, &address), upstream);
    }

    #[test]
    fn attempts_and_responses_are_shown_by_track() {
        let (register, release) = register();
        let writer = register.writer(release, 1);
        writer.attempt(Track::Canary, Outcome::Answered(503));
        writer.attempt(Track::Canary, Outcome::TimedOut);
        writer.response(Track::Stable, 204, Duration::from_millis(2));
        writer.begins();
        let shown = register.shown(release);
        assert_eq!(shown.canary.attempts.classes, [0, 0, 0, 0, 1]);
        assert_eq!(shown.canary.attempts.timeout, 1);
        assert_eq!(shown.stable.responses, [0, 1, 0, 0, 0]);
        assert_eq!(shown.stable.latency_sum, Duration::from_millis(2));
        assert_eq!(shown.in_flight, 1);
    }

    #[test]
    fn every_status_has_a_class() {
        assert_eq!([0, 101, 200, 404, 599, 999].map(class), [0, 0, 1, 3, 4, 4]);
    }
}
