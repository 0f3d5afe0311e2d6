//! What is remembered: the fold of the events. Applying never decides, fails, or looks at a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::closure::Closures;
use super::command::Actor;
use super::event::{Adoption, Blame, Cause, Change, Event, RolloutId};
use super::plan::{Plan, Stage};
use super::upgrade::{Item, Shift, Upgrade};
use crate::analysis::Settings;
use crate::time::Timestamp;
use crate::traffic::{Address, Generations, Salt, Sticky, TierName, Version, Weight};

/// All tiers, as the journal tells them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The tiers by name.
    pub tiers: BTreeMap<TierName, Tier>,
    /// The number of the newest rollout; 0 before the first.
    pub latest: RolloutId,
    /// The last rollout over tiers, open or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Which beginning the part of each release in each cache is.
    #[serde(default, skip_serializing_if = "Generations::is_empty")]
    pub generations: Generations,
    /// Which tiers are closed to their users.
    #[serde(default, skip_serializing_if = "Closures::is_empty")]
    pub closures: Closures,
}

/// One tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// Who serves.
    pub stable: Version,
    /// Since when everybody without a place on the canary is on it.
    pub since: Timestamp,
    /// Who brought that about.
    pub by: Actor,
    /// Whom the last promotion replaced, and in which rollout.
    pub previous: Option<(Version, RolloutId)>,
    /// The open rollout.
    pub rollout: Option<Rollout>,
    /// Every version ever seen, and what became of it.
    pub versions: BTreeMap<Version, Fate>,
    /// Where the releases in use were last known to run.
    pub addresses: BTreeMap<Version, Known>,
    /// What was wrong with a lost journal, until an operator confirms who serves.
    pub unconfirmed: Option<String>,
    /// Whether the last roll back closes upgraded connections at once.
    pub close_now: bool,
    /// Which version the instances have that the last rollout over tiers moves; none: they are
    /// being moved. Empty where the tier has no instances, or none was ever moved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, Option<Version>>,
}

/// An open rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its number.
    pub id: RolloutId,
    /// The canary.
    pub release: Version,
    /// Which try of this version it is, counted from 1.
    pub attempt: u32,
    /// Its stages.
    pub plan: Plan,
    /// What the judge tolerates.
    pub analysis: Settings,
    /// The secret from which the buckets follow.
    pub salt: Salt,
    /// What kept clients on their version when it was opened; unknown for old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// The canary's share of the clients.
    pub weight: Weight,
    /// When it was opened.
    pub started: Timestamp,
    /// When this weight was reached.
    pub entered: Timestamp,
    /// Whether progress is stopped by an order.
    pub paused: bool,
    /// Whether the time for a proof is over at this weight.
    pub held: bool,
    /// In observe mode: whether it was written at this weight that it would have gone back.
    pub warned: bool,
    /// Its users go back in steps, where an order said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receding: Option<Receding>,
}

/// How users go back in steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receding {
    /// Since when.
    pub since: Timestamp,
    /// Over which time.
    #[serde(with = "crate::time::as_millis")]
    pub over: Duration,
    /// Who ordered it.
    pub by: Actor,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Users go back a step each second: no order of magnitude finer than what a pool of connections
/// or a cache takes to follow.
const STEP: Duration = Duration::from_secs(1);

impl Receding {
    /// What is left of `weight` at `now`. The first step is taken at once; a clock that was set back
    /// behind the order ends it.
    fn left_of(&self, weight: Weight, now: Timestamp) -> Weight {
        let steps = |span: Duration| span.as_secs() / STEP.as_secs();
        let (all, taken) = (steps(self.over).max(1), steps(now.since(self.since)) + 1);
        if now < self.since {
            return Weight::NONE;
        }
        let points = u64::from(weight.points()) * all.saturating_sub(taken) / all;
        let points = u16::try_from(points).unwrap_or(0);
        Weight::basis_points(points).unwrap_or(Weight::NONE)
    }
}

/// What became of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// How its last rollout ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Why, in a few words.
    pub why: String,
    /// How often a rollout of it was opened.
    pub attempts: u32,
}

/// How a version's last rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was taken as the one that serves, without a rollout.
    Adopted,
    /// Everybody got it.
    Promoted,
    /// It was rolled back.
    RolledBack,
    /// Its rollout is open.
    Started,
}

