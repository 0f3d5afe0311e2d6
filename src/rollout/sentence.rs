//! Each event as one English sentence: the journal is the work log.

use std::fmt::Write;
use std::time::Duration;

use super::closure::{Opening, Purpose};
use super::command::Actor;
use super::event::{Adoption, Blame, Cause, Change, Emptying, Event};
use super::runbook::StepName;
use super::trial::is_undoing;
use super::upgrade::{Agreed, Ending, Item, PastDecision, Target};
use crate::analysis::WhenUnproven;
use crate::time::in_words;
use crate::traffic::{TierName, Version, Weight};

impl Event {
    /// The event as one sentence, without its time: `web: 1.1.0 advanced to 5%: ...`.
    pub fn sentence(&self) -> String {
        let mut text = format!("{}: {}", self.place(), self.deed());
        if let Some(because) = &self.because {
            let _ = write!(text, " (because: {because})");
        }
        text
    }

    /// Where, in a word: the tier; else the rollout over tiers, all tiers, or the program.
    pub fn place(&self) -> String {
        match (&self.tier, self.rollout) {
            (Some(tier), _) => tier.to_string(),
            (None, Some(id)) => format!("rollout {id}"),
            (None, None) if self.closes() => "all tiers".into(),
            (None, None) => "weir".into(),
        }
    }

    /// Whether it keeps users out, or lets them in again.
    const fn closes(&self) -> bool {
        matches!(self.change, Change::Closed { .. } | Change::Opened { .. })
    }

    fn adopted(&self, stable: &Version, why: &Adoption) -> String {
        match why {
            Adoption::FirstStart => {
                format!("{stable} serves everybody, as the file says; the journal is new")
            }
            Adoption::Order => format!("{stable} adopted by {} as the one that serves", self.by),
            Adoption::Recovered { what } => format!(
                "{stable} serves everybody, as the file says; the journal was set aside ({what}); \
                 `weir adopt {} {stable}` confirms",
                self.place()
            ),
        }
    }

    fn deed(&self) -> String {
        let by = &self.by;
        match &self.change {
            Change::Adopted { stable, why, .. } => self.adopted(stable, why),
            Change::Advanced { weight, cause } => match cause {
                Cause::Order => format!("advanced to {weight} by {by}"),
                Cause::Proven { reason } | Cause::Unproven { reason } => {
                    format!("advanced to {weight}: {reason}")
                }
            },
            Change::Closed { purpose, until, message, close } => {
                let span = until.map(|until| until.since(self.at));
                closed(*purpose, span, message.as_deref(), *close, by)
            }
            Change::Approved { step } => format!("{by} said yes to step {step}"),
            Change::Asked { step, question } => asked(step, question),
            Change::Cut => cut(by),
            Change::DecisionNears { said, past } => nears(said, *past),
            Change::DecisionPassed => DECISION_PASSED.into(),
            Change::Emptied { release, caches, why } => emptied(release, caches, why),
            Change::Froze { cause } => froze(&ground(cause, self)),
            Change::Held { reason } => format!("held; the time for a proof is over: {reason}"),
            Change::Interrupted { step } => interrupted(step),
            Change::Moved { version, addresses } => {
                let places: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("{version} now runs at {}", places.join(", "))
            }
            Change::Opened { purpose, cause } => opened(*purpose, *cause, by),
            Change::Overdue { workers, instance, looked, reason } => {
                overdue(workers, instance, *looked, reason)
            }
            Change::Passed { weight, cause } => passed(*weight, cause, by),
            Change::Paused => {
                format!("paused by {by}; a failing canary is still rolled back")
            }
            Change::Promoted { release, replaced, cause } => promoted(release, replaced, cause, by),
            Change::Reanalysed { give_up, when_unproven } => reanalysed(*give_up, *when_unproven),
            Change::Receding { from, over } => self.receding(*from, *over),
            Change::Refused { order, why, more } => refused(order, why, *more, self),
            Change::Recalled { cause, at, items } => recalled(*at, items, &ground(cause, self)),
            Change::Replanned { plan } => format!("the plan is now {plan}"),
            Change::Rerouted { items } => {
                format!("the plan is changed from here on; {} items in all", items.len())
            }
            Change::Resumed => format!("resumed by {by}"),
            Change::RolledBack { from, to, cause, .. } => {
                format!(
                    "rolled back, everybody is on {to} and {from} has no users: {}",
                    ground(cause, self)
                )
            }
            Change::Shifted { instance, to } => shifted(instance, to.as_ref()),
            Change::Started { release, attempt, plan, .. } => {
                let again =
                    if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                let first = plan.first().weight;
                format!("{release}{again} started at {first} by {by}; the plan: {plan}")
            }
            Change::StepBegan { step, run: 0 | 1 } => format!("step {step} begins"),
            Change::StepBegan { step, run } => format!("step {step} begins, run {run}"),
            Change::StepEnded { step, outcome } => outcome.sentence(step),
            Change::StepSkipped { step } => format!("step {step} counts as done, says {by}"),
            Change::Tried { workers, instance, cause } => tried(workers, instance, cause, by),
            Change::TurnedBack { cause, items } => turned_back(items, &ground(cause, self)),
            Change::UpgradeEnded { ending } => ended(ending),
            Change::UpgradeStarted { agreed } => started(agreed, self),
            Change::WouldHaveRolledBack { cause } => {
                format!("would have rolled back (observing only): {}", ground(cause, self))
            }
        }
    }
}

