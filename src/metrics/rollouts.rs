//! How rollouts stand, as Prometheus reads it.

use metrics::{describe_gauge, gauge};

use super::exposition::{TierScene, UpgradeScene, flag, seconds};
use crate::analysis::{Report, Verdict};

/// Verdicts as series of 0 and 1; `none` while no rollout is open or nothing was judged yet.
const VERDICTS: [&str; 4] = ["none", "fail", "inconclusive", "pass"];

pub(super) fn expose(tier: &TierScene<'_>) {
    let name = tier.name.to_string();
    let is_open = tier.stage > 0;
    gauge!("weir_rollout_weight_ratio", "tier" => name.clone()).set(tier.weight.share());
    gauge!("weir_rollout_open", "tier" => name.clone()).set(flag(is_open));
    gauge!("weir_rollout_paused", "tier" => name.clone()).set(flag(tier.paused));
    gauge!("weir_rollout_needs_person", "tier" => name.clone()).set(flag(tier.needs_person));
    gauge!("weir_rollout_entered_timestamp_seconds", "tier" => name.clone())
        .set(tier.entered.map_or(0.0, |at| seconds(at.millis())));
    gauge!("weir_rollout_stage", "tier" => name.clone()).set(tier.stage as f64);
    gauge!("weir_rollout_stages", "tier" => name.clone()).set(tier.stages as f64);
    gauge!("weir_calibration_seconds", "tier" => name.clone())
        .set(60.0 * tier.calibration_minutes as f64);
    let now = match tier.report.map(|report| &report.verdict) {
        None => "none",
        Some(Verdict::Fail { .. }) => "fail",
        Some(Verdict::Inconclusive { .. }) => "inconclusive",
        Some(Verdict::Pass { .. }) => "pass",
    };
    for verdict in VERDICTS {
        gauge!("weir_verdict", "tier" => name.clone(), "verdict" => verdict)
            .set(flag(verdict == now));
    }
    tier.report.into_iter().for_each(|report| evidence(&name, report));
    if !tier.instances.is_empty() {
        instances(&name, tier);
    }
}

/// Which version each instance has, and how many have which: also those that none has, so that a
/// series does not end where the last one left.
fn instances(name: &str, tier: &TierScene<'_>) {
    let mut moving = 0;
    for (instance, has) in &tier.instances {
        moving += usize::from(has.is_none());
        for version in tier.releases.iter().map(|release| release.version) {
            let labels = [
                ("tier", name.to_owned()),
                ("instance", (*instance).to_owned()),
                ("version", version.to_string()),
            ];
            gauge!("weir_instance_version", &labels).set(flag(*has == Some(version)));
        }
    }
    for version in tier.releases.iter().map(|release| release.version) {
        let count = tier.instances.iter().filter(|(_, has)| *has == Some(version)).count();
        let labels = [("tier", name.to_owned()), ("version", version.to_string())];
        gauge!("weir_instances", &labels).set(count as f64);
    }
    gauge!("weir_instances_moving", "tier" => name.to_owned()).set(moving as f64);
}

/// Natural logarithms: odds of a bad canary grow beyond any number.
pub(super) fn evidence(tier: &str, report: &Report) {
    for metric in &report.metrics {
        let labels = [("tier", tier.to_owned()), ("metric", metric.name.clone())];
        gauge!("weir_evidence_log_odds", &labels).set(metric.log_e);
        gauge!("weir_evidence_log_odds_limit", &labels).set(metric.log_e_rollback_at);
        gauge!("weir_evidence_upper_bound_ratio", &labels).set(metric.upper_bound);
        gauge!("weir_evidence_margin_ratio", &labels).set(metric.limit);
    }
}

/// The rollout over tiers; none is open: zeros.
pub(super) fn upgrade(upgrade: Option<&UpgradeScene>) {
    let known = upgrade.copied().unwrap_or_default();
    gauge!("weir_upgrade_open").set(flag(upgrade.is_some()));
    gauge!("weir_upgrade_items").set(known.items as f64);
    gauge!("weir_upgrade_items_done").set(known.done as f64);
    gauge!("weir_upgrade_needs_person").set(flag(known.needs_person));
    gauge!("weir_upgrade_goes_back").set(flag(known.goes_back));
}

pub(super) fn describe() {
    describe_gauge!("weir_rollout_weight_ratio", "The canary's share of the clients");
    describe_gauge!("weir_rollout_open", "1 while a rollout is open");
    describe_gauge!("weir_rollout_paused", "1 while a rollout is paused by an order");
    describe_gauge!(
        "weir_rollout_needs_person",
        "1 while the time for a proof is over and the rollout waits for a person"
    );
    describe_gauge!(
        "weir_rollout_entered_timestamp_seconds",
        "When the weight of the open rollout was reached; 0 without one"
    );
    describe_gauge!("weir_rollout_stage", "The stage of the open rollout from 1; 0 without one");
    describe_gauge!("weir_rollout_stages", "The stages of the open rollout; 0 without one");
    describe_gauge!("weir_calibration_seconds", "Time of stable the judge is calibrated with");
    describe_gauge!("weir_verdict", "1 for what the judge says now");
    describe_gauge!(
        "weir_evidence_log_odds",
        "Natural logarithm of the odds that the canary is worse than tolerated"
    );
    describe_gauge!("weir_evidence_log_odds_limit", "The log odds at which the metric fails");
    describe_gauge!(
        "weir_evidence_upper_bound_ratio",
        "The most the canary's rate may be above stable's, in this stage"
    );
    describe_gauge!("weir_evidence_margin_ratio", "The upper bound below which a stage is proven");
    describe_gauge!("weir_instances", "How many instances of a tier have a version");
    describe_gauge!("weir_instances_moving", "How many are out, while they are moved");
    describe_gauge!("weir_instance_version", "1 for the version whose requests it gets");
    describe_gauge!("weir_upgrade_open", "1 while a rollout over tiers is open");
    describe_gauge!("weir_upgrade_items", "What is done in the open rollout over tiers, in steps");
    describe_gauge!("weir_upgrade_items_done", "How many of them are done");
    describe_gauge!("weir_upgrade_needs_person", "1 while it waits for a person");
    describe_gauge!("weir_upgrade_goes_back", "1 while it goes back");
}
