//! The curves, as the API shows them: columns over time, all of the same length. What is not known is
//! null.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::View;
use crate::metrics::curves::{Curve, Pair, PairKind, Point, TierPoint};
use crate::rollout::Change;
use crate::time::Timestamp;
use crate::traffic::{TierName, Version};

/// Marks of one answer: the newest.
const MARKS_MAX: usize = 200;

/// What was counted over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// When it was asked for, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Seconds of one point.
    pub step_seconds: u64,
    /// When the first point begins; point `i` begins `i` times `step_seconds` later.
    #[schema(value_type = u64)]
    pub from: Timestamp,
    /// The tiers, in the order of the file.
    pub tiers: Vec<TierHistory>,
    /// Caches, by version.
    pub caches: Vec<CacheHistory>,
    /// Answers that are kept, by tier and version.
    pub http_caches: Vec<HttpCacheHistory>,
    /// Jobs, by the cache that they pass, and version.
    pub jobs: Vec<JobsHistory>,
    /// What happened in this time, oldest first.
    pub marks: Vec<HistoryMark>,
}

/// A tier over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TierHistory {
    /// The tier.
    #[schema(value_type = String)]
    pub tier: TierName,
    /// The canary's share at the end of each point, in hundredths of a percent.
    pub weight: Vec<Option<u16>>,
    /// Its versions that were in use, or asked for something.
    pub versions: Vec<VersionHistory>,
    /// What the judge knew, while a rollout was open.
    pub evidence: Vec<EvidenceHistory>,
}

/// A version over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionHistory {
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Judged requests.
    pub requests: Vec<Option<u64>>,
    /// Those that failed.
    pub errors: Vec<Option<u64>>,
    /// Microseconds to the head of an answer: half of them took less.
    pub p50: Vec<Option<u64>>,
    /// 95 of 100 took less.
    pub p95: Vec<Option<u64>>,
    /// 99 of 100 took less.
    pub p99: Vec<Option<u64>>,
}

/// A metric of the judge over time: at the end of each point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceHistory {
    /// `errors`, `slow`, or the name of a watch or signal.
    pub metric: String,
    /// The natural logarithm of the odds against the canary.
    pub log_odds: Vec<Option<f64>>,
    /// Where it is rolled back, or held.
    pub log_odds_limit: Vec<Option<f64>>,
    /// The most the canary's rate may be above stable's, as a share.
    pub upper_bound: Vec<Option<f64>>,
    /// What that must be to advance, as a share.
    pub margin: Vec<Option<f64>>,
}

/// A cache over time, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheHistory {
    /// The cache.
    pub cache: String,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Values that were there.
    pub hits: Vec<Option<u64>>,
    /// Values that were not.
    pub misses: Vec<Option<u64>>,
}

/// Answers that are kept over time, of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HttpCacheHistory {
    /// The tier.
    #[schema(value_type = String)]
    pub tier: TierName,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Answers that the service was spared.
    pub hits: Vec<Option<u64>>,
    /// Answers that it was asked for.
    pub misses: Vec<Option<u64>>,
}

/// Jobs over time, of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobsHistory {
    /// The cache that they pass.
    pub cache: String,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Attempts that are over.
    pub processed: Vec<Option<u64>>,
    /// Those of them that failed.
    pub failed: Vec<Option<u64>>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryMark {
    /// When, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Its place in the journal.
    pub seq: u64,
    /// Where; none: in no tier alone.
    #[schema(value_type = Option<String>)]
    pub tier: Option<TierName>,
    /// What: `started`, `raised`, `promoted`, `rolled_back`, ...
    pub kind: String,
    /// It as one sentence.
    pub sentence: String,
}

impl History {
    /// The points of `curve`, and what the journal of `view` says of their time.
    pub(in crate::admin) fn of(curve: &Curve<'_>, at: Timestamp, view: &View) -> Self {
        let mut history = Self {
            at,
            step_seconds: curve.step.as_secs(),
            from: curve.from,
            tiers: Vec::new(),
            caches: Vec::new(),
            http_caches: Vec::new(),
            jobs: Vec::new(),
            marks: marks(curve, view),
        };
        let points = curve.points.len();
        for (place, point) in curve.points.iter().enumerate() {
            history.add(point, place, points);
        }
        let in_file = |tier: &TierName| view.tiers.iter().position(|seen| seen.name == *tier);
        history.tiers.sort_by_key(|tier| in_file(&tier.tier).unwrap_or(usize::MAX));
        history
    }

    fn add(&mut self, point: &Point, place: usize, points: usize) {
        for seen in &point.tiers {
            let tier = own(
                &mut self.tiers,
                |tier| tier.tier == seen.tier,
                || {
                    let (tier, weight) = (seen.tier.clone(), vec![None; points]);
                    TierHistory { tier, weight, versions: Vec::new(), evidence: Vec::new() }
                },
            );
            tier.add(seen, place);
        }
        for (pair, counts) in &point.pairs {
            let [first, second] = self.pair(pair, points);
            (first[place], second[place]) = (Some(counts[0]), Some(counts[1]));
        }
    }

