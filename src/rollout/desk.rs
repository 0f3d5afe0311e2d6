//! What an operator orders of tiers that go each its own way.

use std::time::Duration;

use super::closure::{self, Purpose, Wish};
use super::command::{Command, Order, Refusal};
use super::event::{Adoption, Blame, Cause, Change, Event, RolloutId};
use super::facts::{Facts, ReleaseFacts, TierFacts};
use super::plan::{Plan, Stages};
use super::state::{Outcome, Rollout, State, Tier};
use super::step::{ROLLBACK_OVER_MAX, is_gone, may_raise, opening, place_taken, promoted};
use super::upgrade::Target;
use super::upgrading::of_upgrade;
use crate::time::Timestamp;
use crate::traffic::{Address, TierName, Version, Weight};

/// One order on the desk, with all that is needed to decide it.
pub(super) struct Desk<'a> {
    pub(super) state: &'a State,
    pub(super) facts: &'a Facts,
    pub(super) now: Timestamp,
    pub(super) command: &'a Command,
}

impl Desk<'_> {
    pub(super) fn decide(&self) -> Result<Vec<Event>, Refusal> {
        match &self.command.order {
            Order::Adopt { tier, version } => self.adopt(tier, version),
            Order::Advance { tier, to } => match self.upgrade(tier.as_ref()) {
                Some(upgrade) => self.advance_upgrade(upgrade, *to),
                None => self.on_open(tier.as_ref(), |n, t, r| self.advance(n, t, r, *to)),
            },
            Order::Approve { step } => self.approve(step.as_ref()),
            Order::Hold { tier, on, lasts } => self.close(&Wish {
                tier: tier.as_ref(),
                on: *on,
                purpose: Purpose::Hold,
                lasts: *lasts,
                message: None,
                close: false,
            }),
            Order::Maintenance { tier, on, lasts, message, close } => self.close(&Wish {
                tier: tier.as_ref(),
                on: *on,
                purpose: Purpose::Maintenance,
                lasts: *lasts,
                message: message.as_ref(),
                close: *close,
            }),
            Order::Pause { tier } => self.pause(tier.as_ref()),
            Order::Promote { tier } => match self.upgrade(tier.as_ref()) {
                Some(upgrade) => self.promote_upgrade(upgrade),
                None => self.on_open(tier.as_ref(), |name, tier, rollout| {
                    may_raise(name, tier, self.facts)?;
                    Ok(Some(promoted(tier, rollout, Cause::Order)))
                }),
            },
            Order::Resume { tier } => self.resume(tier.as_ref()),
            Order::RetryStep { step } => self.retry(step.as_ref()),
            Order::Rollback { tier, now, over, past_no_return } => {
                match self.roll_back_upgrade(tier.as_ref(), *now, *past_no_return)? {
                    Some(events) => Ok(events),
                    None => match self.roll_back(tier.as_ref(), *now, *over) {
                        Err(Refusal::NobodyBefore { .. } | Refusal::NoInstance { .. })
                            if self.is_back(tier.as_ref()) =>
                        {
                            Ok(vec![])
                        }
                        decided => decided,
                    },
                }
            }
            Order::SkipStep { step } => self.skip(step.as_ref()),
            Order::Start { tier, version, upstreams, again } => {
                let (tier, version) = (tier.as_ref(), version.as_ref());
                if self.facts.upgrade.is_wanted() {
                    self.start_upgrade(tier, version, upstreams, *again)
                } else {
                    self.start(tier, version, upstreams, *again)
                }
            }
        }
    }

    fn close(&self, wish: &Wish<'_>) -> Result<Vec<Event>, Refusal> {
        wish.tier.map_or(Ok(()), |tier| self.known(tier).map(drop))?;
        closure::decide(self.state, self.command, wish, self.now)
    }

    fn pause(&self, name: Option<&TierName>) -> Result<Vec<Event>, Refusal> {
        let open =
            self.on_open(name, |_, _, rollout| Ok((!rollout.paused).then_some(Change::Paused)));
        match self.upgrade(None).filter(|_| name.is_none()) {
            Some(upgrade) => {
                let whole = (!upgrade.paused).then(|| self.whole(upgrade.id, Change::Paused));
                Ok(open.unwrap_or_default().into_iter().chain(whole).collect())
            }
            None => open,
        }
    }

    fn resume(&self, name: Option<&TierName>) -> Result<Vec<Event>, Refusal> {
        if let Some(upgrade) = self.upgrade(None).filter(|_| name.is_none()) {
            let paused = |_: &TierName, _: &Tier, rollout: &Rollout| {
                Ok(rollout.paused.then_some(Change::Resumed))
            };
            let mut events = self.on_open(None, paused).unwrap_or_default();
            if upgrade.paused || upgrade.held.is_some() {
                events.push(self.whole(upgrade.id, Change::Resumed));
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
        self.on_open(name, |name, _, rollout| {
            let not_paused = Refusal::NotPaused { tier: name.clone() };
            if rollout.paused { Ok(Some(Change::Resumed)) } else { Err(not_paused) }
        })
    }

    pub(super) fn event(
        &self,
        tier: &TierName,
        rollout: Option<RolloutId>,
        change: Change,
    ) -> Event {
        Event {
            at: self.now,
            by: self.command.by.clone(),
            because: self.command.because.clone(),
            tier: Some(tier.clone()),
            rollout,
            change,
        }
    }

    pub(super) fn known(&self, name: &TierName) -> Result<&Tier, Refusal> {
        self.state.tiers.get(name).ok_or_else(|| self.unknown_tier(name))
    }

    pub(super) fn unknown_tier(&self, name: &TierName) -> Refusal {
        let known = listed(self.facts.tiers.iter().map(|facts| &facts.name));
        Refusal::UnknownTier { tier: name.clone(), known }
    }

    /// Decides for the tier named, or for every tier with an open rollout. All or nothing.
    pub(super) fn on_open(
        &self,
        name: Option<&TierName>,
        decide: impl Fn(&TierName, &Tier, &Rollout) -> Result<Option<Change>, Refusal>,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(name) = name {
            self.known(name)?;
        }
        let chosen = self.state.open().filter(|(tier, ..)| name.is_none_or(|name| name == *tier));
        let mut events = Vec::new();
        let mut open = 0;
        for (tier_name, tier, rollout) in chosen {
            open += 1;
            let change = decide(tier_name, tier, rollout)?;
            events.extend(change.map(|change| self.event(tier_name, Some(rollout.id), change)));
        }
        if open == 0 {
            return Err(Refusal::NoneOpen(name.map(|n| format!("{n}: ")).unwrap_or_default()));
        }
        Ok(events)
    }

    fn advance(
        &self,
        name: &TierName,
        tier: &Tier,
        rollout: &Rollout,
        to: Option<Weight>,
    ) -> Result<Option<Change>, Refusal> {
        may_raise(name, tier, self.facts)?;
        let weight = match to {
            Some(Weight::ALL) => return Err(Refusal::ToEverybody { tier: name.clone() }),
            Some(weight) if weight <= rollout.weight => {
                return Err(Refusal::NotHigher { tier: name.clone(), weight: rollout.weight });
            }
            Some(weight) => weight,
            None => match rollout.plan.after(rollout.weight) {
                Some(stage) => stage.weight,
                None => {
                    return Err(Refusal::LastStage {
                        tier: name.clone(),
                        weight: rollout.weight,
                        release: rollout.release.clone(),
                    });
                }
            },
        };
        Ok(Some(Change::Advanced { weight, cause: Cause::Order }))
    }

    fn adopt(&self, name: &TierName, version: &Version) -> Result<Vec<Event>, Refusal> {
        let tier = self.known(name)?;
        if let Some(rollout) = &tier.rollout {
            let (tier, release) = (name.clone(), rollout.release.clone());
            return Err(Refusal::AdoptWhileOpen { tier, release });
        }
        let moved = of_upgrade(self.state, name).filter(|upgrade| upgrade.shifts(name));
        if let Some(target) = moved.and_then(|upgrade| upgrade.targets.get(name)) {
            // An instance may be out, and what takes the others back knows the version before.
            let (tier, release) = (name.clone(), target.version.clone());
            return Err(Refusal::AdoptWhileOpen { tier, release });
        }
        let facts = self.facts.tier(name);
        let Some(release) = facts.and_then(|facts| facts.release(version)) else {
            return Err(self.unknown_version(name, version));
        };
        if tier.stable == *version && tier.unconfirmed.is_none() {
            return Ok(vec![]);
        }
        let addresses = release.addresses.clone();
        let change = Change::Adopted { stable: version.clone(), addresses, why: Adoption::Order };
        Ok(vec![self.event(name, None, change)])
    }

    fn unknown_version(&self, name: &TierName, version: &Version) -> Refusal {
        let releases = self.facts.tier(name).map(|facts| &facts.releases[..]).unwrap_or_default();
        Refusal::UnknownVersion {
            tier: name.clone(),
            version: version.clone(),
            known: listed(releases.iter().map(|release| &release.version)),
        }
    }

    /// Never refused for a reason inside Weir; only when there is nobody to go back to. Without
    /// a tier: whatever is open, with the tiers that the same rollouts have promoted; with nothing
    /// open, the tiers of the newest rollout. So two people who type it never go back twice.
    fn roll_back(
        &self,
        name: Option<&TierName>,
        now: bool,
        over: Option<Duration>,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(name) = name {
            let tier = self.known(name)?;
            return match self.back(name, tier, now, over) {
                Some(event) => Ok(vec![event]),
                None => self.nobody_before(name, tier).map_or(Ok(vec![]), Err),
            };
        }
        let mut ids: Vec<RolloutId> = self.state.open().map(|(_, _, rollout)| rollout.id).collect();
        if ids.is_empty() {
            ids.push(self.state.latest);
        }
        let concerned = |tier: &Tier| {
            tier.rollout.is_some()
                || tier.previous.as_ref().is_some_and(|(_, id)| ids.contains(id))
                || (now && tier.went_back())
        };
        let tiers = self.state.tiers.iter().filter(|(_, tier)| concerned(tier));
        let events: Vec<Event> =
            tiers.filter_map(|(n, tier)| self.back(n, tier, now, over)).collect();
        if !events.is_empty() {
            return Ok(events);
        }
        let mut tiers = self.state.tiers.iter().filter(|(_, tier)| concerned(tier));
        if let Some(taken) = tiers.find_map(|(n, tier)| place_taken(n, tier, self.facts)) {
            return Err(taken);
        }
        // One tier that went back already is how things stand, and no refusal.
        let nobody = |(name, tier)| self.nobody_before(name, tier);
        let everywhere: Option<Vec<Refusal>> = self.state.tiers.iter().map(nobody).collect();
        everywhere.and_then(|all| all.into_iter().next()).map_or(Ok(vec![]), Err)
    }

    /// Why nobody can go back, unless somebody went back already.
    fn nobody_before(&self, name: &TierName, tier: &Tier) -> Option<Refusal> {
        let went_back = tier.went_back();
        let is_gone = |version: &Version| is_gone(name, tier, version, self.facts);
        let gone = tier.previous.as_ref().filter(|(previous, _)| is_gone(previous));
        if let Some((version, _)) = gone {
            let (tier, version) = (name.clone(), version.clone());
            return Some(Refusal::NoInstance { tier, version });
        }
        place_taken(name, tier, self.facts).or_else(|| {
            let (tier, stable) = (name.clone(), tier.stable.clone());
            (!went_back).then_some(Refusal::NobodyBefore { tier, stable })
        })
    }

    pub(super) fn back(
        &self,
        name: &TierName,
        tier: &Tier,
        now: bool,
        over: Option<Duration>,
    ) -> Option<Event> {
        if let (Some(rollout), Some(over)) = (&tier.rollout, self.steps(name, tier, now, over)) {
            let change = Change::Receding { from: rollout.weight, over };
            return Some(self.event(name, Some(rollout.id), change));
        }
        let (from, to, id) = match (&tier.rollout, &tier.previous) {
            (Some(rollout), _) => (&rollout.release, &tier.stable, rollout.id),
            (None, Some((previous, id)))
                if place_taken(name, tier, self.facts).is_none()
                    && !is_gone(name, tier, previous, self.facts) =>
            {
                (&tier.stable, previous, *id)
            }
            (None, None) if now && tier.went_back() && !tier.close_now => {
                return Some(self.event(name, None, Change::Cut));
            }
            (None, _) => return None,
        };
        let (from, to) = (from.clone(), to.clone());
        let change = Change::RolledBack { from, to, cause: Blame::Order, now };
        Some(self.event(name, Some(id), change))
    }

    /// Over which time users go back in steps, if they do: not where they do already, since an order
    /// that is given again means it.
    fn steps(
        &self,
        name: &TierName,
        tier: &Tier,
        now: bool,
        over: Option<Duration>,
    ) -> Option<Duration> {
        let over = over.or(self.facts.tier(name).map(|file| file.rollback_over))?;
        let steps = over.as_secs() > 0 && !now && tier.receding().is_none();
        steps.then_some(over.min(ROLLBACK_OVER_MAX))
    }

    fn start(
        &self,
        name: Option<&TierName>,
        version: Option<&Version>,
        upstreams: &[Address],
        again: bool,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(name) = name {
            let tier = self.known(name)?;
            return Ok(vec![self.start_tier(name, tier, version, upstreams, again)?]);
        }
        if let ([_, _, ..], [address, ..]) = (&self.facts.tiers[..], upstreams) {
            return Err(Refusal::UpstreamWithoutTier { address: address.clone() });
        }
        // Every tier that has something to start; the refusal of one is the refusal of all,
        // unless it merely has nothing new.
        let mut events = Vec::new();
        let mut nothing = None;
        for facts in &self.facts.tiers {
            let tier = self.known(&facts.name)?;
            match self.start_tier(&facts.name, tier, version, upstreams, again) {
                Ok(event) => events.push(event),
                Err(
                    refusal @ (Refusal::NothingNew { .. }
                    | Refusal::UnknownVersion { .. }
                    | Refusal::AlreadyStable { .. }),
                ) => nothing = nothing.or(Some(refusal)),
                Err(refusal) => return Err(refusal),
            }
        }
        match nothing {
            Some(refusal) if events.is_empty() => Err(refusal),
            _ => Ok(events),
        }
    }

    pub(super) fn start_tier(
        &self,
        name: &TierName,
        tier: &Tier,
        version: Option<&Version>,
        upstreams: &[Address],
        again: bool,
    ) -> Result<Event, Refusal> {
        if let Some(rollout) = &tier.rollout {
            let (tier, release, rollout) = (name.clone(), rollout.release.clone(), rollout.id);
            return Err(Refusal::AlreadyOpen { tier, release, rollout });
        }
        let facts = self.facts.tier(name).ok_or_else(|| self.unknown_tier(name))?;
        may_raise(name, tier, self.facts)?;
        let is_rolling = self.facts.upgrade.rolling(name).is_some();
        if let (true, Some(address)) = (is_rolling, upstreams.first()) {
            let (tier, address) = (name.clone(), address.clone());
            return Err(Refusal::Instances { tier, address });
        }
        let release = chosen(name, tier, facts, version, upstreams)?;
        if release == tier.stable {
            return Err(Refusal::AlreadyStable {
                tier: name.clone(),
                version: release,
                available: listed(others(facts, tier)),
            });
        }
        self.may_run_at(name, tier, facts, &release, upstreams)?;
        let (addresses, healthy, listed) = match facts.release(&release) {
            Some(release) => (release.addresses.clone(), release.healthy, true),
            None if !upstreams.is_empty() => {
                (upstreams.to_vec(), facts.named_upstreams_healthy, false)
            }
            None => return Err(self.unknown_version(name, &release)),
        };
        let fate = tier.versions.get(&release);
        if let Some(fate) = fate.filter(|fate| fate.outcome == Outcome::RolledBack && !again) {
            let (tier, why) = (name.clone(), fate.why.clone());
            return Err(Refusal::RolledBackBefore { tier, version: release, why });
        }
        if !healthy {
            return Err(Refusal::Unhealthy { tier: name.clone(), version: release });
        }
        let plan = match &facts.stages {
            Stages::Auto => Plan::auto(facts.rate),
            Stages::Listed(plan) => plan.clone(),
        };
        let named = if listed { vec![] } else { addresses };
        let target = Target { version: release, named };
        let change = opening(name, tier, self.facts, &target, plan, self.facts.salt)?;
        Ok(self.event(name, Some(self.state.latest + 1), change))
    }

    /// The addresses that an order names: nobody else's, not Weir's own, and for a release of the
    /// file those of the file.
    fn may_run_at(
        &self,
        name: &TierName,
        tier: &Tier,
        facts: &TierFacts,
        release: &Version,
        upstreams: &[Address],
    ) -> Result<(), Refusal> {
        for address in upstreams {
            let (tier_name, place) = (name.clone(), address.plain());
            let own = self.facts.own.iter().find(|own| address.leads_to(own));
            if let Some(own) = own {
                let (address, own) = (address.clone(), own.clone());
                return Err(Refusal::OwnAddress { tier: tier_name, address, own });
            }
            let serving = tier.addresses.get(&tier.stable);
            let serves = serving.is_some_and(|s| s.addresses.iter().any(|a| a.plain() == place));
            let of = if serves { Some(&tier.stable) } else { facts.at(address) };
            if let Some(of) = of.filter(|of| *of != release) {
                let (address, of) = (address.clone(), of.clone());
                return Err(Refusal::AddressTaken { tier: tier_name, address, of });
            }
        }
        let file = facts.release(release).filter(|_| !upstreams.is_empty());
        let same = |file: &&ReleaseFacts| {
            let all_in = |these: &[Address], those: &[Address]| {
                these.iter().all(|this| those.iter().any(|that| this.plain() == that.plain()))
            };
            all_in(upstreams, &file.addresses) && all_in(&file.addresses, upstreams)
        };
        file.filter(|file| !same(file)).map_or(Ok(()), |file| {
            let (tier, version) = (name.clone(), release.clone());
            let listed = listed(file.addresses.iter());
            Err(Refusal::ListedElsewhere { tier, version, listed })
        })
    }
}

fn chosen(
    name: &TierName,
    tier: &Tier,
    facts: &TierFacts,
    version: Option<&Version>,
    upstreams: &[Address],
) -> Result<Version, Refusal> {
    if let Some(version) = version {
        return Ok(version.clone());
    }
    if !upstreams.is_empty() {
        return Err(Refusal::UpstreamWithoutVersion { tier: name.clone() });
    }
    let new: Vec<&Version> = others(facts, tier).filter(|v| tier.is_new(v)).collect();
    match new[..] {
        [version] => Ok(version.clone()),
        [] => Err(Refusal::NothingNew { tier: name.clone() }),
        _ => {
            let candidates = listed(new.into_iter());
            Err(Refusal::Ambiguous { tier: name.clone(), candidates })
        }
    }
}

fn others<'a>(facts: &'a TierFacts, tier: &Tier) -> impl Iterator<Item = &'a Version> {
    let stable = tier.stable.clone();
    facts.releases.iter().map(|release| &release.version).filter(move |v| **v != stable)
}

pub(super) fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
