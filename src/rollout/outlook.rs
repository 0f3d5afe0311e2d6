//! What a `start` would do, beforehand: the same decision, with the time that each part takes.

use std::time::Duration;

use serde::Serialize;

use super::calendar::Calendar;
use super::command::{Command, Refusal};
use super::event::{Change, Event};
use super::facts::{Facts, TierFacts};
use super::input::Input;
use super::plan::{Plan, Stage};
use super::runbook::{Action, Step, When};
use super::state::State;
use super::step::step;
use super::upgrade::{Agreed, Item, PastDecision, and};
use crate::analysis::{Settings, WhenUnproven};
use crate::time::{Timestamp, in_words};
use crate::traffic::{TierName, Version, Weight};

/// With no errors on either side the proof takes this many canary requests for each unit of
/// 1/delta, where delta is the margin divided by the next weight (docs/analysis.md).
const REQUESTS_FOR_PROOF: f64 = 5.93;

/// Nobody plans further ahead, and numbers stay small.
const PROOF_SECONDS_MAX: f64 = 1e9;

/// What a `start` would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// What the file calls it.
    pub name: Option<String>,
    /// What each tier gets, and what it has.
    pub targets: Vec<(TierName, Version, Option<Version>)>,
    /// The parts. Those of one track come one after the other; tracks go on beside each other.
    pub tracks: Vec<Vec<Leg>>,
    /// The end if there is as much traffic as wanted, nothing fails, and everybody says yes at once.
    pub earliest: Option<Said>,
    /// The end at the traffic that is known; none: that cannot be told.
    pub likely: Option<Said>,
    /// When it must be decided, and what happens then.
    pub decide_by: Option<(Said, PastDecision)>,
    /// The step after which nothing goes back by itself.
    pub no_return: Option<String>,
    /// What is done on the way back, beside the weights.
    pub way_back: Vec<String>,
    /// What is not known here, or will be in the way: each a sentence.
    pub remarks: Vec<String>,
}

/// A moment, and as people there say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The moment.
    pub at: Timestamp,
    /// In the zone of the file.
    pub said: String,
}

/// One part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leg {
    /// What is done, in a line.
    pub text: String,
    /// The tiers that rise.
    pub tiers: Vec<TierName>,
    /// To which weight.
    pub weight: Option<Weight>,
    /// When it begins at the earliest.
    pub begins: Option<Said>,
    /// Until when its hours are waited for, if they are.
    pub hours: Option<String>,
    /// How long it takes at least.
    pub least: Duration,
    /// How long it takes at the traffic that is known; none: that cannot be told.
    pub likely: Option<Duration>,
    /// What is to be known of that.
    pub note: String,
}

/// How a proof comes along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proof {
    /// Canary requests that it takes, without an error on either side.
    pub requests: f64,
    /// How long those take at the traffic of the tier; none: no traffic is known.
    pub takes: Option<Duration>,
    /// How long the stage lasts then, at most until `give_up`.
    pub stage: Option<Duration>,
    /// Whether that is given up.
    pub is_given_up: bool,
}

impl Proof {
    /// That of `stage`, which leads to the share `next`, in a tier with `rate` requests a second.
    pub fn of(stage: Stage, next: f64, is_first: bool, rate: f64, settings: &Settings) -> Self {
        let requests = (REQUESTS_FOR_PROOF * next / settings.errors.margin).ceil();
        let rate = rate * stage.weight.share();
        let takes =
            (rate > 0.0).then(|| Duration::from_secs_f64((requests / rate).min(PROOF_SECONDS_MAX)));
        // Nothing is proven while the grace lasts.
        let grace = if is_first { settings.grace } else { Duration::ZERO };
        let whole = takes.map(|takes| (takes + grace).max(stage.bake));
        let is_given_up = whole.is_some_and(|whole| whole > settings.give_up);
        let stage = whole.map(|whole| whole.min(settings.give_up.max(stage.bake)));
        Self { requests, takes, stage, is_given_up }
    }

    /// The pace, in words after the number of requests.
    pub fn pace(&self, settings: &Settings) -> String {
        let Some(takes) = self.takes else { return String::new() };
        let pace = format!(", {} at this traffic", in_words(Duration::from_secs(takes.as_secs())));
        if !self.is_given_up {
            return pace;
        }
        let then = match settings.when_unproven {
            WhenUnproven::Advance => "it goes on unproven",
            WhenUnproven::Hold => "it holds for a person",
        };
        format!("{pace}: too long, after {} {then}", in_words(settings.give_up))
    }
}

