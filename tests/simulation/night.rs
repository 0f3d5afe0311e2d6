//! One random night: a rollout over tiers with a runbook, people who order anything at any time,
//! steps that end as they like, workers whose jobs may fail, and a program that is killed in between.

#![expect(clippy::wildcard_enum_match_arm, reason = "a law looks at the few events it is about")]

mod file;
mod instances;
mod laws;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use weir::analysis::{Verdict, Why};
use weir::rollout::runbook::{Ending, Outcome, Output, StepName};
use weir::rollout::{
    Actor, Command, Direction, Event, Facts, Input, Order, Refusal, State, Upgrade, step, unheeded,
};
use weir::time::Timestamp;
use weir::traffic::{TierName, Version, Weight};

/// Moments of a night.
const MOMENTS: usize = 250;

/// What nights had in them, by name, so that a quiet simulation is noticed.
pub type Seen = BTreeMap<&'static str, u64>;

/// What must have happened in some night, or nothing was tested of it.
const EVERYTHING: [&str; 34] = [
    "Advanced",
    "Approved",
    "Asked",
    "DecisionNears",
    "Overdue",
    "DecisionPassed",
    "Froze",
    "Interrupted",
    "Passed",
    "Paused",
    "Promoted",
    "Recalled",
    "Rerouted",
    "Resumed",
    "RolledBack",
    "Shifted",
    "Started",
    "StepBegan",
    "StepEnded",
    "StepSkipped",
    "Tried",
    "TurnedBack",
    "alarm of jobs",
    "back by an instance first",
    "ended promoted",
    "ended rolled back",
    "ended stopped",
    "instance back alone",
    "instance lost",
    "killed",
    "lost",
    "refused",
    "reload refused",
    "reload unheeded",
];

/// A program with several tiers, its file, and its journal.
pub struct Night {
    chance: StdRng,
    tell: bool,
    /// Wall time in milliseconds; jumps.
    wall: u64,
    facts: Facts,
    /// Durable: the events as JSON.
    journal: Vec<String>,
    /// How many of the last events lowered and may not have reached the disk.
    unwritten: usize,
    memory: State,
    /// What the journal holds, as it reads back.
    durable: State,
    told: laws::Told,
    seen: Seen,
}

