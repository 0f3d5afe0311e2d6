//! Orders: what was typed becomes an order, its answer the sentences that the journal keeps.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::client::{AskError, Client};
use super::verbs::{Common, Give, Start, StepVerb, Switch};
use super::{client, forecast, plan, print, words};
use crate::admin::api::{Done, RolloutStatus, Status, TierStatus};
use crate::rollout::{Change, Event, Order};
use crate::traffic::{TierName, Version};

/// Gives the order that was typed and prints what came of it.
pub(super) async fn give(give: Give) -> anyhow::Result<()> {
    let plain = Duration::ZERO;
    match give {
        Give::Start(start) => self::start(start).await,
        Give::Promote { tier, yes, common } => promote(tier, yes, &common).await,
        Give::Advance { tier, to, common } => {
            order(&Order::Advance { tier, to }, &common, plain).await
        }
        Give::Hold { switch, tier, lasts, common } => {
            let on = switched(switch, lasts.is_some())?;
            order(&Order::Hold { tier, on, lasts }, &common, plain).await
        }
        Give::Maintenance { switch, tier, lasts, message, close, common } => {
            let on = switched(switch, lasts.is_some() || message.is_some() || close)?;
            order(&Order::Maintenance { tier, on, lasts, message, close }, &common, plain).await
        }
        Give::Pause { tier, common } => order(&Order::Pause { tier }, &common, plain).await,
        Give::Resume { tier, common } => order(&Order::Resume { tier }, &common, plain).await,
        Give::Rollback { tier, now, over, past_no_return, common } => {
            order(&Order::Rollback { tier, now, over, past_no_return }, &common, plain).await
        }
        Give::Approve { step, common } => order(&Order::Approve { step }, &common, plain).await,
        Give::Step(StepVerb::Retry { step, common }) => {
            order(&Order::RetryStep { step }, &common, plain).await
        }
        Give::Step(StepVerb::Skip { step, common }) => {
            order(&Order::SkipStep { step }, &common, plain).await
        }
        Give::Adopt { tier, version, common } => {
            order(&Order::Adopt { tier, version }, &common, plain).await
        }
        Give::Notify(order) => super::notify::notify(order).await,
        Give::Reload(look) => {
            let client = client(&look.place)?;
            let answer = client.post("/api/v1/reload", String::new(), plain).await;
            let next = "next: `weir status` shows how things stand";
            show(&client, answer, look.json, |_| vec![next.into()]).map(drop)
        }
    }
}

/// Whether something begins; what ends takes nothing more.
fn switched(switch: Switch, is_described: bool) -> anyhow::Result<bool> {
    match switch {
        Switch::Off if is_described => bail!("--for, --message and --close belong to `on`"),
        Switch::Off => Ok(false),
        Switch::On => Ok(true),
    }
}

async fn order(order: &Order, common: &Common, wait: Duration) -> anyhow::Result<()> {
    let client = client(&common.place)?;
    let answer = send(&client, order, common, wait).await;
    show(&client, answer, common.json, |done| after(order, done)).map(drop)
}

/// Gives an order of few words; what is to be said of it.
pub(super) async fn told(client: &Client, order: &Order) -> anyhow::Result<Vec<String>> {
    let text = send(client, order, &Common::default(), Duration::ZERO).await?;
    let done: Done = client.parsed(&text)?;
    let left = left_behind(order, &done);
    Ok(done.sentences.into_iter().chain(left).collect())
}

async fn send(
    client: &Client,
    order: &Order,
    common: &Common,
    wait: Duration,
) -> Result<String, AskError> {
    let mut body = match serde_json::to_value(order) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    body.insert("reason".into(), json!(common.reason));
    let query =
        if wait.is_zero() { String::new() } else { format!("?wait={}s", wait.as_secs().max(1)) };
    client.post(&format!("/api/v1/orders{query}"), Value::Object(body).to_string(), wait).await
}

/// Prints the answer: the journal's sentences, and what comes `after` them.
fn show(
    client: &Client,
    answer: Result<String, AskError>,
    json: bool,
    after: impl FnOnce(&Done) -> Vec<String>,
) -> anyhow::Result<Done> {
    if let (true, Err(AskError::Trouble { trouble, .. })) = (json, &answer) {
        print::line(&serde_json::to_string(trouble)?)?;
    }
    let text = answer?;
    let done: Done = client.parsed(&text)?;
    if json {
        print::line(&text)?;
        return Ok(done);
    }
    for sentence in done.sentences.iter().chain(&after(&done)) {
        print::line(sentence)?;
    }
    Ok(done)
}

