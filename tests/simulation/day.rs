//! One random day, and the laws that are checked after each of its moments.

#![expect(clippy::wildcard_enum_match_arm, reason = "a law looks at the few events it is about")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir::analysis::{Counts, Judge, Settings, Verdict, WhenUnproven, Window};
use weir::rollout::{
    Actor, CacheFacts, Cause, Change, Command, Direction, Emptying, Event, Facts, Input,
    OnRollback, Opening, Order, Plan, ReleaseFacts, RolloutId, Stage, Stages, State, Tier,
    TierFacts, UpgradeFacts, step,
};
use weir::time::Timestamp;
use weir::traffic::{Salt, Sticky, TierName, Version, Weight};

/// Moments of a day.
const MOMENTS: usize = 400;

/// For how long a release may have no users until its cache is empty when they come back.
const STALE_AFTER: Duration = Duration::from_mins(5);

/// Seconds of one window.
const SPAN: u64 = 5;

/// How the disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Well,
    Full,
    Hanging,
}

/// A raise on its way to the disk.
struct Pending {
    events: Vec<Event>,
    baseline: State,
    after: Vec<Event>,
}

/// What a day had in it, so that a quiet simulation is noticed.
#[derive(Debug, Default)]
pub struct Seen {
    crashes: u64,
    orders: u64,
    refusals: u64,
    proven: u64,
    unproven: u64,
    promotions: u64,
    rolled_back_by_judge: u64,
    rolled_back_by_order: u64,
    receding: u64,
    raises_lost: u64,
    lowered_unwritten: u64,
    reloads: u64,
    closed: u64,
    opened_by_time: u64,
    opened_by_order: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.orders += other.orders;
        self.refusals += other.refusals;
        self.proven += other.proven;
        self.unproven += other.unproven;
        self.promotions += other.promotions;
        self.rolled_back_by_judge += other.rolled_back_by_judge;
        self.rolled_back_by_order += other.rolled_back_by_order;
        self.receding += other.receding;
        self.raises_lost += other.raises_lost;
        self.lowered_unwritten += other.lowered_unwritten;
        self.reloads += other.reloads;
        self.closed += other.closed;
        self.opened_by_time += other.opened_by_time;
        self.opened_by_order += other.opened_by_order;
    }

    /// Fails where something never happened: then nothing was tested of it.
    pub fn is_everything(&self) {
        let all = [
            self.crashes,
            self.refusals,
            self.proven,
            self.unproven,
            self.promotions,
            self.rolled_back_by_judge,
            self.rolled_back_by_order,
            self.receding,
            self.raises_lost,
            self.lowered_unwritten,
            self.reloads,
            self.closed,
            self.opened_by_time,
            self.opened_by_order,
        ];
        assert!(all.iter().all(|count| *count > 0), "{self:?}");
    }
}

/// A program with one tier, its world, and its journal.
pub struct Day {
    chance: StdRng,
    tell: bool,
    /// Wall time in milliseconds; jumps.
    wall: u64,
    facts: Facts,
    disk: Disk,
    /// Durable: the events as JSON, and the evidence.
    journal: Vec<String>,
    evidence: Option<(RolloutId, String)>,
    /// Lowered, not written yet.
    aside: Vec<Event>,
    memory: State,
    pending: Option<Pending>,
    judge: Option<(RolloutId, Judge)>,
    /// Requests of a window at most.
    traffic: u64,
    /// Share of the canary's requests that fail.
    failing: f64,
    /// What is served, as the proxy has it; nothing right after a start.
    served: Weight,
    seen: Seen,
}