impl Night {
    pub fn new(seed: u64, tell: bool) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut night = Self {
            wall: 1_772_334_720_000,
            facts: file::random(&mut chance),
            journal: vec![],
            unwritten: 0,
            memory: State::default(),
            durable: State::default(),
            told: laws::Told::default(),
            seen: Seen::new(),
            tell,
            chance,
        };
        night.say(|| format!("{:#?}", night.facts.upgrade));
        night.decide(&Input::File { journal_lost: None, reload: false });
        night
    }

    pub fn live(mut self) -> Seen {
        for _ in 0..MOMENTS {
            self.wall += 5_000;
            match self.chance.random_range(0..100) {
                0..25 => self.decide(&Input::Tick),
                25..43 => self.judge(),
                43..48 => self.jobs_are_seen(),
                48..71 => self.step_ends(),
                71..89 => self.somebody_orders(),
                89 => {
                    let tier = self.any_tier();
                    self.decide(&Input::Unhealthy { tier, reason: "none answers".into() });
                }
                90..93 => self.edit(),
                93..96 => self.crash(),
                96..99 => self.wall += self.chance.random_range(0..20_000_000),
                _ => self.wall -= self.chance.random_range(0..20_000_000),
            }
            self.holds();
        }
        self.seen
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("{} {}", self.wall / 1_000 % 100_000, text());
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall)
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn any_tier(&mut self) -> TierName {
        self.facts.tiers.choose(&mut self.chance).expect("a tier").name.clone()
    }

    fn maybe_tier(&mut self) -> Option<TierName> {
        self.chance.random_bool(0.4).then(|| self.any_tier())
    }

    /// The judge of an open rollout looks at a window.
    fn judge(&mut self) {
        let open: Vec<_> = self.memory.open().map(|(tier, _, r)| (tier.clone(), r.id)).collect();
        let Some((tier, rollout)) = open.choose(&mut self.chance).cloned() else { return };
        let reason = || "so it looks".to_owned();
        let verdict = match self.chance.random_range(0..30) {
            0 => Verdict::Fail { metric: "errors".into(), reason: reason() },
            1..5 => Verdict::Inconclusive { why: Why::Unproven, metric: None, reason: reason() },
            weighed => Verdict::Pass { proven: weighed < 20, reason: reason() },
        };
        self.decide(&Input::Verdict { tier, rollout, verdict });
    }

    /// What the jobs of some workers say, also while nobody asks.
    fn jobs_are_seen(&mut self) {
        let workers: Vec<_> = self.facts.upgrade.workers.iter().map(|w| w.name().clone()).collect();
        let upgrade = self.memory.open_upgrade();
        let on_trial = |name: &&TierName| upgrade.is_some_and(|u| u.trial(name).is_some());
        // Mostly those who are asked.
        let asked: Vec<_> = workers.iter().filter(on_trial).cloned().collect();
        let past = upgrade.is_some_and(|upgrade| upgrade.past_no_return);
        let of = if asked.is_empty() || self.chance.random_bool(0.2) { workers } else { asked };
        let Some(workers) = of.choose(&mut self.chance).cloned() else { return };
        let reason = || "so they went".to_owned();
        let held = |why| Verdict::Inconclusive { why, metric: None, reason: reason() };
        let verdict = match self.chance.random_range(0..12) {
            // What is an alarm and nothing more may come often.
            8..10 if past => Verdict::Fail { metric: "jobs".into(), reason: reason() },
            0 => Verdict::Fail { metric: "jobs".into(), reason: reason() },
            1 => held(Why::Suspicious),
            2 => held(Why::NoStable),
            3 => held(Why::Soaking),
            4..8 => held(Why::NotEnough),
            _ => Verdict::Pass { proven: self.chance.random(), reason: reason() },
        };
        let done = self.chance.random_range(0..60);
        let rollout = self.memory.latest;
        let entered = self.memory.open_upgrade().map(|upgrade| upgrade.entered);
        let looked = entered.map(|entered| self.now().since(entered)).unwrap_or_default();
        self.decide(&Input::Jobs { workers, rollout, verdict, done, looked });
    }

    /// The step that runs ends, or one that nobody waits for.
    fn step_ends(&mut self) {
        let Some(upgrade) = &self.memory.upgrade else { return };
        let rollout = upgrade.id;
        let runs = running(upgrade);
        let others = self.facts.upgrade.steps.iter().map(|step| step.name.clone());
        let others: Vec<StepName> = others.collect();
        let any = others.choose(&mut self.chance).cloned();
        let Some(step) = runs.or_else(|| any.filter(|_| self.chance.random_bool(0.1))) else {
            return;
        };
        let ending = match self.chance.random_range(0..10) {
            0 => Ending::Failed,
            1 => Ending::TimedOut,
            2 => Ending::Cancelled,
            _ => Ending::Succeeded,
        };
        self.decide(&Input::StepEnded { rollout, step, outcome: outcome(ending) });
    }

    fn somebody_orders(&mut self) {
        let tier = self.maybe_tier();
        let version: Option<Version> = self.chance.random_bool(0.3).then(|| self.any_version());
        let order = match self.chance.random_range(0..40) {
            0..11 => {
                let again = self.chance.random_bool(0.6);
                Order::Start { tier, version, upstreams: vec![], again }
            }
            11..13 => Order::Advance { tier, to: None },
            13 => {
                let to = Weight::basis_points(self.chance.random_range(0..=10_000)).unwrap();
                Order::Advance { tier, to: Some(to) }
            }
            14..16 => Order::Promote { tier },
            16..18 => Order::Pause { tier },
            18..22 => Order::Resume { tier },
            22..28 => Order::Approve { step: self.maybe_step() },
            28..31 => Order::RetryStep { step: self.maybe_step() },
            31..34 => Order::SkipStep { step: self.maybe_step() },
            34..37 => {
                let over = self.chance.random_bool(0.2).then_some(Duration::from_secs(30));
                let past_no_return = self.chance.random();
                Order::Rollback { tier, now: self.chance.random(), over, past_no_return }
            }
            37 => Order::Hold { tier, on: self.chance.random(), lasts: None },
            38 => Order::Maintenance {
                tier,
                on: self.chance.random(),
                lasts: None,
                message: None,
                close: false,
            },
            _ => {
                let (tier, version) = (self.any_tier(), self.any_version());
                Order::Adopt { tier, version }
            }
        };
        self.decide(&ordered(order));
    }

    fn any_version(&mut self) -> Version {
        file::version(self.chance.random_range(0..file::VERSIONS))
    }

    fn maybe_step(&mut self) -> Option<StepName> {
        let steps = &self.facts.upgrade.steps;
        steps
            .choose(&mut self.chance)
            .filter(|_| self.chance.random_bool(0.2))
            .map(|step| step.name.clone())
    }

    /// The file is edited and read again; where that is refused, put back, or started with.
    fn edit(&mut self) {
        let before = self.facts.clone();
        file::edit(&mut self.facts, &mut self.chance);
        let input = Input::File { journal_lost: None, reload: true };
        if let Err(refusal) = step(&self.memory, &input, &self.facts, self.now()) {
            self.say(|| format!("reload refused: {refusal}"));
            self.count("reload refused");
            let lost = matches!(refusal, Refusal::InstanceLost { .. });
            if lost {
                self.count("instance lost");
            }
            // Nobody knows what an instance runs that was renamed while it was moved.
            if !lost && self.chance.random_ratio(1, 4) {
                self.crash();
            } else {
                self.facts = before;
            }
            return;
        }
        self.decide(&input);
        if unheeded(&self.memory, &self.facts).is_some() {
            self.count("reload unheeded");
        }
    }

    /// Killed and started again. What lowered last may never have reached the disk.
    fn crash(&mut self) {
        self.count("killed");
        self.say(|| "killed".into());
        if self.unwritten > 0 && self.chance.random_bool(0.3) {
            self.count("lost");
            self.journal.truncate(self.journal.len() - self.unwritten);
        }
        // What was read back is on the disk.
        self.unwritten = 0;
        let events: Vec<Event> =
            self.journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        self.memory = State::default();
        self.told = laws::Told::default();
        for event in &events {
            self.told.hear(&self.memory, event);
            self.memory.apply(event);
        }
        self.durable = self.memory.clone();
        self.decide(&Input::File { journal_lost: None, reload: false });
    }

    fn decide(&mut self, input: &Input) {
        match step(&self.memory, input, &self.facts, self.now()) {
            Err(refusal) => {
                self.count("refused");
                self.say(|| format!("refused: {refusal}"));
            }
            Ok(events) => self.record(input, &events),
        }
    }

    fn record(&mut self, input: &Input, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let before = self.memory.clone();
        for event in events {
            self.say(|| event.sentence());
            self.count(kind(event));
            let line = serde_json::to_string(event).unwrap();
            self.durable.apply(&serde_json::from_str(&line).unwrap());
            self.journal.push(line);
            self.told.may_happen(&self.memory, event, input, &self.facts, self.wall);
            self.told.hear(&self.memory, event);
            self.memory.apply(event);
        }
        let lowers = Event::direction(events) == Direction::Lower;
        self.unwritten = if lowers { events.len() } else { 0 };
        laws::after(&before, &self.memory, input, events, &self.facts, &self.told);
    }

    fn holds(&mut self) {
        assert_eq!(self.durable, self.memory, "memory is not what the journal holds");
        laws::at_rest(&self.memory, &self.facts, self.now(), &self.told);
    }
}