/// What is still under way, and what to type next.
fn after(order: &Order, done: &Done) -> Vec<String> {
    let next = format!("next: {}", next(order, done));
    at_once(order, done).into_iter().chain(left_behind(order, done)).chain([next]).collect()
}

/// That nobody went back in steps, although that was wanted.
fn at_once(order: &Order, done: &Done) -> Option<String> {
    let wanted = matches!(order, Order::Rollback { over: Some(over), .. } if over.as_secs() > 0);
    let went = done.events.iter().any(|event| matches!(event.change, Change::RolledBack { .. }));
    let text = "at once: --over is for a rollout that is open and not going back already";
    (wanted && went).then(|| text.into())
}

/// What becomes of the upgraded connections on releases that serve nobody any more.
fn left_behind(order: &Order, done: &Done) -> Option<String> {
    let end = match order {
        Order::Rollback { now: true, .. } => "are being closed",
        Order::Adopt { .. } | Order::Promote { .. } | Order::Rollback { now: false, .. } => {
            "are closed over the drain time"
        }
        Order::Advance { .. }
        | Order::Hold { .. }
        | Order::Maintenance { .. }
        | Order::Approve { .. }
        | Order::Pause { .. }
        | Order::Resume { .. }
        | Order::RetryStep { .. }
        | Order::SkipStep { .. }
        | Order::Start { .. } => return None,
    };
    let left = words::count(done.connections_left, "upgraded connection");
    let text = format!("{left} on the version that was left {end}; `weir status` counts them");
    (done.connections_left > 0).then_some(text)
}

/// What to type next.
fn next(order: &Order, done: &Done) -> String {
    let tier = done.events.first().and_then(|event| event.tier.as_ref()).map(ToString::to_string);
    let tier = tier.unwrap_or_default();
    let text = match order {
        Order::Start { .. } | Order::Advance { .. } => {
            format!("`weir watch` follows it, `weir rollback {tier}` takes everybody back")
        }
        Order::Promote { .. } => format!("`weir rollback {tier}` goes back, `weir status` looks"),
        Order::Hold { on: true, .. } => format!("`weir hold off {tier}` lets them go on"),
        Order::Maintenance { on: true, .. } => {
            format!("`weir maintenance off {tier}` serves everybody again, `weir status` counts")
        }
        Order::Hold { on: false, .. } | Order::Maintenance { on: false, .. } => {
            "`weir status` shows how things stand".into()
        }
        Order::Pause { .. } => format!("`weir resume {tier}` goes on"),
        Order::Approve { .. }
        | Order::Resume { .. }
        | Order::RetryStep { .. }
        | Order::SkipStep { .. } => "`weir watch` follows it".into(),
        Order::Adopt { .. } => "`weir status` shows how things stand".into(),
        Order::Rollback { .. } if done.events.iter().any(turns_back) => {
            "`weir watch` follows the way back, `weir log` tells what happened; once it is mended, \
             `weir start --again`"
                .into()
        }
        Order::Rollback { .. } => match done.events.first().map(|event| &event.change) {
            Some(Change::Receding { .. }) => format!(
                "`weir watch` follows it, `weir rollback {tier}` again takes everybody back at once"
            ),
            Some(Change::RolledBack { from, .. }) => format!(
                "`weir log` tells what happened; once it is mended, start a new version, or \
                 `weir start {tier} {from} --again`"
            ),
            _ => "`weir log` tells what happened".into(),
        },
    };
    // Without a tier it is for all.
    text.replace(" ` ", "` ")
}

/// Whether a rollout over tiers goes back, or is back.
const fn turns_back(event: &Event) -> bool {
    matches!(event.change, Change::TurnedBack { .. } | Change::UpgradeEnded { .. })
}

