//! Whether the canary's caches are cold: far fewer of its lookups are hits than of stable's.

use serde::{Deserialize, Serialize};

use super::exact;
use super::window::{Lookups, Window};

/// Cold is a canary whose hit ratio is this far below stable's: of a hundred lookups ten more go to
/// the database, and *slow* is what only one of stable's hundred requests is.
const FAR_BELOW: f64 = 0.10;

/// Warm is one that is at most this far below; in between it stays what it was.
const NEAR: f64 = 0.05;

/// Fewer lookups of one version say nothing: with so many a ratio is off by 7 points in one of 20.
const LOOKUPS_MIN: f64 = 200.0;

/// Half-life of what is known, in observed seconds; but never is less known than [`LOOKUPS_MIN`].
const HALF_LIFE: f64 = 30.0;

/// Observed seconds of one rollout that cold caches excuse in all: as long as a stage may go on
/// without a proof by default. A cache that half an hour of traffic has not warmed does not warm
/// any more (its keys never come twice, or its memory is too small), and users feel that.
const EXCUSED_MAX: f64 = 1800.0;

/// What is known of the hit ratios of both versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Warmth {
    stable: Seen,
    canary: Seen,
    cold: bool,
    /// Seconds in which it was cold.
    #[serde(with = "exact")]
    excused: f64,
}

/// Hit ratios, as an operator is told them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HitRatios {
    /// Of stable.
    pub stable: f64,
    /// Of the canary.
    pub canary: f64,
    /// The canary's is far below.
    pub cold: bool,
    /// Seconds for which that is still an excuse for slow requests.
    pub excuse_left: f64,
}

/// Lookups, faded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    #[serde(with = "exact")]
    hits: f64,
    #[serde(with = "exact")]
    all: f64,
}

impl Seen {
    fn add(&mut self, seconds: f64, lookups: Lookups) {
        let least = if self.all > 0.0 { (LOOKUPS_MIN / self.all).min(1.0) } else { 1.0 };
        let kept = 0.5_f64.powf(seconds / HALF_LIFE).max(least);
        self.hits = self.hits * kept + lookups.hits as f64;
        self.all = self.all * kept + lookups.hits as f64 + lookups.misses as f64;
    }

    fn ratio(&self) -> Option<f64> {
        (self.all >= LOOKUPS_MIN).then(|| self.hits / self.all)
    }
}

impl Warmth {
    /// Takes in a window of `seconds`. What follows counts from the next one on: whether a window
    /// is left out must be known before its outcomes.
    pub(super) fn add(&mut self, seconds: f64, window: &Window) {
        if self.cold {
            self.excused += seconds;
        }
        self.stable.add(seconds, window.stable.lookups);
        self.canary.add(seconds, window.canary.lookups);
        if let (Some(stable), Some(canary)) = (self.stable.ratio(), self.canary.ratio()) {
            let limit = if self.cold { NEAR } else { FAR_BELOW };
            self.cold = canary < stable - limit;
        }
    }

    /// Whether the canary is cold, and that is an excuse.
    pub(super) fn is_excused(&self) -> bool {
        self.cold && self.excused < EXCUSED_MAX
    }

    /// The ratios, once enough is known.
    pub(super) fn ratios(&self) -> Option<HitRatios> {
        Some(HitRatios {
            stable: self.stable.ratio()?,
            canary: self.canary.ratio()?,
            cold: self.cold,
            excuse_left: (EXCUSED_MAX - self.excused).max(0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Counts;

    fn window(stable: (u64, u64), canary: (u64, u64)) -> Window {
        let counts = |(hits, misses)| Counts {
            requests: 100,
            lookups: Lookups { hits, misses },
            ..Counts::default()
        };
        Window { stable: counts(stable), canary: counts(canary), cold: false }
    }

    fn after(seconds: u32, window: &Window, warmth: &mut Warmth) -> bool {
        for _ in 0..seconds {
            warmth.add(1.0, window);
        }
        warmth.is_excused()
    }

    #[test]
    fn far_below_stable_is_cold_and_near_it_warm_again() {
        let mut warmth = Warmth::default();
        assert!(after(30, &window((93, 7), (12, 88)), &mut warmth));
        let ratios = warmth.ratios().unwrap();
        assert!((ratios.canary - 0.12).abs() < 0.001 && (ratios.stable - 0.93).abs() < 0.001);
        // Seven points below stay what they were: cold here, warm for one that came from above.
        assert!(after(600, &window((93, 7), (86, 14)), &mut warmth));
        assert!(!after(600, &window((93, 7), (89, 11)), &mut warmth));
        assert!(!after(600, &window((93, 7), (86, 14)), &mut warmth));
    }

    #[test]
    fn a_few_lookups_say_nothing_and_slow_traffic_is_known_by_its_last_lookups() {
        let mut warmth = Warmth::default();
        assert!(!after(1, &window((1000, 0), (0, 199)), &mut warmth));
        assert_eq!(warmth.ratios(), None);
        assert!(after(1, &window((1, 0), (0, 1)), &mut warmth));
        // An hour of nothing takes nothing away.
        let mut kept = warmth.clone();
        kept.add(3600.0, &window((0, 0), (0, 0)));
        assert_eq!(kept.ratios().map(|ratios| ratios.cold), Some(true));
        assert!(!after(1000, &window((1, 0), (1, 0)), &mut warmth), "the last 200 are hits");
    }

    #[test]
    fn caches_that_do_not_warm_are_no_excuse_for_ever() {
        let mut warmth = Warmth::default();
        let cold = window((93, 7), (12, 88));
        assert!(after(1799, &cold, &mut warmth));
        assert!(!after(10, &cold, &mut warmth));
        assert_eq!(
            warmth.ratios().map(|ratios| (ratios.cold, ratios.excuse_left)),
            Some((true, 0.0))
        );
        // Nor does it help to be warm in between.
        after(600, &window((93, 7), (93, 7)), &mut warmth);
        assert!(!after(600, &cold, &mut warmth));
    }

    #[test]
    fn where_stable_has_few_hits_itself_nobody_is_cold() {
        assert!(!after(60, &window((9, 91), (0, 100)), &mut Warmth::default()));
    }
}