/// Fails where something never happened.
pub fn is_everything(seen: &Seen) {
    let missing: Vec<_> = EVERYTHING.iter().filter(|what| !seen.contains_key(*what)).collect();
    assert!(missing.is_empty(), "{missing:?} never happened: {seen:?}");
}

fn running(upgrade: &Upgrade) -> Option<StepName> {
    let now = upgrade.running().map(|(step, _)| step.name.clone());
    upgrade.still_running.clone().or(now)
}

fn ordered(order: Order) -> Input {
    Input::Command(Command { order, by: person(), because: None })
}

fn person() -> Actor {
    "night-shift".parse().unwrap()
}

fn outcome(ending: Ending) -> Outcome {
    let took = Duration::from_secs(7);
    Outcome { ending, tries: 1, took, why: "so it went".into(), output: Output::default() }
}

fn is_crew(name: &TierName) -> bool {
    name.as_str().starts_with("crew-")
}

fn kind(event: &Event) -> &'static str {
    use weir::rollout::{Change, Ending, Item};
    match &event.change {
        Change::Advanced { .. } => "Advanced",
        Change::Approved { .. } => "Approved",
        Change::Asked { .. } => "Asked",
        Change::DecisionNears { .. } => "DecisionNears",
        Change::Overdue { .. } => "Overdue",
        Change::DecisionPassed => "DecisionPassed",
        Change::Froze { .. } if event.tier.as_ref().is_some_and(is_crew) => "alarm of jobs",
        Change::Froze { .. } => "Froze",
        Change::Interrupted { .. } => "Interrupted",
        Change::Passed { .. } => "Passed",
        Change::Paused => "Paused",
        Change::Promoted { .. } => "Promoted",
        Change::Recalled { at, items, .. } if matches!(items.get(*at), Some(Item::Shift(_))) => {
            "instance back alone"
        }
        Change::Recalled { .. } => "Recalled",
        Change::Rerouted { .. } => "Rerouted",
        Change::Resumed => "Resumed",
        Change::RolledBack { .. } => "RolledBack",
        Change::Shifted { .. } => "Shifted",
        Change::Started { .. } => "Started",
        Change::StepBegan { .. } => "StepBegan",
        Change::StepEnded { .. } => "StepEnded",
        Change::StepSkipped { .. } => "StepSkipped",
        Change::Tried { .. } => "Tried",
        Change::TurnedBack { items, .. }
            if items.iter().any(|item| matches!(item, Item::Home { .. })) =>
        {
            "back by an instance first"
        }
        Change::TurnedBack { .. } => "TurnedBack",
        Change::UpgradeEnded { ending: Ending::Promoted } => "ended promoted",
        Change::UpgradeEnded { ending: Ending::RolledBack } => "ended rolled back",
        Change::UpgradeEnded { ending: Ending::Stopped { .. } } => "ended stopped",
        _ => "something else",
    }
}