fn overdue(workers: &TierName, instance: &str, looked: Duration, reason: &str) -> String {
    let looked = in_words(looked);
    format!(
        "{workers}: the jobs of {instance} are not enough after {looked}: {reason}; it goes on once they are, \
         or by `weir advance`"
    )
}

fn nears(said: &str, past: PastDecision) -> String {
    let then = match past {
        PastDecision::Hold => "nothing is raised until a person says so",
        PastDecision::Rollback => "everybody goes back",
    };
    format!("is to be decided by {said}; past that {then}")
}

/// What is said when the decision time has passed and the rollout holds.
const DECISION_PASSED: &str = "the decision time has passed; nothing is raised until `weir resume`, \
                               and `weir rollback` takes everybody back";

fn reanalysed(give_up: Duration, when_unproven: WhenUnproven) -> String {
    let then = match when_unproven {
        WhenUnproven::Hold => "holds",
        WhenUnproven::Advance => "advances",
    };
    format!("a stage without a proof {then} after {}", in_words(give_up))
}

impl Event {
    fn receding(&self, from: Weight, over: Duration) -> String {
        let (over, by, place) = (in_words(over), &self.by, self.place());
        format!(
            "everybody goes back, from {from} to nothing over {over}, ordered by {by}; `weir rollback \
             {place}` again takes them back at once"
        )
    }
}

fn cut(by: &Actor) -> String {
    format!("open connections of the version that was left are closed at once, by {by}")
}

fn asked(step: &StepName, question: &str) -> String {
    format!(
        "waits for a person, step {step}: {question} (`weir approve {step}`, or `weir rollback`)"
    )
}

fn froze(why: &str) -> String {
    format!(
        "ALARM: stays as it is, past the point of no return, though it would have gone back: {why}; \
         `weir rollback --past-no-return` goes back, `weir advance` goes on all the same, `weir \
         resume` once it is well again"
    )
}

fn interrupted(step: &StepName) -> String {
    format!(
        "Weir was interrupted while step {step} ran, and does not know how far it came; look, then \
         `weir step retry {step}`, `weir step skip {step}` if it is done, or `weir rollback`"
    )
}

fn passed(weight: Weight, cause: &Cause, by: &Actor) -> String {
    match cause {
        Cause::Order => format!("{weight} is enough, says {by}"),
        Cause::Proven { reason } | Cause::Unproven { reason } => {
            format!("has passed {weight}: {reason}")
        }
    }
}

fn shifted(instance: &str, to: Option<&Version>) -> String {
    match to {
        None => format!("{instance} gets no more requests and is moved"),
        Some(version) => format!("{instance} gets those of {version}"),
    }
}

fn tried(workers: &TierName, instance: &str, cause: &Cause, by: &Actor) -> String {
    match cause {
        Cause::Order => format!("{workers}: the jobs of {instance} are enough, says {by}"),
        Cause::Proven { reason } | Cause::Unproven { reason } => {
            format!("{workers}: nothing speaks against the jobs of {instance}: {reason}")
        }
    }
}

/// Which instances go back alone, from item `at` on.
fn recalled(at: usize, items: &[Item], why: &str) -> String {
    let is_back = |item: &&Item| is_undoing(item);
    let back: Vec<Item> = items.iter().skip(at).take_while(is_back).cloned().collect();
    let has_traffic = back.iter().any(|item| matches!(item, Item::Shift(_)));
    let who = if has_traffic { "an instance goes" } else { "workers go" };
    format!("ALARM: {who} back and the rest waits: {why}; still to do: {}", steps(&back))
}

