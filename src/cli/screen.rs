//! How things stand, on one screen.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::tree::tree;
use super::watch::meters::bar;
use super::words::{Wall, count, percent, thousands, whole};
use crate::admin::api::{
    EvidenceStatus, HopStatus, ReleaseStatus, RolloutStatus, SignalStatus, Status, TierStatus,
    UpgradeStatus,
};
use crate::analysis::{Report, Verdict};
use crate::control::{ClosedView, Hop, InstanceView};
use crate::rollout::{Purpose, Stage};
use crate::time::in_words;
use crate::traffic::Version;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Remarks about certificates on one screen: an authority that is down fails all names alike.
const CERTIFICATES_SHOWN: usize = 3;

/// Cells of the bar of a weight.
const BAR_CELLS: usize = 20;

/// Cells of the bar of a stage, and of evidence.
const STAGE_CELLS: usize = 10;

/// The screen.
pub(super) fn screen(status: &Status, address: &str) -> String {
    let mut text = String::new();
    let up = in_words(status.at.since(status.started));
    let journal = match &status.journal {
        Some(path) => format!("journal {path}"),
        None => format!("{WARN}journal in memory: gone when weir stops{WARN:#}"),
    };
    let zone = status.zone.as_ref().map_or_else(String::new, |zone| format!(", times in {zone}"));
    let _ =
        writeln!(text, "{DIM}weir {} at {address}, up {up}, {journal}{zone}{DIM:#}", status.weir);
    if status.observe {
        let _ = writeln!(
            text,
            "{WARN}observing only: nothing is rolled back or advanced without an order{WARN:#}"
        );
    }
    if let Some(trouble) = &status.journal_trouble {
        let _ = writeln!(text, "{BAD}journal: {trouble}{BAD:#}");
    }
    chain(&mut text, status);
    if let Some(upgrade) = &status.upgrade {
        text.push('\n');
        tree(&mut text, upgrade, &status.tiers, status.at);
    }
    for tier in &status.tiers {
        text.push('\n');
        self::tier(&mut text, tier, status);
    }
    certificates(&mut text, status);
    notifications(&mut text, status);
    text
}

/// Those who are to be told and are not reached.
fn notifications(text: &mut String, status: &Status) {
    let failing = status.notifications.iter().filter(|one| one.trouble.is_some());
    for (place, one) in failing.enumerate() {
        if place == 0 {
            let _ = writeln!(text, "\n{BOLD}notifications{BOLD:#}");
        }
        let since =
            one.since.map_or(String::new(), |at| format!(" since {}", Wall::of(status).moment(at)));
        let trouble = one.trouble.as_deref().unwrap_or_default();
        let waiting = match one.waiting {
            0 => String::new(),
            waiting => format!("; {} waiting", count(waiting, "event")),
        };
        let name = &one.name;
        entry(
            text,
            "remark",
            &format!("{WARN}{name} is not reached{since}: {trouble}{waiting}{WARN:#}"),
        );
    }
}

/// Where one is on a chain of versions.
fn chain(text: &mut String, status: &Status) {
    if status.chain.is_empty() {
        return;
    }
    let hop = |hop: &HopStatus| match hop.standing {
        Hop::Done => format!("{} {GOOD}done{GOOD:#}", hop.version),
        Hop::Later => format!("{DIM}{}{DIM:#}", hop.version),
        Hop::Next => format!("{BOLD}{} next{BOLD:#}", hop.version),
        Hop::Now => format!("{BOLD}{} now{BOLD:#}", hop.version),
    };
    let hops: Vec<String> = status.chain.iter().map(hop).collect();
    let done = status.chain.iter().filter(|hop| hop.standing == Hop::Done).count();
    let far = format!("{done} of {} hops done", hops.len());
    let _ = writeln!(text, "\n{BOLD}chain{BOLD:#}  {}  {DIM}{far}{DIM:#}", hops.join(", "));
}

