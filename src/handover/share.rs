//! How a tier is split, as one process tells the other: versions and a weight, no addresses.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::traffic::{Release, Salt, Table, TableTier, TierName, Version, Weight};

/// How one tier is split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its name.
    pub tier: TierName,
    /// Who serves.
    pub stable: Version,
    /// The release of the open rollout.
    pub canary: Option<Version>,
    /// The canary's share.
    pub weight: Weight,
    /// What places the clients.
    pub salt: Salt,
    /// Over how long upgraded connections on a release that lost are closed, in milliseconds.
    pub close_over: u64,
}

/// How each tier of `table` is split.
pub(super) fn shares(table: &Table) -> Vec<Share> {
    let share = |tier: &TableTier| Share {
        tier: tier.tier.name.clone(),
        stable: tier.stable.version.clone(),
        canary: tier.canary.as_ref().map(|canary| canary.version.clone()),
        weight: tier.weight,
        salt: tier.salt,
        close_over: u64::try_from(tier.close_over.as_millis()).unwrap_or(u64::MAX),
    };
    table.tiers.iter().map(share).collect()
}

/// `table`, split as `shares` say. A tier without a share, or with a canary that is not known
/// here, goes to stable alone: the weight may be too low, and never too high.
pub(super) fn follow(table: &Table, shares: &[Share]) -> Table {
    let tier = |tier: &TableTier| {
        let share = shares.iter().find(|share| share.tier == tier.tier.name);
        let known = |version: &Version| tier.version(version).cloned();
        let stable = share.and_then(|share| known(&share.stable)).unwrap_or(tier.stable.clone());
        let canary = share.and_then(|share| share.canary.as_ref()).and_then(known);
        let in_use = |release: &Arc<Release>| {
            release.version == stable.version
                || canary.as_ref().is_some_and(|canary| canary.version == release.version)
        };
        TableTier {
            tier: Arc::clone(&tier.tier),
            weight: share.filter(|_| canary.is_some()).map_or(Weight::NONE, |share| share.weight),
            salt: share.map_or(tier.salt, |share| share.salt),
            others: tier.releases().filter(|release| !in_use(release)).cloned().collect(),
            close_over: share
                .map_or(tier.close_over, |share| Duration::from_millis(share.close_over)),
            judged: false,
            stable,
            canary,
        }
    };
    Table { tiers: table.tiers.iter().map(tier).collect() }
}
