//! Answers of HTTP that are kept for others, for each version apart. One cache for each tier that
//! asks for one, shared by all workers.
//!
//! It only keeps and finds: what may be kept and given is for `namespace::http` to say.

mod budget;
mod fill;
mod flight;
mod kept;
mod shelves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::HeaderMap;

use crate::metrics::{HttpCacheCounts, HttpCacheEntry};
use crate::namespace::http::key::Purge;
use crate::traffic::{Caching, Table, TableTier, TierName, Version};
use budget::Budget;
pub use fill::{Fill, Reader, Writer};
pub use flight::{Landing, Lead, Seat, Wait};
pub use kept::{Head, Kept, Reading};
use shelves::Shelves;

/// The caches of all tiers that have one.
#[derive(Debug, Default)]
pub struct HttpCaches(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    caches: BTreeMap<TierName, Arc<HttpCache>>,
    /// Who served in the last table that was followed.
    served: BTreeMap<TierName, Served>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Served {
    stable: Version,
    canary: Option<Version>,
}

/// The cache of one tier.
#[derive(Debug)]
pub struct HttpCache {
    tier: TierName,
    caching: Mutex<Caching>,
    budget: Arc<Budget>,
    shelves: Mutex<Shelves>,
    spaces: Mutex<BTreeMap<Version, Arc<Space>>>,
}

/// One version's part of a cache.
#[derive(Debug)]
pub struct Space {
    /// Its name.
    pub namespace: Arc<str>,
    /// What is counted.
    pub counts: Arc<HttpCacheCounts>,
}

/// What an answer is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose it is.
    pub namespace: Arc<str>,
    /// What was asked for.
    pub url: Arc<str>,
}

impl HttpCaches {
    /// The cache of `tier`, if it wants one.
    pub fn of(&self, tier: &TableTier) -> Option<Arc<HttpCache>> {
        let caching = tier.tier.caching.as_ref()?;
        let mut known = self.known();
        let name = &tier.tier.name;
        let new = || Arc::new(HttpCache::new(name.clone(), caching.clone()));
        let cache = known.caches.entry(name.clone()).or_insert_with(new);
        cache.becomes(caching);
        Some(Arc::clone(cache))
    }

    /// Throws away what no release of `table` needs any more. One that lost its users takes its
    /// answers with it, for nobody knows how it came by them; one that a promotion replaced keeps
    /// them for the way back.
    pub fn follow(&self, table: &Table) {
        let mut known = self.known();
        let Known { caches, served } = &mut *known;
        caches.retain(|name, _| {
            table.tiers.iter().any(|tier| tier.tier.name == *name && tier.tier.caching.is_some())
        });
        let mut now = BTreeMap::new();
        for tier in &table.tiers {
            let name = &tier.tier.name;
            let serves = Served {
                stable: tier.stable.version.clone(),
                canary: tier.canary.as_ref().map(|canary| canary.version.clone()),
            };
            if let Some(cache) = caches.get(name) {
                let known = tier.releases().map(|release| release.version.clone()).collect();
                cache.retain(&known);
                let lost = served.get(name).map(|before| before.lost(&serves));
                lost.iter().flatten().for_each(|version| cache.forget(version));
            }
            now.insert(name.clone(), serves);
        }
        *served = now;
    }

    /// Throws away; says how many answers there were.
    pub fn purge(&self, purge: &Purge) -> u64 {
        let caches: Vec<_> = self.known().caches.values().cloned().collect();
        caches.iter().map(|cache| cache.purge(purge)).sum()
    }

    /// Memory is short: each cache makes do with an eighth less than it takes now, until the file
    /// says something else. Were it to grow again, users would be sent away again.
    pub fn give_way(&self) {
        let caches: Vec<_> = self.known().caches.values().cloned().collect();
        for cache in caches {
            cache.give_way();
        }
    }

