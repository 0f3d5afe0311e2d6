//! What is known before anything runs: the file alone.

use super::{Config, ReleaseConfig, TierConfig};
use crate::rollout::{Facts, ReleaseFacts, TierFacts};
use crate::traffic::{Listen, Salt};

impl Config {
    /// The facts as far as the file knows them: no traffic, and every release taken for well.
    pub fn facts(&self) -> Facts {
        let release = |tier: &TierConfig, release: &ReleaseConfig| ReleaseFacts {
            version: release.version.clone(),
            addresses: if tier.instances.is_empty() {
                release.upstreams.clone()
            } else {
                tier.instances.iter().map(|instance| instance.address.clone()).collect()
            },
            healthy: true,
        };
        let tier = |tier: &TierConfig| TierFacts {
            name: tier.tier.name.clone(),
            stable: tier.stable.clone(),
            releases: tier.releases.iter().map(|line| release(tier, line)).collect(),
            stages: self.stages(tier).clone(),
            analysis: tier.analysis.clone(),
            rollback_over: self.rollout.rollback_over,
            sticky: tier.tier.sticky.clone(),
            rate: None,
            named_upstreams_healthy: false,
            unwell: vec![],
        };
        Facts {
            tiers: self.tiers.iter().map(tier).collect(),
            own: vec![Listen::Socket(self.admin.listen)],
            // Nobody is placed by it.
            salt: Salt::new([0; 16]),
            observe: false,
            caches: self.lives.clone(),
            upgrade: self.rollout.upgrade.clone(),
        }
    }
}