/// Where a release runs, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its upstreams.
    pub addresses: Vec<Address>,
    /// Whether the file lists it; otherwise an order named the addresses.
    pub listed: bool,
}

impl State {
    /// Remembers `event`. An event of a tier that nobody adopted is kept out rather than guessed.
    pub fn apply(&mut self, event: &Event) {
        // What lowered a rollout whose start was never written made no rollout of it; but a roll
        // back counts, or the next one without a tier would go back one rollout further.
        let counts = matches!(
            event.change,
            Change::RolledBack { .. } | Change::Started { .. } | Change::UpgradeStarted { .. }
        );
        if counts {
            self.latest = self.latest.max(event.rollout.unwrap_or(0));
        }
        if let (Change::UpgradeStarted { agreed }, Some(id)) = (&event.change, event.rollout) {
            // As any start: who was replaced before is no way back from this one.
            for name in agreed.targets.keys() {
                if let Some(tier) = self.tiers.get_mut(name) {
                    tier.previous = None;
                    tier.instances.clear();
                }
            }
            self.settle_in(&agreed.items);
            self.upgrade = Some(Upgrade::new(id, agreed, event.at));
        } else if let Some(upgrade) = &mut self.upgrade
            && event.rollout == Some(upgrade.id)
        {
            upgrade.apply(event);
        } else if let (Change::Started { .. }, Some(name)) = (&event.change, &event.tier)
            && let Some(tier) = self.tiers.get_mut(name)
        {
            // It is not moved by its instances any more.
            tier.instances.clear();
        }
        if let Change::Rerouted { items } = &event.change {
            self.settle_in(items);
        }
        if let Change::Adopted { stable, addresses, why } = &event.change {
            self.adopt(event, stable, addresses, why);
        } else if let Change::Emptied { release, caches, .. } = &event.change {
            for cache in caches {
                self.generations.begin(cache, release, event.at);
            }
        } else if matches!(event.change, Change::Closed { .. } | Change::Opened { .. }) {
            self.closures.apply(event);
        } else if let Some(tier) = event.tier.as_ref().and_then(|name| self.tiers.get_mut(name)) {
            tier.apply(event);
        }
    }

    /// Before they are moved, instances have what serves.
    fn settle_in(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Shift(Shift { tier, instance, .. }) = item
                && let Some(tier) = self.tiers.get_mut(tier)
            {
                let stable = Some(tier.stable.clone());
                tier.instances.entry(instance.clone()).or_insert(stable);
            }
        }
    }

    fn adopt(&mut self, event: &Event, stable: &Version, addresses: &[Address], why: &Adoption) {
        let Some(name) = event.tier.clone() else { return };
        let tier = self.tiers.entry(name).or_insert_with(|| Tier {
            stable: stable.clone(),
            since: event.at,
            by: event.by.clone(),
            previous: None,
            rollout: None,
            versions: BTreeMap::new(),
            addresses: BTreeMap::new(),
            unconfirmed: None,
            close_now: false,
            instances: BTreeMap::new(),
        });
        tier.instances.clear();
        tier.unconfirmed = match why {
            Adoption::Recovered { what } => Some(what.clone()),
            Adoption::FirstStart | Adoption::Order => None,
        };
        tier.previous = None;
        tier.serve(stable, event);
        tier.fate(stable, Outcome::Adopted, event, "adopted".into());
        let known = Known { addresses: addresses.to_vec(), listed: true };
        tier.addresses.insert(stable.clone(), known);
    }

    /// The canary's weight in `tier`: computed, never stored beside the rollout.
    pub fn weight(&self, tier: &TierName) -> Weight {
        self.tiers.get(tier).map_or(Weight::NONE, Tier::weight)
    }

    /// The open rollout over tiers.
    pub fn open_upgrade(&self) -> Option<&Upgrade> {
        self.upgrade.as_ref().filter(|upgrade| upgrade.ended.is_none())
    }

    /// The tiers with an open rollout.
    pub fn open(&self) -> impl Iterator<Item = (&TierName, &Tier, &Rollout)> {
        self.tiers
            .iter()
            .filter_map(|(name, tier)| tier.rollout.as_ref().map(|rollout| (name, tier, rollout)))
    }
}

impl Rollout {
    /// What kept clients on their version when it was opened, if that is not `now`.
    pub fn other_sticky(&self, now: &Sticky) -> Option<&str> {
        self.sticky.as_deref().filter(|was| *was != now.to_string())
    }
}

