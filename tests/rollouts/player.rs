//! Plays one line of a script on `step` and `State::apply`, with a journal of JSON lines.

use std::collections::BTreeSet;
use std::time::Duration;

use weir::analysis::{Verdict, Why};
use weir::journal::Record;
use weir::rollout::runbook::{Ending, Outcome, Output};
use weir::rollout::{
    Actor, Closure, Command, Input, Order, Said, State, Tier, outlook, step, unheeded, waits_for,
};
use weir::time::{Timestamp, in_words};
use weir::traffic::{TierName, Version};

use super::file::{File, span};

/// The program, its file, its clock and its journal.
#[derive(Default)]
pub struct Player {
    state: State,
    journal: Vec<String>,
    file: Option<File>,
    down: BTreeSet<String>,
    observe: bool,
    /// Milliseconds since the script began.
    elapsed: u64,
}

/// The first moment of every script: 2026-03-01 03:12 UTC.
const BEGIN: u64 = 1_772_334_720_000;

impl Player {
    /// Edits the file. Nothing is told to the program.
    pub fn file(&mut self, text: &str) {
        self.file = Some(File::parse(text));
    }

    /// Plays `line`; gives the sentences of the events or the refusal, and how things stand.
    pub fn play(&mut self, line: &str) -> Vec<String> {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let start = |journal_lost| Input::File { journal_lost, reload: false };
        let input = match words[..] {
            ["clock", later] => {
                let later = span(later.trim_start_matches('+'));
                self.elapsed += u64::try_from(later.as_millis()).unwrap();
                return vec![];
            }
            ["down", tier, version] => {
                self.down.insert(format!("{tier} {version}"));
                return vec![];
            }
            ["up", tier, version] => {
                self.down.remove(&format!("{tier} {version}"));
                return vec![];
            }
            ["log"] => return self.log(),
            ["go"] => return self.go(),
            ["plan", ref of @ ..] => return self.plan(of),
            ["kill"] => {
                self.state = State::default();
                return vec![];
            }
            ["run"] => start(None),
            ["run", "--observe"] => {
                self.observe = true;
                start(None)
            }
            ["lose-journal", what] => {
                self.state = State::default();
                self.journal.clear();
                start(Some(what.to_owned()))
            }
            ["receded", tier] => Input::Receded { tier: tier.parse().unwrap() },
            ["tick"] => Input::Tick,
            ["jobs", workers, done, verdict, reason] => self.jobs(workers, done, verdict, reason),
            ["step", "succeeds", name] => self.step_ends(name, Ending::Succeeded, "exit code 0"),
            ["step", "fails", name, why] => self.step_ends(name, Ending::Failed, why),
            ["reload"] => Input::File { journal_lost: None, reload: true },
            ["due", ref tier @ ..] => {
                let tier = tier.first().map(|tier| tier.parse::<TierName>().unwrap());
                let closed = self.state.closures.each().find(|(name, _)| *name == tier.as_ref());
                let ordered = closed.expect("something that is closed").1.ordered;
                Input::Due { tier, ordered }
            }
            ["unhealthy", tier, reason] => {
                Input::Unhealthy { tier: tier.parse().unwrap(), reason: reason.into() }
            }
            ["verdict", tier, ref verdict @ ..] => self.verdict(&tier.parse().unwrap(), verdict),
            _ => Input::Command(command(&words)),
        };
        if matches!(input, Input::File { reload: false, .. }) {
            self.state = self.replay();
        }
        self.decide(&input)
    }

    fn decide(&mut self, input: &Input) -> Vec<String> {
        let facts = self.file.as_ref().expect("a file").facts(&self.down, self.observe);
        let now = Timestamp::from_millis(BEGIN + self.elapsed);
        let before = self.state.clone();
        let events = match step(&self.state, input, &facts, now) {
            Err(refusal) => return vec![format!("refused: {refusal}")],
            Ok(events) => events,
        };
        let mut lines = Vec::new();
        for event in events {
            self.state.apply(&event);
            lines.push(event.sentence());
            let record = Record { seq: self.journal.len() as u64 + 1, event };
            self.journal.push(serde_json::to_string(&record).unwrap());
            assert_eq!(self.replay(), self.state, "killed after {record:?}");
        }
        if self.state == before {
            lines.push("nothing changes".into());
        }
        if matches!(input, Input::File { reload: true, .. }) {
            lines.extend(unheeded(&self.state, &facts));
        }
        let closures = &self.state.closures;
        let standing = |(name, tier)| standing(name, tier, closures.of(name), now);
        lines.extend(self.state.tiers.iter().map(standing));
        lines.extend(self.state.open_upgrade().map(|upgrade| {
            let wait = waits_for(&self.state, &facts, now);
            let wait = wait.map_or("nothing".to_owned(), |wait| wait.to_string());
            let all = upgrade.items.len();
            let at = (upgrade.at + 1).min(all);
            let item = upgrade.item().map_or("the end".to_owned(), ToString::to_string);
            format!("= rollout {}, {at} of {all}, {item}; waits for {wait}", upgrade.id)
        }));
        lines
    }

