//! What a process of one version is told of its caches: web workers, job workers and hooks alike.

use super::Config;
use crate::namespace::Namespace;
use crate::traffic::Version;

/// Where a process of one version finds its caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEnvironment {
    /// The namespace of the release, as `X-Weir-Cache-Namespace` says it; none where the version
    /// cannot stand before keys.
    pub namespace: Option<Namespace>,
    /// The name of each cache and the address of the version's port.
    pub ports: Vec<(String, String)>,
}

impl Config {
    /// What a process of `version` is told; none if the file does not know the version.
    pub fn cache_environment(&self, version: &Version) -> Option<CacheEnvironment> {
        let mut ports = Vec::new();
        for cache in &self.caches {
            let port = cache.ports.iter().find(|port| port.version == *version);
            ports.extend(port.map(|port| (cache.name.clone(), port.listen.to_string())));
        }
        let mut releases = self.tiers.iter().flat_map(|tier| &tier.releases);
        let known = releases.any(|release| release.version == *version) || !ports.is_empty();
        let environment = self.proxy.environment.as_deref();
        let namespace = Namespace::of(environment, version.as_str()).ok();
        known.then_some(CacheEnvironment { namespace, ports })
    }
}

impl CacheEnvironment {
    /// The variables: `WEIR_CACHE_NAMESPACE`, and `WEIR_CACHE_PAGES` for the cache `pages`.
    pub fn variables(&self) -> Vec<(String, String)> {
        let namespace = self.namespace.iter();
        let namespace = namespace.map(|name| ("WEIR_CACHE_NAMESPACE".to_owned(), name.to_string()));
        let port = |(cache, address): &(String, String)| {
            let name = cache.to_ascii_uppercase().replace(['.', '-'], "_");
            (format!("WEIR_CACHE_{name}"), address.clone())
        };
        namespace.chain(self.ports.iter().map(port)).collect()
    }
}
