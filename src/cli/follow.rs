//! What goes on: `watch`, `wait` and `log --follow` ask again each second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::client::{AskError, Client};
use super::progress::Progress;
use super::words::Wall;
use super::{ROLLED_BACK, STILL_OPEN, print, records, screen, tree};
use crate::admin::api::{Log, Status, TierStatus};
use crate::rollout::{Change, RolloutId};
use crate::traffic::TierName;

/// How often the program is asked.
const STEP: Duration = Duration::from_secs(1);

/// How often the journal is asked for the end of a rollout that is not open any more: what lowers
/// is written after it is done.
const END_TRIES: usize = 30;

/// A line for each change.
pub(super) async fn watch(client: &Client) -> anyhow::Result<()> {
    let mut shown = String::new();
    let mut lost = false;
    loop {
        match client.get::<Status>("/api/v1/status").await {
            Ok(status) => {
                let upgrade = status.upgrade.as_ref().map(tree::line);
                let lines: Vec<String> =
                    status.tiers.iter().map(place).chain(upgrade.clone()).collect();
                let now = lines.join("\n");
                if now != shown {
                    let at = Wall::of(&status).stamp(status.at);
                    if let Some(upgrade) = &upgrade {
                        print::line(&format!("{at}  {upgrade}"))?;
                    }
                    status.tiers.iter().try_for_each(|tier| {
                        print::line(&format!("{at}  {}", screen::line(tier)))
                    })?;
                    shown = now;
                }
                lost = false;
            }
            // Weir may be about to come back; who watches sees that by itself.
            Err(error) if is_lost(&error) && (lost || !shown.is_empty()) => {
                if !lost {
                    print::note(&format!("{error:#}; trying again"));
                }
                lost = true;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(STEP).await;
        print::is_read()?;
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(AskError::Nobody { .. } | AskError::Stranger { .. }))
}

/// Where a tier stands, without the numbers that change each second.
fn place(tier: &TierStatus) -> String {
    let rollout = tier.rollout.as_ref().map(|rollout| {
        let why = rollout.report.as_ref().map(|report| match &report.verdict {
            crate::analysis::Verdict::Fail { .. } => "fail".into(),
            crate::analysis::Verdict::Inconclusive { why, .. } => format!("{why:?}"),
            crate::analysis::Verdict::Pass { proven, .. } => format!("pass {proven}"),
        });
        (rollout.id, rollout.paused, why)
    });
    format!("{} {} {} {rollout:?}", tier.name, tier.stable, tier.weight)
}

/// A part of the journal; for programs exactly as it is kept.
pub(super) async fn journal(client: &Client, part: &str, json: bool) -> anyhow::Result<Log> {
    let text = client.get_text(&format!("/api/v1/log?{part}")).await?;
    if json { Ok(serde_json::from_str(&text)?) } else { client.parsed(&text) }
}

/// Prints new records of the journal as they come.
pub(super) async fn log(client: &Client, mut latest: u64, json: bool) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(STEP).await;
        print::is_read()?;
        match journal(client, &format!("after={latest}"), json).await {
            Ok(log) => {
                records(&log, json)?;
                // A journal in memory begins anew when the program does.
                let newest = log.records.last().map(|shown| shown.record.seq);
                latest = newest.unwrap_or(latest.min(log.latest));
            }
            Err(error) if is_lost(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the end of open rollouts; the exit code.
pub(super) async fn wait(
    client: &Client,
    tier: Option<&TierName>,
    timeout: Duration,
) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let status: Status = client.get("/api/v1/status").await?;
    if let Some(tier) = tier.filter(|tier| status.tier(tier.as_str()).is_none()) {
        let known: Vec<&str> = status.tiers.iter().map(|tier| tier.name.as_str()).collect();
        bail!("there is no tier {tier}; there are: {}", known.join(", "));
    }
    let mut open = open(&status, tier);
    if open.is_empty() {
        return ended_before(client, tier).await;
    }
    let mut shown: BTreeMap<TierName, String> = BTreeMap::new();
    let mut code = 0;
    let goes_on = Progress::of("waiting");
    loop {
        match client.get::<Status>("/api/v1/status").await {
            Ok(status) => {
                goes_on.aside(|| progress(&status, &open, &mut shown))?;
                goes_on.says(waiting(&status, &open));
                let still = self::open(&status, tier);
                for (name, id) in open.extract_if(.., |name, id| still.get(name) != Some(id)) {
                    let (sentence, own) = ended(client, &name, id).await?;
                    goes_on.aside(|| print::line(&sentence))?;
                    code = code.max(own);
                }
            }
            Err(error) if is_lost(&error) && begun.elapsed() < timeout => {
                goes_on.says("nobody answers; trying again".into());
            }
            Err(error) => return Err(error),
        }
        if open.is_empty() {
            return Ok(code);
        }
        if begun.elapsed() >= timeout {
            goes_on.aside(|| print::line("the time is over and the rollout is still open"))?;
            return Ok(if code == ROLLED_BACK { code } else { STILL_OPEN });
        }
        tokio::time::sleep(STEP.min(timeout.saturating_sub(begun.elapsed()))).await;
    }
}

/// The open rollouts of the tiers that are meant.
fn open(status: &Status, tier: Option<&TierName>) -> BTreeMap<TierName, RolloutId> {
    let meant = status.tiers.iter().filter(|found| tier.is_none_or(|tier| *tier == found.name));
    meant.filter_map(|tier| Some((tier.name.clone(), tier.rollout.as_ref()?.id))).collect()
}

/// What a person who waits is told each second: the stages, as far as they are.
fn waiting(status: &Status, open: &BTreeMap<TierName, RolloutId>) -> String {
    let tiers = status.tiers.iter().filter(|tier| open.contains_key(&tier.name));
    let stage = |tier: &TierStatus| {
        let rollout = tier.rollout.as_ref()?;
        let baked = rollout.report.as_ref().map(screen::baked).unwrap_or_default();
        Some(format!("{} {}{baked}", tier.name, tier.weight))
    };
    let stages: Vec<String> = tiers.filter_map(stage).collect();
    format!("waiting: {}", stages.join("; "))
}

fn progress(
    status: &Status,
    open: &BTreeMap<TierName, RolloutId>,
    shown: &mut BTreeMap<TierName, String>,
) -> anyhow::Result<()> {
    for tier in status.tiers.iter().filter(|tier| open.contains_key(&tier.name)) {
        let now = place(tier);
        if tier.rollout.is_some() && shown.get(&tier.name) != Some(&now) {
            let at = Wall::of(status).stamp(status.at);
            print::line(&format!("{at}  {}", screen::line(tier)))?;
            shown.insert(tier.name.clone(), now);
        }
    }
    Ok(())
}

/// How rollout `id` ended, from the journal: its sentence, and the exit code.
async fn ended(client: &Client, tier: &TierName, id: RolloutId) -> anyhow::Result<(String, u8)> {
    for _ in 0..END_TRIES {
        let log: Log = client.get("/api/v1/log?limit=1000").await?;
        let ours = |shown: &&crate::admin::api::LogRecord| {
            shown.record.event.tier.as_ref() == Some(tier) && shown.record.event.rollout == Some(id)
        };
        for shown in log.records.iter().rev().filter(ours) {
            if let Some(code) = end(&shown.record.event.change) {
                return Ok((shown.sentence.clone(), code));
            }
        }
        tokio::time::sleep(STEP).await;
    }
    bail!("{tier}: rollout {id} is over, but the journal does not say how; see `weir status`")
}

/// No rollout is open: how the last one ended.
async fn ended_before(client: &Client, tier: Option<&TierName>) -> anyhow::Result<u8> {
    let log: Log = client.get("/api/v1/log?limit=1000").await?;
    let meant = |name: Option<&TierName>| tier.is_none() || tier == name;
    let last = log.records.iter().rev().filter(|shown| meant(shown.record.event.tier.as_ref()));
    for shown in last {
        if let Some(code) = end(&shown.record.event.change) {
            print::line(&shown.sentence)?;
            return Ok(code);
        }
    }
    bail!("no rollout is open and none has ended; `weir start` opens one")
}

/// The exit code that goes with a change, if it ends a rollout.
fn end(change: &Change) -> Option<u8> {
    match change {
        Change::Promoted { .. } => Some(0),
        Change::RolledBack { .. } => Some(ROLLED_BACK),
        Change::Adopted { .. }
        | Change::Advanced { .. }
        | Change::Closed { .. }
        | Change::Approved { .. }
        | Change::Asked { .. }
        | Change::Cut
        | Change::DecisionNears { .. }
        | Change::Overdue { .. }
        | Change::DecisionPassed
        | Change::Emptied { .. }
        | Change::Froze { .. }
        | Change::Held { .. }
        | Change::Interrupted { .. }
        | Change::Moved { .. }
        | Change::Opened { .. }
        | Change::Passed { .. }
        | Change::Paused
        | Change::Reanalysed { .. }
        | Change::Recalled { .. }
        | Change::Refused { .. }
        | Change::Replanned { .. }
        | Change::Rerouted { .. }
        | Change::Resumed
        | Change::Shifted { .. }
        | Change::Started { .. }
        | Change::Receding { .. }
        | Change::StepBegan { .. }
        | Change::StepEnded { .. }
        | Change::StepSkipped { .. }
        | Change::Tried { .. }
        | Change::TurnedBack { .. }
        | Change::UpgradeEnded { .. }
        | Change::UpgradeStarted { .. }
        | Change::WouldHaveRolledBack { .. } => None,
    }
}