    /// Memory as it is after a kill: from what the journal holds, and nothing else.
    fn replay(&self) -> State {
        let mut state = State::default();
        for line in &self.journal {
            let record: Record = serde_json::from_str(line).unwrap();
            state.apply(&record.event);
        }
        state
    }

    /// Time passes and steps succeed, until something else is waited for: what happened meanwhile,
    /// and how things stand then.
    fn go(&mut self) -> Vec<String> {
        let (mut happened, mut lines) = (Vec::new(), self.play("tick"));
        loop {
            let said = lines.iter().filter(|line| !line.starts_with("= "));
            happened.extend(said.cloned());
            let upgrade = self.state.open_upgrade();
            let Some(running) = upgrade.and_then(|upgrade| upgrade.running()) else {
                if happened.last().is_none_or(|line| line == "nothing changes") {
                    happened.pop();
                    let standing = lines.into_iter().filter(|line| line.starts_with("= "));
                    return happened.into_iter().chain(standing).collect();
                }
                lines = self.play("tick");
                continue;
            };
            let name = running.0.name.to_string();
            lines = self.play(&format!("step succeeds {name}"));
        }
    }

    /// The journal as the work log that it is.
    fn log(&self) -> Vec<String> {
        let line = |line: &String| {
            let Record { seq, event } = serde_json::from_str(line).unwrap();
            let minutes = (event.at.millis() - BEGIN) / 60_000;
            format!("{seq:>2}  +{minutes} min  {:<11}  {}", event.by, event.sentence())
        };
        self.journal.iter().map(line).collect()
    }

    fn step_ends(&self, name: &str, ending: Ending, why: &str) -> Input {
        let took = Duration::from_secs(7);
        let outcome =
            Outcome { ending, tries: 1, took, why: why.into(), output: Output::default() };
        let rollout = self.state.upgrade.as_ref().map_or(0, |upgrade| upgrade.id);
        Input::StepEnded { rollout, step: name.parse().unwrap(), outcome }
    }

    /// What `start` would do.
    fn plan(&self, of: &[&str]) -> Vec<String> {
        let facts = self.file.as_ref().expect("a file").facts(&self.down, self.observe);
        let now = Timestamp::from_millis(BEGIN + self.elapsed);
        let start = command(&[&["start"], of].concat());
        let plan = match outlook(&self.state, &facts, start, now) {
            Err(refusal) => return vec![format!("refused: {refusal}")],
            Ok(plan) => plan,
        };
        let told =
            |said: &Option<Said>| said.as_ref().map_or("no telling", |said| &said.said).to_owned();
        let mut lines = Vec::new();
        for leg in plan.tracks.iter().flatten() {
            let likely = leg.likely.map_or("no telling".into(), in_words);
            let hours = leg.hours.as_ref().map(|at| format!(", not before {at}"));
            lines.push(format!(
                "{} at {}: at least {}, likely {likely}{}; {}",
                leg.text,
                told(&leg.begins),
                in_words(leg.least),
                hours.unwrap_or_default(),
                if leg.note.is_empty() { "-" } else { &leg.note }
            ));
        }
        lines.push(format!("= earliest {}, likely {}", told(&plan.earliest), told(&plan.likely)));
        let decide_by = plan.decide_by.map(|(at, past)| format!("= {past:?} at {}", at.said));
        lines.extend(decide_by);
        lines.extend(plan.no_return.map(|step| format!("= no return after {step}")));
        lines.extend(plan.way_back.iter().map(|step| format!("= back: {step}")));
        lines.extend(plan.remarks.iter().map(|remark| format!("= {remark}")));
        lines
    }

    /// What the jobs of workers say, of which the new version has done so many.
    fn jobs(&self, workers: &str, done: &str, verdict: &str, reason: &str) -> Input {
        let reason = reason.to_owned();
        let held = |why| Verdict::Inconclusive { why, metric: None, reason: reason.clone() };
        let verdict = match verdict {
            "fail" => Verdict::Fail { metric: "jobs".into(), reason: reason.clone() },
            "soaking" => held(Why::Soaking),
            "clean" => held(Why::NotEnough),
            "suspicious" => held(Why::Suspicious),
            "alone" => held(Why::NoStable),
            _ => panic!("{verdict:?} is no verdict on jobs"),
        };
        let (workers, done) = (workers.parse().unwrap(), done.parse().unwrap());
        let now = Timestamp::from_millis(BEGIN + self.elapsed);
        let entered = self.state.open_upgrade().map_or(now, |upgrade| upgrade.entered);
        let looked = now.since(entered);
        Input::Jobs { workers, rollout: self.state.latest, verdict, done, looked }
    }

