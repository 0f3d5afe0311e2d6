//! What a plan will take at this traffic, and what can be proven.

use std::time::Duration;

use crate::admin::api::TierStatus;
use crate::analysis::{Settings, WhenUnproven};
use crate::rollout::{Plan, Proof};
use crate::time::in_words;

/// Below this many minutes of stable the judge knows bursts of errors less well.
const CALIBRATION_MIN: usize = 20;

/// The plan of a rollout that was just opened, a line each.
pub(super) fn lines(tier: &TierStatus, plan: &Plan, analysis: &Settings) -> Vec<String> {
    let stages = plan.stages();
    let mut lines = vec![format!("the plan for {}:", tier.name)];
    let mut whole = Some(Duration::ZERO);
    let mut blind = false;
    for (at, stage) in stages.iter().enumerate() {
        let next = stages.get(at + 1).map_or(1.0, |next| next.weight.share());
        let proof = Proof::of(*stage, next, at == 0, tier.rate, analysis);
        blind |= proof.is_given_up;
        whole = whole.zip(proof.stage).map(|(whole, takes)| whole + takes);
        lines.push(format!(
            "  {:<6} at least {}; a proof takes about {:.0} canary requests{}",
            stage.weight.to_string(),
            in_words(stage.bake),
            proof.requests,
            proof.pace(analysis),
        ));
    }
    lines.push(match whole {
        Some(whole) if !blind || analysis.when_unproven == WhenUnproven::Advance => {
            format!("  then everybody, in about {} if nothing speaks against it", in_words(whole))
        }
        Some(_) => "  then everybody, after a person has decided".into(),
        None => "  then everybody; no traffic was seen yet, so there is no telling when".into(),
    });
    if tier.calibration_minutes < CALIBRATION_MIN {
        lines.push(format!(
            "  warning: stable is known for {} of the {CALIBRATION_MIN} minutes the judge wants: \
             bursts of errors are known less well, and a false roll back is likelier",
            tier.calibration_minutes
        ));
    }
    lines
}