/// What the order to start would do at `now`, were it given.
///
/// # Errors
/// It would be refused.
pub fn outlook(
    state: &State,
    facts: &Facts,
    command: Command,
    now: Timestamp,
) -> Result<Outlook, Refusal> {
    let events = step(state, &Input::Command(command), facts, now)?;
    let view = Seer { state, facts, now };
    let agreed = events.iter().find_map(|event| {
        let Change::UpgradeStarted { agreed } = &event.change else { return None };
        Some(agreed)
    });
    let mut outlook = match agreed {
        Some(agreed) => view.upgrade(agreed),
        None => view.each(&events),
    };
    let late =
        outlook.decide_by.as_ref().zip(outlook.likely.as_ref().or(outlook.earliest.as_ref()));
    if let Some(((decide_by, _), end)) = late
        && end.at > decide_by.at
    {
        let (end, decide_by) = (end.said.clone(), decide_by.said.clone());
        outlook.remarks.push(format!("it will not be over by then: {end} is after {decide_by}"));
    }
    Ok(outlook)
}

struct Seer<'a> {
    state: &'a State,
    facts: &'a Facts,
    now: Timestamp,
}

/// How far a track has come; none: that cannot be told.
#[derive(Clone, Copy)]
struct Clock {
    earliest: Option<Timestamp>,
    likely: Option<Timestamp>,
}

