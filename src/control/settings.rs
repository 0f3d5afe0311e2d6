//! What the control wing is told by the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::analysis;
use crate::hooks::{self, Scene};
use crate::rollout::{CacheFacts, Instance, Stages, UpgradeFacts};
use crate::traffic::{Address, ClientTls, Listen, Tier, TierName, Version};

/// What the control wing needs of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The tiers, in the order of the file.
    pub tiers: Vec<TierSettings>,
    /// Over which time users of an open rollout go back where an order does not say; zero: at once.
    pub rollback_over: Duration,
    /// The caches in which releases have parts of their own.
    pub caches: Vec<CacheFacts>,
    /// Where the program itself listens: for clients, and for orders.
    pub own: Vec<Listen>,
    /// Whether the rollout of the version that was never tried starts without an order.
    pub starts_by_itself: bool,
    /// Verdicts are only written down; stages move by order alone.
    pub observe: bool,
    /// What the file says of a rollout over tiers.
    pub upgrade: UpgradeFacts,
    /// Where the windows of the judge are recorded, if they are.
    pub record: Option<PathBuf>,
    /// What the file knows for the checks of steps.
    pub outline: Scene,
    /// Where and with what steps are done.
    pub hooks: hooks::Place,
    /// What an operator should know about how the program was started.
    pub remarks: Vec<String>,
}

/// One tier of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TierSettings {
    /// How its traffic is treated.
    pub tier: Arc<Tier>,
    /// Who serves while the journal is new.
    pub stable: Version,
    /// Its releases.
    pub releases: Vec<ReleaseSettings>,
    /// The stages of its rollouts.
    pub stages: Stages,
    /// Its instances, which are moved from version to version; empty: each release has upstreams of
    /// its own.
    pub instances: Vec<Instance>,
    /// No healthy upstream of the canary for this long rolls back.
    pub canary_down: Duration,
    /// What the judge tolerates.
    pub analysis: analysis::Settings,
    /// What is heard of it from outside, in the order of the file.
    pub signals: Vec<Signal>,
}

/// A signal from outside, as the judge is fed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub feeds: Feeds,
    /// After this long without a word it is blind, and the rollout holds.
    pub silent_after: Duration,
}

/// What a signal says to the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feeds {
    /// The requests of the tier and those that failed: of a tier without HTTP.
    Errors,
    /// The slow ones among the requests: of a tier without HTTP.
    Slow,
    /// A metric of its own, with a total of its own.
    Own,
    /// A number with a limit.
    Check,
}

/// One release of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSettings {
    /// Its version.
    pub version: Version,
    /// Where it runs; empty where the tier has instances.
    pub upstreams: Vec<Address>,
    /// The Host to send instead of the client's.
    pub host: Option<String>,
    /// How its upstreams are spoken to by TLS; none: they are not.
    pub tls: Option<Arc<ClientTls>>,
    /// Whether each connection to it begins with a PROXY protocol header.
    pub proxy_protocol: bool,
}

impl Settings {
    /// The settings of `tier`.
    pub fn tier(&self, tier: &TierName) -> Option<&TierSettings> {
        self.tiers.iter().find(|settings| settings.tier.name == *tier)
    }
}

impl TierSettings {
    /// Where its instances listen.
    pub(super) fn places(&self) -> Vec<Address> {
        self.instances.iter().map(|instance| instance.address.clone()).collect()
    }

    /// The release of `version`, if the file has it.
    pub fn release(&self, version: &Version) -> Option<&ReleaseSettings> {
        self.releases.iter().find(|release| release.version == *version)
    }
}