    /// The two columns of a pair.
    fn pair(&mut self, pair: &Pair, points: usize) -> [&mut Vec<Option<u64>>; 2] {
        let Pair { kind, name, version } = pair;
        let (empty, again) = (vec![None; points], vec![None; points]);
        let version = version.clone();
        match kind {
            PairKind::Cache => {
                let known = |it: &CacheHistory| *it.cache == **name && it.version == version;
                let cache = name.to_string();
                let begin =
                    || CacheHistory { cache, version: version.clone(), hits: empty, misses: again };
                let it = own(&mut self.caches, known, begin);
                [&mut it.hits, &mut it.misses]
            }
            PairKind::HttpCache => {
                let known =
                    |it: &HttpCacheHistory| it.tier.as_str() == &**name && it.version == version;
                let Ok(tier) = name.parse() else { unreachable!("{name} was a tier's") };
                let begin = || HttpCacheHistory {
                    tier,
                    version: version.clone(),
                    hits: empty,
                    misses: again,
                };
                let it = own(&mut self.http_caches, known, begin);
                [&mut it.hits, &mut it.misses]
            }
            PairKind::Jobs => {
                let known = |it: &JobsHistory| *it.cache == **name && it.version == version;
                let cache = name.to_string();
                let begin = || JobsHistory {
                    cache,
                    version: version.clone(),
                    processed: empty,
                    failed: again,
                };
                let it = own(&mut self.jobs, known, begin);
                [&mut it.processed, &mut it.failed]
            }
        }
    }
}

impl TierHistory {
    fn add(&mut self, seen: &TierPoint, place: usize) {
        let points = self.weight.len();
        self.weight[place] = Some(seen.weight.points());
        for seen in &seen.versions {
            let it = own(
                &mut self.versions,
                |it| it.version == seen.version,
                || VersionHistory::empty(seen.version.clone(), points),
            );
            (it.requests[place], it.errors[place]) = (Some(seen.requests), Some(seen.errors));
            [it.p50[place], it.p95[place], it.p99[place]] = seen.quantiles;
        }
        for seen in &seen.evidence {
            let it = own(
                &mut self.evidence,
                |it| *it.metric == *seen.metric,
                || EvidenceHistory::empty(&seen.metric, points),
            );
            // JSON has no infinite numbers.
            let known = |number: f64| Some(number).filter(|number| number.is_finite());
            it.log_odds[place] = known(seen.log_odds);
            it.log_odds_limit[place] = known(seen.log_odds_limit);
            it.upper_bound[place] = known(seen.upper_bound);
            it.margin[place] = known(seen.margin);
        }
    }
}

impl VersionHistory {
    fn empty(version: Version, points: usize) -> Self {
        let [requests, errors, p50, p95, p99] = [(); 5].map(|()| vec![None; points]);
        Self { version, requests, errors, p50, p95, p99 }
    }
}

impl EvidenceHistory {
    fn empty(metric: &str, points: usize) -> Self {
        let [log_odds, log_odds_limit, upper_bound, margin] = [(); 4].map(|()| vec![None; points]);
        Self { metric: metric.to_owned(), log_odds, log_odds_limit, upper_bound, margin }
    }
}

/// The one of `list` that `is_known`, or a new one.
fn own<T>(list: &mut Vec<T>, is_known: impl Fn(&T) -> bool, begin: impl FnOnce() -> T) -> &mut T {
    let place = list.iter().position(is_known).unwrap_or_else(|| {
        list.push(begin());
        list.len() - 1
    });
    &mut list[place]
}

/// What happened in the time of `curve`, and since.
fn marks(curve: &Curve<'_>, view: &View) -> Vec<HistoryMark> {
    let newest = view.records.iter().rev();
    let mut marks: Vec<HistoryMark> = newest
        .filter(|record| record.event.at >= curve.from)
        .filter_map(|record| {
            let event = record.event.without_secret();
            Some(HistoryMark {
                at: event.at,
                seq: record.seq,
                tier: event.tier.clone(),
                kind: kind(&event.change)?.to_owned(),
                sentence: event.sentence(),
            })
        })
        .take(MARKS_MAX)
        .collect();
    marks.reverse();
    marks
}

/// What a change is called beside a curve; none: nothing is to be seen of it there.
fn kind(change: &Change) -> Option<&'static str> {
    Some(match change {
        Change::Adopted { .. } => "adopted",
        Change::Advanced { .. } => "raised",
        Change::Approved { .. } => "approved",
        Change::Asked { .. } => "asked",
        Change::Closed { .. } => "closed",
        Change::DecisionNears { .. } => "decision_nears",
        Change::DecisionPassed => "decision_passed",
        Change::Froze { .. } => "froze",
        Change::Held { .. } => "held",
        Change::Interrupted { .. } => "step_interrupted",
        Change::Opened { .. } => "opened",
        Change::Overdue { .. } => "overdue",
        Change::Passed { .. } => "passed",
        Change::Paused => "paused",
        Change::Promoted { .. } => "promoted",
        Change::Recalled { .. } => "recalled",
        Change::Receding { .. } => "lowered",
        Change::Resumed => "resumed",
        Change::RolledBack { .. } => "rolled_back",
        Change::Shifted { .. } => "shifted",
        Change::Started { .. } => "started",
        Change::StepBegan { .. } => "step_began",
        Change::StepEnded { .. } => "step_ended",
        Change::StepSkipped { .. } => "step_skipped",
        Change::Tried { .. } => "tried",
        Change::TurnedBack { .. } => "turned_back",
        Change::UpgradeEnded { .. } => "upgrade_ended",
        Change::UpgradeStarted { .. } => "upgrade_started",
        Change::WouldHaveRolledBack { .. } => "would_have_rolled_back",
        Change::Cut
        | Change::Emptied { .. }
        | Change::Moved { .. }
        | Change::Reanalysed { .. }
        | Change::Refused { .. }
        | Change::Replanned { .. }
        | Change::Rerouted { .. } => return None,
    })
}
