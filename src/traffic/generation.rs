//! How often the part of a release in a cache has begun anew, so that it is empty at once whatever
//! the server still holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tier::Version;
use crate::time::Timestamp;

/// Which beginning it is: the second it was decided, or the next number where that is taken. So no
/// number comes twice, also after a journal was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    fn after(earlier: Option<Self>, now: Timestamp) -> Self {
        Self((now.millis() / 1000).max(earlier.map_or(1, |Self(earlier)| earlier + 1)))
    }

    /// When it was, to the second.
    pub const fn began(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(1000))
    }

    /// As it stands in a namespace.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The generations of all releases, by cache. One that never began anew has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generations(BTreeMap<String, BTreeMap<Version, Generation>>);

impl Generations {
    /// The part of `version` in `cache` begins anew.
    pub fn begin(&mut self, cache: &str, version: &Version, now: Timestamp) {
        let versions = self.0.entry(cache.to_owned()).or_default();
        let next = Generation::after(versions.get(version).copied(), now);
        versions.insert(version.clone(), next);
    }

    /// Which beginning it is.
    pub fn of(&self, cache: &str, version: &Version) -> Option<Generation> {
        self.0.get(cache)?.get(version).copied()
    }

    /// All of one cache.
    pub fn in_cache(&self, cache: &str) -> BTreeMap<Version, Generation> {
        self.0.get(cache).cloned().unwrap_or_default()
    }

    /// Whether nothing has ever begun anew.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_generation_comes_twice() {
        let (version, mut all) = ("1.0.0".parse().unwrap(), Generations::default());
        assert_eq!(all.of("pages", &version), None);
        let now = Timestamp::from_millis(1_772_334_720_500);
        let mut numbers = Vec::new();
        // The third time the clock has run backwards.
        for at in [now, now, Timestamp::from_millis(5000)] {
            all.begin("pages", &version, at);
            numbers.push(all.of("pages", &version).unwrap().number());
        }
        assert_eq!(numbers, [1_772_334_720, 1_772_334_721, 1_772_334_722]);
        assert_eq!(all.of("sessions", &version), None);
    }
}