impl Seer<'_> {
    fn calendar(&self) -> &Calendar {
        &self.facts.upgrade.calendar
    }

    fn said(&self, at: Timestamp) -> Said {
        Said { at, said: self.calendar().zone().say(at) }
    }

    fn upgrade(&self, agreed: &Agreed) -> Outlook {
        let (legs, clock) = self.legs(&agreed.items);
        let targets = agreed
            .targets
            .iter()
            .map(|(name, target)| (name.clone(), target.version.clone(), self.stable(name)));
        let targets: Vec<_> = targets.collect();
        let mut remarks = self.remarks(&targets, &legs);
        remarks.extend(self.apart(&agreed.items));
        Outlook {
            name: agreed.name.clone(),
            remarks,
            targets,
            tracks: vec![legs],
            earliest: clock.earliest.map(|at| self.said(at)),
            likely: clock.likely.map(|at| self.said(at)),
            decide_by: agreed.decide_by.map(|at| (self.said(at), agreed.past_decision)),
            no_return: agreed.no_return.as_ref().map(ToString::to_string),
            way_back: agreed.way_back.iter().map(ToString::to_string).collect(),
        }
    }

    /// Tiers that go each its own way.
    fn each(&self, events: &[Event]) -> Outlook {
        let started = events.iter().filter_map(|event| {
            let Change::Started { release, plan, .. } = &event.change else { return None };
            Some((event.tier.as_ref()?, release, plan))
        });
        let (mut targets, mut tracks, mut clocks) = (vec![], vec![], vec![]);
        for (tier, release, plan) in started {
            targets.push((tier.clone(), release.clone(), self.stable(tier)));
            let (legs, clock) = self.legs(&items(tier, plan));
            tracks.push(legs);
            clocks.push(clock);
        }
        // It is over when the last one is.
        let last = |end: fn(&Clock) -> Option<Timestamp>| {
            let ends: Option<Vec<Timestamp>> = clocks.iter().map(end).collect();
            ends.and_then(|ends| ends.into_iter().max()).map(|at| self.said(at))
        };
        let legs: Vec<Leg> = tracks.iter().flatten().cloned().collect();
        Outlook {
            name: None,
            remarks: self.remarks(&targets, &legs),
            targets,
            tracks,
            earliest: last(|clock| clock.earliest),
            likely: last(|clock| clock.likely),
            decide_by: None,
            no_return: None,
            way_back: vec![],
        }
    }

    fn stable(&self, name: &TierName) -> Option<Version> {
        self.state.tiers.get(name).map(|tier| tier.stable.clone())
    }

    fn legs(&self, items: &[Item]) -> (Vec<Leg>, Clock) {
        let mut clock = Clock { earliest: Some(self.now), likely: Some(self.now) };
        let mut legs = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let (least, likely, note) = self.takes(items, at);
            // What has begun goes on outside of the hours, but nothing begins there.
            let opens = |at: Timestamp| {
                if self.calendar().is_open(at) { Some(at) } else { self.calendar().opens_after(at) }
            };
            let begins = clock.earliest.and_then(opens);
            let waits = begins.filter(|begins| clock.earliest != Some(*begins));
            clock.earliest = begins.map(|begins| begins.plus(least));
            clock.likely = clock
                .likely
                .and_then(opens)
                .zip(likely)
                .map(|(begins, likely)| begins.plus(likely));
            legs.push(Leg {
                text: item.to_string(),
                tiers: item.tiers().to_vec(),
                weight: match item {
                    Item::Everybody { .. } => Some(Weight::ALL),
                    Item::Stage { stage, .. } => Some(stage.weight),
                    Item::Home { .. } | Item::Shift(_) | Item::Step(_) | Item::Trial(_) => None,
                },
                begins: begins.map(|at| self.said(at)),
                hours: waits.map(|at| self.calendar().zone().say(at)),
                least,
                likely,
                note,
            });
        }
        (legs, clock)
    }

    /// How long the item at `at` takes at least, and likely, and what is to be known of it.
    fn takes(&self, items: &[Item], at: usize) -> (Duration, Option<Duration>, String) {
        match &items[at] {
            Item::Everybody { tiers } => {
                let note = carried(items, at, tiers).unwrap_or_default();
                (Duration::ZERO, Some(Duration::ZERO), note)
            }
            Item::Home { .. } | Item::Shift(_) => {
                (Duration::ZERO, Some(Duration::ZERO), String::new())
            }
            Item::Stage { tiers, stage } => {
                let of_them =
                    |item: &&Item| matches!(item, Item::Stage { tiers: t, .. } if t == tiers);
                let next = items.iter().skip(at + 1).find(of_them);
                let next = match next {
                    Some(Item::Stage { stage, .. }) => stage.weight.share(),
                    Some(
                        Item::Everybody { .. }
                        | Item::Home { .. }
                        | Item::Shift(_)
                        | Item::Step(_)
                        | Item::Trial(_),
                    )
                    | None => 1.0,
                };
                let is_first = !items.iter().take(at).any(|item| of_them(&item));
                let (least, likely, note) = self.stage(tiers, *stage, next, is_first);
                let carried = carried(items, at, tiers);
                let note = [Some(note), carried].into_iter().flatten();
                let note: Vec<String> = note.filter(|note| !note.is_empty()).collect();
                (least, likely, note.join("; "))
            }
            Item::Step(step) => {
                // How long people and commands take nobody knows: they count nothing.
                let least = pause(step);
                let note = match &step.confirm {
                    Some(question) => format!("a person is asked: {question}"),
                    None if least.is_zero() => {
                        format!("at most {} a try", in_words(step.timeout))
                    }
                    None => String::new(),
                };
                (least, Some(least), note)
            }
            Item::Trial(trial) => {
                let note = "as long as it takes to do that many jobs".to_owned();
                (trial.bake, Some(trial.bake), note)
            }
        }
    }

    fn stage(
        &self,
        tiers: &[TierName],
        stage: Stage,
        next: f64,
        is_first: bool,
    ) -> (Duration, Option<Duration>, String) {
        let known: Vec<&TierFacts> =
            tiers.iter().filter_map(|tier| self.facts.tier(tier)).collect();
        let proofs = known.iter().map(|tier| {
            let rate = tier.rate.unwrap_or(0.0);
            (Proof::of(stage, next, is_first, rate, &tier.analysis), *tier)
        });
        // The one that takes longest; one of which nothing is known takes longer still.
        let takes = |proof: &Proof| proof.takes.unwrap_or(Duration::MAX);
        let slowest = proofs.max_by(|(a, _), (b, _)| takes(a).cmp(&takes(b)));
        let graces = known.iter().map(|tier| tier.analysis.grace).filter(|_| is_first);
        let least = graces.fold(stage.bake, Duration::max);
        let Some((proof, tier)) = slowest else { return (least, None, String::new()) };
        let (requests, pace) = (proof.requests, proof.pace(&tier.analysis));
        let note = format!("a proof takes about {requests:.0} canary requests{pace}");
        let holds = proof.is_given_up && tier.analysis.when_unproven == WhenUnproven::Hold;
        (least, proof.stage.filter(|_| !holds), note)
    }

    /// That tiers do not move together, since a user may then have one version here and another there.
    fn apart(&self, items: &[Item]) -> Option<String> {
        let raising = || items.iter().enumerate().filter(|(_, item)| !item.tiers().is_empty());
        let ((begins, first), (ends, last)) = (raising().next()?, raising().next_back()?);
        if first.tiers() == last.tiers() {
            return None;
        }
        let mut tiers: Vec<&TierName> = Vec::new();
        for tier in raising().flat_map(|(_, item)| item.tiers()) {
            if !tiers.contains(&tier) {
                tiers.push(tier);
            }
        }
        let quoted = |name: &TierName| format!("\"{name}\"");
        let together: Vec<String> = tiers.iter().map(|tier| quoted(tier)).collect();
        let others = self.facts.upgrade.order.iter().flatten().filter(|name| !tiers.contains(name));
        let order = [format!("[{}]", together.join(", "))].into_iter().chain(others.map(quoted));
        let order = order.collect::<Vec<_>>().join(", ");
        let names: Vec<TierName> = tiers.into_iter().cloned().collect();
        Some(format!(
            "from part {} to {} a user may have the new version in one of {} and the old one \
             in another, since these tiers do not move together; `order = [{order}]` has them do so",
            begins + 1,
            ends + 1,
            and(&names),
        ))
    }

    /// What is not known, or will be in the way.
    fn remarks(
        &self,
        targets: &[(TierName, Version, Option<Version>)],
        legs: &[Leg],
    ) -> Vec<String> {
        let mut remarks = Vec::new();
        for (name, version, _) in targets {
            let Some(tier) = self.facts.tier(name) else { continue };
            let is_rolling = self.facts.upgrade.rolling(name).is_some();
            if tier.release(version).is_some_and(|release| !release.healthy && !is_rolling) {
                remarks.push(format!("no upstream of {version} in {name} is healthy yet"));
            }
            if tier.rate.is_none() {
                remarks.push(format!("no traffic of {name} is known, so there is no telling when"));
            }
        }
        if self.facts.observe {
            remarks.push("the program only observes: nothing rises by itself".into());
        }
        if legs.iter().any(|leg| leg.begins.is_none()) {
            remarks
                .push("its hours do not come within a year; look at `hours` and `freeze`".into());
        }
        let asked = legs.iter().filter(|leg| leg.note.starts_with("a person is asked")).count();
        if asked > 0 {
            let times = if asked == 1 { "once".into() } else { format!("{asked} times") };
            remarks.push(format!("a person is asked {times}; how long that takes nobody knows"));
        }
        remarks
    }
}

