//! `weir plan`: what `weir start` would do, and how long it would take.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::client::{AskError, Client, escaped};
use super::screen::{BOLD, DIM, WARN};
use super::verbs::Look;
use super::{client, find, orders, print};
use crate::admin::api::{LegStatus, PlanStatus, Status};
use crate::clock;
use crate::config;
use crate::rollout::{Actor, Command, Input, Order, State, outlook, step};
use crate::time::in_words;
use crate::traffic::{Address, TierName, Version};

/// What was typed after `weir plan`.
pub(super) struct Asked {
    pub(super) tier: Option<String>,
    pub(super) version: Option<Version>,
    pub(super) again: bool,
}

/// Asks the program, or reads the file where none runs.
pub(super) async fn plan(asked: Asked, look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let text = match client.get_text("/api/v1/status").await {
        Ok(status) => {
            let status: Status = client.parsed(&status)?;
            let (tier, version) = orders::meant(&status, asked.tier.as_deref(), asked.version)?;
            client.get_text(&path(tier.as_ref(), version.as_ref(), asked.again)).await?
        }
        Err(AskError::Nobody { .. }) => serde_json::to_string(&here(&asked, look)?)?,
        Err(error) => return Err(error.into()),
    };
    if look.json {
        return print::line(&text);
    }
    print::text(&table(&client.parsed(&text)?))
}

/// What `start` would do, in lines, if it would do anything; shown before it does.
pub(super) async fn before(
    client: &Client,
    (tier, version, again): (Option<&TierName>, Option<&Version>, bool),
    upstreams: &[Address],
) -> Option<String> {
    // A release that the file does not list has no plan before its addresses are asked.
    if !upstreams.is_empty() {
        return None;
    }
    let plan = client.get::<PlanStatus>(&path(tier, version, again)).await.ok()?;
    Some(table(&plan))
}

fn path(tier: Option<&TierName>, version: Option<&Version>, again: bool) -> String {
    let mut path = format!("/api/v1/plan?again={again}");
    if let Some(tier) = tier {
        let _ = write!(path, "&tier={}", escaped(tier.as_str()));
    }
    if let Some(version) = version {
        let _ = write!(path, "&version={}", escaped(version.as_str()));
    }
    path
}

/// What the file alone knows.
fn here(asked: &Asked, look: &Look) -> anyhow::Result<PlanStatus> {
    let Some(path) = find::file(look.place.config.as_deref()) else {
        bail!("weir does not run, and there is no weir.toml here; name the file: --config FILE");
    };
    let config = config::load(&path).map_err(|report| anyhow::Error::msg(report.to_string()))?;
    let (facts, now) = (config.facts(), clock::wall());
    let mut state = State::default();
    let file = Input::File { journal_lost: None, reload: false };
    step(&state, &file, &facts, now)?.iter().for_each(|event| state.apply(event));
    let is_tier = |name: &&String| facts.tiers.iter().any(|tier| tier.name.as_str() == **name);
    let (tier, version) = match (&asked.tier, &asked.version) {
        (Some(name), None) if !is_tier(&name) => (None, Some(name.parse()?)),
        (tier, version) => {
            let tier = tier.as_ref().map(|name| name.parse::<TierName>()).transpose()?;
            (tier, version.clone())
        }
    };
    let order = Order::Start { tier, version, upstreams: vec![], again: asked.again };
    let command = Command { order, by: Actor::weir(), because: None };
    let outlook = outlook(&state, &facts, command, now).context("`weir start` would be refused")?;
    let mut plan = PlanStatus::from(outlook);
    plan.remarks.insert(
        0,
        "weir does not run: who serves, who is healthy and how much traffic there is is not known; \
         the file's `stable` is taken for what serves"
            .into(),
    );
    Ok(plan)
}

/// The plan as a table.
fn table(plan: &PlanStatus) -> String {
    let mut text = String::new();
    let name = plan.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let targets: Vec<String> = plan
        .targets
        .iter()
        .map(|target| match &target.stable {
            Some(stable) => format!("{} {} -> {}", target.tier, stable, target.version),
            None => format!("{} {}", target.tier, target.version),
        })
        .collect();
    let _ = writeln!(text, "{BOLD}the plan{name}{BOLD:#}  {}", targets.join(", "));
    for track in &plan.tracks {
        let width = track.iter().map(|leg| leg.text.chars().count()).max().unwrap_or(0).min(60);
        for (number, leg) in (1..).zip(track) {
            self::leg(&mut text, number, leg, width);
        }
    }
    for (head, moment) in [("earliest end", &plan.earliest), ("likely end", &plan.likely)] {
        let said = moment.as_ref().map_or("cannot be told", |moment| moment.said.as_str());
        let _ = writeln!(text, "  {head:<13} {said}");
    }
    if let (Some(moment), Some(past)) = (&plan.decide_by, &plan.past_decision) {
        let then = if past == "hold" { "then it holds" } else { "then everybody goes back" };
        let _ = writeln!(text, "  {:<13} {}, {then}", "decide by", moment.said);
    }
    if let Some(step) = &plan.point_of_no_return {
        let said = format!("after step {step}; from there nothing goes back by itself");
        let _ = writeln!(text, "  {:<13} {said}", "no return");
    }
    for step in &plan.way_back {
        let _ = writeln!(text, "  {:<13} {step}", "on rollback");
    }
    for remark in &plan.remarks {
        let _ = writeln!(text, "  {WARN}{:<13}{WARN:#} {remark}", "remark");
    }
    text
}

fn leg(text: &mut String, number: usize, leg: &LegStatus, width: usize) {
    if let Some(hours) = &leg.hours {
        let _ = writeln!(text, "      {DIM}waits for its hours, which come at {hours}{DIM:#}");
    }
    let begins = leg.begins.as_ref().map_or("not within a year", |begins| begins.said.as_str());
    let took = match leg.likely_seconds {
        Some(seconds) if seconds >= 1.0 => format!("  about {}", in_words(whole(seconds))),
        Some(_) | None => String::new(),
    };
    let note = if leg.note.is_empty() { String::new() } else { format!("  {}", leg.note) };
    let width = if took.is_empty() && note.is_empty() { 0 } else { width };
    let _ = writeln!(
        text,
        "  {number:>2}  {DIM}{begins}{DIM:#}  {:<width$}{DIM}{took}{note}{DIM:#}",
        leg.text
    );
}

fn whole(seconds: f64) -> Duration {
    Duration::from_secs(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs())
}
