//! Reads the stages, of `[rollout]` and of tiers that have their own.

use std::time::Duration;

use super::diagnostic::{Code, Level};
use super::program::BAKE_MAX;
use super::reader::Reader;
use super::runbook::one_line;
use super::section::{At, Section};
use super::tier::Draft;
use super::values::{Mistake, quoted};
use super::{Config, TierConfig, keys};
use crate::rollout::runbook::{Action, Step, When};
use crate::rollout::{Plan, STAGES_MAX, Stage, Stages};
use crate::traffic::{TierName, Weight};

/// Stages as a section says them, and the gates between them.
#[derive(Default)]
pub(super) struct StagesDraft {
    pub(super) stages: Option<At<Stages>>,
    pub(super) gates: Vec<Step>,
}

impl Config {
    /// The stages of rollouts of `tier`.
    pub fn stages<'a>(&'a self, tier: &'a TierConfig) -> &'a Stages {
        tier.stages.as_ref().unwrap_or(&self.rollout.stages)
    }
}

impl StagesDraft {
    /// Reads `stages` of `section`, which is that of `tier` if it is one's. A stage that does not say
    /// its own time lasts `bake`.
    pub(super) fn read(section: &mut Section<'_>, bake: Duration, tier: Option<&TierName>) -> Self {
        let Some(span) = section.key_span("stages") else { return Self::default() };
        let auto = At { value: Stages::Auto, span: span.clone() };
        if section.is_text("stages") {
            section.word("stages", &[("auto", ())], &mut ());
            return Self { stages: Some(auto), gates: Vec::new() };
        }
        let mut gates = Vec::new();
        let stages: Vec<_> = section
            .tables("stages", STAGES_MAX, &keys::STAGE)
            .into_iter()
            .map(|inner| stage(inner, bake, tier, &mut gates))
            .collect();
        if section.is_empty_list("stages") {
            let help = "write at least one, { weight = \"5%\", bake = \"60s\" }, or \"auto\"";
            section.wrong("stages", span.clone(), Mistake::new("`stages` is empty", help));
        }
        rising(section, &stages);
        let listed = stages.into_iter().flatten().map(|at| at.value).collect();
        // What makes no plan was said above, at its place.
        let stages =
            Plan::new(listed).map_or(auto, |plan| At { value: Stages::Listed(plan), span });
        Self { stages: Some(stages), gates }
    }
}

/// Tiers that move together have one weight, so they need the same stages.
pub(super) fn together(
    reader: &Reader,
    tiers: &[Draft],
    order: &[Vec<TierName>],
    default: &Stages,
) {
    let value =
        |stages: Option<&At<Stages>>| stages.map_or_else(|| default.clone(), |at| at.value.clone());
    for group in order {
        let is_meant = |name: &TierName| group.contains(name);
        let mut named = tiers.iter().filter_map(|draft| {
            let name = draft.name.as_ref().map(|at| &at.value).filter(|name| is_meant(name))?;
            Some((name, draft.stages.as_ref()))
        });
        let Some((first, theirs)) = named.next() else { continue };
        let Some((name, own)) = named.find(|(_, own)| value(*own) != value(theirs)) else {
            continue;
        };
        let Some(at) = own.or(theirs) else { continue };
        let message = format!("{first} and {name} move together and have other stages");
        let help = "give them the same, or let each be an entry of `order` of its own";
        let owner = if own.is_some() { name } else { first };
        let place = (format!("tier.{owner}.stages"), at.span.clone());
        reader.note((Level::Error, Code::Conflict), place, Mistake::new(message, help), Vec::new());
    }
}

/// The tiers that `order` does not name move together behind it, but only with those that have the
/// same stages: gives the groups where that makes more than one.
pub(super) fn rest(
    order: &[Vec<TierName>],
    tiers: &[TierConfig],
    default: &Stages,
) -> Vec<Vec<TierName>> {
    let mut groups: Vec<(&Stages, Vec<TierName>)> = Vec::new();
    for tier in tiers {
        let (name, stages) = (&tier.tier.name, tier.stages.as_ref().unwrap_or(default));
        if order.iter().flatten().any(|named| named == name) {
            continue;
        }
        match groups.iter_mut().find(|(same, _)| *same == stages) {
            Some((_, group)) => group.push(name.clone()),
            None => groups.push((stages, vec![name.clone()])),
        }
    }
    if groups.len() < 2 {
        return Vec::new();
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn stage(
    mut section: Section<'_>,
    bake: Duration,
    tier: Option<&TierName>,
    gates: &mut Vec<Step>,
) -> Option<At<Stage>> {
    section.need("weight", "weight = \"5%\"");
    let help = "write a percentage with its sign: \"5%\" or \"0.25%\"";
    let weight = section.text("weight", help, |text| {
        let weight: Weight = text.parse().map_err(|_| {
            Mistake::new(
                format!("{} is no weight", quoted(text)),
                format!("{help}, 0.01% to 99.99%"),
            )
        })?;
        match weight {
            Weight::ALL => Err(Mistake::new(
                "a stage of 100% has nobody left to compare with",
                "leave it out: after the last stage everybody has it",
            )),
            Weight::NONE => Err(Mistake::new("a stage of 0% admits nobody", "use 0.01% to 99.99%")),
            weight => Ok(weight),
        }
    });
    let mut stage_bake = bake;
    section.duration("bake", Duration::ZERO..=BAKE_MAX, &mut stage_bake);
    if let Some(at) = weight.as_ref().filter(|at| at.value.points() > 5_000) {
        section.remark(
            "weight",
            at.span.clone(),
            Mistake::new(
                format!("above 50% the judge grows blind, and {} is above it", at.value),
                "at 90% it takes 71 errors to see anything; let 50% be the last stage",
            ),
        );
    }
    let question = section.text("gate", "write the question: gate = \"ready?\"", one_line);
    if let Some((at, question)) = weight.as_ref().zip(question) {
        gates.extend(gate(&mut section, at.value, question, tier));
    }
    section.finish();
    weight.map(|at| At { value: Stage { weight: at.value, bake: stage_bake }, span: at.span })
}

/// What a person must say yes to after the stage of `weight`.
fn gate(
    section: &mut Section<'_>,
    weight: Weight,
    question: At<String>,
    tier: Option<&TierName>,
) -> Option<Step> {
    let percent = weight.to_string();
    let of = tier.map_or_else(String::new, |tier| format!("{tier}-"));
    let name = format!("gate-{of}{}", percent.trim_end_matches('%')).parse();
    if name.is_err() {
        let help = "make it a [[step]] with `confirm`: when = \"after stage 25% of web\"";
        let message = "its name would be longer than that of a step may be";
        section.wrong("gate", question.span, Mistake::new(message, help));
    }
    let when = When::AfterStage { weight, tier: tier.cloned() };
    let confirm = Some(question.value);
    Some(Step { confirm, ..Step::new(name.ok()?, when, Action::Confirm) })
}

/// Weights must rise from stage to stage.
fn rising(section: &Section<'_>, stages: &[Option<At<Stage>>]) {
    let stages: Vec<&At<Stage>> = stages.iter().flatten().collect();
    for pair in stages.windows(2) {
        let [before, after] = pair else { continue };
        if after.value.weight > before.value.weight {
            continue;
        }
        let mistake = Mistake::new(
            format!(
                "{} does not rise above the {} before it",
                after.value.weight, before.value.weight
            ),
            "weights rise from stage to stage",
        );
        let others = vec![(before.span.clone(), "the stage before".to_owned())];
        section.conflict("stages", after.span.clone(), mistake, others);
    }
}
