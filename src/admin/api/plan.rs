//! What a `start` would do, as it goes over the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::rollout::{Leg, Outlook, PastDecision, Said};
use crate::time::Timestamp;
use crate::traffic::{TierName, Version, Weight};

/// What `weir start` would do now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanStatus {
    /// What the file calls it.
    pub name: Option<String>,
    /// What each tier gets.
    pub targets: Vec<TargetStatus>,
    /// What is done: the parts of one list come one after the other, the lists go on beside each other.
    pub tracks: Vec<Vec<LegStatus>>,
    /// The end if there is as much traffic as wanted, nothing fails, and everybody says yes at once.
    pub earliest: Option<Moment>,
    /// The end at the traffic that is known; none: that cannot be told.
    pub likely: Option<Moment>,
    /// When it must be decided.
    pub decide_by: Option<Moment>,
    /// What happens then: `rollback` or `hold`.
    pub past_decision: Option<String>,
    /// The step after which nothing goes back by itself.
    pub point_of_no_return: Option<String>,
    /// What is done on the way back, beside the weights.
    pub way_back: Vec<String>,
    /// What is not known, or will be in the way: each a sentence.
    pub remarks: Vec<String>,
}

/// What a tier gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// The tier.
    #[schema(value_type = String)]
    pub tier: TierName,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// The version it has.
    #[schema(value_type = Option<String>)]
    pub stable: Option<Version>,
}

/// A moment, and as people there say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// In milliseconds since 1970.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// In the zone of the file.
    pub said: String,
}

/// One part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LegStatus {
    /// What is done, in a line.
    pub text: String,
    /// The tiers that rise.
    #[schema(value_type = Vec<String>)]
    pub tiers: Vec<TierName>,
    /// To which weight, in basis points.
    pub weight: Option<u16>,
    /// When it begins at the earliest.
    pub begins: Option<Moment>,
    /// Until when its hours are waited for, if they are.
    pub hours: Option<String>,
    /// How long it takes at least.
    pub least_seconds: f64,
    /// How long it takes at the traffic that is known; none: that cannot be told.
    pub likely_seconds: Option<f64>,
    /// What is to be known of that.
    pub note: String,
}

impl From<Said> for Moment {
    fn from(Said { at, said }: Said) -> Self {
        Self { at, said }
    }
}

impl From<Leg> for LegStatus {
    fn from(leg: Leg) -> Self {
        Self {
            text: leg.text,
            tiers: leg.tiers,
            weight: leg.weight.map(Weight::points),
            begins: leg.begins.map(Moment::from),
            hours: leg.hours,
            least_seconds: leg.least.as_secs_f64(),
            likely_seconds: leg.likely.map(|likely| likely.as_secs_f64()),
            note: leg.note,
        }
    }
}

impl From<Outlook> for PlanStatus {
    fn from(outlook: Outlook) -> Self {
        let (decide_by, past_decision) = outlook.decide_by.unzip();
        let target = |(tier, version, stable)| TargetStatus { tier, version, stable };
        let legs = |legs: Vec<Leg>| legs.into_iter().map(LegStatus::from).collect();
        Self {
            name: outlook.name,
            targets: outlook.targets.into_iter().map(target).collect(),
            tracks: outlook.tracks.into_iter().map(legs).collect(),
            earliest: outlook.earliest.map(Moment::from),
            likely: outlook.likely.map(Moment::from),
            decide_by: decide_by.map(Moment::from),
            past_decision: past_decision.map(|past| match past {
                PastDecision::Hold => "hold".into(),
                PastDecision::Rollback => "rollback".into(),
            }),
            point_of_no_return: outlook.no_return,
            way_back: outlook.way_back,
            remarks: outlook.remarks,
        }
    }
}