    fn verdict(&self, tier: &TierName, words: &[&str]) -> Input {
        let verdict = match *words {
            ["pass", reason] => Verdict::Pass { proven: true, reason: reason.into() },
            ["pass-unproven", reason] => Verdict::Pass { proven: false, reason: reason.into() },
            ["fail", metric, reason] => {
                Verdict::Fail { metric: metric.into(), reason: reason.into() }
            }
            ["unproven", reason] => Verdict::Inconclusive {
                why: Why::Unproven,
                metric: Some("errors".into()),
                reason: reason.into(),
            },
            ["waiting", reason] => {
                Verdict::Inconclusive { why: Why::NotEnough, metric: None, reason: reason.into() }
            }
            _ => panic!("{words:?} is no verdict"),
        };
        let open = self.state.tiers.get(tier).and_then(|tier| tier.rollout.as_ref());
        let rollout = open.map_or(self.state.latest, |rollout| rollout.id);
        Input::Verdict { tier: tier.clone(), rollout, verdict }
    }
}

/// A tier in one line.
fn standing(name: &TierName, tier: &Tier, closure: Option<&Closure>, now: Timestamp) -> String {
    let canary = tier.rollout.as_ref().map_or("-".to_owned(), |rollout| {
        let paused = if rollout.paused { " paused" } else { "" };
        let held = if rollout.held { " held" } else { "" };
        let back = if rollout.receding.is_some() { " going back" } else { "" };
        format!("{} {}{paused}{held}{back}", rollout.release, tier.weight_at(now))
    });
    let previous =
        tier.previous.as_ref().map_or("-".to_owned(), |(version, _)| version.to_string());
    let doubt = if tier.unconfirmed.is_some() { " unconfirmed" } else { "" };
    let cut = if tier.close_now { " cut" } else { "" };
    let closed = closure.map_or(String::new(), |closure| format!(" {}", closure.purpose.name()));
    let has = |(instance, version): (&String, &Option<Version>)| {
        let version = version.as_ref().map_or("-".to_owned(), ToString::to_string);
        format!("{instance} {version}")
    };
    let instances: Vec<String> = tier.instances.iter().map(has).collect();
    let instances =
        if instances.is_empty() { String::new() } else { format!(" [{}]", instances.join(", ")) };
    format!(
        "= {name}: stable {}{doubt} canary {canary} previous {previous}{cut}{closed}{instances}",
        tier.stable
    )
}

/// The words of a line; what stands in quotes is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// An order as it is typed, without the word `weir`.
fn command(words: &[&str]) -> Command {
    let mut by: Actor = "night-shift".parse().unwrap();
    let (mut because, mut to) = (None, None);
    let (mut again, mut at_once, mut over, mut past_no_return) = (false, false, None, false);
    let (mut lasts, mut message, mut close) = (None, None, false);
    let (mut upstreams, mut plain) = (Vec::new(), Vec::new());
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        let mut value = || *rest.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match *word {
            "--by" => by = value().parse().unwrap(),
            "--reason" => because = Some(value().to_owned()),
            "--to" => to = Some(value().parse().unwrap()),
            "--upstream" => upstreams.push(value().parse().unwrap()),
            "--again" => again = true,
            "--now" => at_once = true,
            "--over" => over = Some(span(value())),
            "--past-no-return" => past_no_return = true,
            "--for" => lasts = Some(span(value())),
            "--message" => message = Some(value().to_owned()),
            "--close" => close = true,
            word => plain.push(word),
        }
    }
    if let ["approve" | "step", ..] = words {
        return Command { order: about_step(words[0], &plain), by, because };
    }
    let closes = matches!(words[0], "hold" | "maintenance");
    let on = closes && plain.remove(0) == "on";
    let tier = plain.first().map(|name| name.parse::<TierName>().unwrap());
    let version = plain.get(1).map(|version| version.parse::<Version>().unwrap());
    let order = match words[0] {
        "adopt" => Order::Adopt { tier: tier.unwrap(), version: version.unwrap() },
        "advance" => Order::Advance { tier, to },
        "hold" => Order::Hold { tier, on, lasts },
        "maintenance" => Order::Maintenance { tier, on, lasts, message, close },
        "pause" => Order::Pause { tier },
        "promote" => Order::Promote { tier },
        "resume" => Order::Resume { tier },
        "rollback" => Order::Rollback { tier, now: at_once, over, past_no_return },
        "start" => Order::Start { tier, version, upstreams, again },
        word => panic!("there is no order {word}"),
    };
    Command { order, by, because }
}

fn about_step(verb: &str, plain: &[&str]) -> Order {
    let step = |name: Option<&&str>| name.map(|name| name.parse().unwrap());
    match (verb, plain) {
        ("approve", name) => Order::Approve { step: step(name.first()) },
        (_, ["retry", name @ ..]) => Order::RetryStep { step: step(name.first()) },
        (_, ["skip", name @ ..]) => Order::SkipStep { step: step(name.first()) },
        _ => panic!("there is no order {verb} {plain:?}"),
    }
}
