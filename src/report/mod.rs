//! The document afterwards: what was planned, what happened, by whom and why, with the numbers. From
//! the journal alone; every event speaks for itself by its sentence, so a new kind needs nothing here.

mod chart;
mod html;
mod markdown;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::journal::{Record, Sample, Seq};
use crate::rollout::runbook::Output;
use crate::rollout::{Agreed, Change, PastDecision, RolloutId, Scope, State};
use crate::time::{Timestamp, Zone};
use crate::traffic::{TierName, Weight};

/// One rollout, as the journal tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of Weir that wrote this.
    pub weir: String,
    /// When it was written.
    pub made: Timestamp,
    /// The time zone of all times in its text.
    pub zone: Zone,
    /// The number of the rollout.
    pub rollout: RolloutId,
    /// What the file calls it.
    pub name: Option<String>,
    /// Whether it is still open.
    pub open: bool,
    /// Why it waits for a person's word, if it does.
    pub held: Option<String>,
    /// When it began.
    pub from: Timestamp,
    /// When the last of it happened, or when this was written.
    pub until: Timestamp,
    /// What was planned, by tier.
    pub planned: Vec<Planned>,
    /// What was agreed on for a rollout over tiers beside its order, in sentences.
    pub agreed: Vec<String>,
    /// What a rollout over tiers was to do, in order, and on the way back; empty: it was none.
    pub items: Vec<String>,
    /// What happened, by tier; what belongs to no tier alone comes first.
    pub parts: Vec<Part>,
    /// What was refused meanwhile.
    pub refused: Vec<Entry>,
}

/// What was planned in one tier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// Where.
    pub tier: String,
    /// What was rolled out.
    pub release: String,
    /// Which try it was.
    pub attempt: u32,
    /// The stages, in words.
    pub plan: String,
    /// Who began it.
    pub by: String,
    /// Why, in their words.
    pub because: Option<String>,
}

/// What happened in one tier, or in none alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The tier.
    pub tier: Option<TierName>,
    /// How it ended, as a sentence.
    pub outcome: Option<String>,
    /// The events in order.
    pub entries: Vec<Entry>,
    /// The canary's share over time: when it became what.
    pub weights: Vec<(Timestamp, Weight)>,
    /// Both versions, minute by minute.
    pub samples: Vec<Sample>,
    /// Both versions, over all.
    pub totals: Vec<Total>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its place in the journal.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// The event as a sentence.
    pub sentence: String,
    /// What was printed meanwhile, if something was.
    pub output: Option<String>,
}

/// What one version did in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Total {
    /// The version.
    pub version: String,
    /// Whether it was the canary.
    pub canary: bool,
    /// Judged requests.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// The highest 95th percentile of a minute, in microseconds.
    pub worst_p95: Option<u64>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One file for a browser or a printer.
    Html,
    /// For programs.
    Json,
    /// For wikis and editors.
    #[default]
    Markdown,
}

/// Why there is no report.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReportError {
    /// There never was one.
    #[error("the journal has no rollout yet; `weir start` opens one")]
    NoneYet,
    /// There is no such rollout.
    #[error("the journal has no rollout {asked}; the newest is {latest}")]
    Unknown {
        /// What was asked for.
        asked: RolloutId,
        /// What there is.
        latest: RolloutId,
    },
}

/// The number of the newest rollout.
///
/// # Errors
/// There is none.
pub fn latest(records: &[Record]) -> Result<RolloutId, ReportError> {
    let latest = records.iter().filter_map(|record| record.event.rollout).max();
    latest.ok_or(ReportError::NoneYet)
}

