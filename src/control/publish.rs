//! From state and file to the table of the data wing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::settings::{ReleaseSettings, Settings, TierSettings};
use crate::metrics::{Register, WarmUp};
use crate::rollout::runbook::{Action, Check};
use crate::rollout::{Closure, Instance, Purpose, RolloutId, State, Tier};
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
        table.joining = joining(state, tier, file, register);
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
    let others = others.map(|version| release(name, version, tier, file, register));
    let warming = warming(tier, file, register, now);
    // A canary without an address would be an empty table: nobody goes there.
    let canary = canary.filter(|canary| !canary.upstreams.is_empty());
    let has_users = canary.is_some() && warming.is_none();
    TableTier {
        tier: Arc::clone(&file.tier),
        weight: if has_users { tier.weight_at(now) } else { Weight::NONE },
        warming,
        salt: tier.rollout.as_ref().map_or(Salt::new([0; 16]), |rollout| rollout.salt),
        stable,
        canary,
        joining: None,
        moves: !file.instances.is_empty(),
        others: others.filter(|release| !release.upstreams.is_empty()).collect(),
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

/// The instance of `tier` that is looked at whether it is well, and the version that it is to join.
pub(super) fn looked_at<'a>(state: &'a State, name: &TierName) -> Option<(&'a str, &'a Version)> {
    match &state.open_upgrade()?.step()?.action {
        Action::Check(Check::Well { tier, instance, version }) if tier == name => {
            Some((instance, version))
        }
        Action::Check(_) | Action::Confirm | Action::Http(_) | Action::Run(_) => None,
    }
}

fn joining(
    state: &State,
    tier: &Tier,
    file: &TierSettings,
    register: &Register,
) -> Option<Arc<Release>> {
    let name = &file.tier.name;
    let (instance, version) = looked_at(state, name)?;
    let instance = file.instances.iter().find(|known| known.name == instance)?;
    let joined = Arc::unwrap_or_clone(release(name, version, tier, file, register));
    let slot = register.upstream(joined.slot, &instance.address);
    let upstreams = vec![Upstream { address: instance.address.clone(), slot }];
    Some(Arc::new(Release { upstreams, ..joined }))
}

/// Addresses come from the file; where it has lost the line, from the journal. Where instances are
/// moved they are those that have the version.
pub(super) fn addresses<'a>(
    version: &Version,
    tier: &Tier,
    file: &'a TierSettings,
) -> (Vec<Address>, Option<&'a ReleaseSettings>) {
    let line = file.release(version);
    if !file.instances.is_empty() {
        let has = |instance: &&Instance| tier.version_of(&instance.name) == Some(version);
        let here = file.instances.iter().filter(has);
        let mut here: Vec<Address> = here.map(|instance| instance.address.clone()).collect();
        if here.is_empty() && tier.stable == *version {
            // The file was edited while they were moved: better any of them than none, but for those
            // that are out.
            let is_in = |instance: &&Instance| tier.version_of(&instance.name).is_some();
            let known = file.instances.iter().filter(is_in);
            here = known.map(|instance| instance.address.clone()).collect();
        }
        return (here, line);
    }
    let known = tier.addresses.get(version);
    match (line, known) {
        (_, Some(known)) if !known.listed => (known.addresses.clone(), line),
        (Some(line), _) => (line.upstreams.clone(), Some(line)),
        (None, Some(known)) => (known.addresses.clone(), None),
        (None, None) => (Vec::new(), None),
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
