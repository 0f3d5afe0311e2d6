//! What the program knows, for checks that ask for it.

use std::sync::Arc;

use crate::traffic::{Address, ClientTls, TierName, Version};

/// What the program knows at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Whether the program runs and has seen something.
    pub is_live: bool,
    /// Its tiers, in the order of the file.
    pub tiers: Vec<TierScene>,
    /// Its caches, in the order of the file.
    pub caches: Vec<CacheScene>,
    /// Whether the Weir before this one still finishes requests, which nobody counts here.
    pub has_elder: bool,
    /// Why a rollout must not advance now, by its hours; none: it may.
    pub closed: Option<String>,
}

impl Scene {
    /// What processes of `version` are told of their caches.
    pub(super) fn variables(&self, version: Option<&Version>) -> Vec<(String, String)> {
        let mut releases = self.tiers.iter().flat_map(|tier| &tier.releases);
        let found = releases.find(|release| Some(&release.version) == version);
        found.map(|release| release.caches.clone()).unwrap_or_default()
    }
}

/// A tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierScene {
    /// Its name.
    pub name: TierName,
    /// Who serves.
    pub stable: Version,
    /// Requests a second in the last hour; none: not known, since the program does not run.
    pub rate: Option<f64>,
    /// Its releases.
    pub releases: Vec<ReleaseScene>,
    /// Its instances, where they are moved one at a time; empty where the program does not run.
    pub instances: Vec<InstanceScene>,
}

/// An instance that is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceScene {
    /// What it is called.
    pub name: String,
    /// Connections to it on which something is under way, or may come.
    pub connections: usize,
    /// Whether it is healthy.
    pub is_healthy: bool,
    /// What was last wrong with it.
    pub error: Option<String>,
}

/// A release.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseScene {
    /// Its version.
    pub version: Version,
    /// Where it runs.
    pub upstreams: Vec<UpstreamScene>,
    /// The Host sent to it.
    pub host: Option<String>,
    /// How its upstreams are spoken to by TLS.
    pub tls: Option<Arc<ClientTls>>,
    /// Whether a connection to it begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// What its processes are told of their caches, as `weir cache env` prints it.
    pub caches: Vec<(String, String)>,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamScene {
    /// Where it listens.
    pub address: Address,
    /// Whether it is healthy; none: not known, since the program does not run.
    pub is_healthy: Option<bool>,
}

/// A cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheScene {
    /// Its name.
    pub name: String,
    /// Why versions are not kept apart in it; none: they are.
    pub shared: Option<String>,
}
