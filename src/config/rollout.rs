//! Reads `[rollout]`: the stages, the order of the tiers, the times, and what was agreed on.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Code, Level};
use super::fleet::alone;
use super::program::BAKE_MAX;
use super::reader::Reader;
use super::runbook::{RunbookDraft, no_such_tier};
use super::section::{At, Section, not_a};
use super::stages::{StagesDraft, rest, together};
use super::tier::Draft;
use super::values::{Mistake, quoted};
use super::{RolloutConfig, RunbookConfig, TIERS_MAX, TierConfig, keys};
use crate::rollout::runbook::{Step, StepName};
use crate::rollout::{
    Calendar, DecisionTime, Fleet, Freeze, Hours, PastDecision, ROLLBACK_OVER_MAX, Scope, Stages,
    UpgradeFacts, WINDOWS_MAX, Workers,
};
use crate::time::Zone;
use crate::traffic::{TierName, Version};

/// The default least time of a stage, that of the judge's study.
const BAKE: Duration = Duration::from_mins(1);

/// Longest name of a rollout, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Hops of a chain: more versions than that are two upgrades.
const HOPS_MAX: usize = 50;

/// `[rollout]` as far as it could be read alone.
pub(super) struct RolloutDraft {
    config: RolloutConfig,
    order: At<Vec<Vec<TierName>>>,
    gates: Vec<Step>,
}

/// Reads `[rollout]`.
pub(super) fn rollout(root: &mut Section<'_>) -> RolloutDraft {
    let mut calendar = Calendar::default();
    let help = "write a name: zone = \"Europe/Berlin\"";
    let zone = root.text("zone", help, said::<Zone>);
    let names_zone = zone.is_some();
    calendar.zone = zone.map(|at| at.value);
    let mut section = root.table("rollout", &keys::ROLLOUT);
    let mut config = RolloutConfig {
        stages: Stages::Auto,
        bake: BAKE,
        rollback_over: Duration::ZERO,
        upgrade: UpgradeFacts::default(),
    };
    section.duration("bake", Duration::ZERO..=BAKE_MAX, &mut config.bake);
    let over = Duration::ZERO..=ROLLBACK_OVER_MAX;
    section.duration("rollback_over", over, &mut config.rollback_over);
    let StagesDraft { stages, gates } = StagesDraft::read(&mut section, config.bake, None);
    config.stages = stages.map_or(Stages::Auto, |at| at.value);
    let order = order(&mut section);
    let timed = times(&mut section, &mut calendar, &mut config.upgrade);
    if let Some((key, span)) = timed.filter(|_| !names_zone) {
        let help = "name the zone of all times at the top of the file: zone = \"Europe/Berlin\"";
        section.wrong(key, span, Mistake::new(format!("`{key}` says a time of no zone"), help));
    }
    config.upgrade.calendar = calendar;
    agreed(&mut section, &mut config.upgrade);
    section.finish();
    RolloutDraft { config, order, gates }
}

impl RolloutDraft {
    /// The stages of tiers that do not say their own.
    pub(super) const fn stages(&self) -> &Stages {
        &self.config.stages
    }

    /// Least time of a stage that does not say its own.
    pub(super) const fn bake(&self) -> Duration {
        self.config.bake
    }

    /// What the order says against the tiers, and the point of no return against the steps.
    pub(super) fn check(
        &self,
        reader: &Reader,
        tiers: &[Draft],
        workers: &[Workers],
        rolling: &[Fleet],
        runbook: &RunbookDraft,
    ) {
        let names = tiers.iter().filter_map(|tier| tier.name.as_ref()).map(|at| &at.value);
        let known: Vec<&TierName> = names.chain(workers.iter().map(Workers::name)).collect();
        let rolling = rolling.iter().map(|fleet| &fleet.name);
        alone(reader, workers.iter().map(Workers::name).chain(rolling), &self.order);
        together(reader, tiers, &self.order.value, &self.config.stages);
        let mut seen: Vec<&TierName> = Vec::new();
        let wrong = |key: &str, mistake| {
            let place = (format!("rollout.{key}"), self.order.span.clone());
            reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
        };
        for tier in self.order.value.iter().flatten() {
            if !known.contains(&tier) {
                wrong("order", no_such_tier(tier, &known));
            } else if seen.contains(&tier) {
                let message = format!("{tier} stands twice in the order");
                wrong("order", Mistake::new(message, "name each tier once"));
            }
            seen.push(tier);
        }
        if let Some(step) = &self.config.upgrade.no_return
            && !runbook.has(step)
        {
            let message = format!("there is no step {}", quoted(step.as_str()));
            let help = "name one of [[step]]: point_of_no_return = \"after step post-migrate\"";
            wrong("point_of_no_return", Mistake::new(message, help));
        }
    }

