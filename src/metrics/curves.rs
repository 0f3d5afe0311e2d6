//! The curves of the last hour and of the last day: points in rings, in memory alone. A program that
//! has just begun has none yet.
//!
//! Time goes by the monotonic clock; what the wall clock says is only how points are labelled.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::latency::{BUCKETS, quantile};
use super::recorder::Totals;
use crate::time::Timestamp;
use crate::traffic::{TierName, Version, Weight};

/// The time of one point of the fine ring, and how often the counters are looked at.
pub const FINE: Duration = Duration::from_secs(5);

/// Points of the fine ring: an hour.
const FINE_POINTS: usize = 720;

/// The time of one point of the coarse ring.
pub const COARSE: Duration = Duration::from_mins(1);

/// Points of the coarse ring: a day.
const COARSE_POINTS: usize = 1_440;

/// Versions of one point, over all tiers: twice as many as there may be tiers. A version that is
/// neither in use nor asked for anything takes no place.
const VERSIONS_MAX: usize = 128;

/// Metrics of judges of one point, over all tiers.
const EVIDENCE_MAX: usize = 128;

/// Pairs of counts of one point: caches and jobs, by version.
const PAIRS_MAX: usize = 128;

/// What the wall clock may differ from the points before the labels follow it.
const CLOCK_JUMP: Duration = Duration::from_secs(1);

/// What is counted at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When, for the points.
    pub at: Instant,
    /// When, for people.
    pub wall: Timestamp,
    /// The tiers, in the order of the file.
    pub tiers: Vec<TierMoment>,
    /// Caches and jobs.
    pub pairs: Vec<PairMoment>,
}

/// What is counted of a tier at one moment.
#[derive(Clone, Debug)]
pub struct TierMoment {
    /// Its name.
    pub tier: TierName,
    /// The canary's share.
    pub weight: Weight,
    /// Its versions, whether each is in use, and their counts.
    pub versions: Vec<(Version, bool, Totals)>,
    /// What the judge knows.
    pub evidence: Vec<EvidencePoint>,
}

/// Two rising counts of one version.
#[derive(Clone, Debug)]
pub struct PairMoment {
    /// Of what.
    pub of: Pair,
    /// Whether it is in use.
    pub in_use: bool,
    /// The counts.
    pub counts: [u64; 2],
}

/// What two counts belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// What is counted.
    pub kind: PairKind,
    /// The cache or the tier.
    pub name: Arc<str>,
    /// The version.
    pub version: Version,
}

/// What two counts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairKind {
    /// Hits and misses of a cache.
    Cache,
    /// Hits and misses of the answers that are kept for a tier.
    HttpCache,
    /// Jobs that are over, and those that failed, by the cache that they pass.
    Jobs,
}

/// One point: what was counted in its time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// The tiers; none: nothing is known.
    pub tiers: Vec<TierPoint>,
    /// Caches and jobs.
    pub pairs: Vec<(Pair, [u64; 2])>,
}

/// A tier in one point.
#[derive(Clone, Debug, PartialEq)]
pub struct TierPoint {
    /// Its name.
    pub tier: TierName,
    /// The canary's share at the end.
    pub weight: Weight,
    /// The versions that were in use, or asked for something.
    pub versions: Vec<VersionPoint>,
    /// What the judge knew at the end.
    pub evidence: Vec<EvidencePoint>,
}

/// A version in one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionPoint {
    /// The version.
    pub version: Version,
    /// Judged requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Microseconds below which 50, 95 and 99 of 100 answers lay; none without answers.
    pub quantiles: [Option<u64>; 3],
}

/// A metric of the judge at the end of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidencePoint {
    /// Its name.
    pub metric: Arc<str>,
    /// ln of the odds against the canary.
    pub log_odds: f64,
    /// Where it fails.
    pub log_odds_limit: f64,
    /// The most that the canary's rate may be above stable's.
    pub upper_bound: f64,
    /// The margin of the stage.
    pub margin: f64,
}

/// Points that follow each other without a gap.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// When the first begins.
    pub from: Timestamp,
    /// The time of each.
    pub step: Duration,
    /// The points.
    pub points: Vec<&'a Point>,
}

