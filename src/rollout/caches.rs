//! When the part of a release in a cache begins anew: once it was rolled back, and before users
//! come back to one whose records others have changed.

use std::time::Duration;

use super::event::{Change, Emptying, Event};
use super::facts::Facts;
use super::state::{Outcome, State, Tier};
use super::{Actor, Fate};
use crate::time::Timestamp;
use crate::traffic::{TierName, Version};

/// What is true of one cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFacts {
    /// Its name.
    pub name: String,
    /// The releases that have a part of their own in it which can begin anew.
    pub versions: Vec<Version>,
    /// The tiers that use it; empty: all.
    pub tiers: Vec<TierName>,
    /// What becomes of the part of a release that is rolled back.
    pub on_rollback: OnRollback,
    /// For how long a release may have had no users until its part is empty when they come back;
    /// none: it never is.
    pub stale_after: Option<Duration>,
}

/// What becomes of the part of a release that is rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRollback {
    /// It is thrown away: nobody trusts what a release wrote that was rolled back, its version
    /// seldom comes again, and memory is scarce.
    #[default]
    Drop,
    /// It is kept.
    Keep,
}

/// What follows from `events` for the caches. A release that has users in some tier that uses a
/// cache is left alone there.
pub(super) fn emptied(
    state: &State,
    events: &[Event],
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    let mut after = state.clone();
    for event in events {
        after.apply(event);
    }
    let mut anew: Vec<Anew<'_>> = Vec::new();
    for cache in &facts.caches {
        for version in &cache.versions {
            let Some((cause, why)) = cache.anew(version, (state, &after), events, now) else {
                continue;
            };
            let alike =
                |(_, release, _, other): &&mut Anew<'_>| *release == version && *other == why;
            match anew.iter_mut().find(alike) {
                Some((_, _, caches, _)) => caches.push(cache.name.clone()),
                None => anew.push((cause, version, vec![cache.name.clone()], why)),
            }
        }
    }
    let event = |(cause, release, caches, why): Anew<'_>| Event {
        at: now,
        by: Actor::weir(),
        because: None,
        tier: cause.tier.clone(),
        rollout: cause.rollout,
        change: Change::Emptied { release: release.clone(), caches, why },
    };
    anew.into_iter().map(event).collect()
}

/// By which event the parts of a release begin anew, in which caches, and why.
type Anew<'a> = (&'a Event, &'a Version, Vec<String>, Emptying);

impl CacheFacts {
    /// Whether the part of `version` begins anew, by which event, and why.
    fn anew<'a>(
        &self,
        version: &Version,
        (before, after): (&State, &State),
        events: &'a [Event],
        now: Timestamp,
    ) -> Option<(&'a Event, Emptying)> {
        let serves = |state: &State| self.tiers_of(state).any(|(_, tier)| tier.serves(version));
        let drops = self.on_rollback == OnRollback::Drop;
        match (serves(before), serves(after)) {
            (true, false) if drops => {
                let event = events.iter().find(|event| leaves(event, version))?;
                Some((event, Emptying::RolledBack))
            }
            (false, true) => {
                let left = self.tiers_of(before).filter_map(|(_, tier)| left(tier, version));
                let (at, rolled_back) = left.max()?;
                let event = events.iter().find(|event| enters(event, version))?;
                let away = now.since(at);
                if rolled_back && drops {
                    Some((event, Emptying::Again))
                } else {
                    let stale = self.stale_after.is_some_and(|most| away > most);
                    stale.then_some((event, Emptying::Stale { away }))
                }
            }
            (true, _) | (false, false) => None,
        }
    }

    fn tiers_of<'a>(&self, state: &'a State) -> impl Iterator<Item = (&'a TierName, &'a Tier)> {
        state.tiers.iter().filter(|(name, _)| self.is_used_by(name))
    }

    /// Whether `tier` uses it.
    pub fn is_used_by(&self, tier: &TierName) -> bool {
        self.tiers.is_empty() || self.tiers.contains(tier)
    }
}

/// When `version` lost its users in `tier`, as far as is known, and whether it was rolled back.
fn left(tier: &Tier, version: &Version) -> Option<(Timestamp, bool)> {
    match (&tier.previous, tier.versions.get(version)?) {
        (Some((previous, _)), _) if previous == version => Some((tier.since, false)),
        // When a version lost its users that served long ago is forgotten: not before it got them.
        (_, Fate { outcome, at, .. }) => Some((*at, *outcome == Outcome::RolledBack)),
    }
}

fn leaves(event: &Event, version: &Version) -> bool {
    matches!(&event.change, Change::RolledBack { from, .. } if from == version)
}

fn enters(event: &Event, version: &Version) -> bool {
    match &event.change {
        Change::Adopted { stable, .. } => stable == version,
        Change::RolledBack { to, .. } => to == version,
        Change::Started { release, .. } => release == version,
        Change::Advanced { .. }
        | Change::Closed { .. }
        | Change::Approved { .. }
        | Change::Asked { .. }
        | Change::Cut
        | Change::DecisionNears { .. }
        | Change::Overdue { .. }
        | Change::DecisionPassed
        | Change::Emptied { .. }
        | Change::Froze { .. }
        | Change::Held { .. }
        | Change::Interrupted { .. }
        | Change::Moved { .. }
        | Change::Opened { .. }
        | Change::Passed { .. }
        | Change::Paused
        | Change::Promoted { .. }
        | Change::Reanalysed { .. }
        | Change::Receding { .. }
        | Change::Recalled { .. }
        | Change::Refused { .. }
        | Change::Replanned { .. }
        | Change::Rerouted { .. }
        | Change::Resumed
        | Change::Shifted { .. }
        | Change::StepBegan { .. }
        | Change::StepEnded { .. }
        | Change::StepSkipped { .. }
        | Change::Tried { .. }
        | Change::TurnedBack { .. }
        | Change::UpgradeEnded { .. }
        | Change::UpgradeStarted { .. }
        | Change::WouldHaveRolledBack { .. } => false,
    }
}