async fn start(start: Start) -> anyhow::Result<()> {
    let Start { tier, version, upstreams, again, wait, common } = start;
    let client = client(&common.place)?;
    let status: Status = client.get("/api/v1/status").await?;
    let (tier, version) = meant(&status, tier.as_deref(), version)?;
    let planned = if common.json {
        None
    } else {
        plan::before(&client, (tier.as_ref(), version.as_ref(), again), &upstreams).await
    };
    let order = Order::Start { tier, version, upstreams, again };
    if wait.is_some() && !common.json {
        print::note("waiting for a healthy upstream where none is yet");
    }
    let answer = send(&client, &order, &common, wait.unwrap_or_default()).await;
    if let (false, Ok(text)) = (common.json, &answer) {
        plans(&status, planned, &client.parsed(text)?)?;
    }
    show(&client, answer, common.json, |done| after(&order, done)).map(drop)
}

/// A single name is a tier if there is one of that name, else a version.
pub(super) fn meant(
    status: &Status,
    first: Option<&str>,
    second: Option<Version>,
) -> anyhow::Result<(Option<TierName>, Option<Version>)> {
    match (first, second) {
        (None, version) => Ok((None, version)),
        (Some(tier), Some(version)) => Ok((Some(tier.parse()?), Some(version))),
        (Some(name), None) if status.tier(name).is_some() => Ok((Some(name.parse()?), None)),
        (Some(name), None) => Ok((None, Some(name.parse()?))),
    }
}

/// The plan of each rollout that was opened, before its sentence.
fn plans(status: &Status, planned: Option<String>, done: &Done) -> anyhow::Result<()> {
    let over_tiers = |event: &Event| matches!(event.change, Change::UpgradeStarted { .. });
    if let Some(text) = planned.filter(|_| done.events.iter().any(over_tiers)) {
        return print::text(&text);
    }
    for event in &done.events {
        if let (Change::Started { plan, analysis, .. }, Some(tier)) =
            (&event.change, event.tier.as_ref().and_then(|tier| status.tier(tier.as_str())))
        {
            for line in forecast::lines(tier, plan, analysis) {
                print::line(&line)?;
            }
        }
    }
    Ok(())
}

/// Says what is not proven, and asks.
async fn promote(tier: Option<TierName>, yes: bool, common: &Common) -> anyhow::Result<()> {
    let client = client(&common.place)?;
    let status: Status = client.get("/api/v1/status").await?;
    let asked = |found: &&TierStatus| tier.as_ref().is_none_or(|tier| *tier == found.name);
    let open = status.tiers.iter().filter(asked);
    let open: Vec<_> =
        open.filter_map(|tier| tier.rollout.as_ref().map(|rollout| (tier, rollout))).collect();
    for (tier, rollout) in &open {
        for line in unproven(tier, rollout) {
            print::note(&line);
        }
    }
    // Without an open rollout the program says so itself.
    if !yes && !open.is_empty() {
        if !print::can_ask() {
            bail!("nobody can be asked here; `weir promote --yes` says that it is meant");
        }
        let what: Vec<String> = open
            .iter()
            .map(|(tier, rollout)| format!("{} {}", tier.name, rollout.release))
            .collect();
        if !print::confirm(&format!("give {} to everybody?", what.join(" and ")))? {
            bail!("nothing was changed");
        }
    }
    order(&Order::Promote { tier }, common, Duration::ZERO).await
}

/// What is not proven of the canary of `tier`, before everybody gets it.
pub(super) fn unproven(tier: &TierStatus, rollout: &RolloutStatus) -> Vec<String> {
    let (name, release) = (&tier.name, &rollout.release);
    let mut lines = vec![format!("{name}: {release} has {} of the users", tier.weight)];
    let Some(report) = &rollout.report else {
        lines.push(format!("{name}: nothing was judged yet, so nothing is proven"));
        return lines;
    };
    let needed = report.metrics.iter().filter(|metric| metric.needed_for_advance);
    for metric in needed.filter(|metric| metric.log_e_advance < metric.advance_at) {
        let worse = if metric.upper_bound < 1.0 {
            format!("{release} may be up to {:.2} pp worse", 100.0 * metric.upper_bound)
        } else {
            format!("how much worse {release} may be is not known yet")
        };
        let limit = 100.0 * metric.limit;
        let what = &metric.name;
        lines.push(format!("{name}: {what} not proven: {worse}; the plan tolerates {limit:.2} pp"));
    }
    let left = rollout.plan.stages().iter().filter(|stage| stage.weight > tier.weight).count();
    if left > 0 {
        lines.push(format!("{name}: {} left out", words::count(left as u64, "stage")));
    }
    lines.push(format!("{name}: the judge says: {}", report.verdict.reason()));
    lines
}