    /// Every version's part of every cache.
    pub fn entries(&self) -> Vec<HttpCacheEntry> {
        self.known().caches.values().flat_map(|cache| cache.entries()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    /// Those who served, serve no more, and were not replaced by a promotion.
    fn lost(&self, now: &Self) -> Vec<Version> {
        let serves =
            |version: &&Version| **version != now.stable && Some(*version) != now.canary.as_ref();
        let promoted = self.canary.as_ref() == Some(&now.stable);
        let stable = Some(&self.stable).filter(|_| !promoted);
        stable.into_iter().chain(&self.canary).filter(serves).cloned().collect()
    }
}

impl HttpCache {
    fn new(tier: TierName, caching: Caching) -> Self {
        Self {
            tier,
            budget: Budget::new(caching.size),
            caching: Mutex::new(caching),
            shelves: Mutex::default(),
            spaces: Mutex::default(),
        }
    }

    fn becomes(&self, caching: &Caching) {
        let mut current = self.caching.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != *caching {
            let differ = current.forwarded != caching.forwarded;
            *current = caching.clone();
            if differ {
                self.shelves().purge_all();
            }
            self.budget.may_have(caching.size);
            self.shelves().make_room(&self.budget, 0);
        }
    }

    fn give_way(&self) {
        self.budget.may_have(self.budget.used() / 8 * 7);
        self.shelves().make_room(&self.budget, 0);
    }

    /// How the file wants it.
    pub fn caching(&self) -> Caching {
        self.caching.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The part of `version`, which is called `namespace`.
    pub fn space(&self, version: &Version, namespace: &str) -> Arc<Space> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Space { namespace: namespace.into(), counts: Arc::default() });
        Arc::clone(spaces.entry(version.clone()).or_insert_with(new))
    }

    /// The answer that is kept for a request.
    pub fn find(&self, key: &Key, request: &HeaderMap) -> Option<Arc<Kept>> {
        self.shelves().find(key, request)
    }

    /// Whether answers for `key` were not kept lately, so that nobody need wait for one.
    pub fn passes(&self, key: &Key, now: Instant) -> bool {
        self.shelves().passes(key, now)
    }

    /// Answers for `key` are not kept, for a while.
    pub fn pass(&self, key: &Key, now: Instant) {
        self.shelves().pass(key, now);
    }

    /// Asks for the answer to a request on behalf of all that want the same, or waits for whoever
    /// does.
    pub fn join(self: &Arc<Self>, key: &Key, request: &HeaderMap) -> Seat {
        self.shelves().join(self, key, request)
    }

    /// An answer for `key` is asked for: what is thrown away from now on concerns it, too.
    pub fn ticket(self: &Arc<Self>, key: &Key) -> Ticket {
        Ticket { number: self.shelves().issue(key), cache: Arc::clone(self), key: key.clone() }
    }

    /// Keeps an answer that was asked for with `ticket`.
    fn keep(&self, ticket: &Ticket, kept: Kept) {
        self.shelves().keep(ticket.number, &ticket.key, Arc::new(kept), &self.budget);
    }

    /// Keeps `head` with the body of `before`, which has not changed.
    pub fn renew(&self, ticket: &Ticket, before: &Arc<Kept>, head: Head) -> Arc<Kept> {
        let kept = Arc::new(before.renewed(head, &ticket.key.url, &self.budget));
        self.shelves().keep(ticket.number, &ticket.key, Arc::clone(&kept), &self.budget);
        kept
    }

    /// Drops what is kept for `key` in its version.
    pub fn remove(&self, key: &Key) {
        self.shelves().remove(key);
    }

    /// Begins to keep an answer that comes in, which its client reads.
    pub fn fill(
        self: &Arc<Self>,
        space: &Arc<Space>,
        ticket: Ticket,
        head: Head,
    ) -> (Writer, Reader) {
        fill::begin(Arc::clone(self), Arc::clone(space), ticket, head)
    }

    /// Finds room for `bytes` more, if there can be.
    fn reserve(&self, bytes: u64) -> Option<budget::Weight> {
        if let Some(weight) = self.budget.reserve(bytes) {
            return Some(weight);
        }
        self.shelves().make_room(&self.budget, bytes);
        self.budget.reserve(bytes)
    }

    /// Throws away; says how many answers there were.
    pub fn purge(&self, purge: &Purge) -> u64 {
        match purge {
            Purge::Url(url) => {
                let keys = self.keys(url);
                self.shelves().purge_keys(&keys)
            }
            Purge::Tag(tag) => self.shelves().purge_tag(tag),
            Purge::Namespace(namespace) => self.shelves().purge_namespace(namespace),
        }
    }

    /// What answers of `url` are found by, in all versions, with TLS and without.
    fn keys(&self, url: &str) -> Vec<Key> {
        let target = url.split_once("://").map_or(url, |(_, target)| target);
        let urls: [Arc<str>; 2] =
            ["http", "https"].map(|scheme| format!("{scheme}://{target}").into());
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let both = |space: &Arc<Space>| {
            let namespace = Arc::clone(&space.namespace);
            urls.clone().map(|url| Key { namespace: Arc::clone(&namespace), url })
        };
        spaces.values().flat_map(both).collect()
    }

    fn forget(&self, version: &Version) {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let space = spaces.get(version).cloned();
        drop(spaces);
        if let Some(space) = space {
            self.purge(&Purge::Namespace(space.namespace.to_string()));
        }
    }

    fn retain(&self, known: &BTreeSet<Version>) {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            spaces.keys().filter(|version| !known.contains(version)).cloned().collect();
        drop(spaces);
        for version in gone {
            self.forget(&version);
            self.spaces.lock().unwrap_or_else(PoisonError::into_inner).remove(&version);
        }
    }

    fn entries(&self) -> Vec<HttpCacheEntry> {
        let size = self.budget.size();
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(version, space): (&Version, &Arc<Space>)| HttpCacheEntry {
            tier: self.tier.clone(),
            version: version.clone(),
            namespace: space.namespace.to_string(),
            size,
            counts: Arc::clone(&space.counts),
        };
        spaces.iter().map(entry).collect()
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that an answer is asked for, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    cache: Arc<HttpCache>,
    key: Key,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cache.shelves().give_back(self.number);
    }
}

#[cfg(test)]
mod tests;