/// What a rollout of one tier does.
fn items(tier: &TierName, plan: &Plan) -> Vec<Item> {
    let tiers = vec![tier.clone()];
    let stage = |stage: &Stage| Item::Stage { tiers: tiers.clone(), stage: *stage };
    let everybody = Item::Everybody { tiers: tiers.clone() };
    plan.stages().iter().map(stage).chain([everybody]).collect()
}

/// How many instances of a tier with traffic have everybody where it goes back from the item at
/// `at`.
fn carried(items: &[Item], at: usize, tiers: &[TierName]) -> Option<String> {
    let [tier] = tiers else { return None };
    let begun = |items: &[Item]| {
        let out = |item: &&Item| {
            let Item::Shift(shift) = item else { return false };
            shift.tier == *tier && shift.to.is_none()
        };
        items.iter().filter(out).count()
    };
    let (moved, of) = (begun(&items[..at]), begun(items));
    (of > 0).then(|| format!("{} of {of} instances carry everybody if it goes back", of - moved))
}

/// How long a step lasts that is nothing but a pause.
fn pause(step: &Step) -> Duration {
    let Action::Run(run) = &step.action else { return Duration::ZERO };
    match (&step.when, run.command.as_slice()) {
        (When::InTier(_), [sleep, seconds]) if sleep == "sleep" => {
            let seconds = seconds.parse().ok();
            seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or_default()
        }
        _ => Duration::ZERO,
    }
}
