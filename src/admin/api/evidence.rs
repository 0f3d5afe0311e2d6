//! How far the evidence is, as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::analysis::{Balance, Report};

/// Where one metric stands between "worse than stable" and "proven not to be".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceStatus {
    /// `errors`, `slow`, or the name of a watch or signal.
    pub metric: String,
    /// The odds against the canary.
    pub odds: f64,
    /// The odds at which it is rolled back, or held.
    pub odds_limit: f64,
    /// How far the one is on its way to the other, on a scale of logarithms: 0 to 1.
    pub against: f64,
    /// The most the canary's rate may be above stable's, as a share.
    pub upper_bound: f64,
    /// What that must be to advance, as a share.
    pub margin: f64,
    /// How far the proof for the next stage is: 0 to 1.
    pub proven: f64,
    /// Whether an advance needs that proof.
    pub needed_for_advance: bool,
    /// `12:1 against; rolled back at 133:1`.
    pub words_against: String,
    /// `at most +0.43 percentage points worse; needs +0.50`.
    pub words_for: String,
}

impl EvidenceStatus {
    /// All that `report` knows.
    pub(super) fn of(report: &Report) -> Vec<Self> {
        report.balances().into_iter().map(Self::from).collect()
    }
}

impl From<Balance<'_>> for EvidenceStatus {
    fn from(balance: Balance<'_>) -> Self {
        let Balance { metric, against, proven, words_against, words_for } = balance;
        Self {
            metric: metric.name.clone(),
            // JSON has no infinite numbers.
            odds: metric.odds.clamp(0.0, f64::MAX),
            odds_limit: metric.rollback_at_odds.clamp(0.0, f64::MAX),
            against,
            upper_bound: metric.upper_bound,
            margin: metric.limit,
            proven,
            needed_for_advance: metric.needed_for_advance,
            words_against,
            words_for,
        }
    }
}