impl Tier {
    /// The canary's share of the clients; none without an open rollout.
    pub fn weight(&self) -> Weight {
        self.rollout.as_ref().map_or(Weight::NONE, |rollout| rollout.weight)
    }

    /// What is left of that at `now`: less while its users go back in steps.
    pub fn weight_at(&self, now: Timestamp) -> Weight {
        let receding = self.receding();
        receding.map_or(self.weight(), |receding| receding.left_of(self.weight(), now))
    }

    /// How the users of the open rollout go back, if they do.
    pub fn receding(&self) -> Option<&Receding> {
        self.rollout.as_ref()?.receding.as_ref()
    }

    /// The release on the canary track, if a rollout is open.
    pub fn canary(&self) -> Option<&Version> {
        self.rollout.as_ref().map(|rollout| &rollout.release)
    }

    /// The version that `instance` has; none: it is being moved.
    pub fn version_of(&self, instance: &str) -> Option<&Version> {
        self.instances.get(instance).map_or(Some(&self.stable), Option::as_ref)
    }

    /// Whether one of `instances`, those of the file, has `version`: before any was moved they have
    /// what serves.
    pub fn runs(&self, version: &Version, instances: &[String]) -> bool {
        instances.iter().any(|instance| self.version_of(instance) == Some(version))
    }

    /// Whether an instance is being moved.
    pub(super) fn is_moving(&self) -> bool {
        self.instances.values().any(Option::is_none)
    }

    /// Whether `version` has clients: it is stable, or the canary.
    pub fn serves(&self, version: &Version) -> bool {
        self.stable == *version || self.canary() == Some(version)
    }

    /// Whether the tier began with `version`: it alone was taken over without a rollout, and was
    /// never in one.
    pub fn began_with(&self, version: &Version) -> bool {
        let mut first = self.versions.iter().filter(|(_, fate)| fate.attempts == 0);
        first.next().is_some_and(|(only, _)| only == version) && first.next().is_none()
    }

    /// Whether `version` was never tried in a rollout nor adopted.
    pub fn is_new(&self, version: &Version) -> bool {
        !self.versions.contains_key(version)
    }

    /// Whether the version that serves does so because everybody went back to it.
    pub fn went_back(&self) -> bool {
        self.rollout.is_none() && self.rolled_back().is_some()
    }

    /// The version that lost when the one that serves became stable, or stayed it.
    pub fn left(&self) -> Option<&Version> {
        let replaced = self.previous.as_ref().map(|(version, _)| version);
        replaced.or_else(|| self.rolled_back())
    }

    /// The version that everybody left when they went back to the one that serves.
    fn rolled_back(&self) -> Option<&Version> {
        let last = |fate: &Fate| fate.outcome == Outcome::RolledBack && fate.at == self.since;
        self.versions.iter().find(|(_, fate)| last(fate)).map(|(version, _)| version)
    }

