//! What the operator wants: the stages a canary climbs before everybody has it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::time::in_words;
use crate::traffic::Weight;

/// Stages of one plan; a ladder with more steps than this is a typing error.
pub const STAGES_MAX: usize = 50;

/// The ladder from which `auto` chooses: its weights in basis points.
const LADDER: [u16; 4] = [100, 500, 2_500, 5_000];

/// Requests the canary should get in `AUTO_SPAN` at the first weight of an `auto` plan.
const AUTO_REQUESTS: f64 = 60.0;

/// The span in which an `auto` plan wants its first requests.
const AUTO_SPAN: Duration = Duration::from_mins(5);

/// Least time a stage of an `auto` plan lasts.
const AUTO_BAKE: Duration = Duration::from_mins(1);

/// One rung: the canary's weight, and the least time it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The canary's share of the clients.
    pub weight: Weight,
    /// The least observed time at this weight.
    #[serde(with = "crate::time::as_millis")]
    pub bake: Duration,
}

/// Stages with rising weights above 0 % and below 100 %; after the last everybody has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Stage>", into = "Vec<Stage>")]
pub struct Plan(Vec<Stage>);

/// Why stages make no plan.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// No stage at all.
    #[error("a plan needs at least one stage, such as {{ weight = \"5%\", bake = \"60s\" }}")]
    Empty,
    /// A stage of 100 %.
    #[error("a stage of 100% is not needed: after the last stage everybody has the new version")]
    Everybody,
    /// A stage of 0 %.
    #[error("a stage of 0% admits nobody; use more than 0%")]
    Nobody,
    /// Weights that do not rise.
    #[error("stage {weight} follows {before}; weights must rise from stage to stage")]
    NotRising {
        /// The weight before.
        before: Weight,
        /// The weight that is not higher.
        weight: Weight,
    },
    /// More stages than `STAGES_MAX`.
    #[error("{0} stages are too many; use at most {STAGES_MAX}")]
    TooMany(usize),
}

impl Plan {
    /// A plan of `stages`.
    ///
    /// # Errors
    /// No stage, too many, a weight of 0 % or 100 %, or weights that do not rise.
    pub fn new(stages: Vec<Stage>) -> Result<Self, PlanError> {
        if stages.is_empty() {
            return Err(PlanError::Empty);
        }
        if stages.len() > STAGES_MAX {
            return Err(PlanError::TooMany(stages.len()));
        }
        if stages.iter().any(|stage| stage.weight == Weight::ALL) {
            return Err(PlanError::Everybody);
        }
        if stages[0].weight == Weight::NONE {
            return Err(PlanError::Nobody);
        }
        for pair in stages.windows(2) {
            let [before, stage] = [pair[0].weight, pair[1].weight];
            if stage <= before {
                return Err(PlanError::NotRising { before, weight: stage });
            }
        }
        Ok(Self(stages))
    }

    /// The plan for a tier with `rate` requests per second: the ladder 1, 5, 25, 50 % from the
    /// smallest weight that gives the canary 60 requests in 5 minutes (docs/analysis.md, low
    /// traffic). An unknown rate starts at 5 %.
    pub fn auto(rate: Option<f64>) -> Self {
        let enough = |points: &u16| match rate {
            None => *points >= 500,
            Some(rate) => {
                let share = f64::from(*points) / 10_000.0;
                rate * share * AUTO_SPAN.as_secs_f64() >= AUTO_REQUESTS
            }
        };
        let first = LADDER.iter().position(enough).unwrap_or(LADDER.len() - 1);
        let rung = |points: &u16| Stage {
            weight: Weight::basis_points(*points).unwrap_or(Weight::NONE),
            bake: AUTO_BAKE,
        };
        Self(LADDER[first..].iter().map(rung).collect())
    }

    /// The stages, weights rising.
    pub fn stages(&self) -> &[Stage] {
        &self.0
    }

    /// The first stage.
    pub fn first(&self) -> Stage {
        self.0[0]
    }