impl Report {
    /// The report of `rollout` from the whole journal and the samples of that rollout, written at
    /// `made`, with the times of `zone`.
    ///
    /// # Errors
    /// The journal does not know it.
    pub fn of(
        rollout: RolloutId,
        records: &[Record],
        samples: &[Sample],
        (made, zone): (Timestamp, &Zone),
    ) -> Result<Self, ReportError> {
        let own = |record: &&Record| record.event.rollout == Some(rollout);
        let (Some(first), Some(last)) = (records.iter().find(own), records.iter().rfind(own))
        else {
            let latest = latest(records)?;
            return Err(ReportError::Unknown { asked: rollout, latest });
        };
        let tiers: Vec<&TierName> =
            records.iter().filter(own).filter_map(|record| record.event.tier.as_ref()).collect();
        let mut state = State::default();
        for record in records {
            state.apply(&record.event);
        }
        let (open, held) = standing(&state, rollout);
        let (from, until) = (first.event.at, if open { made } else { last.event.at });
        // What belongs to no rollout, and happened meanwhile where it matters.
        let meanwhile = |record: &Record| {
            let event = &record.event;
            event.rollout.is_none()
                && (from..=until).contains(&event.at)
                && event.tier.as_ref().is_none_or(|tier| tiers.contains(&tier))
        };
        let mut parts: BTreeMap<Option<TierName>, Part> = BTreeMap::new();
        let (mut planned, mut items, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut state = State::default();
        for record in records {
            let event = &record.event;
            state.apply(event);
            if event.rollout != Some(rollout) && !meanwhile(record) {
                continue;
            }
            if let Change::Refused { .. } = &event.change {
                refused.push(Entry::of(record));
                continue;
            }
            planned.extend(Planned::of(record));
            items.extend(itemised(&event.change));
            let part =
                parts.entry(event.tier.clone()).or_insert_with(|| Part::new(event.tier.as_ref()));
            part.entries.push(Entry::of(record));
            if let Some(tier) = &event.tier {
                part.moves(event.at, state.weight(tier));
            }
            if is_outcome(&event.change) {
                part.outcome = Some(event.sentence());
            }
        }
        for sample in samples.iter().filter(|sample| sample.rollout == rollout) {
            let tier = Some(sample.tier.clone());
            parts.entry(tier).or_insert_with(|| Part::new(Some(&sample.tier))).counts(sample);
        }
        let weir = env!("CARGO_PKG_VERSION").to_owned();
        let opened = records.iter().filter(own).find_map(|record| agreement(&record.event.change));
        let name = opened.and_then(|agreed| agreed.name.clone());
        let agreed = opened.map_or_else(Vec::new, |agreed| rules(agreed, zone));
        let (parts, zone) = (parts.into_values().collect(), zone.clone());
        Ok(Self {
            weir,
            made,
            zone,
            rollout,
            name,
            open,
            held,
            from,
            until,
            planned,
            agreed,
            items,
            parts,
            refused,
        })
    }

    /// The report as text.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Html => html::write(self),
            Format::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
            Format::Markdown => markdown::write(self),
        }
    }

    fn title(&self) -> String {
        let releases: Vec<String> =
            self.planned.iter().map(|one| format!("{} in {}", one.release, one.tier)).collect();
        let name = self.name.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
        match releases.len() {
            0 => format!("Rollout {}{name}", self.rollout),
            _ => format!("Rollout {}{name}: {}", self.rollout, releases.join(", ")),
        }
    }

    /// A moment with its zone.
    fn moment(&self, at: Timestamp) -> String {
        self.zone.write(at, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// The time of day.
    fn hour(&self, at: Timestamp) -> String {
        self.zone.write(at, "%H:%M:%S")
    }

    /// How it stands, a sentence a tier.
    fn outcomes(&self) -> Vec<String> {
        let mut outcomes: Vec<String> =
            self.parts.iter().filter_map(|part| part.outcome.clone()).collect();
        if self.open {
            let held = self.held.as_ref().map(|why| format!(", and stands still: {why}"));
            outcomes.push(format!("it is still open{}", held.unwrap_or_default()));
        }
        outcomes
    }
}

/// Whether `rollout` is open, and why it waits for a person's word, if it does.
fn standing(state: &State, rollout: RolloutId) -> (bool, Option<String>) {
    let upgrade = state.open_upgrade().filter(|upgrade| upgrade.id == rollout);
    let open = upgrade.is_some() || state.open().any(|(_, _, open)| open.id == rollout);
    (open, upgrade.and_then(|upgrade| upgrade.held.clone()))
}

/// What was agreed on where a rollout over tiers was opened.
fn agreement(change: &Change) -> Option<&Agreed> {
    if let Change::UpgradeStarted { agreed } = change { Some(agreed) } else { None }
}

/// What was agreed on for a rollout over tiers beside what it does.
fn rules(agreed: &Agreed, zone: &Zone) -> Vec<String> {
    let decision = agreed.decide_by.map(|at| {
        let then = match agreed.past_decision {
            PastDecision::Hold => "nothing is raised until a person says so",
            PastDecision::Rollback => "everybody goes back",
        };
        format!("to be decided by {}; past it {then}", zone.say(at))
    });
    let scope = match agreed.on_failure {
        Scope::Rollout => "where a tier fails, all of them go back",
        Scope::Tier => "where a tier fails, it goes back alone and the rollout stops there",
    };
    let no_return = agreed.no_return.as_ref();
    let no_return = no_return.map(|step| format!("after step {step} nothing goes back by itself"));
    decision.into_iter().chain([scope.to_owned()]).chain(no_return).collect()
}

/// Whether it says how something ended.
fn is_outcome(change: &Change) -> bool {
    matches!(
        change,
        Change::Promoted { .. }
            | Change::RolledBack { .. }
            | Change::TurnedBack { .. }
            | Change::UpgradeEnded { .. }
    )
}

/// The items of a rollout over tiers that was opened, or changed.
fn itemised(change: &Change) -> Vec<String> {
    if let Some(agreed) = agreement(change) {
        let back = agreed.way_back.iter().map(ToString::to_string);
        return agreed.items.iter().map(ToString::to_string).chain(back).collect();
    }
    let Change::Rerouted { items } = change else { return Vec::new() };
    items.iter().map(|item| format!("changed: {item}")).collect()
}

impl Planned {
    fn of(record: &Record) -> Option<Self> {
        let event = &record.event;
        let Change::Started { release, attempt, plan, .. } = &event.change else { return None };
        Some(Self {
            tier: event.place(),
            release: release.to_string(),
            attempt: *attempt,
            plan: plan.to_string(),
            by: event.by.to_string(),
            because: event.because.clone(),
        })
    }
}

/// Writes `web: 1.1.0, attempt 2 by ada, because: mended; 5% for 1 min, then everybody`.
impl fmt::Display for Planned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.tier, self.release)?;
        if self.attempt > 1 {
            write!(out, ", attempt {}", self.attempt)?;
        }
        write!(out, " by {}", self.by)?;
        if let Some(because) = &self.because {
            write!(out, ", because: {because}")?;
        }
        write!(out, "; {}", self.plan)
    }
}

