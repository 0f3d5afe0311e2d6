//! What checks ask of the file, and what no output of a step may show.

use std::collections::BTreeSet;

use super::Config;
use crate::cache::Mode;
use crate::hooks::{CacheScene, ReleaseScene, Scene, Secrets, TierScene, UpstreamScene};
use crate::traffic::{Address, Version};

impl Config {
    /// What the file knows for checks; the running program adds what it has seen.
    pub fn scene(&self) -> Scene {
        let upstream =
            |address: &Address| UpstreamScene { address: address.clone(), is_healthy: None };
        let caches = |version: &Version| {
            let told = self.cache_environment(version).map(|found| found.variables());
            told.unwrap_or_default()
        };
        // What the journal says of instances the file does not know: they have what is stable.
        let instances = |tier: &super::TierConfig, version: &Version| -> Vec<UpstreamScene> {
            let here = tier.instances.iter().filter(|_| tier.stable == *version);
            here.map(|instance| upstream(&instance.address)).collect()
        };
        let release = |tier: &super::TierConfig, release: &super::ReleaseConfig| ReleaseScene {
            version: release.version.clone(),
            upstreams: if tier.instances.is_empty() {
                release.upstreams.iter().map(upstream).collect()
            } else {
                instances(tier, &release.version)
            },
            host: release.host.clone(),
            tls: release.tls.clone(),
            proxy_protocol: release.proxy_protocol,
            caches: caches(&release.version),
        };
        let tier = |tier: &super::TierConfig| TierScene {
            name: tier.tier.name.clone(),
            stable: tier.stable.clone(),
            rate: None,
            releases: tier.releases.iter().map(|line| release(tier, line)).collect(),
            instances: Vec::new(),
        };
        // A queue is one for all versions on purpose: its jobs are looked at.
        let workers = self.rollout.upgrade.workers.iter().filter_map(|w| w.jobs.as_ref());
        let queues: Vec<&str> = workers.filter_map(|jobs| jobs.source.cache()).collect();
        let is_queue = |cache: &&crate::cache::Cache| {
            cache.mode == Mode::Observe && queues.contains(&cache.name.as_str())
        };
        let cache = |cache: &crate::cache::Cache| CacheScene {
            name: cache.name.clone(),
            shared: match cache.mode {
                Mode::Db | Mode::Instance | Mode::Prefix => None,
                Mode::Observe => Some("the versions share it (mode = \"observe\")".to_owned()),
            },
        };
        Scene {
            is_live: false,
            tiers: self.tiers.iter().map(tier).collect(),
            caches: self.caches.iter().filter(|cache| !is_queue(cache)).map(cache).collect(),
            has_elder: false,
            closed: None,
        }
    }

    /// Whether the file has a release of `version`; a sentence where it has none.
    pub fn knows(&self, version: &Version) -> Result<(), String> {
        let releases = || self.tiers.iter().flat_map(|tier| &tier.releases);
        if releases().any(|release| release.version == *version) {
            return Ok(());
        }
        let known: BTreeSet<&str> = releases().map(|release| release.version.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Err(format!("the file has no release {version}; it has: {known}"))
    }

    /// What no output may show: the secrets of the file, and those of the `environment` by their
    /// names.
    pub fn secrets(&self, environment: impl IntoIterator<Item = (String, String)>) -> Secrets {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let previews = self.tiers.iter().flat_map(|tier| {
            [tier.tier.preview.as_ref(), tier.tier.closing.bypass.as_ref()].into_iter().flatten()
        });
        let previews = previews.map(|preview| text(preview.secret.reveal()));
        // What cannot be read now cannot be shown by a step either.
        let told = self.notify.confidential().into_iter().filter_map(|secret| secret.reveal().ok());
        let ports = self.caches.iter().flat_map(|cache| &cache.ports);
        let passwords = ports.filter_map(|port| port.server.credentials.as_ref()?.0.last());
        Secrets::new(
            previews.chain(passwords.map(|bytes| text(bytes))).chain(told),
            environment,
            &self.log.secrets,
        )
    }
}
