//! What the file says of instances that are moved one at a time.

use super::{Page, keys, list};
use crate::rollout::runbook::Run;
use crate::rollout::{Fleet, Instance, Workers};

/// How instances are moved.
fn moving(page: &mut Page<'_>, fleet: &Fleet) {
    let said = |run: &Run| list(&run.command);
    page.put_some("quiet", fleet.quiet.as_ref().map(said));
    page.put_some("busy", fleet.busy.as_ref().map(said));
    page.put("switch", said(&fleet.switch));
    page.put_some("health", fleet.health.as_ref().map(said));
    page.put_some("reports", fleet.reports.as_ref().map(said));
    page.put_duration("drain", fleet.drain);
    page.put_duration("ready", fleet.ready);
    page.put_duration("timeout", fleet.timeout);
    page.put_duration("bake", fleet.bake);
    page.put("on_failure", fleet.on_failure.name());
}

/// The instances of a tier with traffic, and how they are moved.
pub(super) fn rolling(page: &mut Page<'_>, fleet: &Fleet, instances: &[Instance]) {
    let path = format!("tier.{}", fleet.name);
    page.tier = Some(fleet.name.clone());
    for instance in instances {
        let path = format!("{path}.rolling.instances.{}", instance.name);
        page.turn(&keys::INSTANCE, path);
        page.put("name", &instance.name);
        page.put("address", &instance.address);
    }
    page.turn(&keys::ROLLING, format!("{path}.rolling"));
    moving(page, fleet);
}

/// Workers, and how they are moved.
pub(super) fn workers(page: &mut Page<'_>, workers: &Workers) {
    page.turn(&keys::WORKER, format!("worker.{}", workers.name()));
    page.put("name", workers.name());
    page.put("follows", &workers.follows);
    page.put("instances", list(&workers.fleet.instances));
    moving(page, &workers.fleet);
    page.put_some("jobs", workers.jobs.as_ref().map(|jobs| jobs.source.name()));
    page.put_some("jobs_least", workers.jobs.as_ref().map(|jobs| jobs.least));
}
