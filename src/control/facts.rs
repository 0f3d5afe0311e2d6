//! What is true outside, as `step` wants to know it.

use super::publish;
use super::settings::{Settings, TierSettings};
use crate::metrics::HealthState;
use crate::rollout::{Facts, Instance, ReleaseFacts, TierFacts};
use crate::traffic::{Address, Salt, Version};

impl super::Control {
    /// The facts under the file of `settings`.
    pub(super) fn facts(&self, settings: &Settings, named_upstreams_healthy: bool) -> Facts {
        let tier = |file: &TierSettings| {
            let name = &file.tier.name;
            let rate = self.watched.get(name).and_then(super::Watched::rate);
            let release = |release: &super::ReleaseSettings| {
                let version = &release.version;
                let rolling = !file.instances.is_empty();
                let runs_at = self.state.tiers.get(name).filter(|_| rolling);
                let runs_at = runs_at.map(|tier| publish::addresses(version, tier, file).0);
                let runs_at = runs_at.unwrap_or_else(|| release.upstreams.clone());
                ReleaseFacts {
                    version: version.clone(),
                    addresses: if rolling { file.places() } else { release.upstreams.clone() },
                    healthy: self.is_healthy(file, version, &runs_at),
                }
            };
            TierFacts {
                name: name.clone(),
                stable: file.stable.clone(),
                releases: file.releases.iter().map(release).collect(),
                stages: file.stages.clone(),
                analysis: file.analysis.clone(),
                rollback_over: settings.rollback_over,
                sticky: file.tier.sticky.clone(),
                rate,
                named_upstreams_healthy,
                unwell: self.unwell(file),
            }
        };
        Facts {
            tiers: settings.tiers.iter().map(tier).collect(),
            own: settings.own.clone(),
            salt: Salt::new(rand::random()),
            observe: settings.observe,
            caches: settings.caches.clone(),
            upgrade: settings.upgrade.clone(),
        }
    }

    /// The instances that are not seen to be healthy with the version whose requests they get.
    fn unwell(&self, file: &TierSettings) -> Vec<String> {
        let tier = self.state.tiers.get(&file.tier.name);
        let is_well = |instance: &&Instance| {
            let version = tier.map_or(Some(&file.stable), |tier| tier.version_of(&instance.name));
            let here = std::slice::from_ref(&instance.address);
            version.is_some_and(|version| self.is_healthy(file, version, here))
        };
        let unwell = file.instances.iter().filter(|instance| !is_well(instance));
        unwell.map(|instance| instance.name.clone()).collect()
    }

    fn is_healthy(&self, file: &TierSettings, version: &Version, upstreams: &[Address]) -> bool {
        let slot = self.register.release(&file.tier.name, version);
        upstreams.iter().any(|address| {
            let upstream = self.register.upstream(slot, address);
            self.register.health(upstream).state == HealthState::Healthy
        })
    }

    /// The release a tier lost the line of, for a remark.
    pub(super) fn line_missing(
        tier: &crate::rollout::Tier,
        file: &TierSettings,
    ) -> Option<Version> {
        let lost = |version: &&Version| {
            let named = tier.addresses.get(*version).is_some_and(|known| !known.listed);
            !named && publish::addresses(version, tier, file).1.is_none()
        };
        [Some(&tier.stable), tier.canary()].into_iter().flatten().find(lost).cloned()
    }
}
