//! One tier: its stages, its versions side by side, and the evidence on its way.

use std::fmt::Write as _;
use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{BOLD, DIM, Palette, rule};
use crate::admin::api::{EvidenceStatus, RolloutStatus, Status, TierStatus, VersionHistory};
use crate::analysis::{Report, Verdict};
use crate::cli::screen;
use crate::cli::watch::meters::{bar, curve, cut, wrapped};
use crate::cli::watch::scene::Scene;
use crate::cli::words::{self, Wall};
use crate::time::Timestamp;
use crate::traffic::Version;

/// Lines that a tier needs without evidence: heading, stages, verdict and what comes next (two
/// each), both versions and what stands above them.
pub(super) const LEAST: usize = 9;

/// Remarks about a tier that are shown: all are in `weir status`.
const REMARKS_MAX: usize = 2;

/// Lines of instances that are shown, the one that is moved first: all are in `weir status`.
const INSTANCE_LINES_MAX: usize = 2;

/// Points of which a rate is said: the last minute.
const POINTS_SAID: usize = 12;

/// All of `tier`, in at most `room` lines.
pub(super) fn tier(
    tier: &TierStatus,
    scene: &Scene,
    status: &Status,
    palette: &Palette,
    width: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let title = match &tier.rollout {
        Some(rollout) => format!("{}  {} to {}", tier.name, tier.stable, rollout.release),
        None => format!("{}  {}", tier.name, tier.stable),
    };
    let mut lines = vec![rule(&title, width)];
    if let Some(rollout) = &tier.rollout {
        lines.push(stages(tier, rollout, palette, width));
        lines.extend(verdict(rollout, palette, width));
    }
    lines.extend(next(tier, status, palette, width));
    if let Some(closed) = &tier.closed {
        let text = format!("closed   {}", screen::closed(closed, &Wall::of(status)));
        lines.push(Line::styled(cut(&text, width), palette.bad()));
    }
    if !tier.instances.is_empty() {
        let all = wrapped(&screen::instances(&tier.instances), width.saturating_sub(11).max(10));
        for (place, text) in all.into_iter().take(INSTANCE_LINES_MAX).enumerate() {
            let head = if place == 0 { "instances  " } else { "           " };
            lines.push(Line::raw(cut(&format!("{head}{text}"), width)));
        }
    }
    lines.extend(versions(tier, scene, palette, width));
    if let Some(rollout) = &tier.rollout {
        let left = room.saturating_sub(lines.len());
        lines.extend(evidence(&rollout.evidence, palette, width, left));
    }
    let left = room.saturating_sub(lines.len()).min(REMARKS_MAX);
    let remarks = tier.drift.iter().chain(&tier.remarks).take(left);
    lines.extend(
        remarks.map(|remark| Line::styled(cut(&format!("! {remark}"), width), palette.warn())),
    );
    lines
}

/// The stages in a line: what is done, how far the one that lasts is, what is to come.
fn stages(
    tier: &TierStatus,
    rollout: &RolloutStatus,
    palette: &Palette,
    width: usize,
) -> Line<'static> {
    let mut spans = vec![Span::raw("stages   ")];
    let mut used = 9;
    let all = rollout.plan.stages().len();
    // What is done makes room for what is to come.
    let first =
        if width < 90 { rollout.rung.saturating_sub(2) } else { rollout.rung.saturating_sub(5) };
    for (place, stage) in rollout.plan.stages().iter().enumerate().skip(first) {
        let (mark, style) = match (place + 1).cmp(&rollout.rung) {
            std::cmp::Ordering::Less => ("✓", palette.good()),
            std::cmp::Ordering::Equal => ("▶", BOLD),
            std::cmp::Ordering::Greater => ("·", DIM),
        };
        let weight = if place + 1 == rollout.rung { tier.weight } else { stage.weight };
        let mut text = format!("{mark} {weight}");
        if let (true, Some(report)) = (place + 1 == rollout.rung, &rollout.report) {
            let cells = (width / 8).clamp(6, 20);
            let share = if report.bake > 0.0 { report.soak / report.bake } else { 1.0 };
            let _ = write!(text, " {} {}", bar(share.min(1.0), cells), screen::soaked(report));
        }
        let more = if place + 1 < all { 3 } else { 0 };
        if used + text.chars().count() + more > width {
            spans.push(Span::styled("…", DIM));
            return Line::from(spans);
        }
        used += text.chars().count() + 2;
        spans.push(Span::styled(format!("{text}  "), style));
    }
    if used + 11 <= width {
        spans.push(Span::styled("· everybody", DIM));
    }
    Line::from(spans)
}

