//! What a plan will take at this traffic, and what can be proven.

use std::time::Duration;

use crate::admin::api::TierStatus;
use crate::analysis::{Settings, WhenUnproven};
use crate::rollout::Plan;
use crate::time::in_words;

/// With no errors on either side the proof takes this many canary requests for each unit of
/// 1/delta, where delta is the margin divided by the next weight (docs/analysis.md).
const REQUESTS_FOR_PROOF: f64 = 5.93;

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
        let requests = (REQUESTS_FOR_PROOF * next / analysis.errors.margin).ceil();
        let rate = tier.rate * stage.weight.share();
        let proof = (rate > 0.0).then(|| Duration::from_secs_f64((requests / rate).min(1e9)));
        // Nothing is proven while the grace lasts.
        let grace = if at == 0 { analysis.grace } else { Duration::ZERO };
        let takes = proof.map(|proof| (proof + grace).max(stage.bake));
        let unproven = takes.is_some_and(|takes| takes > analysis.give_up);
        blind |= unproven;
        let takes = takes.map(|takes| takes.min(analysis.give_up));
        whole = whole.zip(takes).map(|(whole, takes)| whole + takes);
        lines.push(format!(
            "  {:<6} at least {}; a proof takes about {requests:.0} canary requests{}",
            stage.weight.to_string(),
            in_words(stage.bake),
            pace(proof, unproven, analysis),
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

fn pace(proof: Option<Duration>, unproven: bool, analysis: &Settings) -> String {
    let Some(proof) = proof else {
        return String::new();
    };
    let pace = format!(", {} at this traffic", in_words(Duration::from_secs(proof.as_secs())));
    if !unproven {
        return pace;
    }
    let then = match analysis.when_unproven {
        WhenUnproven::Advance => "it goes on unproven",
        WhenUnproven::Hold => "it holds for a person",
    };
    format!("{pace}: too long, after {} {then}", in_words(analysis.give_up))
}
