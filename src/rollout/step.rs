//! The only place that decides.

use std::time::Duration;

use super::caches::emptied;
use super::closure;
use super::command::{Actor, Command, Facts, Input, Order, Refusal, TierFacts};
use super::event::{Adoption, Blame, Cause, Change, Event, RolloutId};
use super::plan::{Plan, Stages};
use super::state::{Outcome, Receding, Rollout, State, Tier};
use crate::analysis::{Verdict, Why};
use crate::time::Timestamp;
use crate::traffic::{Address, TierName, Version, Weight};

/// The longest time over which users go back: a version that may keep them for longer is not rolled
/// back.
pub const ROLLBACK_OVER_MAX: Duration = Duration::from_hours(1);

/// Decides what follows from `input`: the events to remember, in order, or why an order is
/// refused. No event and no refusal: nothing changes.
///
/// # Errors
/// The order cannot be carried out; the text says why and what to do instead.
pub fn step(
    state: &State,
    input: &Input,
    facts: &Facts,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let mut events = match input {
        Input::Command(command) => Desk { state, facts, now, command }.decide()?,
        Input::Due { tier, ordered } => {
            closure::due(state, tier.as_ref(), *ordered, now).into_iter().collect()
        }
        Input::File { reload: true, .. } => {
            may_reload(state, facts)?;
            read_file(state, facts, None, now)
        }
        Input::File { journal_lost, .. } => read_file(state, facts, journal_lost.as_deref(), now),
        Input::Receded { tier } => receded(state, tier, now).into_iter().collect(),
        Input::Unhealthy { tier, reason } => {
            let blame = Blame::Unhealthy { reason: reason.clone() };
            guard(state, facts, tier, blame, now).into_iter().collect()
        }
        Input::Verdict { tier, rollout, verdict } => {
            judged(state, facts, tier, *rollout, verdict, now).into_iter().collect()
        }
    };
    if !events.is_empty() {
        events.extend(emptied(state, &events, facts, now));
    }
    Ok(events)
}

/// An event that Weir decides by itself.
fn by_weir(tier: &TierName, rollout: Option<RolloutId>, change: Change, now: Timestamp) -> Event {
    Event { at: now, by: Actor::weir(), because: None, tier: Some(tier.clone()), rollout, change }
}

/// Nobody is left on the canary: the end of an order that somebody gave before.
fn receded(state: &State, name: &TierName, now: Timestamp) -> Option<Event> {
    let tier = state.tiers.get(name)?;
    let rollout = tier.rollout.as_ref()?;
    let Receding { by, because, .. } = rollout.receding.clone()?;
    let (from, to) = (rollout.release.clone(), tier.stable.clone());
    let change = Change::RolledBack { from, to, cause: Blame::Order, now: false };
    Some(Event { by, because, ..by_weir(name, Some(rollout.id), change, now) })
}

/// A pause stops progress, never the guard: a failing canary is rolled back even while paused.
fn guard(
    state: &State,
    facts: &Facts,
    name: &TierName,
    cause: Blame,
    now: Timestamp,
) -> Option<Event> {
    let tier = state.tiers.get(name)?;
    let rollout = tier.rollout.as_ref()?;
    let change = match (facts.observe, rollout.warned) {
        (false, _) => Change::RolledBack {
            from: rollout.release.clone(),
            to: tier.stable.clone(),
            cause,
            now: false,
        },
        (true, false) => Change::WouldHaveRolledBack { cause },
        (true, true) => return None,
    };
    Some(by_weir(name, Some(rollout.id), change, now))
}

fn judged(
    state: &State,
    facts: &Facts,
    name: &TierName,
    id: RolloutId,
    verdict: &Verdict,
    now: Timestamp,
) -> Option<Event> {
    let tier = state.tiers.get(name)?;
    let rollout = tier.rollout.as_ref().filter(|rollout| rollout.id == id)?;
    let change = match verdict {
        Verdict::Fail { metric, reason } => {
            let cause = Blame::Verdict { metric: metric.clone(), reason: reason.clone() };
            return guard(state, facts, name, cause, now);
        }
        Verdict::Inconclusive { .. } | Verdict::Pass { .. } if rollout.receding.is_some() => {
            return None;
        }
        Verdict::Inconclusive { why: Why::Unproven, reason, .. } if !rollout.held => {
            Change::Held { reason: reason.clone() }
        }
        Verdict::Inconclusive { .. } => return None,
        Verdict::Pass { .. } if facts.observe || rollout.paused => return None,
        Verdict::Pass { .. } if missing_line(name, tier, facts).is_some() => return None,
        Verdict::Pass { proven, reason } => {
            let reason = reason.clone();
            let cause = if *proven { Cause::Proven { reason } } else { Cause::Unproven { reason } };
            onward(tier, rollout, cause)
        }
    };
    Some(by_weir(name, Some(rollout.id), change, now))
}