/// All curves.
#[derive(Debug)]
pub struct Curves {
    began: Instant,
    /// What the wall clock said then, or would have by what it says now.
    anchor: Timestamp,
    fine: Ring,
    coarse: Ring,
}

impl Curves {
    /// None yet.
    pub fn new(at: Instant, wall: Timestamp) -> Self {
        let (fine, coarse) = (Ring::new(FINE, FINE_POINTS), Ring::new(COARSE, COARSE_POINTS));
        Self { began: at, anchor: wall, fine, coarse }
    }

    /// Takes in what is counted now; closes the points whose time is over.
    pub fn add(&mut self, moment: &Moment) {
        let elapsed = moment.at.saturating_duration_since(self.began);
        let expected = self.anchor.plus(elapsed);
        if moment.wall.since(expected).max(expected.since(moment.wall)) > CLOCK_JUMP {
            let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            self.anchor = Timestamp::from_millis(moment.wall.millis().saturating_sub(elapsed));
        }
        self.fine.add(elapsed, moment);
        self.coarse.add(elapsed, moment);
    }

    /// The newest points of `step` each, over `span` at most.
    pub fn newest(&self, step: Duration, span: Duration) -> Curve<'_> {
        let ring = if step == FINE { &self.fine } else { &self.coarse };
        let wanted = span.as_secs() / ring.step.as_secs();
        let first = ring.closed.saturating_sub(wanted);
        self.cut(ring, first)
    }

    /// How many fine points there were since the beginning.
    pub fn closed(&self) -> u64 {
        self.fine.closed
    }

    /// The fine point that so many came before since the beginning, if it is kept.
    pub fn point(&self, before: u64) -> Option<Curve<'_>> {
        let mut curve = self.cut(&self.fine, before);
        let kept = self.fine.closed - self.fine.points.len() as u64;
        curve.points.truncate(1);
        (before >= kept && !curve.points.is_empty()).then_some(curve)
    }

    fn cut<'a>(&self, ring: &'a Ring, first: u64) -> Curve<'a> {
        let kept = ring.closed - ring.points.len() as u64;
        let first = first.clamp(kept, ring.closed);
        let skipped = usize::try_from(first - kept).unwrap_or(usize::MAX);
        let from =
            self.anchor.plus(ring.step.saturating_mul(u32::try_from(first).unwrap_or(u32::MAX)));
        Curve { from, step: ring.step, points: ring.points.iter().skip(skipped).collect() }
    }
}

/// Points of one length.
#[derive(Debug)]
struct Ring {
    step: Duration,
    points_max: usize,
    points: VecDeque<Point>,
    /// Points since the beginning.
    closed: u64,
    /// What was counted when the open point began; none before the first look, and where a point was
    /// missed.
    versions: Option<BTreeMap<(TierName, Version), Totals>>,
    pairs: BTreeMap<Pair, [u64; 2]>,
}

impl Ring {
    fn new(step: Duration, points_max: usize) -> Self {
        let (versions, pairs) = (None, BTreeMap::new());
        Self { step, points_max, points: VecDeque::new(), closed: 0, versions, pairs }
    }

    fn add(&mut self, elapsed: Duration, moment: &Moment) {
        let due = elapsed.as_secs() / self.step.as_secs();
        let missed = due.saturating_sub(self.closed);
        if missed == 0 && self.versions.is_some() {
            return;
        }
        for place in 0..missed.min(self.points_max as u64) {
            // Counts of more than one point are lost, not guessed.
            let is_known = missed == 1 && place == 0 && self.versions.is_some();
            let point = if is_known { self.point(moment) } else { Point::default() };
            if self.points.len() == self.points_max {
                self.points.pop_front();
            }
            self.points.push_back(point);
        }
        self.closed += missed;
        self.begin(moment);
    }

    fn begin(&mut self, moment: &Moment) {
        let versions = moment.tiers.iter().flat_map(|tier| {
            let of = |(version, _, totals): &(Version, bool, Totals)| {
                ((tier.tier.clone(), version.clone()), totals.clone())
            };
            tier.versions.iter().map(of)
        });
        self.versions = Some(versions.collect());
        let pair = |pair: &PairMoment| {
            // The names of points are shared.
            let known = self.pairs.get_key_value(&pair.of).map(|(known, _)| known.clone());
            (known.unwrap_or_else(|| pair.of.clone()), pair.counts)
        };
        self.pairs = moment.pairs.iter().map(pair).collect();
    }

