//! How many file descriptors the limits of a file amount to.

use std::collections::BTreeMap;

use super::Config;

/// What is open beside connections of clients and those made for them: sockets that are listened
/// at, health checks, idle connections, the journal, the admin.
const OTHERS: u64 = 512;

impl Config {
    /// File descriptors that may be open at once: one for each client, one for what it asks.
    pub fn descriptors(&self) -> u64 {
        let mut most = BTreeMap::new();
        for tier in &self.tiers {
            // The first tier at an address decides.
            most.entry(&tier.tier.listener.listen).or_insert(tier.tier.limits.connections);
        }
        most.values().map(|connections| 2 * *connections as u64).sum::<u64>() + OTHERS
    }

    /// What to say where a process may have no more than `have` of them.
    pub fn short_of_descriptors(&self, have: u64) -> Option<String> {
        let wanted = self.descriptors();
        (wanted > have).then(|| {
            format!(
                "limits.connections may take {wanted} file descriptors, a process here may have \
                 {have}; raise LimitNOFILE (systemd) or `ulimit -Hn`, or lower limits.connections: \
                 beyond, connections of clients are closed as at the limit"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn each_address_counts_once_with_the_limit_of_its_first_tier() {
        let tier = |name: &str, listen: &str, most: u32, route: &str| {
            format!(
                "[[tier]]\nname = '{name}'\nlisten = '{listen}'\nstable = '1'\n{route}\n\
                 releases = [{{ version = '1', upstreams = ['127.0.0.1:9{most}'] }}]\n\
                 limits = {{ connections = {most} }}\n"
            )
        };
        let file = tier("a", "127.0.0.1:81", 100, "route = { path = '/a/' }")
            + &tier("b", "127.0.0.1:81", 300, "")
            + &tier("c", "127.0.0.1:82", 200, "");
        let config = super::super::parse("weir.toml", &file, Path::new("")).unwrap();
        assert_eq!(config.descriptors(), 2 * (100 + 200) + super::OTHERS);
        assert_eq!(config.short_of_descriptors(1_112), None);
        let said = config.short_of_descriptors(1_111).unwrap();
        assert!(said.contains("1112") && said.contains("1111"), "{said}");
    }
}
