//! A rollout over tiers as a tree: what is done, what is under way, what is still to come.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::screen::baked;
use super::watch::meters::bar;
use super::words::count;
use crate::admin::api::{ItemStatus, TierStatus, UpgradeStatus};
use crate::time::{Timestamp, in_words};
use crate::traffic::TierName;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Cells of the bar of all that is done.
const WAY_CELLS: usize = 40;

/// Writes the tree of `upgrade` at `now`.
pub(super) fn tree(
    text: &mut String,
    upgrade: &UpgradeStatus,
    tiers: &[TierStatus],
    now: Timestamp,
) {
    let name = upgrade.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let since = in_words(now.since(upgrade.started));
    let way = if upgrade.goes_back { format!(", {BAD}going back{BAD:#}") } else { String::new() };
    let done = format!("{} of {} done", upgrade.done, count(upgrade.items.len() as u64, "item"));
    let _ = writeln!(
        text,
        "{BOLD}rollout {}{name}{BOLD:#}  {DIM}for {since}, {done}{DIM:#}{way}",
        upgrade.id
    );
    let share = upgrade.done as f64 / upgrade.items.len().max(1) as f64;
    let _ = writeln!(text, "  {GOOD}{}{GOOD:#}", bar(share, WAY_CELLS));
    for (index, item) in upgrade.items.iter().enumerate() {
        self::item(text, index, item, upgrade, tiers);
    }
    let waits = upgrade.waits_for.as_deref().unwrap_or("nothing: it goes on at once");
    let style = if upgrade.needs_person { WARN } else { Style::new() };
    let waited = in_words(now.since(upgrade.entered));
    let _ = writeln!(text, "  waits for  {style}{waits}{style:#} {DIM}(here for {waited}){DIM:#}");
    if let (Some(at), Some(said)) = (upgrade.decide_by, &upgrade.decide_by_said) {
        let left = match at.since(now) {
            Duration::ZERO => "passed".into(),
            left => format!("in {}", in_words(left)),
        };
        let _ = writeln!(text, "  decide by  {said} ({left})");
    }
    for line in &upgrade.output {
        let _ = writeln!(text, "  {DIM}|{DIM:#} {line}");
    }
}

/// Where `upgrade` is, in a line.
pub(super) fn line(upgrade: &UpgradeStatus) -> String {
    let waits = upgrade.waits_for.as_deref().unwrap_or("nothing: it goes on at once");
    let (id, done, all) = (upgrade.id, upgrade.done, upgrade.items.len());
    let way = if upgrade.goes_back { ", going back" } else { "" };
    format!("rollout {id}: {done} of {all} done{way}; waits for {waits}")
}

fn item(
    text: &mut String,
    index: usize,
    item: &ItemStatus,
    upgrade: &UpgradeStatus,
    tiers: &[TierStatus],
) {
    let (mark, style) = match index.cmp(&upgrade.done) {
        std::cmp::Ordering::Less => ("done", GOOD),
        std::cmp::Ordering::Equal => ("now ", BOLD),
        std::cmp::Ordering::Greater => ("    ", DIM),
    };
    let _ = write!(text, "  {style}{mark}  {}{style:#}", item.text);
    if index == upgrade.done && item.kind == "stage" {
        let weight =
            |name: &TierName| tiers.iter().find(|tier| tier.name == *name).map(|tier| tier.weight);
        let weights = item.tiers.iter().filter_map(weight);
        if let Some(lowest) = weights.min() {
            let _ = write!(text, "  {DIM}now at {lowest}{DIM:#}");
        }
        // The tier that has the longest way to go.
        let reports = tiers.iter().filter(|tier| item.tiers.contains(&tier.name));
        let reports = reports.filter_map(|tier| tier.rollout.as_ref()?.report.as_ref());
        if let Some(report) = reports.max_by(|a, b| (a.bake - a.soak).total_cmp(&(b.bake - b.soak)))
        {
            text.push_str(&baked(report));
        }
    }
    text.push('\n');
}