    fn apply(&mut self, event: &Event) {
        match &event.change {
            Change::Adopted { .. } | Change::WouldHaveRolledBack { .. } | Change::Held { .. } => {
                self.mark(event);
            }
            Change::Advanced { weight, .. } => self.enter(*weight, event),
            Change::Cut => self.close_now = true,
            // Of the state, of the rollout over tiers, or of nothing that changed.
            Change::Approved { .. }
            | Change::Asked { .. }
            | Change::Closed { .. }
            | Change::DecisionNears { .. }
            | Change::Overdue { .. }
            | Change::DecisionPassed
            | Change::Emptied { .. }
            | Change::Froze { .. }
            | Change::Interrupted { .. }
            | Change::Opened { .. }
            | Change::Passed { .. }
            | Change::Recalled { .. }
            | Change::Refused { .. }
            | Change::Rerouted { .. }
            | Change::StepBegan { .. }
            | Change::StepEnded { .. }
            | Change::StepSkipped { .. }
            | Change::Tried { .. }
            | Change::TurnedBack { .. }
            | Change::UpgradeEnded { .. }
            | Change::UpgradeStarted { .. } => {}
            Change::Shifted { instance, to } => {
                self.instances.insert(instance.clone(), to.clone());
            }
            Change::Moved { version, addresses } => {
                if let Some(known) = self.addresses.get_mut(version) {
                    known.addresses.clone_from(addresses);
                }
            }
            Change::Paused => self.set_paused(true),
            Change::Promoted { release, replaced, cause } => {
                self.promote(release, replaced, cause, event);
            }
            Change::Reanalysed { give_up, when_unproven } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.analysis.give_up = *give_up;
                    rollout.analysis.when_unproven = *when_unproven;
                    rollout.held = false;
                }
            }
            Change::Receding { over, .. } => {
                if let Some(rollout) = &mut self.rollout {
                    let (since, over) = (event.at, *over);
                    let (by, because) = (event.by.clone(), event.because.clone());
                    rollout.receding = Some(Receding { since, over, by, because });
                }
            }
            Change::Replanned { plan } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.plan.clone_from(plan);
                }
            }
            Change::Resumed => self.set_paused(false),
            Change::RolledBack { from, to, cause, now } => {
                self.roll_back(from, to, cause, event);
                self.close_now = *now;
            }
            Change::Started { .. } => self.start(event),
        }
    }

    fn mark(&mut self, event: &Event) {
        if let Some(rollout) = &mut self.rollout {
            rollout.held |= matches!(event.change, Change::Held { .. });
            rollout.warned |= matches!(event.change, Change::WouldHaveRolledBack { .. });
        }
    }

    fn enter(&mut self, weight: Weight, event: &Event) {
        if let Some(rollout) = &mut self.rollout {
            rollout.weight = weight;
            rollout.entered = event.at;
            rollout.held = false;
            rollout.warned = false;
        }
    }

    fn set_paused(&mut self, paused: bool) {
        if let Some(rollout) = &mut self.rollout {
            rollout.paused = paused;
        }
    }

    fn start(&mut self, event: &Event) {
        let Change::Started { release, attempt, plan, analysis, salt, addresses, listed, sticky } =
            &event.change
        else {
            return;
        };
        let Stage { weight, .. } = plan.first();
        self.previous = None;
        self.close_now = false;
        self.addresses.retain(|version, _| *version == self.stable);
        let known = Known { addresses: addresses.clone(), listed: *listed };
        self.addresses.insert(release.clone(), known);
        self.fate(release, Outcome::Started, event, "started".into());
        if let Some(fate) = self.versions.get_mut(release) {
            fate.attempts = *attempt;
        }
        self.rollout = Some(Rollout {
            id: event.rollout.unwrap_or(0),
            release: release.clone(),
            attempt: *attempt,
            plan: plan.clone(),
            analysis: (**analysis).clone(),
            salt: *salt,
            sticky: sticky.clone(),
            weight,
            started: event.at,
            entered: event.at,
            paused: false,
            held: false,
            warned: false,
            receding: None,
        });
    }

    fn promote(&mut self, release: &Version, replaced: &Version, cause: &Cause, event: &Event) {
        let why = match cause {
            Cause::Order => format!("promoted by {}", event.by),
            Cause::Proven { .. } => "proven not worse".into(),
            Cause::Unproven { .. } => "promoted unproven".into(),
        };
        self.rollout = None;
        self.previous = Some((replaced.clone(), event.rollout.unwrap_or(0)));
        self.serve(release, event);
        self.fate(release, Outcome::Promoted, event, why);
    }

    fn roll_back(&mut self, from: &Version, to: &Version, cause: &Blame, event: &Event) {
        let why = match cause {
            Blame::DecisionTime => "the decision time passed".into(),
            Blame::Order => format!("by {}", event.by),
            Blame::Step { step, .. } => format!("step {step} failed"),
            Blame::Together { tier, .. } => format!("with {tier}"),
            Blame::Unhealthy { .. } => "unhealthy".into(),
            Blame::Verdict { metric, .. } => metric.clone(),
        };
        self.rollout = None;
        self.previous = None;
        self.serve(to, event);
        self.fate(from, Outcome::RolledBack, event, why);
    }

    fn serve(&mut self, version: &Version, event: &Event) {
        self.stable = version.clone();
        self.since = event.at;
        self.by = event.by.clone();
    }

    fn fate(&mut self, version: &Version, outcome: Outcome, event: &Event, why: String) {
        let attempts = self.versions.get(version).map_or(0, |fate| fate.attempts);
        let fate = Fate { outcome, at: event.at, why, attempts };
        self.versions.insert(version.clone(), fate);
    }
}
