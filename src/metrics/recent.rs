//! Requests that anybody may make, seen lately, and how often: what a canary is warmed with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Requests that are remembered of a tier; a warm-up replays fewer.
const REQUESTS_MAX: usize = 2_000;

/// Bytes of a host and a target; longer ones are seldom asked for twice.
const BYTES_MAX: usize = 1_024;

/// A GET without anything that says who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The Host.
    pub host: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// Whether it came by TLS.
    pub secure: bool,
}

/// The requests of one tier.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// How often each target was asked for, by host, without and with TLS.
    hosts: HashMap<Box<str>, [HashMap<Box<str>, u32>; 2]>,
    requests: usize,
}

impl Recent {
    /// Remembers that it was asked for.
    pub fn add(&self, host: &str, target: &str, secure: bool) {
        if host.len() + target.len() <= BYTES_MAX {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).add(host, target, secure);
        }
    }

    /// At most so many, the most frequent first.
    pub fn most_frequent(&self, most: usize) -> Vec<Request> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(u32, Request)> = Vec::with_capacity(seen.requests);
        for (host, ways) in &seen.hosts {
            for (targets, secure) in ways.iter().zip([false, true]) {
                all.extend(targets.iter().map(|(target, count)| {
                    let (host, target) = (host.clone(), target.clone());
                    (*count, Request { host, target, secure })
                }));
            }
        }
        all.sort_unstable_by(|(one, this), (two, that)| two.cmp(one).then_with(|| this.cmp(that)));
        all.truncate(most);
        all.into_iter().map(|(_, request)| request).collect()
    }
}

impl Seen {
    fn add(&mut self, host: &str, target: &str, secure: bool) {
        let known = self.hosts.get_mut(host).map(|ways| &mut ways[usize::from(secure)]);
        if let Some(count) = known.and_then(|targets| targets.get_mut(target)) {
            *count = count.saturating_add(1);
            return;
        }
        if self.requests >= REQUESTS_MAX {
            self.fade();
        }
        if self.requests < REQUESTS_MAX {
            let ways = self.hosts.entry(host.into()).or_default();
            ways[usize::from(secure)].insert(target.into(), 1);
            self.requests += 1;
        }
    }

    /// Halves all counts: what was asked for once is forgotten, and what was frequent long ago, too,
    /// by and by.
    fn fade(&mut self) {
        self.requests = 0;
        self.hosts.retain(|_, ways| {
            for targets in &mut *ways {
                targets.retain(|_, count| {
                    *count /= 2;
                    *count > 0
                });
                self.requests += targets.len();
            }
            ways.iter().any(|targets| !targets.is_empty())
        });
    }
}

/// How the warm-up of a canary goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarmUp {
    /// Of which rollout.
    pub rollout: u64,
    /// Requests that are replayed.
    pub requests: usize,
    /// Those that were answered.
    pub answered: usize,
    /// Those that were not, or with an error.
    pub failed: usize,
    /// What was wrong with the last of these.
    pub error: Option<String>,
    /// Whether it is over.
    pub over: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first() {
        let recent = Recent::default();
        for (target, times) in [("/seldom", 1), ("/often", 5), ("/now and then", 3)] {
            (0..times).for_each(|_| recent.add("shop", target, false));
        }
        recent.add("shop", "/seldom", true);
        recent.add("shop", &"x".repeat(BYTES_MAX), true);
        let all = recent.most_frequent(10);
        let said: Vec<(&str, bool)> = all.iter().map(|one| (&*one.target, one.secure)).collect();
        let expected =
            [("/often", false), ("/now and then", false), ("/seldom", false), ("/seldom", true)];
        assert_eq!(said, expected);
        assert_eq!(recent.most_frequent(1).len(), 1);
    }

    #[test]
    fn however_many_there_are_what_comes_again_is_kept() {
        let recent = Recent::default();
        for number in 0..20 * REQUESTS_MAX {
            recent.add(&format!("host{}", number % 7), &format!("/{number}"), false);
            recent.add("shop", "/again", false);
        }
        assert!(recent.0.lock().unwrap().requests <= REQUESTS_MAX);
        assert_eq!(&*recent.most_frequent(1)[0].target, "/again");
    }
}
