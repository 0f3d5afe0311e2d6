//! How a tier is split, as one process tells the other: versions and a weight, and addresses only
//! where they move from version to version.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::traffic::{
    Access, Address, Generations, Release, Salt, Table, TableTier, TierName, Upstream, Version,
    Weight,
};

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
    /// Whether users come in. What they are told is left out: it may be long, and there are many
    /// tiers in one message.
    #[serde(default)]
    pub access: Access,
    /// Where who serves runs, if that moves; empty: where it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stable_at: Vec<Address>,
    /// The same of the canary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary_at: Vec<Address>,
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
        access: without_message(&tier.access),
        stable_at: places(tier, Some(&tier.stable)),
        canary_at: places(tier, tier.canary.as_ref()),
    };
    table.tiers.iter().map(share).collect()
}

fn places(tier: &TableTier, release: Option<&Arc<Release>>) -> Vec<Address> {
    let upstreams = release.into_iter().filter(|_| tier.moves).flat_map(|one| &one.upstreams);
    upstreams.map(|upstream| upstream.address.clone()).collect()
}

/// `release` without the upstreams that have left it since. What joined it since is not known here,
/// and where nothing else is left it stays as it was: who takes the last one out waits for this
/// process to end.
fn without_left(release: Arc<Release>, places: &[Address]) -> Arc<Release> {
    let is_here = |upstream: &&Upstream| places.contains(&upstream.address);
    let upstreams: Vec<Upstream> = release.upstreams.iter().filter(is_here).cloned().collect();
    if upstreams.is_empty() || upstreams.len() == release.upstreams.len() {
        return release;
    }
    Arc::new(Release { upstreams, ..Arc::unwrap_or_clone(release) })
}

fn without_message(access: &Access) -> Access {
    match access {
        Access::Maintenance { until, close, .. } => {
            Access::Maintenance { until: *until, message: None, close: *close }
        }
        Access::Hold { .. } | Access::Open => access.clone(),
    }
}