    /// The stage after `weight`; none where everybody comes next.
    pub fn after(&self, weight: Weight) -> Option<Stage> {
        self.0.iter().copied().find(|stage| stage.weight > weight)
    }

    /// Which rung `weight` stands on, counted from 1: an off-plan weight stands on the rung below.
    pub fn rung(&self, weight: Weight) -> usize {
        self.0.iter().take_while(|stage| stage.weight <= weight).count().max(1)
    }

    /// The least time at `weight`.
    pub fn bake(&self, weight: Weight) -> Duration {
        self.0[self.rung(weight) - 1].bake
    }

    /// Whether both plans agree up to and including `weight`: what is passed cannot change.
    pub fn agrees_up_to(&self, weight: Weight, other: &Self) -> bool {
        let passed = |plan: &Self| -> Vec<Weight> {
            plan.0.iter().map(|stage| stage.weight).filter(|w| *w <= weight).collect()
        };
        passed(self) == passed(other)
    }
}

impl TryFrom<Vec<Stage>> for Plan {
    type Error = PlanError;

    fn try_from(stages: Vec<Stage>) -> Result<Self, PlanError> {
        Self::new(stages)
    }
}

impl From<Plan> for Vec<Stage> {
    fn from(plan: Plan) -> Self {
        plan.0
    }
}

/// Writes `1% for 60 s, 5% for 60 s, then everybody`.
impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.0 {
            write!(out, "{} for {}, ", stage.weight, in_words(stage.bake))?;
        }
        out.write_str("then everybody")
    }
}

/// The stages as the file has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stages {
    /// Chosen from the traffic when the rollout starts.
    #[default]
    Auto,
    /// As listed.
    Listed(Plan),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(weights: &[&str]) -> Result<Plan, PlanError> {
        let stage = |w: &&str| Stage { weight: w.parse().unwrap(), bake: Duration::from_secs(9) };
        Plan::new(weights.iter().map(stage).collect())
    }

    #[test]
    fn weights_rise_and_leave_the_last_step_to_the_promotion() {
        assert!(plan(&["1%", "50%"]).is_ok());
        assert_eq!(plan(&[]), Err(PlanError::Empty));
        assert_eq!(plan(&["5%", "100%"]), Err(PlanError::Everybody));
        assert_eq!(plan(&["0%", "5%"]), Err(PlanError::Nobody));
        assert!(matches!(plan(&["5%", "5%"]), Err(PlanError::NotRising { .. })));
    }

    #[test]
    fn the_stage_after_an_off_plan_weight_is_the_next_higher_one() {
        let plan = plan(&["5%", "25%", "50%"]).unwrap();
        let after = |w: &str| plan.after(w.parse().unwrap()).map(|stage| stage.weight.to_string());
        assert_eq!(after("10%").as_deref(), Some("25%"));
        assert_eq!(after("25%").as_deref(), Some("50%"));
        assert_eq!(after("60%"), None);
        assert_eq!(plan.rung("10%".parse().unwrap()), 1);
        assert_eq!(plan.rung("1%".parse().unwrap()), 1);
    }

    #[test]
    fn auto_gives_the_canary_sixty_requests_in_five_minutes() {
        let first = |rate| Plan::auto(rate).first().weight.to_string();
        assert_eq!(first(Some(1_000.0)), "1%");
        assert_eq!(first(Some(20.0)), "1%");
        assert_eq!(first(Some(19.0)), "5%");
        assert_eq!(first(Some(1.0)), "25%");
        assert_eq!(first(Some(0.02)), "50%");
        assert_eq!(first(None), "5%");
    }

    #[test]
    fn passed_stages_are_compared_by_weight() {
        let five: Weight = "5%".parse().unwrap();
        let ours = plan(&["1%", "5%", "25%"]).unwrap();
        assert!(ours.agrees_up_to(five, &plan(&["1%", "5%", "10%", "50%"]).unwrap()));
        assert!(!ours.agrees_up_to(five, &plan(&["5%", "25%"]).unwrap()));
    }
}