/// The verdict, a sign before it for those who see no colours.
fn verdict(rollout: &RolloutStatus, palette: &Palette, width: usize) -> Vec<Line<'static>> {
    let (mark, style, text) = match rollout.report.as_ref().map(|report| &report.verdict) {
        None => ("…", DIM, "nothing judged yet"),
        Some(verdict @ Verdict::Fail { .. }) => ("✗", palette.bad(), verdict.reason()),
        Some(verdict @ Verdict::Inconclusive { .. }) => ("…", palette.warn(), verdict.reason()),
        Some(verdict @ Verdict::Pass { .. }) => ("✓", palette.good(), verdict.reason()),
    };
    headed("verdict", &format!("{mark} {text}"), style, width)
}

/// What happens next by itself and until when, and what holds it.
fn next(tier: &TierStatus, status: &Status, palette: &Palette, width: usize) -> Vec<Line<'static>> {
    let now = status.at;
    let own = tier.rollout.as_ref().map(|rollout| rollout.id);
    let upgrade = status.upgrade.as_ref().filter(|upgrade| own.is_none_or(|own| own == upgrade.id));
    if let (Some(upgrade), None) = (upgrade, &tier.closed) {
        let text = format!("as rollout {} goes on, see above", upgrade.id);
        return headed("next", &text, Style::new(), width);
    }
    let (mut text, command) = screen::next(tier);
    let report = tier.rollout.as_ref().and_then(|rollout| rollout.report.as_ref());
    let is_paused = tier.rollout.as_ref().is_some_and(|rollout| rollout.paused);
    let until = match &tier.closed {
        Some(closed) => closed.until,
        None if is_paused => None,
        None => report.and_then(|report| expected(report, now)),
    };
    if let Some(until) = until {
        let _ = write!(text, ", at {}", Wall::of(status).clock(until));
    } else if tier.rollout.is_none() {
        let _ = write!(text, "; `{command}`");
    }
    let style = if is_paused || tier.closed.is_some() { palette.warn() } else { Style::new() };
    headed("next", &text, style, width)
}

/// When the stage is likely to end.
fn expected(report: &Report, now: Timestamp) -> Option<Timestamp> {
    let left = report.eta_seconds?.max(report.bake - report.soak).clamp(0.0, 1e7);
    Some(now.plus(Duration::from_secs_f64(left)))
}

/// A head and its text, over two lines at most.
fn headed(head: &str, text: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let lines = wrapped(text, width.saturating_sub(9));
    let more = lines.len() > 2;
    let line = |(place, line): (usize, String)| {
        let head = if place == 0 { head } else { "" };
        let line = if place == 1 && more { format!("{line} …") } else { line };
        Line::from(vec![Span::raw(format!("{head:<9}")), Span::styled(line, style)])
    };
    lines.into_iter().take(2).enumerate().map(line).collect()
}

