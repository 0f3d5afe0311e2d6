//! What the ports of caches count.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::analysis::{Lookups, Tally};
use crate::namespace::reading::Counts;
use crate::namespace::redis::{Fetched, Jobs};
use crate::traffic::Version;

/// Queues of one port that are counted apart: each becomes a label of metrics.
const QUEUES_MAX: usize = 32;

/// The counts of one port: only rising, but for the connections that are open.
#[derive(Debug, Default)]
pub struct CacheCounts {
    /// Connections of clients that are open.
    pub connections: AtomicU64,
    /// Connections that could not be made, since the server was not reached.
    pub unreached: AtomicU64,
    /// Commands.
    pub commands: AtomicU64,
    /// Values that were there.
    pub hits: AtomicU64,
    /// Values that were not.
    pub misses: AtomicU64,
    /// Commands that were refused.
    pub refused: AtomicU64,
    /// Scripts without a key.
    pub keyless_scripts: AtomicU64,
    /// Deletions repeated in the other namespaces.
    pub repeats: AtomicU64,
    /// Deletions that could not be repeated.
    pub failed_repeats: AtomicU64,
    /// Keys from before the namespace began anew, deleted.
    pub reaped: AtomicU64,
    /// What its workers have done.
    pub jobs: JobCounts,
}

/// What workers have done, and fetched.
#[derive(Debug, Default)]
pub struct JobCounts {
    done: Mutex<Jobs>,
    /// Jobs by the queue that they came from.
    fetched: Mutex<BTreeMap<String, u64>>,
}

impl JobCounts {
    /// Adds what a connection has counted.
    pub fn add(&self, jobs: Jobs, fetched: &Fetched) {
        if jobs != Jobs::default() {
            self.done.lock().unwrap_or_else(PoisonError::into_inner).add(jobs);
        }
        if fetched.jobs.is_empty() {
            return;
        }
        let mut known = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for (queue, jobs) in &fetched.jobs {
            let queue = String::from_utf8_lossy(queue).into_owned();
            let is_known = known.len() < QUEUES_MAX || known.contains_key(&queue);
            let queue = if is_known { queue } else { "(other)".to_owned() };
            *known.entry(queue).or_default() += jobs;
        }
    }

    /// What was done.
    pub fn done(&self) -> Jobs {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs that were fetched, by queue.
    pub fn fetched(&self) -> BTreeMap<String, u64> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CacheCounts {
    /// Adds what a connection has counted.
    pub fn add(&self, counts: Counts) {
        let Counts { commands, hits, misses, refused, keyless_scripts } = counts;
        let pairs = [
            (&self.commands, commands),
            (&self.hits, hits),
            (&self.misses, misses),
            (&self.refused, refused),
            (&self.keyless_scripts, keyless_scripts),
        ];
        for (count, more) in pairs.into_iter().filter(|(_, more)| *more > 0) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The share of values that were there; none before anybody has asked for one.
    pub fn hit_ratio(&self) -> Option<f64> {
        let (hits, misses) =
            (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
    }
}

/// One port of a cache.
#[derive(Clone, Debug)]
pub struct CacheEntry {
    /// The cache.
    pub cache: String,
    /// The release.
    pub version: Version,
    /// What stands before its keys, if something does.
    pub namespace: Option<String>,
    /// How versions are kept apart.
    pub mode: &'static str,
    /// Whether it has a part of its own.
    pub is_apart: bool,
    /// Where Weir listens.
    pub listen: SocketAddr,
    /// What is counted.
    pub counts: Arc<CacheCounts>,
}

/// Every port there is: the data wing writes, others read.
#[derive(Debug, Default)]
pub struct CacheLedger(Mutex<Vec<CacheEntry>>);

impl CacheLedger {
    /// There are these.
    pub fn set(&self, entries: Vec<CacheEntry>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = entries;
    }

    /// So many `keys` from before the namespace of a port began anew are deleted.
    pub fn reaped(&self, cache: &str, version: &Version, keys: u64) {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |entry: &&CacheEntry| entry.cache == cache && entry.version == *version;
        if let Some(entry) = entries.iter().find(own) {
            entry.counts.reaped.fetch_add(keys, Ordering::Relaxed);
        }
    }

    /// What `version` has asked the caches for in which it has a part of its own, and which the
    /// tier `uses`.
    pub fn lookups(&self, version: &Version, uses: impl Fn(&str) -> bool) -> Lookups {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            |entry: &&CacheEntry| entry.version == *version && entry.is_apart && uses(&entry.cache);
        entries.iter().filter(own).fold(Lookups::default(), |sum, CacheEntry { counts, .. }| {
            Lookups {
                hits: sum.hits + counts.hits.load(Ordering::Relaxed),
                misses: sum.misses + counts.misses.load(Ordering::Relaxed),
            }
        })
    }

    /// What the workers of `version` have done, all and in vain, as far as it passes ports that the
    /// tier `uses` and that are only observed; none if there is no such port.
    pub fn jobs(&self, version: &Version, uses: impl Fn(&str) -> bool) -> Option<Tally> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |entry: &&CacheEntry| {
            entry.version == *version && !entry.is_apart && uses(&entry.cache)
        };
        let done = entries.iter().filter(own).map(|entry| entry.counts.jobs.done());
        let tally = |jobs: Jobs| Tally { total: jobs.processed, bad: jobs.failed };
        done.map(tally).reduce(|sum, more| Tally {
            total: sum.total.saturating_add(more.total),
            bad: sum.bad.saturating_add(more.bad),
        })
    }

    /// The ports, by cache and version.
    pub fn entries(&self) -> Vec<CacheEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
