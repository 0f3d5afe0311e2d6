//! What is true outside when something is decided.

use std::time::Duration;

use super::caches::CacheFacts;
use super::plan::Stages;
use super::upgrading::UpgradeFacts;
use crate::analysis::Settings;
use crate::traffic::{Address, Listen, Salt, Sticky, TierName, Version};

/// What is true outside: the file, the health of the upstreams, fresh randomness.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The tiers of the file, in its order.
    pub tiers: Vec<TierFacts>,
    /// Where the program itself listens: for clients, and for orders.
    pub own: Vec<Listen>,
    /// Sixteen random bytes nobody has seen, should a rollout start.
    pub salt: Salt,
    /// Whether verdicts are only written down (`--observe`).
    pub observe: bool,
    /// The caches in which releases have parts of their own.
    pub caches: Vec<CacheFacts>,
    /// What the file says of a rollout over tiers.
    pub upgrade: UpgradeFacts,
}

/// What is true of one tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierFacts {
    /// Its name.
    pub name: TierName,
    /// Who serves while the journal is new.
    pub stable: Version,
    /// The releases of the file.
    pub releases: Vec<ReleaseFacts>,
    /// The stages of the file.
    pub stages: Stages,
    /// What the judge tolerates.
    pub analysis: Settings,
    /// Over which time users go back where an order does not say; less than a second: at once.
    pub rollback_over: Duration,
    /// What keeps a client on its version.
    pub sticky: Sticky,
    /// Requests per second of the last hour, if known.
    pub rate: Option<f64>,
    /// Whether the upstreams that an order names answer.
    pub named_upstreams_healthy: bool,
    /// The instances that are not seen to be healthy with the version they have, where the tier is
    /// one of instances.
    pub unwell: Vec<String>,
}

/// What is true of one release of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// Its version.
    pub version: Version,
    /// Where it runs.
    pub addresses: Vec<Address>,
    /// Whether at least one of its upstreams is healthy.
    pub healthy: bool,
}

impl Facts {
    /// The facts of `tier`, if the file has it.
    pub fn tier(&self, tier: &TierName) -> Option<&TierFacts> {
        self.tiers.iter().find(|facts| facts.name == *tier)
    }
}

impl TierFacts {
    /// The facts of `version`, if the file has it.
    pub fn release(&self, version: &Version) -> Option<&ReleaseFacts> {
        self.releases.iter().find(|release| release.version == *version)
    }

    /// The version that the file has at `address`.
    pub fn at(&self, address: &Address) -> Option<&Version> {
        let place = address.plain();
        let there = |release: &&ReleaseFacts| release.addresses.iter().any(|a| a.plain() == place);
        self.releases.iter().find(there).map(|release| &release.version)
    }
}