/// What both versions do, side by side over time.
fn versions(
    tier: &TierStatus,
    scene: &Scene,
    palette: &Palette,
    width: usize,
) -> Vec<Line<'static>> {
    let curves = scene
        .curves
        .as_ref()
        .and_then(|curves| curves.tiers.iter().find(|found| found.tier == tier.name));
    let step = scene.curves.as_ref().map_or(5, |curves| curves.step_seconds.max(1));
    let canary = tier.rollout.as_ref().map(|rollout| &rollout.release);
    let of = |version: &Version| curves?.versions.iter().find(|found| found.version == *version);
    let rows: Vec<Row> =
        [("stable", palette.stable(), Some(&tier.stable)), ("canary", palette.canary(), canary)]
            .into_iter()
            .filter_map(|(role, style, version)| Some((role, style, version?)))
            .map(|(role, style, version)| Row {
                label: format!("{role} {version}"),
                style,
                columns: of(version).map(|curves| columns(curves, step)),
                totals: totals(tier, version),
            })
            .collect();
    let label =
        rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).clamp(8, 20) + 1;
    if rows.iter().all(|row| row.columns.is_none()) {
        let row = |row: &Row| {
            let text = format!("{:<label$}{}", cut(&row.label, label - 1), row.totals);
            Line::styled(cut(&text, width), row.style)
        };
        return rows.iter().map(row).collect();
    }
    let cell = width.saturating_sub(label) / 3;
    let cells = cell.saturating_sub(10).min(60);
    let heads = ["requests", "errors", "p95"].map(|head| format!("{head:<cell$}"));
    let mut lines = vec![Line::styled(format!("{:<label$}{}", "", heads.concat()), DIM)];
    let most: [f64; 3] = std::array::from_fn(|column| {
        let all = rows.iter().filter_map(|row| row.columns.as_ref());
        // Only what is seen counts: an old peak would make all else flat.
        let seen = |columns: &Columns| {
            let points = &columns[column].points;
            let newest = points[points.len().saturating_sub(cells)..].iter().flatten().copied();
            newest.fold(0.0, f64::max)
        };
        all.map(seen).fold(0.0, f64::max)
    });
    for row in &rows {
        let mut spans =
            vec![Span::styled(format!("{:<label$}", cut(&row.label, label - 1)), row.style)];
        for (column, most) in most.iter().enumerate() {
            let (line, said) = match &row.columns {
                Some(columns) => {
                    let one = &columns[column];
                    (curve(&one.points, *most, cells), one.said.clone())
                }
                None => (" ".repeat(cells), "-".into()),
            };
            let said_room = cell.saturating_sub(cells + 1);
            spans.push(Span::styled(line, row.style));
            spans.push(Span::raw(format!(" {:<said_room$}", cut(&said, said_room))));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// A version on the screen.
struct Row {
    label: String,
    style: Style,
    columns: Option<Columns>,
    totals: String,
}

/// Requests, errors, and how long answers take.
type Columns = [Column; 3];

struct Column {
    points: Vec<Option<f64>>,
    /// How it is now.
    said: String,
}

fn columns(curves: &VersionHistory, step: u64) -> Columns {
    let rate = |count: &Option<u64>| count.map(|count| count as f64 / step as f64);
    let requests: Vec<Option<f64>> = curves.requests.iter().map(rate).collect();
    let pairs = || curves.requests.iter().zip(&curves.errors);
    let share = |(requests, errors): (&Option<u64>, &Option<u64>)| match (requests, errors) {
        (Some(requests), Some(errors)) if *requests > 0 => Some(*errors as f64 / *requests as f64),
        _ => None,
    };
    let recent = pairs().rev().take(POINTS_SAID);
    let (asked, failed) = recent.fold((0, 0), |(asked, failed), (requests, errors)| {
        (asked + requests.unwrap_or(0), failed + errors.unwrap_or(0))
    });
    let newest =
        |points: &[Option<u64>]| points.iter().rev().take(POINTS_SAID).flatten().next().copied();
    let rate = newest(&curves.requests).map(|count| count as f64 / step as f64);
    let slow = newest(&curves.p95);
    [
        Column {
            points: requests,
            said: rate.map_or_else(|| "-".into(), |rate| format!("{rate:.0}/s")),
        },
        Column { points: pairs().map(share).collect(), said: words::percent(failed, asked) },
        Column {
            points: curves.p95.iter().map(|point| point.map(|micros| micros as f64)).collect(),
            said: slow.map_or_else(|| "-".into(), words::latency),
        },
    ]
}

/// What a version was asked since the program started.
fn totals(tier: &TierStatus, version: &Version) -> String {
    match tier.release(version) {
        Some(release) if release.requests > 0 => format!(
            "{}, {} ({})",
            words::count(release.requests, "request"),
            words::count(release.errors, "error"),
            words::percent(release.errors, release.requests)
        ),
        _ => "no requests yet".into(),
    }
}

/// The evidence in both directions, two lines a metric, and how many found no room.
fn evidence(
    metrics: &[EvidenceStatus],
    palette: &Palette,
    width: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let names = metrics.iter().map(|metric| metric.metric.chars().count()).max().unwrap_or(0);
    let names = names.clamp(6, 14);
    let cells = (width / 6).clamp(8, 30);
    for (place, metric) in metrics.iter().enumerate() {
        let both = directions(metric, palette);
        if lines.len() + both.len() > room {
            if lines.len() < room {
                let more = words::count((metrics.len() - place) as u64, "metric");
                lines.push(Line::styled(format!("{more} more: `weir explain`"), DIM));
            }
            return lines;
        }
        for (line, (way, share, says, style)) in both.into_iter().enumerate() {
            let name = if line == 0 { metric.metric.as_str() } else { "" };
            let head = format!("{:<names$} {way:<8}", cut(name, names));
            let left = width.saturating_sub(head.chars().count() + cells + 1);
            lines.push(Line::from(vec![
                Span::raw(head),
                Span::styled(bar(share, cells), style),
                Span::raw(format!(" {}", cut(says, left))),
            ]));
        }
    }
    lines
}

/// On the way to being rolled back, and to more users; a watch proves nothing.
fn directions<'a>(
    metric: &'a EvidenceStatus,
    palette: &Palette,
) -> Vec<(&'static str, f64, &'a str, Style)> {
    let style = if metric.against >= 0.5 { palette.bad() } else { palette.warn() };
    let mut both = vec![("against", metric.against, metric.words_against.as_str(), style)];
    if metric.needed_for_advance {
        both.push(("for", metric.proven, &metric.words_for, palette.good()));
    }
    both
}
