//! What is kept, in the order of its last use; who asks for what; and what is not kept.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use http::HeaderMap;

use super::budget::Budget;
use super::flight::{Flight, Lead, Seat};
use super::{HttpCache, Kept, Key};
use crate::namespace::http::key;

/// Answers of one URL that differ by what they vary by: more are hardly ever asked for twice.
const VARIANTS_MAX: usize = 32;

/// For how long it is remembered that answers of a URL are not kept.
const PASS_FOR: Duration = Duration::from_mins(1);

/// URLs of which that is remembered: with their hashes only, less than 1 MiB.
const PASSES_MAX: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct Shelves {
    kept: LinkedHashMap<Key, Vec<Arc<Kept>>, RandomState>,
    flights: HashMap<Key, Vec<Flight>>,
    /// Hashes of URLs whose answers are not kept, and until when that is remembered. One that is taken
    /// for another makes somebody ask who could have waited.
    passes: LinkedHashMap<u64, Instant, RandomState>,
    /// What they are hashed by: `SipHash` with a random key, so that nobody can aim at another's.
    secret: RandomState,
    /// What is asked for, and whether it has been thrown away meanwhile.
    tickets: HashMap<u64, (Key, bool)>,
    numbers: u64,
}

impl Shelves {
    pub(super) fn find(&mut self, key: &Key, request: &HeaderMap) -> Option<Arc<Kept>> {
        let suits = |kept: &&Arc<Kept>| {
            let head = &kept.head;
            head.vary.is_empty() || key::variant(&head.vary, request) == head.variant
        };
        self.kept.to_back(key)?.iter().rev().find(suits).cloned()
    }

    pub(super) fn join(&mut self, cache: &Arc<HttpCache>, key: &Key, request: &HeaderMap) -> Seat {
        let latest = self.kept.get(key).and_then(|variants| variants.last());
        let known = latest.map(|kept| key::variant(&kept.head.vary, request));
        let flights = self.flights.entry(key.clone()).or_default();
        let coming = || flights.iter().find_map(|flight| flight.variant_of(request));
        let variant = known.or_else(coming).unwrap_or_default();
        if let Some(flight) = flights.iter().find(|flight| flight.suits(&variant, request)) {
            return Seat::Wait(flight.wait());
        }
        let (lead, flight) = Lead::new(cache, key, variant);
        flights.push(flight);
        Seat::Lead(lead)
    }

    pub(super) fn land(&mut self, lead: &Lead, key: &Key) {
        if let Some(flights) = self.flights.get_mut(key) {
            flights.retain(|flight| !flight.is_of(lead));
            if flights.is_empty() {
                self.flights.remove(key);
            }
        }
    }

    pub(super) fn passes(&self, key: &Key, now: Instant) -> bool {
        self.passes.get(&self.secret.hash_one(key)).is_some_and(|until| now < *until)
    }

    pub(super) fn pass(&mut self, key: &Key, now: Instant) {
        self.passes.insert(self.secret.hash_one(key), now + PASS_FOR);
        if self.passes.len() > PASSES_MAX {
            self.passes.pop_front();
        }
    }

    pub(super) fn issue(&mut self, key: &Key) -> u64 {
        self.numbers += 1;
        self.tickets.insert(self.numbers, (key.clone(), false));
        self.numbers
    }

    pub(super) fn give_back(&mut self, ticket: u64) {
        self.tickets.remove(&ticket);
    }

    pub(super) fn keep(&mut self, ticket: u64, key: &Key, kept: Arc<Kept>, budget: &Budget) {
        let is_void = self.tickets.get(&ticket).is_none_or(|(_, is_void)| *is_void);
        if is_void {
            return;
        }
        self.passes.remove(&self.secret.hash_one(key));
        let mut variants = self.kept.remove(key).unwrap_or_default();
        let (vary, variant) = (&kept.head.vary, &kept.head.variant);
        let same = |other: &Arc<Kept>| other.head.vary == *vary && other.head.variant == *variant;
        let replaced = variants.iter().position(same);
        let one_too_many = (variants.len() >= VARIANTS_MAX).then_some(0);
        if let Some(place) = replaced.or(one_too_many) {
            left(&variants.remove(place));
        }
        came(&kept);
        variants.push(kept);
        self.kept.insert(key.clone(), variants);
        self.make_room(budget, 0);
    }

    pub(super) fn remove(&mut self, key: &Key) -> u64 {
        let variants = self.kept.remove(key).unwrap_or_default();
        variants.iter().for_each(left);
        variants.len() as u64
    }

    /// Throws away what was used longest ago, until there is room for `bytes` more.
    pub(super) fn make_room(&mut self, budget: &Budget, bytes: u64) {
        while !budget.has_room(bytes)
            && let Some((_, variants)) = self.kept.pop_front()
        {
            variants.iter().for_each(left);
        }
    }

    /// Throws away `keys`, also where they are asked for just now.
    pub(super) fn purge_keys(&mut self, keys: &[Key]) -> u64 {
        self.void(|key| keys.contains(key));
        keys.iter().map(|key| self.remove(key)).sum()
    }

    /// Throws away all that has `tag`. What comes in might have it, too.
    pub(super) fn purge_tag(&mut self, tag: &str) -> u64 {
        self.void(|_| true);
        self.retain(|_, kept| !kept.tags.iter().any(|own| **own == *tag))
    }

    /// Throws away all of one version.
    pub(super) fn purge_namespace(&mut self, namespace: &str) -> u64 {
        self.void(|key| *key.namespace == *namespace);
        self.retain(|key, _| *key.namespace != *namespace)
    }

    /// Throws away everything: answers differ by something else from now on.
    pub(super) fn purge_all(&mut self) {
        self.void(|_| true);
        self.retain(|_, _| false);
    }

    fn void(&mut self, concerns: impl Fn(&Key) -> bool) {
        for (key, is_void) in self.tickets.values_mut() {
            *is_void |= concerns(key);
        }
    }

    fn retain(&mut self, stays: impl Fn(&Key, &Kept) -> bool) -> u64 {
        let mut gone = 0;
        self.kept.retain(|key, variants| {
            variants.retain(|kept| {
                let stays = stays(key, kept);
                if !stays {
                    left(kept);
                    gone += 1;
                }
                stays
            });
            !variants.is_empty()
        });
        gone
    }
}

/// An answer is kept from now on.
fn came(kept: &Arc<Kept>) {
    kept.space.counts.entries.fetch_add(1, Ordering::Relaxed);
    kept.space.counts.bytes.fetch_add(kept.bytes(), Ordering::Relaxed);
}

/// An answer is not kept any more.
fn left(kept: &Arc<Kept>) {
    kept.space.counts.entries.fetch_sub(1, Ordering::Relaxed);
    kept.space.counts.bytes.fetch_sub(kept.bytes(), Ordering::Relaxed);
}