impl Day {
    pub fn new(seed: u64, tell: bool) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let analysis = Settings {
            // Short on some days, or hardly a stage would end without a proof.
            give_up: Duration::from_secs(if chance.random() { 15 } else { 60 }),
            when_unproven: if chance.random() { WhenUnproven::Advance } else { WhenUnproven::Hold },
            grace: Duration::from_secs(5),
            ..Settings::default()
        };
        let mut day = Self {
            wall: 1_772_334_720_000,
            facts: facts(analysis, &[(0, 1), (1, 2), (2, 3)]),
            disk: Disk::Well,
            journal: vec![],
            evidence: None,
            aside: vec![],
            memory: State::default(),
            pending: None,
            judge: None,
            traffic: [1_500, 8_000, 40_000][chance.random_range(0..3)],
            failing: 0.0,
            served: Weight::NONE,
            seen: Seen::default(),
            tell,
            chance,
        };
        day.boot();
        day
    }

    pub fn live(mut self) -> Seen {
        for _ in 0..MOMENTS {
            self.wall += SPAN * 1_000;
            match self.chance.random_range(0..100) {
                0..52 => self.look(),
                52..55 => self.time_is_up(),
                55..75 => self.somebody_orders(),
                75..80 => {
                    let tier = self.maybe_tier();
                    let over = self.chance.random_bool(0.4).then_some(Duration::from_secs(30));
                    self.order(Order::Rollback { tier, now: false, over, past_no_return: false });
                }
                80..86 => self.disk_turns(),
                86..89 => self.crash(),
                89..92 => self.edit(),
                92..94 => {
                    let back = self.chance.random_range(0..90_000_000);
                    self.wall = self.wall.saturating_sub(back);
                }
                94..96 => self.wall += self.chance.random_range(0..90_000_000),
                96..98 => self.failing = [0.0, 0.001, 0.03, 1.0][self.chance.random_range(0..4)],
                _ => self.decide(&Input::Unhealthy { tier: web(), reason: "none answers".into() }),
            }
            self.disk_works();
            self.serve();
            self.laws();
        }
        self.seen
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("{} {:?} {}", self.wall / 1_000 % 100_000, self.disk, text());
        }
    }

    fn tier(&self) -> &Tier {
        &self.memory.tiers[&web()]
    }

    fn maybe_tier(&mut self) -> Option<TierName> {
        self.chance.random::<bool>().then(web)
    }

    /// A window closes; sometimes its metrics are lost.
    fn look(&mut self) {
        let Some(rollout) = &self.memory.tiers[&web()].rollout else { return };
        let (id, weight) = (rollout.id, rollout.weight.share());
        if self.chance.random_ratio(1, 10) {
            return;
        }
        let all = self.chance.random_range(0..self.traffic);
        let canary = part(all, weight);
        let counts = |requests: u64, share: f64| Counts {
            requests,
            errors: part(requests, share),
            ..Counts::default()
        };
        let window = Window {
            stable: counts(all - canary, 0.001),
            canary: counts(canary, self.failing.max(0.001)),
            cold: false,
        };
        let Some((judged, judge)) = &mut self.judge else { panic!("a rollout without a judge") };
        assert_eq!(*judged, id, "the judge of another rollout");
        let verdict = judge.observe(judge.now() + SPAN as f64, &window);
        if let Verdict::Pass { proven, .. } = &verdict {
            assert!(
                *proven || judge.settings().when_unproven == WhenUnproven::Advance,
                "an unproven pass that the plan does not allow"
            );
        }
        self.decide(&Input::Verdict { tier: web(), rollout: id, verdict });
        self.keep_evidence();
    }

    fn somebody_orders(&mut self) {
        let (tier, version) = (self.maybe_tier(), release(self.chance.random_range(0..4)));
        let order = match self.chance.random_range(0..12) {
            0..4 => Order::Start {
                tier: Some(web()),
                version: self.chance.random_bool(0.7).then_some(version),
                upstreams: vec![],
                again: self.chance.random_bool(0.7),
            },
            4 => Order::Advance { tier, to: None },
            5 => {
                let to = Weight::basis_points(self.chance.random_range(0..=10_000)).unwrap();
                Order::Advance { tier, to: Some(to) }
            }
            6 => Order::Promote { tier },
            7 => Order::Pause { tier },
            8 => Order::Resume { tier },
            9 => {
                let (on, lasts) = (self.chance.random(), self.maybe_span());
                Order::Hold { tier, on, lasts }
            }
            10 => {
                let (on, lasts) = (self.chance.random(), self.maybe_span());
                Order::Maintenance { tier, on, lasts, message: None, close: false }
            }
            _ => Order::Adopt { tier: web(), version },
        };
        self.order(order);
    }

    fn order(&mut self, order: Order) {
        let lowers = matches!(
            order,
            Order::Rollback { .. }
                | Order::Pause { .. }
                | Order::Hold { on: true, .. }
                | Order::Maintenance { on: true, .. }
        );
        if self.pending.is_some() && !lowers {
            return; // It waits outside.
        }
        self.seen.orders += 1;
        let mut order = order;
        if let Order::Rollback { over, .. } = &mut order
            && self.pending.is_some()
        {
            *over = Some(Duration::ZERO);
        }
        let by: Actor = "night-shift".parse().unwrap();
        self.decide(&Input::Command(Command { order, by, because: None }));
    }

    fn maybe_span(&mut self) -> Option<Duration> {
        self.chance.random::<bool>().then(|| Duration::from_mins(5))
    }

    /// The time of what is closed is up, or that of an order before it was.
    fn time_is_up(&mut self) {
        let closures = self.memory.closures.clone();
        for (tier, closure) in closures.each() {
            let is_its = self.chance.random::<bool>();
            let ordered = if is_its { closure.ordered } else { Timestamp::from_millis(7) };
            let is_due = is_its && closure.until.is_some();
            let input = Input::Due { tier: tier.cloned(), ordered };
            let ended = step(&self.memory, &input, &self.facts, self.now()).unwrap();
            assert_eq!(ended.len(), usize::from(is_due), "{closure:?} by {input:?}");
            if self.pending.is_none() {
                self.decide(&input);
            }
        }
    }

    fn edit(&mut self) {
        let analysis = self.facts.tiers[0].analysis.clone();
        let places = match self.chance.random_range(0..4) {
            0 => vec![(0, 1), (1, 2), (2, 3)],
            1 => vec![(0, 11), (1, 2), (2, 3), (3, 4)],
            2 => vec![(1, 2), (2, 3), (3, 1)],
            _ => vec![(0, 1), (3, 2)],
        };
        let edited = facts(analysis, &places);
        if self.pending.is_some() {
            return;
        }
        let before = std::mem::replace(&mut self.facts, edited);
        let input = Input::File { journal_lost: None, reload: true };
        match step(&self.memory, &input, &self.facts, self.now()) {
            Err(refusal) => {
                self.say(|| format!("reload refused: {refusal}"));
                // Somebody restarts instead, now and then.
                if self.chance.random_ratio(1, 3) {
                    self.crash();
                } else {
                    self.facts = before;
                }
            }
            Ok(events) => {
                self.seen.reloads += 1;
                self.record(events);
            }
        }
    }

    fn disk_turns(&mut self) {
        self.disk =
            [Disk::Well, Disk::Well, Disk::Full, Disk::Hanging][self.chance.random_range(0..4)];
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall)
    }

    /// As the control task decides: on what will be, and where nothing follows, on what is.
    fn decide(&mut self, input: &Input) {
        let (now, facts) = (self.now(), &self.facts);
        let imagined = self.imagined();
        let mut decided = step(&imagined, input, facts, now);
        let nothing = decided.as_ref().map_or(true, Vec::is_empty);
        if self.pending.is_some() && nothing {
            match step(&self.memory, input, facts, now) {
                Ok(events)
                    if !events.is_empty() && Event::direction(&events) == Direction::Lower =>
                {
                    decided = Ok(events);
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.rollback_is_never_refused(input, decided.is_err());
        match decided {
            Err(refusal) => {
                self.seen.refusals += 1;
                self.say(|| format!("refused: {refusal}"));
            }
            Ok(events) => {
                self.raises_have_a_ground(input, &events);
                self.caches_begin_anew_with_users(&events);
                self.record(events);
            }
        }
    }

    fn imagined(&self) -> State {
        let Some(pending) = &self.pending else { return self.memory.clone() };
        let mut state = pending.baseline.clone();
        pending.events.iter().chain(&pending.after).for_each(|event| state.apply(event));
        state
    }

    fn record(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        for event in &events {
            self.say(|| event.sentence());
            self.count(event);
        }
        match Event::direction(&events) {
            Direction::Lower => {
                for event in &events {
                    self.apply(event);
                    if let Some(pending) = &mut self.pending {
                        pending.after.push(event.clone());
                    }
                }
                if self.disk != Disk::Well {
                    self.seen.lowered_unwritten += 1;
                }
                self.aside.extend(events);
            }
            Direction::Raise if self.pending.is_some() => {}
            Direction::Raise => {
                let baseline = self.memory.clone();
                self.pending = Some(Pending { events, baseline, after: vec![] });
            }
        }
    }

    fn count(&mut self, event: &Event) {
        match &event.change {
            Change::Advanced { cause: Cause::Proven { .. }, .. } => self.seen.proven += 1,
            Change::Advanced { cause: Cause::Unproven { .. }, .. } => self.seen.unproven += 1,
            Change::Promoted { .. } => self.seen.promotions += 1,
            Change::RolledBack { .. } if event.by == Actor::weir() => {
                self.seen.rolled_back_by_judge += 1;
            }
            Change::RolledBack { .. } => self.seen.rolled_back_by_order += 1,
            _ => {}
        }
    }

    /// The one writer: a raise that came first is written first.
    fn disk_works(&mut self) {
        match self.disk {
            Disk::Hanging => {}
            Disk::Full => {
                if self.pending.take().is_some() {
                    self.seen.raises_lost += 1;
                    self.say(|| "the raise is lost".into());
                }
            }
            Disk::Well => {
                let Some(pending) = self.pending.take() else { return self.write_aside() };
                // What lowered before the raise was asked for is older than it.
                let older = self.aside.len() - pending.after.len();
                let after = self.aside.split_off(older);
                self.write_aside();
                self.write(&pending.events);
                self.aside = after;
                let mut state = pending.baseline;
                pending.events.iter().chain(&pending.after).for_each(|event| state.apply(event));
                self.memory = state;
                pending.events.iter().for_each(|event| self.follow(event));
                self.write_aside();
            }
        }
    }

    fn write_aside(&mut self) {
        let events = std::mem::take(&mut self.aside);
        self.write(&events);
    }

    fn write(&mut self, events: &[Event]) {
        self.journal.extend(events.iter().map(|event| serde_json::to_string(event).unwrap()));
    }

    fn keep_evidence(&mut self) {
        if self.disk == Disk::Well
            && let Some((id, judge)) = &self.judge
        {
            self.evidence = Some((*id, serde_json::to_string(judge).unwrap()));
        }
    }

    fn apply(&mut self, event: &Event) {
        self.memory.apply(event);
        self.follow(event);
    }

    /// The judge follows what happened.
    fn follow(&mut self, event: &Event) {
        let Some(rollout) = &self.tier().rollout else {
            self.judge = None;
            return;
        };
        let next = rollout.plan.after(rollout.weight).map_or(1.0, |stage| stage.weight.share());
        let bake = rollout.plan.bake(rollout.weight);
        let (id, analysis) = (rollout.id, rollout.analysis.clone());
        match &event.change {
            Change::Started { .. } => {
                let mut judge = Judge::new(analysis);
                judge.start_stage(0.0, next, bake);
                self.judge = Some((id, judge));
            }
            Change::Advanced { .. } | Change::Replanned { .. } => {
                let (_, judge) = self.judge.as_mut().expect("a judge");
                judge.start_stage(judge.now(), next, bake);
            }
            _ => {}
        }
    }

    /// Killed and started again: what is not on the disk is gone.
    fn crash(&mut self) {
        self.seen.crashes += 1;
        self.say(|| "killed".into());
        // A raise that hung may have reached the disk or not.
        if let Some(pending) = self.pending.take()
            && self.chance.random()
        {
            let older = self.aside.len() - pending.after.len();
            let before: Vec<Event> = self.aside.drain(..older).collect();
            self.write(&before);
            self.write(&pending.events);
        }
        self.aside.clear();
        self.boot();
    }

    /// As the control task publishes: who went back does not come again.
    fn serve(&mut self) {
        let (tier, now) = (self.tier(), self.now());
        let receding = tier.receding().is_some();
        let weight = tier.weight_at(now);
        self.served = if receding { weight.min(self.served) } else { weight };
        if receding {
            self.seen.receding += 1;
            if self.served == Weight::NONE {
                self.decide(&Input::Receded { tier: web() });
                assert!(self.tier().rollout.is_none() || self.pending.is_some());
                self.disk_works();
                self.served = self.tier().weight();
            }
        }
    }

    fn boot(&mut self) {
        self.served = Weight::NONE;
        self.memory = self.replay();
        let input = Input::File { journal_lost: None, reload: false };
        let events = step(&self.memory, &input, &self.facts, self.now()).unwrap();
        for event in &events {
            self.memory.apply(event);
        }
        self.aside.extend(events);
        let open = self.tier().rollout.clone();
        self.judge = open.map(|rollout| {
            let kept = self.evidence.as_ref().filter(|(id, _)| *id == rollout.id);
            let mut judge = kept.map_or_else(
                || Judge::new(rollout.analysis.clone()),
                |(_, body)| serde_json::from_str(body).unwrap(),
            );
            let next = rollout.plan.after(rollout.weight).map_or(1.0, |stage| stage.weight.share());
            judge.start_stage(judge.now(), next, rollout.plan.bake(rollout.weight));
            (rollout.id, judge)
        });
    }

    fn replay(&self) -> State {
        let mut state = State::default();
        for line in &self.journal {
            state.apply(&serde_json::from_str(line).unwrap());
        }
        state
    }

    /// What must hold after every moment.
    fn laws(&self) {
        let durable = self.replay();
        let mut expected = durable.clone();
        self.aside.iter().for_each(|event| expected.apply(event));
        if self.pending.is_none() {
            assert_eq!(self.memory, expected, "memory is not what the journal will hold");
        }
        let tier = self.tier();
        if let Some(canary) = tier.canary() {
            assert_ne!(*canary, tier.stable, "one release on both tracks");
            let written =
                durable.tiers.get(&web()).map_or(Weight::NONE, |tier| share(tier, canary));
            assert!(tier.weight() <= written, "{} in the proxy, {written} written", tier.weight());
            assert!(tier.weight() < Weight::ALL && tier.weight() > Weight::NONE);
            assert!(tier.previous.is_none(), "a start forgets whom a roll back would go to");
        } else {
            assert_eq!(tier.weight(), Weight::NONE);
            assert!(self.judge.is_none(), "a judge without a rollout");
        }
        let is_closed = |state: &State| state.closures.of(&web()).is_some();
        assert!(is_closed(&self.memory) || !is_closed(&durable), "open before that was written");
        let known = &tier.addresses[&tier.stable];
        assert!(!known.addresses.is_empty(), "nobody knows where {} runs", tier.stable);
        self.a_second_rollback_changes_nothing();
    }

    /// Two people who type it never go back two generations.
    fn a_second_rollback_changes_nothing(&self) {
        let by: Actor = "day-shift".parse().unwrap();
        let order =
            Order::Rollback { tier: Some(web()), now: false, over: None, past_no_return: false };
        let input = Input::Command(Command { order, by, because: None });
        let Ok(first) = step(&self.memory, &input, &self.facts, self.now()) else { return };
        if first.is_empty() {
            return;
        }
        let mut after = self.memory.clone();
        for event in &first {
            after.apply(event);
        }
        assert_eq!(after.weight(&web()), Weight::NONE, "a canary after a roll back");
        let second = step(&after, &input, &self.facts, self.now());
        assert_eq!(second, Ok(vec![]), "a second roll back");
    }

    fn rollback_is_never_refused(&self, input: &Input, refused: bool) {
        let Input::Command(Command { order: Order::Rollback { .. }, .. }) = input else { return };
        let tier = self.tier();
        let taken = |version: &Version| {
            let file = &self.facts.tiers[0];
            let known = &tier.addresses[version].addresses;
            file.release(version).is_none() && known.iter().any(|at| file.at(at).is_some())
        };
        let back = tier.previous.as_ref().is_some_and(|(version, _)| !taken(version));
        assert!(!(refused && (tier.rollout.is_some() || back)), "a roll back was refused");
    }

    /// What a release has that is rolled back is gone, and nobody comes back to what is old; and no
    /// cache is emptied under users.
    fn caches_begin_anew_with_users(&self, events: &[Event]) {
        let listed = |version: &Version| self.facts.caches[0].versions.contains(version);
        let emptied = |version: &Version| {
            events.iter().find_map(|event| match &event.change {
                Change::Emptied { release, why, .. } if release == version => Some(why),
                _ => None,
            })
        };
        for event in events {
            match &event.change {
                Change::RolledBack { from, to, .. } => {
                    let gone = emptied(from) == Some(&Emptying::RolledBack);
                    assert_eq!(gone, listed(from), "what {from} had");
                    if let Some(Emptying::Stale { away }) = emptied(to) {
                        assert!(*away > STALE_AFTER, "{to} was left {away:?} ago");
                    }
                }
                Change::Emptied {
                    release, why: Emptying::Stale { .. } | Emptying::Again, ..
                } => {
                    let had_users = self.tier().serves(release) && self.pending.is_none();
                    assert!(!had_users, "{release} has users");
                }
                _ => {}
            }
        }
    }

    /// A weight rises by a proof, by an allowed timeout, or by an order.
    fn raises_have_a_ground(&mut self, input: &Input, events: &[Event]) {
        for event in events {
            let cause = match &event.change {
                Change::Advanced { cause, weight } => {
                    let receding = self.tier().receding().is_some();
                    assert!(!receding || self.pending.is_some(), "who goes back comes again");
                    assert!(*weight > self.tier().weight() || self.pending.is_some());
                    cause
                }
                Change::Promoted { cause, .. } => cause,
                Change::Closed { .. } => {
                    assert!(matches!(input, Input::Command(_)), "nothing closes by itself");
                    self.seen.closed += 1;
                    continue;
                }
                Change::Opened { cause, .. } => {
                    let by_order = match input {
                        Input::Command(Command { order, .. }) => matches!(
                            order,
                            Order::Hold { on: false, .. } | Order::Maintenance { on: false, .. }
                        ),
                        Input::Due { .. } => false,
                        _ => panic!("{input:?} opened what was closed"),
                    };
                    assert_eq!(*cause == Opening::Order, by_order);
                    self.seen.opened_by_order += u64::from(by_order);
                    self.seen.opened_by_time += u64::from(!by_order);
                    continue;
                }
                Change::Started { .. } | Change::Adopted { .. } => {
                    assert!(matches!(input, Input::Command(_)), "nothing starts by itself");
                    continue;
                }
                _ => continue,
            };
            let ground = match input {
                Input::Command(_) => *cause == Cause::Order,
                Input::Verdict { verdict: Verdict::Pass { proven: true, .. }, .. } => {
                    matches!(cause, Cause::Proven { .. })
                }
                Input::Verdict { verdict: Verdict::Pass { .. }, .. } => {
                    matches!(cause, Cause::Unproven { .. })
                }
                Input::Due { .. }
                | Input::File { .. }
                | Input::Jobs { .. }
                | Input::Receded { .. }
                | Input::StepEnded { .. }
                | Input::Tick
                | Input::Unhealthy { .. }
                | Input::Verdict { .. } => false,
            };
            assert!(ground, "{event:?} after {input:?}");
        }
    }
}

/// The share of the clients on `version`.
fn share(tier: &Tier, version: &Version) -> Weight {
    if tier.stable == *version {
        Weight::ALL
    } else if tier.canary() == Some(version) {
        tier.weight()
    } else {
        Weight::NONE
    }
}

/// `share` of `all`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn part(all: u64, share: f64) -> u64 {
    (all as f64 * share) as u64
}

fn web() -> TierName {
    "web".parse().unwrap()
}

fn release(number: u16) -> Version {
    format!("1.{number}").parse().unwrap()
}

/// The file: releases with the last part of their address.
fn facts(analysis: Settings, places: &[(u16, u16)]) -> Facts {
    let stage = |percent: &str, seconds| Stage {
        weight: percent.parse().unwrap(),
        bake: Duration::from_secs(seconds),
    };
    let stages = vec![stage("5%", 10), stage("25%", 10), stage("50%", 10)];
    let release = |(number, place): &(u16, u16)| ReleaseFacts {
        version: release(*number),
        addresses: vec![format!("127.0.0.1:{}", 9_100 + place).parse().unwrap()],
        healthy: true,
    };
    let tier = TierFacts {
        name: web(),
        stable: self::release(places[0].0),
        releases: places.iter().map(release).collect(),
        stages: Stages::Listed(Plan::new(stages).unwrap()),
        analysis,
        rollback_over: Duration::ZERO,
        sticky: Sticky::Own,
        rate: None,
        named_upstreams_healthy: true,
        unwell: vec![],
    };
    Facts {
        tiers: vec![tier],
        own: vec![],
        salt: Salt::new([7; 16]),
        observe: false,
        caches: vec![CacheFacts {
            name: "pages".into(),
            versions: places.iter().map(|(number, _)| self::release(*number)).collect(),
            tiers: vec![],
            on_rollback: OnRollback::Drop,
            stale_after: Some(STALE_AFTER),
        }],
        upgrade: UpgradeFacts::default(),
    }
}