/// `table`, split as `shares` say. A tier without a share, or with a canary that is not known
/// here, goes to stable alone: the weight may be too low, and never too high. The parts in caches
/// are those of `generations`.
pub(super) fn follow(table: &Table, shares: &[Share], generations: Generations) -> Table {
    let tier = |tier: &TableTier| {
        let share = shares.iter().find(|share| share.tier == tier.tier.name);
        let known = |version: &Version| tier.version(version).cloned();
        let stable = share.and_then(|share| known(&share.stable)).unwrap_or(tier.stable.clone());
        let canary = share.and_then(|share| share.canary.as_ref()).and_then(known);
        // Where their version is not known here, another serves: it is not at its places.
        let theirs = share.filter(|share| share.stable == stable.version);
        let stable_at = theirs.map_or(&[][..], |share| &share.stable_at);
        let canary_at = share.map_or(&[][..], |share| &share.canary_at);
        let stable = without_left(stable, stable_at);
        let canary = canary.map(|canary| without_left(canary, canary_at));
        let in_use = |release: &Arc<Release>| {
            release.version == stable.version
                || canary.as_ref().is_some_and(|canary| canary.version == release.version)
        };
        TableTier {
            tier: Arc::clone(&tier.tier),
            weight: share.filter(|_| canary.is_some()).map_or(Weight::NONE, |share| share.weight),
            salt: share.map_or(tier.salt, |share| share.salt),
            others: tier.releases().filter(|release| !in_use(release)).cloned().collect(),
            warming: None,
            joining: None,
            moves: tier.moves,
            close_over: share
                .map_or(tier.close_over, |share| Duration::from_millis(share.close_over)),
            judged: false,
            access: share.map_or(&tier.access, |share| &share.access).clone(),
            left: tier.left.clone(),
            stable,
            canary,
        }
    };
    Table { tiers: table.tiers.iter().map(tier).collect(), generations }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const FILE: &str = r#"
[[tier]]
name     = "web"
listen   = "127.0.0.1:0"
stable   = "1"
releases = [{ version = "1", upstreams = ["127.0.0.1:9"] }]
"#;

    /// Tier `web` with 1 as stable, `canary` at a quarter, and 3 beside them.
    fn table(canary: Option<&str>) -> Table {
        let config = config::parse("weir.toml", FILE, Path::new("")).map_err(|e| e.to_string());
        let release = |version: &str| {
            let version = version.parse().unwrap();
            Arc::new(Release {
                version,
                upstreams: vec![],
                host: None,
                tls: None,
                proxy_protocol: false,
                slot: 0,
                is_first: true,
            })
        };
        Table {
            tiers: vec![TableTier {
                tier: Arc::clone(&config.unwrap().tiers[0].tier),
                weight: "25%".parse().unwrap(),
                salt: Salt::new([1; 16]),
                stable: release("1"),
                canary: canary.map(release),
                others: vec![release("3")],
                warming: None,
                joining: None,
                moves: false,
                close_over: Duration::from_secs(3),
                judged: true,
                access: Access::Open,
                left: None,
            }],
            generations: Generations::default(),
        }
    }

    fn version(release: &Arc<Release>) -> &str {
        release.version.as_str()
    }

    #[test]
    fn a_table_is_split_as_the_other_says() {
        let here = table(Some("2"));
        let mut theirs = shares(&here);
        let same = follow(&here, &theirs, Generations::default()).tiers.remove(0);
        assert_eq!((same.weight, version(&same.stable)), (here.tiers[0].weight, "1"));
        assert_eq!(same.canary.as_ref().map(version), Some("2"));
        assert!(!same.judged, "what is left here is nobody's evidence");
        // It has promoted, and begun anew with another.
        theirs[0].stable = "2".parse().unwrap();
        theirs[0].canary = Some("3".parse().unwrap());
        theirs[0].salt = Salt::new([2; 16]);
        let later = follow(&here, &theirs, Generations::default()).tiers.remove(0);
        assert_eq!((version(&later.stable), later.salt), ("2", theirs[0].salt));
        assert_eq!(later.canary.as_ref().map(version), Some("3"));
        assert_eq!(later.others.iter().map(version).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn what_is_not_known_here_goes_to_stable() {
        let here = table(Some("2"));
        let mut theirs = shares(&here);
        theirs[0].canary = Some("4".parse().unwrap());
        for shares in [&theirs[..], &[]] {
            let tier = follow(&here, shares, Generations::default()).tiers.remove(0);
            assert_eq!((tier.weight, tier.canary), (Weight::NONE, None));
            assert_eq!(version(&tier.stable), "1");
            assert_eq!(tier.others.len(), 2, "they are still asked for their health");
        }
        let rolled_back =
            follow(&here, &shares(&table(None)), Generations::default()).tiers.remove(0);
        assert_eq!((rolled_back.weight, rolled_back.canary), (Weight::NONE, None));
    }

    #[test]
    fn nobody_goes_to_an_instance_that_was_taken_out_since() {
        let mut here = table(Some("2"));
        let places = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse::<Address>().unwrap());
        let upstream = |slot: usize| Upstream { address: places[slot].clone(), slot };
        let tier = &mut here.tiers[0];
        tier.moves = true;
        Arc::make_mut(&mut tier.stable).upstreams = vec![upstream(0), upstream(1)];
        let mut theirs = shares(&here);
        assert_eq!(theirs[0].stable_at, places);
        assert_eq!(theirs[0].canary_at, []);
        let here_are = |table: &Table| {
            let upstreams = table.tiers[0].stable.upstreams.iter();
            upstreams.map(|one| one.address.clone()).collect::<Vec<_>>()
        };
        theirs[0].stable_at = places[1..].to_vec();
        let without = follow(&here, &theirs, Generations::default());
        assert_eq!(here_are(&without), places[1..]);
        // One that joined since is not known, and none at all is worse than what there was.
        theirs[0].stable_at = vec!["127.0.0.1:3".parse().unwrap()];
        assert_eq!(here_are(&follow(&without, &theirs, Generations::default())), places[1..]);
        assert_eq!(here_are(&follow(&here, &[], Generations::default())), places);
        // Places are those of a version.
        theirs[0].stable = "9".parse().unwrap();
        theirs[0].stable_at = places[1..].to_vec();
        assert_eq!(here_are(&follow(&here, &theirs, Generations::default())), places);
        here.tiers[0].moves = false;
        assert_eq!(shares(&here)[0].stable_at, [], "else no addresses are told");
    }
}