    fn point(&self, moment: &Moment) -> Point {
        let (mut versions_left, mut evidence_left) = (VERSIONS_MAX, EVIDENCE_MAX);
        let tier = |tier: &TierMoment| {
            let known = tier.versions.iter().filter_map(|seen| self.version(&tier.tier, seen));
            let versions: Vec<VersionPoint> = known.take(versions_left).collect();
            versions_left -= versions.len();
            let evidence: Vec<EvidencePoint> = tier
                .evidence
                .iter()
                .take(evidence_left)
                .map(|seen| self.evidence(&tier.tier, seen))
                .collect();
            evidence_left -= evidence.len();
            TierPoint { tier: tier.tier.clone(), weight: tier.weight, versions, evidence }
        };
        let pairs = moment.pairs.iter().filter_map(|pair| {
            let (known, before) = self.pairs.get_key_value(&pair.of)?;
            let counts = [0, 1].map(|at| pair.counts[at].saturating_sub(before[at]));
            (pair.in_use || counts != [0, 0]).then(|| (known.clone(), counts))
        });
        Point {
            pairs: pairs.take(PAIRS_MAX).collect(),
            tiers: moment.tiers.iter().map(tier).collect(),
        }
    }

    /// What is counted of a version; none where nothing is to be said of it.
    fn version(
        &self,
        tier: &TierName,
        (version, in_use, now): &(Version, bool, Totals),
    ) -> Option<VersionPoint> {
        let before = self.versions.as_ref()?.get(&(tier.clone(), version.clone()))?;
        let requests = now.requests.saturating_sub(before.requests);
        if requests == 0 && !in_use {
            return None;
        }
        let latency: [u64; BUCKETS] =
            std::array::from_fn(|at| now.latency[at].saturating_sub(before.latency[at]));
        Some(VersionPoint {
            version: version.clone(),
            requests,
            errors: now.errors.saturating_sub(before.errors).min(requests),
            quantiles: [0.5, 0.95, 0.99].map(|share| quantile(&latency, share)),
        })
    }