impl Part {
    fn new(tier: Option<&TierName>) -> Self {
        Self {
            tier: tier.cloned(),
            outcome: None,
            entries: Vec::new(),
            weights: Vec::new(),
            samples: Vec::new(),
            totals: Vec::new(),
        }
    }

    /// The heading.
    fn name(&self) -> &str {
        self.tier.as_ref().map_or("All tiers", TierName::as_str)
    }

    fn moves(&mut self, at: Timestamp, weight: Weight) {
        if self.weights.last().is_none_or(|(_, last)| *last != weight) {
            self.weights.push((at, weight));
        }
    }

    fn counts(&mut self, sample: &Sample) {
        let version = sample.version.to_string();
        let same = |total: &Total| total.version == version && total.canary == sample.canary;
        let place = self.totals.iter().position(same).unwrap_or_else(|| {
            self.totals.push(Total {
                version: version.clone(),
                canary: sample.canary,
                requests: 0,
                errors: 0,
                worst_p95: None,
            });
            self.totals.len() - 1
        });
        let total = &mut self.totals[place];
        total.requests += sample.requests;
        total.errors += sample.errors;
        total.worst_p95 = total.worst_p95.max(sample.p95);
        self.samples.push(sample.clone());
    }
}

impl Entry {
    fn of(record: &Record) -> Self {
        let event = record.event.without_secret();
        Self {
            seq: record.seq,
            at: event.at,
            by: event.by.to_string(),
            sentence: event.sentence(),
            output: output(&event.change),
        }
    }
}

/// What a step has written, which the journal bounds.
fn output(change: &Change) -> Option<String> {
    let Change::StepEnded { outcome, .. } = change else { return None };
    let Output { head, cut, tail } = &outcome.output;
    let text = match cut {
        0 => format!("{head}{tail}"),
        cut => format!("{}\n... {cut} bytes are left out ...\n{tail}", head.trim_end()),
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// A share in percent.
fn percent(events: u64, requests: u64) -> String {
    if requests == 0 {
        return "-".into();
    }
    format!("{:.2} %", 100.0 * events as f64 / requests as f64)
}

/// A latency in milliseconds.
fn milliseconds(micros: Option<u64>) -> String {
    micros.map_or("-".into(), |micros| format!("{:.1} ms", micros as f64 / 1_000.0))
}

#[cfg(test)]
mod tests;
