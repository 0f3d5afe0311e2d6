//! Tiers that are closed to their users by order: for maintenance, or held for a moment. Nothing ends
//! that but an order, or the time that was given.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Actor, Command, Refusal};
use super::event::{Change, Event};
use super::state::State;
use crate::time::Timestamp;
use crate::traffic::TierName;

/// The longest maintenance with an end: whoever means longer than a month gives none.
const MAINTENANCE_MAX: Duration = Duration::from_hours(30 * 24);

/// The longest hold with an end: no client waits for longer, and what is longer is a maintenance.
const HOLD_MAX: Duration = Duration::from_mins(10);

/// What a tier is closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Requests wait until it is over.
    Hold,
    /// Requests are answered with 503 and a page.
    Maintenance,
}

impl Purpose {
    /// The word of the command line for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Maintenance => "maintenance",
        }
    }

    const fn lasts_at_most(self) -> Duration {
        match self {
            Self::Hold => HOLD_MAX,
            Self::Maintenance => MAINTENANCE_MAX,
        }
    }
}

/// Why a tier was opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// An operator said so.
    Order,
    /// The time that was given is up.
    Time,
}

/// How a tier is closed, since when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// What for.
    pub purpose: Purpose,
    /// Since when; to order it again leaves that as it is.
    pub since: Timestamp,
    /// When it was ordered last.
    pub ordered: Timestamp,
    /// By whom.
    pub by: Actor,
    /// When it ends by itself; none: by an order alone.
    pub until: Option<Timestamp>,
    /// What users are told.
    pub message: Option<String>,
    /// Whether connections that are open beyond their request (`WebSocket`s, streams) are closed.
    pub close: bool,
}

impl Closure {
    /// How long it goes on at `now`; none: until an order. Never longer than was ordered, though the
    /// clock went back meanwhile. To be measured on a clock that never jumps.
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let until = self.until?;
        Some(until.since(now).min(until.since(self.ordered)))
    }
}

/// Which tiers are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closures {
    /// All of them, also those that the file will have later.
    all: Option<Closure>,
    /// What differs from that in one tier; none: it is open.
    tiers: BTreeMap<TierName, Option<Closure>>,
}

impl Closures {
    /// How `tier` is closed, if it is.
    pub fn of(&self, tier: &TierName) -> Option<&Closure> {
        self.tiers.get(tier).map_or(self.all.as_ref(), Option::as_ref)
    }

    /// All of them, as they were ordered: for one tier, or for all.
    pub fn each(&self) -> impl Iterator<Item = (Option<&TierName>, &Closure)> {
        let tiers = self.tiers.iter().filter_map(|(name, one)| Some((Some(name), one.as_ref()?)));
        self.all.iter().map(|all| (None, all)).chain(tiers)
    }

    /// Whether nothing is closed nor was kept open.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.tiers.is_empty()
    }

    pub(super) fn apply(&mut self, event: &Event) {
        if let Change::Closed { purpose, until, message, close } = &event.change {
            let before = match &event.tier {
                Some(tier) => self.of(tier),
                None => self.all.as_ref(),
            };
            let before = before.filter(|before| before.purpose == *purpose);
            let closure = Closure {
                purpose: *purpose,
                since: before.map_or(event.at, |before| before.since),
                ordered: event.at,
                by: event.by.clone(),
                until: *until,
                message: message.clone(),
                close: *close,
            };
            match &event.tier {
                Some(tier) => _ = self.tiers.insert(tier.clone(), Some(closure)),
                None => *self = Self { all: Some(closure), tiers: BTreeMap::new() },
            }
        } else if let Change::Opened { purpose, cause } = &event.change {
            self.open(event.tier.as_ref(), *purpose, *cause);
        }
    }

    /// Ends what is closed for `purpose`, and nothing else: the end of a hold is none of a
    /// maintenance, and the time of all tiers none of what was ordered for one.
    fn open(&mut self, tier: Option<&TierName>, purpose: Purpose, cause: Opening) {
        let is_meant = |closure: &Closure| closure.purpose == purpose;
        match tier {
            Some(tier) if !self.of(tier).is_some_and(is_meant) => {}
            Some(tier) if self.all.is_some() => _ = self.tiers.insert(tier.clone(), None),
            Some(tier) => _ = self.tiers.remove(tier),
            None => {
                self.all.take_if(|all| is_meant(all));
                let closed = self.all.is_some();
                let stays = |one: &Closure| cause == Opening::Time || !is_meant(one);
                self.tiers.retain(|_, one| one.as_ref().map_or(closed, stays));
            }
        }
    }

    /// Those whose time may come, by what they were ordered for.
    fn ordered(&self, tier: Option<&TierName>) -> Option<&Closure> {
        match tier {
            Some(tier) => self.tiers.get(tier)?.as_ref(),
            None => self.all.as_ref(),
        }
    }
}

/// An order to close or to open.
pub(super) struct Wish<'a> {
    pub(super) tier: Option<&'a TierName>,
    /// Whether it closes.
    pub(super) on: bool,
    pub(super) purpose: Purpose,
    pub(super) lasts: Option<Duration>,
    pub(super) message: Option<&'a String>,
    pub(super) close: bool,
}