/// The next stage, or everybody after the last.
fn onward(tier: &Tier, rollout: &Rollout, cause: Cause) -> Change {
    match rollout.plan.after(rollout.weight) {
        Some(stage) => Change::Advanced { weight: stage.weight, cause },
        None => promoted(tier, rollout, cause),
    }
}

fn promoted(tier: &Tier, rollout: &Rollout, cause: Cause) -> Change {
    let (release, replaced) = (rollout.release.clone(), tier.stable.clone());
    Change::Promoted { release, replaced, cause }
}

/// A release in use whose line the file has lost, if there is one: nothing is raised then.
fn missing_line(name: &TierName, tier: &Tier, facts: &Facts) -> Option<Refusal> {
    let in_file = |version: &Version| {
        let named_by_order = tier.addresses.get(version).is_some_and(|known| !known.listed);
        named_by_order || facts.tier(name).is_some_and(|f| f.release(version).is_some())
    };
    let version =
        [Some(&tier.stable), tier.canary()].into_iter().flatten().find(|v| !in_file(v))?.clone();
    Some(Refusal::LineMissing { tier: name.clone(), version })
}

/// A reload is refused whole where the file has lost a line in use, has changed passed stages, or
/// would place the clients of an open rollout anew.
/// A tier that left the file altogether is in nobody's way unless a rollout of it is open.
fn may_reload(state: &State, facts: &Facts) -> Result<(), Refusal> {
    for (name, tier) in &state.tiers {
        let file = facts.tier(name);
        if let Some(refusal) = missing_line(name, tier, facts)
            && (file.is_some() || tier.rollout.is_some())
        {
            return Err(refusal);
        }
        if let (Some(file), Some(rollout)) = (file, &tier.rollout)
            && changes_passed_stages(file, rollout)
        {
            return Err(Refusal::PassedStages { tier: name.clone(), weight: rollout.weight });
        }
        if let (Some(file), Some(rollout)) = (file, &tier.rollout)
            && let Some(was) = rollout.other_sticky(&file.sticky)
        {
            let (was, now) = (was.to_owned(), file.sticky.to_string());
            return Err(Refusal::StickyChanged { tier: name.clone(), was, now });
        }
    }
    Ok(())
}

fn changes_passed_stages(file: &TierFacts, rollout: &Rollout) -> bool {
    let Stages::Listed(plan) = &file.stages else { return false };
    !plan.agrees_up_to(rollout.weight, &rollout.plan)
}

/// Takes over what the file says: new tiers, moved releases, later stages, patience. At a start
/// the open rollout keeps its plan where the file has changed passed stages.
fn read_file(
    state: &State,
    facts: &Facts,
    journal_lost: Option<&str>,
    now: Timestamp,
) -> Vec<Event> {
    let mut events = Vec::new();
    for file in &facts.tiers {
        let Some(tier) = state.tiers.get(&file.name) else {
            let why = match journal_lost {
                None => Adoption::FirstStart,
                Some(what) => Adoption::Recovered { what: what.into() },
            };
            events.push(by_weir(&file.name, None, adopted(file, why), now));
            continue;
        };
        events.extend(moved(file, tier, now));
        if let Some(rollout) = &tier.rollout {
            events.extend(replanned(file, rollout, now));
        }
    }
    events
}

fn adopted(file: &TierFacts, why: Adoption) -> Change {
    let addresses = file.release(&file.stable).map(|r| r.addresses.clone()).unwrap_or_default();
    Change::Adopted { stable: file.stable.clone(), addresses, why }
}

/// The releases in use that the file has at other addresses than the journal.
fn moved(file: &TierFacts, tier: &Tier, now: Timestamp) -> Vec<Event> {
    let id = tier.rollout.as_ref().map(|rollout| rollout.id);
    let change = |release: &super::ReleaseFacts| {
        let known = tier.addresses.get(&release.version)?;
        let (version, addresses) = (release.version.clone(), release.addresses.clone());
        (known.addresses != addresses).then_some(Change::Moved { version, addresses })
    };
    let changes = file.releases.iter().filter_map(change);
    changes.map(|change| by_weir(&file.name, id, change, now)).collect()
}

fn replanned(file: &TierFacts, rollout: &Rollout, now: Timestamp) -> Vec<Event> {
    let mut changes = Vec::new();
    if let Stages::Listed(plan) = &file.stages
        && *plan != rollout.plan
        && !changes_passed_stages(file, rollout)
    {
        changes.push(Change::Replanned { plan: plan.clone() });
    }
    let (old, new) = (&rollout.analysis, &file.analysis);
    if (old.give_up, old.when_unproven) != (new.give_up, new.when_unproven) {
        let (give_up, when_unproven) = (new.give_up, new.when_unproven);
        changes.push(Change::Reanalysed { give_up, when_unproven });
    }
    changes.into_iter().map(|c| by_weir(&file.name, Some(rollout.id), c, now)).collect()
}

/// One order on the desk, with all that is needed to decide it.
struct Desk<'a> {
    state: &'a State,
    facts: &'a Facts,
    now: Timestamp,
    command: &'a Command,
}