    /// The same, with the name of the point before.
    fn evidence(&self, tier: &TierName, seen: &EvidencePoint) -> EvidencePoint {
        let before = self.points.back().into_iter().flat_map(|point| &point.tiers);
        let mut before =
            before.filter(|before| before.tier == *tier).flat_map(|before| &before.evidence);
        let known = before.find(|before| before.metric == seen.metric);
        let metric = Arc::clone(&known.unwrap_or(seen).metric);
        EvidencePoint { metric, ..seen.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::WATCHES_MAX;
    use super::*;

    /// A clock and a counter that are turned by hand.
    struct Scene {
        curves: Curves,
        began: Instant,
        requests: u64,
    }

    const WALL: u64 = 1_000_000;

    impl Scene {
        fn new() -> Self {
            let began = Instant::now();
            let curves = Curves::new(began, Timestamp::from_millis(WALL));
            let mut scene = Self { curves, began, requests: 0 };
            scene.look(0, 0);
            scene
        }

        /// Looks after so many seconds; the wall clock differs by `jump` seconds.
        fn look(&mut self, seconds: u64, jump: u64) {
            let mut latency = [0; BUCKETS];
            latency[20] = self.requests;
            let requests = self.requests;
            let totals =
                Totals { requests, errors: requests / 10, watches: [0; WATCHES_MAX], latency };
            let version = |name: &str| name.parse::<Version>().unwrap();
            let idle =
                Totals { requests: 0, errors: 0, watches: [0; WATCHES_MAX], latency: [0; BUCKETS] };
            let evidence = EvidencePoint {
                metric: "errors".into(),
                log_odds: 1.0,
                log_odds_limit: 4.9,
                upper_bound: 0.1,
                margin: 0.005,
            };
            let of = Pair { kind: PairKind::Cache, name: "pages".into(), version: version("1") };
            self.curves.add(&Moment {
                at: self.began + Duration::from_secs(seconds),
                wall: Timestamp::from_millis(WALL + 1_000 * (seconds + jump)),
                tiers: vec![TierMoment {
                    tier: "web".parse().unwrap(),
                    weight: Weight::NONE,
                    versions: vec![(version("1"), true, totals), (version("2"), false, idle)],
                    evidence: vec![evidence],
                }],
                pairs: vec![PairMoment { of, in_use: false, counts: [requests, 0] }],
            });
        }

        fn requests(&self) -> Vec<Option<u64>> {
            let curve = self.curves.newest(FINE, Duration::from_hours(1));
            let of = |point: &&Point| point.tiers.first().map(|tier| tier.versions[0].requests);
            curve.points.iter().map(of).collect()
        }
    }

    #[test]
    fn a_point_holds_what_was_counted_in_its_time() {
        let mut scene = Scene::new();
        scene.requests = 20;
        scene.look(3, 0);
        assert_eq!(scene.requests(), [], "its time is not over");
        scene.requests = 30;
        scene.look(5, 0);
        scene.look(10, 0);
        assert_eq!(scene.requests(), [Some(30), Some(0)]);
        let curve = scene.curves.newest(FINE, Duration::from_hours(1));
        let [first, second] = curve.points[..] else { panic!("{curve:?}") };
        let seen = &first.tiers[0].versions;
        assert_eq!(seen.len(), 1, "who is not in use and not asked takes no place: {seen:?}");
        assert_eq!(seen[0].errors, 3);
        assert!(seen[0].quantiles.iter().all(Option::is_some));
        assert_eq!(second.tiers[0].versions[0].quantiles, [None; 3]);
        assert_eq!((first.pairs[0].1, second.pairs.len()), ([30, 0], 0));
        assert!(Arc::ptr_eq(
            &first.tiers[0].evidence[0].metric,
            &second.tiers[0].evidence[0].metric
        ));
        assert_eq!(curve.from.millis(), WALL);
        let second = scene.curves.point(1).unwrap();
        assert_eq!((second.from.millis(), second.points.len()), (WALL + 5_000, 1));
    }

    #[test]
    fn a_time_in_which_nobody_looked_is_a_gap_and_not_a_peak() {
        let mut scene = Scene::new();
        scene.look(5, 0);
        scene.requests = 400;
        scene.look(21, 0);
        scene.requests = 410;
        scene.look(25, 0);
        assert_eq!(scene.requests(), [Some(0), None, None, None, Some(10)]);
    }

    #[test]
    fn a_clock_that_is_set_moves_the_labels_and_nothing_else() {
        let mut scene = Scene::new();
        (1..=4).for_each(|at| scene.look(5 * at, 0));
        scene.look(25, 3_600);
        assert_eq!(scene.requests().len(), 5);
        let curve = scene.curves.newest(FINE, Duration::from_hours(1));
        assert_eq!(curve.from.millis(), WALL + 3_600_000);
        scene.look(30, 0);
        assert_eq!(scene.curves.newest(FINE, Duration::from_hours(1)).from.millis(), WALL);
    }

    #[test]
    fn the_rings_are_bounded_and_keep_the_newest() {
        let mut scene = Scene::new();
        for at in 1..=(FINE_POINTS as u64 + 1_000) {
            scene.requests += at;
            scene.look(5 * at, 0);
        }
        let all = scene.requests();
        assert_eq!(all.len(), FINE_POINTS);
        assert_eq!(all.last(), Some(&Some(FINE_POINTS as u64 + 1_000)));
        let curve = scene.curves.newest(FINE, Duration::from_mins(15));
        assert_eq!(curve.points.len(), 180);
        let last = WALL + 5_000 * (FINE_POINTS as u64 + 1_000);
        assert_eq!(curve.from.millis() + 180 * 5_000, last);
        let coarse = scene.curves.newest(COARSE, Duration::from_hours(24));
        assert_eq!(coarse.points.len(), (FINE_POINTS + 1_000) / 12);
        // Away for longer than a ring is long.
        scene.look(1_000_000, 0);
        assert!(scene.requests().iter().all(Option::is_none));
        assert!(scene.curves.point(0).is_none(), "it has left the ring");
        assert!(scene.curves.point(199_999).is_some() && scene.curves.point(200_000).is_none());
    }
}
