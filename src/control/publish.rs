//! From state and file to the table of the data wing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::settings::{ReleaseSettings, Settings, TierSettings};
use crate::metrics::{Register, WarmUp};
use crate::rollout::{Closure, Purpose, RolloutId, State, Tier};
use crate::time::Timestamp;
use crate::traffic::{
    Access, Address, Left, Release, Salt, Table, TableTier, TierName, Upstream, Version, Weight,
};

/// The table that follows from what is remembered and what the file says; `before` is the one that
/// is published.
pub(super) fn table(
    state: &State,
    settings: &Settings,
    register: &Register,
    before: &Table,
    now: Timestamp,
) -> Table {
    let tiers = settings.tiers.iter().filter_map(|file| {
        let tier = state.tiers.get(&file.tier.name)?;
        let mut table = table_tier(tier, file, register, now);
        if tier.receding().is_some() {
            // Whoever went back does not come again, whatever the clock says; and none does after a
            // start, when nothing was published before.
            let before = before.tiers.iter().find(|before| before.tier.name == file.tier.name);
            table.weight = table.weight.min(before.map_or(Weight::NONE, |before| before.weight));
        }
        table.access = access(state.closures.of(&file.tier.name));
        Some(table)
    });
    Table { tiers: tiers.collect(), generations: state.generations.clone() }
}

/// What follows from how a tier is closed, if it is.
pub(super) fn access(closure: Option<&Closure>) -> Access {
    closure.map_or(Access::Open, |closure| match closure.purpose {
        Purpose::Hold => Access::Hold { until: closure.until },
        Purpose::Maintenance => {
            let Closure { until, message, close, .. } = closure.clone();
            Access::Maintenance { until, message, close }
        }
    })
}

fn table_tier(tier: &Tier, file: &TierSettings, register: &Register, now: Timestamp) -> TableTier {
    let name = &file.tier.name;
    let stable = release(name, &tier.stable, tier, file, register);
    let canary = tier.canary().map(|version| release(name, version, tier, file, register));
    // All of the file: what is not here is not asked for its health, and `start` goes by that.
    let others = file.releases.iter().map(|release| &release.version);
    let others = others.filter(|version| !tier.serves(version));
    let warming = warming(tier, file, register, now);
    // A canary without an address would be an empty table: nobody goes there.
    let has_users = canary.is_some() && warming.is_none();
    TableTier {
        tier: Arc::clone(&file.tier),
        weight: if has_users { tier.weight_at(now) } else { Weight::NONE },
        warming,
        salt: tier.rollout.as_ref().map_or(Salt::new([0; 16]), |rollout| rollout.salt),
        stable,
        canary,
        others: others.map(|version| release(name, version, tier, file, register)).collect(),
        close_over: if tier.close_now { Duration::ZERO } else { file.tier.timeouts.drain },
        judged: tier.rollout.is_some(),
        access: Access::Open,
        left: tier.left().map(|version| Left {
            version: version.clone(),
            replaced: tier.previous.is_some(),
            until: tier.since.plus(file.tier.keep_warm),
        }),
    }
}

/// The rollout whose canary is warmed before it gets users: from the start on, until that is over,
/// its time is, or an order raises the weight. The journal says the weight all the while, and what
/// is published is not above it.
pub(super) fn warming(
    tier: &Tier,
    file: &TierSettings,
    register: &Register,
    now: Timestamp,
) -> Option<RolloutId> {
    let (warm, rollout) = (file.tier.warm?, tier.rollout.as_ref()?);
    let begins = rollout.entered == rollout.started && now.since(rollout.started) < warm.within;
    let WarmUp { rollout: of, over, .. } = warm_up(&file.tier.name, register);
    let is_over = over && of == rollout.id;
    (begins && !is_over).then_some(rollout.id)
}

/// How the last warm-up of `tier` goes, or went.
pub(super) fn warm_up(tier: &TierName, register: &Register) -> WarmUp {
    let cells = register.tier(tier);
    cells.warm_up.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Addresses come from the file; where it has lost the line, from the journal.
pub(super) fn addresses<'a>(
    version: &Version,
    tier: &'a Tier,
    file: &'a TierSettings,
) -> (&'a [Address], Option<&'a ReleaseSettings>) {
    let line = file.release(version);
    let known = tier.addresses.get(version);
    match (line, known) {
        (_, Some(known)) if !known.listed => (&known.addresses, line),
        (Some(line), _) => (&line.upstreams, Some(line)),
        (None, Some(known)) => (&known.addresses, None),
        (None, None) => (&[], None),
    }
}

fn release(
    name: &TierName,
    version: &Version,
    tier: &Tier,
    file: &TierSettings,
    register: &Register,
) -> Arc<Release> {
    let slot = register.release(name, version);
    let (addresses, line) = addresses(version, tier, file);
    let upstream = |address: &Address| Upstream {
        address: address.clone(),
        slot: register.upstream(slot, address),
    };
    // A release that the file does not list is most likely spoken to as the last that it does.
    let alike = line.or(file.releases.last());
    let is_tls = addresses.iter().any(Address::is_tls);
    let tls = alike.and_then(|line| line.tls.clone()).or_else(|| is_tls.then(Arc::default));
    Arc::new(Release {
        version: version.clone(),
        upstreams: addresses.iter().map(upstream).collect(),
        host: line.and_then(|line| line.host.clone()),
        tls,
        proxy_protocol: alike.is_some_and(|line| line.proxy_protocol),
        slot,
        is_first: tier.began_with(version),
    })
}