/// What people should hear of certificates, and when the first of them expires.
fn certificates(text: &mut String, status: &Status) {
    let first = status.certificates.iter().filter_map(|one| Some((one.not_after?, &one.name)));
    if status.certificates.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{BOLD}certificates{BOLD:#}");
    let number = count(status.certificates.len() as u64, "certificate");
    let line = match first.min() {
        Some((until, name)) if until > status.at => {
            let left = in_words(until.since(status.at));
            format!("{number}; the first to expire is that for {name}, in {left}")
        }
        Some((_, name)) => format!("{number}; that for {name} has expired"),
        None => format!("{number}, none issued yet"),
    };
    entry(text, "in all", &line);
    let remarks = status.certificates.iter().filter_map(|one| one.remark.as_ref());
    for remark in remarks.clone().take(CERTIFICATES_SHOWN) {
        entry(text, "remark", &format!("{WARN}{remark}{WARN:#}"));
    }
    let more = remarks.count().saturating_sub(CERTIFICATES_SHOWN);
    if more > 0 {
        entry(text, "remark", &format!("{WARN}and {more} more: weir status --json{WARN:#}"));
    }
}

fn tier(text: &mut String, tier: &TierStatus, status: &Status) {
    let _ = writeln!(text, "{BOLD}{}{BOLD:#}  {DIM}{}{DIM:#}", tier.name, tier.listen);
    let wall = Wall::of(status);
    let mut rows = Vec::new();
    let since = format!("since {} by {}", wall.moment(tier.since), tier.by);
    rows.push(Row::of("stable", tier, &tier.stable, since));
    if let Some(rollout) = &tier.rollout {
        let mut since = format!("since {}", wall.moment(rollout.started));
        if rollout.attempt > 1 {
            let _ = write!(since, ", attempt {}", rollout.attempt);
        }
        rows.push(Row::of("canary", tier, &rollout.release, since));
    }
    let others = tier.releases.iter().filter(|r| !["stable", "canary"].contains(&r.role.as_str()));
    rows.extend(
        others.map(|release| Row::of(&release.role, tier, &release.version, fate(release, status))),
    );
    table(text, &rows);
    if let Some(rollout) = &tier.rollout {
        self::rollout(text, tier, rollout);
    }
    if let Some(line) = upgraded(tier) {
        entry(text, "upgraded", &line);
    }
    if let Some(closed) = &tier.closed {
        entry(text, "closed", &format!("{BAD}{}{BAD:#}", self::closed(closed, &wall)));
    }
    if !tier.instances.is_empty() {
        let painted = |one: &InstanceView| {
            let (says, paint) = instance(one);
            format!("{}{paint}{says}{paint:#}", one.name)
        };
        let instances: Vec<String> = tier.instances.iter().map(painted).collect();
        entry(text, "instances", &instances.join(", "));
    }
    for drift in &tier.drift {
        entry(text, "drift", &format!("{WARN}{drift}{WARN:#}"));
    }
    for signal in &tier.signals {
        entry(text, "signal", &heard(signal));
    }
    for remark in &tier.remarks {
        entry(text, "remark", &format!("{WARN}{remark}{WARN:#}"));
    }
    let of =
        |upgrade: &&UpgradeStatus| tier.rollout.as_ref().is_none_or(|own| own.id == upgrade.id);
    if let Some(upgrade) = status.upgrade.as_ref().filter(of).filter(|_| tier.closed.is_none()) {
        entry(text, "next", &format!("as rollout {} goes on, see above", upgrade.id));
        return;
    }
    let (next, command) = next(tier);
    entry(text, "next", &next);
    entry(text, "type", &format!("{BOLD}{command}{BOLD:#}"));
}

/// How a tier is closed: what for, since when, by whom, until when, and what became of requests.
pub(super) fn closed(closed: &ClosedView, wall: &Wall) -> String {
    let state = match closed.purpose {
        Purpose::Hold => "held",
        Purpose::Maintenance => "in maintenance",
    };
    let mut line = format!("{state} since {} by {}", wall.moment(closed.since), closed.by);
    let _ = match closed.until {
        Some(until) => write!(line, ", {} left", in_words(wall.until(until))),
        None => write!(line, ", until it is ordered off"),
    };
    let _ = match closed.purpose {
        Purpose::Hold => write!(
            line,
            "; {} waiting, {} went on, {} refused",
            thousands(closed.waiting),
            thousands(closed.waited),
            thousands(closed.refused)
        ),
        Purpose::Maintenance => {
            write!(line, "; {} answered with 503", count(closed.answered, "request"))
        }
    };
    if let Some(message) = &closed.message {
        let _ = write!(line, ": {message}");
    }
    line
}

/// Which version an instance has and what is wrong with it, and how that is painted.
fn instance(instance: &InstanceView) -> (String, Style) {
    match (&instance.version, instance.health.as_str()) {
        (None, _) => (" is being moved".into(), WARN),
        (Some(version), "unhealthy") => (format!(" {version} unhealthy"), BAD),
        (Some(version), _) => (format!(" {version}"), Style::new()),
    }
}

/// All of `instances` in plain words, first the one that is being moved.
pub(super) fn instances(instances: &[InstanceView]) -> String {
    let mut all: Vec<&InstanceView> = instances.iter().collect();
    all.sort_by_key(|instance| instance.version.is_some());
    let plain = |one: &&InstanceView| format!("{}{}", one.name, instance(one).0);
    let all: Vec<String> = all.iter().map(plain).collect();
    all.join(", ")
}

/// What a signal says of a version.
fn heard(signal: &SignalStatus) -> String {
    let SignalStatus { name, version, total, bad, number, blind } = signal;
    match (blind, number) {
        (Some(why), _) => format!("{name} of {version}: {WARN}blind: {why}{WARN:#}"),
        (None, Some(number)) => format!("{name} of {version}: {number}"),
        (None, None) => {
            format!("{name} of {version}: {}, {} of them bad", thousands(*total), thousands(*bad))
        }
    }
}

/// Where upgraded connections are open, and where they are about to be closed.
fn upgraded(tier: &TierStatus) -> Option<String> {
    let open = tier.releases.iter().filter(|release| release.upgraded_open > 0);
    let lines = open.map(|release| {
        let (open, version) = (thousands(release.upgraded_open), &release.version);
        let serves = ["stable", "canary"].contains(&release.role.as_str());
        if serves { format!("{open} on {version}") } else { format!("{open} left on {version}") }
    });
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn fate(release: &ReleaseStatus, status: &Status) -> String {
    match &release.fate {
        Some(fate) if release.was_rolled_back() => {
            format!("rolled back {} ({})", Wall::of(status).moment(fate.at), fate.why)
        }
        Some(fate) => format!("left {} ({})", Wall::of(status).moment(fate.at), fate.why),
        None => "never tried".into(),
    }
}

/// One release on the screen.
struct Row {
    cells: [String; 5],
    /// Colours by cell.
    health: Style,
}

impl Row {
    fn of(role: &str, tier: &TierStatus, version: &Version, since: String) -> Self {
        let release = tier.release(version);
        let healthy = |release: &ReleaseStatus| {
            release.upstreams.iter().filter(|upstream| upstream.health == "healthy").count()
        };
        let (health, style) = match release {
            None => ("no address".into(), BAD),
            Some(release) if release.upstreams.is_empty() && !tier.instances.is_empty() => {
                ("no instance".into(), DIM)
            }
            Some(release) => {
                let (up, all) = (healthy(release), release.upstreams.len());
                let sick = release.upstreams.iter().any(|u| u.health == "unhealthy");
                let style = match (up, sick) {
                    (0, true) => BAD,
                    (_, false) if up == all => GOOD,
                    _ => WARN,
                };
                (format!("{up} of {all} healthy"), style)
            }
        };
        let counts = release.filter(|release| release.requests > 0).map(|release| {
            let (requests, errors) = (release.requests, release.errors);
            format!(
                "{}, {} ({})",
                count(requests, "request"),
                count(errors, "error"),
                percent(errors, requests)
            )
        });
        let cells =
            [role.into(), version.to_string(), health, counts.unwrap_or_else(|| "-".into()), since];
        Self { cells, health: style }
    }
}

fn table(text: &mut String, rows: &[Row]) {
    let width =
        |column: usize| rows.iter().map(|row| row.cells[column].chars().count()).max().unwrap_or(0);
    let widths = [9, width(1), width(2), width(3)];
    for row in rows {
        let [role, version, health, counts, since] = &row.cells;
        let paint = row.health;
        let _ = writeln!(
            text,
            "  {role:<0$}  {BOLD}{version:<1$}{BOLD:#}  {paint}{health:<2$}{paint:#}  {counts:<3$}  \
             {DIM}{since}{DIM:#}",
            widths[0], widths[1], widths[2], widths[3]
        );
    }
}

fn rollout(text: &mut String, tier: &TierStatus, rollout: &RolloutStatus) {
    let stages = rollout.plan.stages().len();
    let mut weight = format!(
        "{} {} to {}, stage {} of {stages}",
        tier.weight,
        bar(tier.weight.share(), BAR_CELLS),
        rollout.release,
        rollout.rung
    );
    if rollout.paused {
        let _ = write!(weight, ", {WARN}paused{WARN:#}");
    }
    entry(text, "weight", &weight);
    entry(text, "stages", &self::stages(tier, rollout));
    let Some(report) = &rollout.report else {
        entry(text, "verdict", "nothing judged yet");
        return;
    };
    let paint = match &report.verdict {
        Verdict::Fail { .. } => BAD,
        Verdict::Inconclusive { .. } => WARN,
        Verdict::Pass { .. } => GOOD,
    };
    entry(text, "verdict", &format!("{paint}{}{paint:#}", report.verdict.reason()));
    for metric in &report.metrics {
        let line = format!(
            "canary {} of {} ({}), stable {} of {} ({}) in this stage",
            thousands(metric.canary_events),
            thousands(report.stage_canary.requests),
            percent(metric.canary_events, report.stage_canary.requests),
            thousands(metric.stable_events),
            thousands(report.stage_stable.requests),
            percent(metric.stable_events, report.stage_stable.requests),
        );
        entry(text, &metric.name, &line);
        let found = rollout.evidence.iter().find(|found| found.metric == metric.name);
        if let Some(found) = found {
            evidence(text, found);
        }
    }
}

/// What is done of the plan, how far the stage is that lasts, and what is to come.
fn stages(tier: &TierStatus, rollout: &RolloutStatus) -> String {
    let stage = |(place, stage): (usize, &Stage)| match (place + 1).cmp(&rollout.rung) {
        std::cmp::Ordering::Less => format!("{GOOD}✓ {}{GOOD:#}", stage.weight),
        std::cmp::Ordering::Equal => {
            let bar = rollout.report.as_ref().map(baked).unwrap_or_default();
            format!("{BOLD}▶ {}{BOLD:#}{bar}", tier.weight)
        }
        std::cmp::Ordering::Greater => format!("{DIM}· {}{DIM:#}", stage.weight),
    };
    let mut all: Vec<String> = rollout.plan.stages().iter().enumerate().map(stage).collect();
    all.push(format!("{DIM}· everybody{DIM:#}"));
    all.join("  ")
}

/// How far a stage is, as a bar and in words.
pub(super) fn baked(report: &Report) -> String {
    let share = if report.bake > 0.0 { report.soak / report.bake } else { 1.0 };
    format!(" {} {}", bar(share.min(1.0), STAGE_CELLS), soaked(report))
}

/// How far a stage is: its least time, or that it lasts longer.
pub(super) fn soaked(report: &Report) -> String {
    let soak = in_words(std::time::Duration::from_secs_f64(report.soak.clamp(0.0, 1e9).floor()));
    if report.soak < report.bake {
        format!("{soak} of {}", whole(report.bake))
    } else {
        format!("for {soak}, until proven")
    }
}

/// How far the evidence is in both directions.
fn evidence(text: &mut String, metric: &EvidenceStatus) {
    let against = bar(metric.against, STAGE_CELLS);
    entry(text, "", &format!("{WARN}{against}{WARN:#} {}", metric.words_against));
    if metric.needed_for_advance {
        let proven = bar(metric.proven, STAGE_CELLS);
        entry(text, "", &format!("{GOOD}{proven}{GOOD:#} {}", metric.words_for));
    }
}

fn entry(text: &mut String, head: &str, body: &str) {
    let _ = writeln!(text, "  {head:<9}  {body}");
}

/// What happens next by itself, and what somebody might type.
pub(super) fn next(tier: &TierStatus) -> (String, String) {
    let name = &tier.name;
    if let Some(closed) = &tier.closed {
        let then = if closed.until.is_some() { "it opens when its time is up" } else { "nothing" };
        let by_itself = format!("{then} by itself; users are kept out");
        return (by_itself, format!("weir {} off {name}", closed.purpose.name()));
    }
    let Some(rollout) = &tier.rollout else {
        return match new_release(tier) {
            Some(version) => (
                format!("nothing by itself; {version} was never tried"),
                format!("weir start {name} {version}"),
            ),
            None => ("nothing by itself; everybody is served by stable".into(), "weir log".into()),
        };
    };
    let then = match rollout.plan.after(tier.weight) {
        Some(stage) => format!("{}", stage.weight),
        None => "everybody".into(),
    };
    if rollout.paused {
        return (format!("{then} after `weir resume`"), format!("weir resume {name}"));
    }
    let eta = rollout.report.as_ref().and_then(|report| report.eta_seconds);
    let at_this_pace = match eta {
        Some(seconds) => {
            let span = std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9).ceil());
            format!(", in about {} at this pace", in_words(span))
        }
        None => String::new(),
    };
    let waits = rollout.report.as_ref().is_some_and(|report| report.soak > report.give_up);
    if waits {
        return (format!("a person decides about {then}"), format!("weir explain {name}"));
    }
    (format!("{then} once it is proven{at_this_pace}"), format!("weir rollback {name}"))
}

/// The one release that was never tried.
fn new_release(tier: &TierStatus) -> Option<&str> {
    let mut new = tier.releases.iter().filter(|r| r.role == "available" && r.fate.is_none());
    let first = new.next()?;
    new.next().is_none().then_some(first.version.as_str())
}

/// A tier in one line, for output that is not a screen.
pub(super) fn line(tier: &TierStatus) -> String {
    let Some(rollout) = &tier.rollout else {
        return format!("{}: everybody is on {}", tier.name, tier.stable);
    };
    let paused = if rollout.paused { ", paused" } else { "" };
    let verdict = rollout.report.as_ref().map_or("nothing judged yet", |r| r.verdict.reason());
    format!(
        "{}: {} at {}, stage {} of {}{paused}: {verdict}",
        tier.name,
        rollout.release,
        tier.weight,
        rollout.rung,
        rollout.plan.stages().len()
    )
}