fn turned_back(items: &[Item], why: &str) -> String {
    let waits = items.iter().any(|item| matches!(item, Item::Home { .. }));
    let who =
        if waits { "an instance first, since none has the version before" } else { "users first" };
    format!("goes back, {who}: {why}; still to do: {}", steps(items))
}

fn ended(ending: &Ending) -> String {
    match ending {
        Ending::Promoted => "is over: everybody has the new version everywhere".into(),
        Ending::RolledBack => "is over: everybody and everything is back".into(),
        Ending::Stopped { tier } => {
            format!("stops here, since {tier} went back alone; other tiers stay as they are")
        }
    }
}

fn refused(order: &str, why: &str, more: u32, event: &Event) -> String {
    let before = match more {
        0 => String::new(),
        more => format!(" ({more} refusals before it are not written down)"),
    };
    format!("`{order}` by {} was refused: {why}{before}", event.by)
}

fn promoted(release: &Version, replaced: &Version, cause: &Cause, by: &Actor) -> String {
    let (by, why) = match cause {
        Cause::Order => (format!(" by {by}"), String::new()),
        Cause::Proven { reason } | Cause::Unproven { reason } => {
            (String::new(), format!(": {reason}"))
        }
    };
    format!("promoted{by}, everybody is on {release}; `weir rollback` goes back to {replaced}{why}")
}

fn closed(
    purpose: Purpose,
    span: Option<Duration>,
    message: Option<&str>,
    close: bool,
    by: &Actor,
) -> String {
    let span = span.map(|span| format!(" for {}", in_words(span))).unwrap_or_default();
    match purpose {
        Purpose::Hold => format!("held by {by}{span}; requests wait"),
        Purpose::Maintenance => {
            let close = if close { ", open connections are closed" } else { "" };
            let said = message.map(|said| format!(", told: {said}")).unwrap_or_default();
            format!("in maintenance by {by}{span}; users get 503{close}{said}")
        }
    }
}

fn opened(purpose: Purpose, cause: Opening, by: &Actor) -> String {
    let how = match cause {
        Opening::Order => format!("by {by}"),
        Opening::Time => "since its time is up".into(),
    };
    let then = match purpose {
        Purpose::Hold => "those who waited go on in order",
        Purpose::Maintenance => "everybody is served again",
    };
    format!("{} ended {how}; {then}", purpose.name())
}

fn emptied(release: &Version, caches: &[String], why: &Emptying) -> String {
    let of = if caches.len() == 1 { "the cache" } else { "the caches" };
    let caches = caches.join(", ");
    match why {
        Emptying::Again => {
            format!(
                "{release} begins with nothing in {of} {caches}, since it was rolled back before"
            )
        }
        Emptying::RolledBack => format!("what {release} has in {of} {caches} is thrown away"),
        Emptying::Stale { away } => format!(
            "{release} begins with nothing in {of} {caches}, since nobody used it for {}; answers may \
             be slower until it is warm",
            in_words(*away)
        ),
    }
}

/// The names of the steps among `items`, and where users follow later.
fn steps(items: &[Item]) -> String {
    let name = |item: &Item| match item {
        Item::Home { tier, .. } => Some(format!("the users of {tier}")),
        Item::Step(step) => Some(step.name.to_string()),
        Item::Everybody { .. } | Item::Shift(_) | Item::Stage { .. } | Item::Trial(_) => None,
    };
    let names: Vec<String> = items.iter().filter_map(name).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

fn started(agreed: &Agreed, event: &Event) -> String {
    let name = agreed.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
    let target = |(tier, target): (&TierName, &Target)| format!("{tier} {}", target.version);
    let targets: Vec<String> = agreed.targets.iter().map(target).collect();
    format!("{name}started by {}: {}; {} items", event.by, targets.join(", "), agreed.items.len())
}

fn ground(cause: &Blame, event: &Event) -> String {
    match cause {
        Blame::DecisionTime => "the decision time has passed".into(),
        Blame::Step { step, reason } => format!("step {step} failed: {reason}"),
        Blame::Together { tier, reason } => format!("together with {tier}: {reason}"),
        Blame::Order => format!("ordered by {}", event.by),
        Blame::Unhealthy { reason } | Blame::Verdict { reason, .. } => reason.clone(),
    }
}