    /// The rollout, with the steps of `runbook`, the gates of the stages, `workers` and the tiers
    /// that are `rolling`.
    pub(super) fn finish(
        self,
        runbook: &mut RunbookConfig,
        (workers, rolling): (Vec<Workers>, Vec<Fleet>),
        tiers: &[TierConfig],
    ) -> RolloutConfig {
        let Self { mut config, order, gates } = self;
        runbook.steps.extend(gates);
        (config.upgrade.order, config.upgrade.workers) = (order.value, workers);
        config.upgrade.rolling = rolling;
        config.upgrade.steps.clone_from(&runbook.steps);
        if config.upgrade.is_wanted() {
            let rest = rest(&config.upgrade.order, tiers, &config.stages);
            config.upgrade.order.extend(rest);
        }
        config
    }
}

/// The tiers in order: texts, and lists of those that move together.
fn order(section: &mut Section<'_>) -> At<Vec<Vec<TierName>>> {
    let help = "write a list: order = [\"admin\", [\"web\", \"api\"], \"worker\"]";
    let name = |value: &DeValue<'_>| {
        let text = value.as_str().ok_or_else(|| not_a("the name of a tier", value, help))?;
        let wrong = |_| Mistake::new(format!("{} is no name of a tier", quoted(text)), help);
        text.parse::<TierName>().map_err(wrong)
    };
    let read = section.read("order", |value| {
        let list = value.as_array().ok_or_else(|| not_a("a list", value, help))?;
        if list.len() > TIERS_MAX {
            return Err(Mistake::new(
                format!("{} steps are too many", list.len()),
                format!("at most {TIERS_MAX} are allowed"),
            ));
        }
        let step = |item: &Spanned<DeValue<'_>>| match item.get_ref().as_array() {
            Some(tiers) => tiers.iter().map(|tier| name(tier.get_ref())).collect(),
            None => Ok(vec![name(item.get_ref())?]),
        };
        list.iter().map(step).collect::<Result<Vec<Vec<TierName>>, Mistake>>()
    });
    let span = section.span.clone();
    read.unwrap_or(At { value: Vec::new(), span })
}

/// Hours, frozen days and the decision time; gives the first key that says a time.
fn times(
    section: &mut Section<'_>,
    calendar: &mut Calendar,
    upgrade: &mut UpgradeFacts,
) -> Option<(&'static str, Range<usize>)> {
    let keys = ["hours", "freeze", "decide_by"];
    let timed = keys.into_iter().find_map(|key| Some((key, section.key_span(key)?)));
    let example = "[\"Mon-Thu 01:00-05:00\"]";
    let hours = section.list("hours", WINDOWS_MAX, example, said::<Hours>);
    calendar.hours = hours.unwrap_or_default().into_iter().map(|at| at.value).collect();
    let example = "[\"2026-12-24..2027-01-01\"]";
    let freeze = section.list("freeze", WINDOWS_MAX, example, said::<Freeze>);
    calendar.freeze = freeze.unwrap_or_default().into_iter().map(|at| at.value).collect();
    let time = section.text("decide_by", "write a time: \"03:30\"", said::<DecisionTime>);
    upgrade.decide_by = time.map(|at| at.value);
    timed
}

/// What was agreed on beforehand.
fn agreed(section: &mut Section<'_>, upgrade: &mut UpgradeFacts) {
    upgrade.name = section.text("name", "write a name: \"rails-4.2\"", name).map(|at| at.value);
    let words = [("rollback", PastDecision::Rollback), ("hold", PastDecision::Hold)];
    section.word("past_decision", &words, &mut upgrade.past_decision);
    let words = [("rollout", Scope::Rollout), ("tier", Scope::Tier)];
    section.word("on_failure", &words, &mut upgrade.on_failure);
    let help = "write \"after step post-migrate\"";
    let step = section.text("point_of_no_return", help, |text| {
        let name = text.strip_prefix("after step ").unwrap_or_default().trim();
        name.parse::<StepName>()
            .map_err(|_| Mistake::new(format!("{} names no step", quoted(text)), help))
    });
    upgrade.no_return = step.map(|at| at.value);
    let help = "[\"2.9.4\", \"3.0.1\", \"3.5.19\"]";
    let hops = section.list("hops", HOPS_MAX, help, |text| {
        text.parse::<Version>()
            .map_err(|error| Mistake::new(error.to_string(), "see docs/upgrade.md"))
    });
    upgrade.hops = hops.unwrap_or_default().into_iter().map(|at| at.value).collect();
}

/// A name that fits a line.
fn name(text: &str) -> Result<String, Mistake> {
    let fits = (1..=NAME_CHARS_MAX).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    let help = format!("use 1 to {NAME_CHARS_MAX} characters on one line");
    Err(Mistake::new(format!("{} is no name of a rollout", quoted(text)), help))
}

/// Reads what says in its own error how it is written.
fn said<T: FromStr<Err: Display>>(text: &str) -> Result<T, Mistake> {
    text.parse::<T>().map_err(|error| {
        let said = error.to_string();
        let (message, help) = said.split_once("; ").unwrap_or((&said, "see docs/upgrade.md"));
        Mistake::new(message, help)
    })
}
