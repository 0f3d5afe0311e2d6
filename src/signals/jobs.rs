//! What workers say of their jobs to a Redis that is observed.

use std::collections::BTreeMap;

use super::Asker;
use crate::analysis::Tally;
use crate::metrics::Wanted;
use crate::traffic::Version;

/// Reads what the ports of `cache` have counted, for ever.
pub(super) async fn ask(asker: Asker, cache: String) {
    let mut ticks = asker.ticks();
    let mut known: BTreeMap<Version, Tally> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let wanted = asker.ledger().wanted(&asker.signal.tier, &asker.signal.name);
        known.retain(|version, _| wanted.iter().any(|wanted| wanted.version == *version));
        for Wanted { version, .. } in &wanted {
            let Some(now) = asker.register.caches().jobs(version, |name| name == cache) else {
                asker.trouble(version, &format!("cache {cache} has no port for {version}"));
                continue;
            };
            // What was done before anybody wanted to know says nothing of now.
            let more = known.get(version).map_or_else(Tally::default, |before| now.since(*before));
            known.insert(version.clone(), now);
            asker.ledger().count(&asker.signal.tier, &asker.signal.name, version, more);
        }
    }
}
