//! The snapshot as the exposition of the metrics wants it.

use std::collections::BTreeMap;

use super::HttpCaches;
use crate::control::{ReleaseView, TierView, View};
use crate::metrics::CacheLedger;
use crate::metrics::exposition::{ReleaseScene, Reloads, Scene, TierScene, UpgradeScene};
use crate::rollout::event_names;
use crate::time::Timestamp;
use crate::tls::Keyring;

pub(super) fn of<'a>(
    view: &'a View,
    reloads: &'a Reloads,
    keyring: &Keyring,
    (caches, http_caches): (&CacheLedger, &HttpCaches),
) -> Scene<'a> {
    let mut certificates = BTreeMap::new();
    for standing in keyring.certificates() {
        let Some(not_after) = standing.not_after else { continue };
        // There may be several for a name, of different kinds of key.
        let first: &mut Timestamp = certificates.entry(standing.name).or_insert(not_after);
        *first = not_after.min(*first);
    }
    Scene {
        certificates: certificates.into_iter().collect(),
        started: view.started,
        journal_trouble: view.journal_trouble.is_some(),
        reloads,
        caches: caches.entries(),
        http_caches: http_caches.entries(),
        deliveries: Vec::new(),
        kinds: event_names(),
        upgrade: view.upgrade.as_ref().map(|upgrade| UpgradeScene {
            items: upgrade.items.len(),
            done: upgrade.done,
            needs_person: upgrade.needs_person,
            goes_back: upgrade.goes_back,
        }),
        tiers: view.tiers.iter().map(tier).collect(),
        crews: view
            .crews
            .iter()
            .filter_map(|crew| Some((&crew.name, crew.report.as_ref()?)))
            .collect(),
    }
}

fn tier(view: &TierView) -> TierScene<'_> {
    let rollout = view.rollout.as_ref();
    TierScene {
        name: &view.name,
        weight: view.weight,
        stage: rollout.map_or(0, |rollout| rollout.rung),
        stages: rollout.map_or(0, |rollout| rollout.plan.stages().len()),
        closed: view.closed.as_ref().map(|closed| closed.purpose.name()),
        paused: rollout.is_some_and(|rollout| rollout.paused),
        needs_person: rollout.is_some_and(|rollout| rollout.held),
        entered: rollout.map(|rollout| rollout.entered),
        report: rollout.and_then(|rollout| rollout.report.as_ref()),
        calibration_minutes: view.calibration_minutes,
        releases: view.releases.iter().map(release).collect(),
        instances: view
            .instances
            .iter()
            .map(|instance| (instance.name.as_str(), instance.version.as_ref()))
            .collect(),
    }
}

fn release(view: &ReleaseView) -> ReleaseScene<'_> {
    ReleaseScene {
        version: &view.version,
        role: view.role,
        slot: view.slot,
        upstreams: view.upstreams.iter().map(|up| (up.address.as_str(), up.slot)).collect(),
    }
}
