//! What the caches of answers count, for each version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::traffic::{TierName, Version};

/// The counts of one version: only rising, but for what is kept now.
#[derive(Debug, Default)]
pub struct HttpCacheCounts {
    /// Answers that were given from the cache, fresh.
    pub hits: AtomicU64,
    /// Answers that were given from the cache, stale.
    pub stale: AtomicU64,
    /// Answers that were given from one that just came for somebody else.
    pub collapsed: AtomicU64,
    /// Answers that were asked for again, and had not changed.
    pub revalidated: AtomicU64,
    /// Requests whose answer could have been kept and was not.
    pub misses: AtomicU64,
    /// Requests that pass by the cache.
    pub passed: AtomicU64,
    /// Answers that are kept.
    pub entries: AtomicU64,
    /// Bytes that they take.
    pub bytes: AtomicU64,
}

impl HttpCacheCounts {
    /// The share of requests that did not cost the service an answer; none before the first.
    pub fn hit_ratio(&self) -> Option<f64> {
        let [spared, asked] = self.spared_and_asked();
        (spared + asked > 0).then(|| spared as f64 / (spared + asked) as f64)
    }

    /// The requests that did not cost the service an answer, and those that did although theirs
    /// could be kept.
    pub fn spared_and_asked(&self) -> [u64; 2] {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let spared = [&self.hits, &self.stale, &self.collapsed].map(count).iter().sum();
        [spared, [&self.revalidated, &self.misses].map(count).iter().sum()]
    }
}

/// One version's part of a tier's cache.
#[derive(Clone, Debug)]
pub struct HttpCacheEntry {
    /// The tier.
    pub tier: TierName,
    /// The version.
    pub version: Version,
    /// The name of its part.
    pub namespace: String,
    /// Bytes that the cache of the tier may take.
    pub size: u64,
    /// What is counted.
    pub counts: Arc<HttpCacheCounts>,
}

/// Writes what is counted of one part.
pub(super) fn expose(entry: &HttpCacheEntry) {
    let HttpCacheEntry { tier, version, counts, .. } = entry;
    let labels = [("tier", tier.to_string()), ("version", version.to_string())];
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    for (name, rising) in [
        ("weir_http_cache_hits_total", &counts.hits),
        ("weir_http_cache_stale_hits_total", &counts.stale),
        ("weir_http_cache_collapsed_total", &counts.collapsed),
        ("weir_http_cache_revalidated_total", &counts.revalidated),
        ("weir_http_cache_misses_total", &counts.misses),
        ("weir_http_cache_passed_total", &counts.passed),
    ] {
        counter!(name, &labels).absolute(count(rising));
    }
    gauge!("weir_http_cache_entries", &labels).set(count(&counts.entries) as f64);
    gauge!("weir_http_cache_bytes", &labels).set(count(&counts.bytes) as f64);
}

/// Says what the counts are.
pub(super) fn describe() {
    describe_counter!("weir_http_cache_hits_total", "Answers given from the cache, fresh");
    describe_counter!("weir_http_cache_stale_hits_total", "Answers given from the cache, stale");
    describe_counter!(
        "weir_http_cache_collapsed_total",
        "Answers given from one that just came for somebody else"
    );
    describe_counter!(
        "weir_http_cache_revalidated_total",
        "Answers that were asked for again and had not changed"
    );
    describe_counter!("weir_http_cache_misses_total", "Answers that were asked for and are kept");
    describe_counter!("weir_http_cache_passed_total", "Answers that pass by the cache");
    describe_gauge!("weir_http_cache_entries", "Answers that are kept");
    describe_gauge!("weir_http_cache_bytes", "Bytes that kept answers take");
}