/// What follows from `wish`, which `command` is.
pub(super) fn decide(
    state: &State,
    command: &Command,
    wish: &Wish<'_>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let Wish { tier, on, purpose, lasts, message, close } = *wish;
    let closures = &state.closures;
    let change = if on {
        let most = purpose.lasts_at_most();
        if let Some(lasts) = lasts.filter(|lasts| *lasts > most || lasts.is_zero()) {
            return Err(Refusal::NotSoLong { purpose, lasts, most });
        }
        if let Some(tier) = in_maintenance(state, tier).filter(|_| purpose == Purpose::Hold) {
            return Err(Refusal::InMaintenance { tier });
        }
        let (until, message) = (lasts.map(|lasts| now.plus(lasts)), message.cloned());
        let is_so = |before: &Closure| {
            before.purpose == purpose
                && (before.until, &before.message, before.close) == (until, &message, close)
        };
        let stands = match tier {
            Some(tier) => closures.of(tier).is_some_and(is_so),
            None => closures.tiers.is_empty() && closures.all.as_ref().is_some_and(is_so),
        };
        (!stands).then_some(Change::Closed { purpose, until, message, close })
    } else {
        let is_meant = |closure: &Closure| closure.purpose == purpose;
        let closed = match tier {
            Some(tier) => closures.of(tier).is_some_and(is_meant),
            None => closures.each().any(|(_, closure)| is_meant(closure)),
        };
        closed.then_some(Change::Opened { purpose, cause: Opening::Order })
    };
    let event = |change| Event {
        at: now,
        by: command.by.clone(),
        because: command.because.clone(),
        tier: tier.cloned(),
        rollout: None,
        change,
    };
    Ok(change.map(event).into_iter().collect())
}

/// The tier in maintenance among those meant; to hold it would end that.
fn in_maintenance(state: &State, tier: Option<&TierName>) -> Option<TierName> {
    let is = |name: &&TierName| {
        let closure = state.closures.of(name);
        closure.is_some_and(|closure| closure.purpose == Purpose::Maintenance)
    };
    match tier {
        Some(tier) => Some(tier).filter(is).cloned(),
        None => state.tiers.keys().find(is).cloned(),
    }
}

/// The end of what was closed by the order of `ordered`, if that still stands and had a time.
pub(super) fn due(
    state: &State,
    tier: Option<&TierName>,
    ordered: Timestamp,
    now: Timestamp,
) -> Option<Event> {
    let closure = state.closures.ordered(tier)?;
    closure.until.filter(|_| closure.ordered == ordered)?;
    Some(Event {
        at: now,
        by: Actor::weir(),
        because: None,
        tier: tier.cloned(),
        rollout: None,
        change: Change::Opened { purpose: closure.purpose, cause: Opening::Time },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    fn closed(seconds: u64, tier: Option<&str>, purpose: Purpose, until: Option<u64>) -> Event {
        Event {
            at: at(seconds),
            by: "night-shift".parse().unwrap(),
            because: None,
            tier: tier.map(|tier| tier.parse().unwrap()),
            rollout: None,
            change: Change::Closed { purpose, until: until.map(at), message: None, close: false },
        }
    }

    fn opened(tier: Option<&str>, purpose: Purpose) -> Event {
        let change = Change::Opened { purpose, cause: Opening::Order };
        Event { change, ..closed(0, tier, purpose, None) }
    }

    fn after(events: &[Event]) -> State {
        let mut state = State::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    fn is_closed(state: &State, tier: &str) -> bool {
        state.closures.of(&tier.parse().unwrap()).is_some()
    }

    #[test]
    fn what_closes_all_tiers_closes_those_to_come_and_one_can_be_opened_before_the_others() {
        let all = closed(1, None, Purpose::Maintenance, None);
        let state = after(&[all.clone(), opened(Some("admin"), Purpose::Maintenance)]);
        assert!(is_closed(&state, "web") && is_closed(&state, "of-tomorrow"));
        assert!(!is_closed(&state, "admin"));
        let state = after(&[all, opened(None, Purpose::Maintenance)]);
        assert!(state.closures.is_empty());
    }

    #[test]
    fn the_time_of_all_tiers_ends_nothing_that_was_ordered_for_one() {
        let all = closed(1, None, Purpose::Maintenance, Some(60));
        let web = closed(2, Some("web"), Purpose::Maintenance, None);
        let mut state = after(&[all, opened(Some("admin"), Purpose::Maintenance), web]);
        let end = due(&state, None, at(1), at(60)).unwrap();
        state.apply(&end);
        assert!(is_closed(&state, "web"));
        assert!(!is_closed(&state, "admin") && !is_closed(&state, "api"));
        state.apply(&opened(None, Purpose::Maintenance));
        assert!(state.closures.is_empty());
    }

    #[test]
    fn the_end_of_a_hold_is_none_of_a_maintenance() {
        let web = closed(1, Some("web"), Purpose::Maintenance, None);
        let state = after(&[web, opened(None, Purpose::Hold), opened(Some("web"), Purpose::Hold)]);
        assert!(is_closed(&state, "web"));
    }

    #[test]
    fn the_time_of_one_order_ends_no_later_one() {
        let web: TierName = "web".parse().unwrap();
        let first = closed(10, Some("web"), Purpose::Maintenance, Some(70));
        let second = closed(50, Some("web"), Purpose::Maintenance, Some(3_000));
        let state = after(&[first, second]);
        assert_eq!(state.closures.of(&web).unwrap().since, at(10));
        assert!(due(&state, Some(&web), at(10), at(70)).is_none());
        assert!(due(&state, Some(&web), at(50), at(3_000)).is_some());
        assert!(due(&state, None, at(50), at(3_000)).is_none(), "that of all tiers is another");
    }

    #[test]
    fn a_clock_that_jumps_between_two_starts_makes_it_no_longer_than_ordered() {
        let state = after(&[closed(1_000, None, Purpose::Hold, Some(1_020))]);
        let (_, closure) = state.closures.each().next().unwrap();
        let seconds = |now| closure.remaining(at(now)).unwrap().as_secs();
        assert_eq!((seconds(1_005), seconds(1_020), seconds(9_000)), (15, 0, 0));
        assert_eq!(seconds(3), 20, "the clock went back");
    }
}