impl Desk<'_> {
    fn decide(&self) -> Result<Vec<Event>, Refusal> {
        match &self.command.order {
            Order::Adopt { tier, version } => self.adopt(tier, version),
            Order::Advance { tier, to } => {
                self.on_open(tier.as_ref(), |n, t, r| self.advance(n, t, r, *to))
            }
            Order::Hold { tier, .. } | Order::Maintenance { tier, .. } => {
                tier.as_ref().map_or(Ok(()), |tier| self.known(tier).map(drop))?;
                closure::decide(self.state, self.command, self.now)
            }
            Order::Pause { tier } => self.on_open(tier.as_ref(), |_, _, rollout| {
                Ok((!rollout.paused).then_some(Change::Paused))
            }),
            Order::Promote { tier } => self.on_open(tier.as_ref(), |name, tier, rollout| {
                self.may_raise(name, tier)?;
                Ok(Some(promoted(tier, rollout, Cause::Order)))
            }),
            Order::Resume { tier } => self.on_open(tier.as_ref(), |name, _, rollout| {
                let not_paused = Refusal::NotPaused { tier: name.clone() };
                if rollout.paused { Ok(Some(Change::Resumed)) } else { Err(not_paused) }
            }),
            Order::Rollback { tier, now, over } => self.roll_back(tier.as_ref(), *now, *over),
            Order::Start { tier, version, upstreams, again } => {
                self.start(tier.as_ref(), version.as_ref(), upstreams, *again)
            }
        }
    }

    fn event(&self, tier: &TierName, rollout: Option<RolloutId>, change: Change) -> Event {
        Event {
            at: self.now,
            by: self.command.by.clone(),
            because: self.command.because.clone(),
            tier: Some(tier.clone()),
            rollout,
            change,
        }
    }

    fn known(&self, name: &TierName) -> Result<&Tier, Refusal> {
        self.state.tiers.get(name).ok_or_else(|| self.unknown_tier(name))
    }

    fn unknown_tier(&self, name: &TierName) -> Refusal {
        let known = listed(self.facts.tiers.iter().map(|facts| &facts.name));
        Refusal::UnknownTier { tier: name.clone(), known }
    }

    /// Decides for the tier named, or for every tier with an open rollout. All or nothing.
    fn on_open(
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
        self.may_raise(name, tier)?;
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

    /// Raises wait for a confirmed journal and for the lines of the releases in use.
    fn may_raise(&self, name: &TierName, tier: &Tier) -> Result<(), Refusal> {
        if let Some(what) = &tier.unconfirmed {
            let (tier, stable, what) = (name.clone(), tier.stable.clone(), what.clone());
            return Err(Refusal::Unconfirmed { tier, stable, what });
        }
        if let (Some(rollout), Some(_)) = (&tier.rollout, tier.receding()) {
            let (tier, release) = (name.clone(), rollout.release.clone());
            return Err(Refusal::GoingBack { tier, release });
        }
        missing_line(name, tier, self.facts).map_or(Ok(()), Err)
    }

    fn adopt(&self, name: &TierName, version: &Version) -> Result<Vec<Event>, Refusal> {
        let tier = self.known(name)?;
        if let Some(rollout) = &tier.rollout {
            let (tier, release) = (name.clone(), rollout.release.clone());
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
        if let Some(taken) = tiers.find_map(|(n, tier)| self.place_taken(n, tier)) {
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
        self.place_taken(name, tier).or_else(|| {
            let (tier, stable) = (name.clone(), tier.stable.clone());
            (!went_back).then_some(Refusal::NobodyBefore { tier, stable })
        })
    }

    /// The version that served before, if it left the file and another release has its address
    /// now: whoever went back to it would land on that other release.
    fn place_taken(&self, name: &TierName, tier: &Tier) -> Option<Refusal> {
        let (previous, _) = tier.previous.as_ref().filter(|_| tier.rollout.is_none())?;
        let file = self.facts.tier(name).filter(|file| file.release(previous).is_none())?;
        let known = tier.addresses.get(previous)?;
        let (address, now_of) =
            known.addresses.iter().find_map(|address| Some((address, file.at(address)?)))?;
        let (tier, version) = (name.clone(), previous.clone());
        let (address, now_of) = (address.clone(), now_of.clone());
        Some(Refusal::PlaceTaken { tier, version, address, now_of })
    }

    fn back(
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
            (None, Some((previous, id))) if self.place_taken(name, tier).is_none() => {
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

    fn start_tier(
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
        self.may_raise(name, tier)?;
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
        let attempt = fate.map_or(0, |fate| fate.attempts) + 1;
        let plan = match &facts.stages {
            Stages::Auto => Plan::auto(facts.rate),
            Stages::Listed(plan) => plan.clone(),
        };
        let (analysis, salt) = (Box::new(facts.analysis.clone()), self.facts.salt);
        let sticky = Some(facts.sticky.to_string());
        let change =
            Change::Started { release, attempt, plan, analysis, salt, addresses, listed, sticky };
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
        let same = |file: &&super::ReleaseFacts| {
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

fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
