//! The picture: how what is known is drawn on a terminal of any size.

mod tier;

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::meters::{bar, cut, wrapped};
use super::scene::{Asker, Scene};
use crate::admin::api::{Status, TierStatus, UpgradeStatus};
use crate::cli::screen;
use crate::cli::words::Wall;
use crate::time::{Timestamp, in_words};

/// The smallest terminal on which the picture still tells what it should.
const LEAST: (u16, u16) = (60, 16);

/// From here on there is room between the keys.
const WIDE: usize = 110;

/// Tiers that are shown at once: more of them are there with the arrows.
const TIERS_MAX: usize = 4;

/// Lines of a rollout over tiers around the one that it is at, and of a step's output.
const ITEMS_MAX: usize = 9;

/// Lines of an answer, or of what is asked: the journal keeps the whole sentence.
const SAID_MAX: usize = 4;

/// Lines that the journal has at least, and on a screen of few lines.
const JOURNAL_LEAST: usize = 3;
/// The other.
const JOURNAL_LEAST_SHORT: usize = 1;

/// Few lines.
const SHORT: usize = 20;

/// The keys, the most needed first: what has no room is in the help.
const KEYS: [(&str, &str); 13] = [
    ("?", "help"),
    ("q", "quit"),
    ("R", "rollback"),
    ("p", "pause"),
    ("r", "resume"),
    ("a", "advance"),
    ("P", "promote"),
    ("m", "maintenance"),
    ("y", "approve"),
    ("tab", "tier"),
    ("t", "try again"),
    ("s", "skip"),
    ("w", "wait"),
];

const HELP: [&str; 20] = [
    "tab, arrows   the next tier; keys are for the tier with the ▸",
    "",
    "R   take everybody back, at once (asks; R again: yes)",
    "p   pause: no more progress, a failing canary is still rolled back",
    "r   resume",
    "a   advance to the next stage without waiting for a proof",
    "P   promote: give the canary to everybody (asks)",
    "m   maintenance: keep users out with 503 (asks), or let them in",
    "w   have requests wait for a moment (asks), or let them go on",
    "y   approve what a step asks",
    "t   try a step that failed once more",
    "s   skip: take such a step as done (asks)",
    "",
    "Ctrl-Z   to the shell for a while      q, Ctrl-C   quit",
    "",
    "Where one rollout moves several tiers, orders are for all of it.",
    "Evidence: `against` fills up to the odds at which the canary is",
    "rolled back, `for` to the proof that it may have more users.",
    "",
    "any key: back",
];

/// How things are painted. Whatever a colour says, a word or a sign says too.
pub(super) struct Palette {
    has_colours: bool,
}

impl Palette {
    pub(super) const fn of(no_colour: bool) -> Self {
        Self { has_colours: !no_colour }
    }

    const fn paint(&self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    const fn good(&self) -> Style {
        self.paint(Color::Green)
    }

    const fn warn(&self) -> Style {
        self.paint(Color::Yellow)
    }

    const fn bad(&self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    const fn stable(&self) -> Style {
        self.paint(Color::Cyan)
    }

    const fn canary(&self) -> Style {
        self.paint(Color::Magenta)
    }
}

/// What is less important.
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// What is more important.
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene, palette: &Palette) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new(too_small(scene, area)), area);
        return;
    }
    let below = below(scene, palette, width);
    let room = height - below.len();
    let journal_least = if height < SHORT { JOURNAL_LEAST_SHORT } else { JOURNAL_LEAST };
    let mut lines = head(scene, palette, width);
    if let Some(status) = &scene.status {
        lines.extend(tiers(scene, status, palette, width));
        if let Some(upgrade) = &status.upgrade {
            let spare = room.saturating_sub(lines.len() + tier::LEAST + journal_least + 2);
            lines.extend(self::upgrade(upgrade, status.at, palette, width, spare));
        }
        let left = room.saturating_sub(lines.len() + journal_least + 1);
        if let Some(tier) = scene.tier() {
            lines.extend(tier::tier(tier, scene, status, palette, width, left));
        }
    }
    lines.truncate(room);
    lines.extend(journal(scene, palette, width, room - lines.len()));
    lines.resize(room, Line::default());
    lines.extend(below);
    frame.render_widget(Paragraph::new(lines), area);
    if scene.helps {
        help(frame, area);
    }
}

fn too_small(scene: &Scene, area: Rect) -> Vec<Line<'static>> {
    let (width, height) = LEAST;
    let size = format!("{}x{} is too small for weir watch;", area.width, area.height);
    let mut lines = vec![size, format!("make it {width}x{height} or larger. q: quit")];
    if let Some((_, why)) = &scene.lost {
        lines.push(why.clone());
    }
    let tiers = scene.status.iter().flat_map(|status| &status.tiers);
    lines.extend(tiers.map(screen::line));
    let width = usize::from(area.width);
    lines.iter().flat_map(|line| wrapped(line, width)).map(Line::from).collect()
}

/// The first line: who is watched, by whom, and whether it is now.
fn head(scene: &Scene, palette: &Palette, width: usize) -> Vec<Line<'static>> {
    let (left, right, style) = match (&scene.status, &scene.lost) {
        (_, Some((since, _))) => {
            let span = std::time::Duration::from_secs(since.elapsed().as_secs());
            (format!("weir at {}", scene.address), lost(span), palette.bad())
        }
        (None, None) => (format!("weir at {}", scene.address), "○ asking".into(), palette.warn()),
        (Some(status), None) => {
            let up = in_words(status.at.since(status.started));
            let who = match &scene.asker {
                Asker::Known(who) if who.name == who.role.to_string() => {
                    format!(", as {}", who.name)
                }
                Asker::Known(who) => format!(", as {} ({})", who.name, who.role),
                Asker::Nobody => ", only to look".into(),
                Asker::Unknown => String::new(),
            };
            let left = format!("weir {} at {}, up {up}{who}", status.weir, scene.address);
            (left, format!("● {}", Wall::of(status).clock(status.at)), palette.good())
        }
    };
    let left = cut(&left, width.saturating_sub(right.chars().count() + 1));
    let gap = width.saturating_sub(left.chars().count() + right.chars().count());
    let mut lines = vec![Line::from(vec![
        Span::styled(left, BOLD),
        Span::raw(" ".repeat(gap)),
        Span::styled(right, style),
    ])];
    if let Some(status) = &scene.status {
        let mut remarks = Vec::new();
        if status.observe {
            remarks.push("observing only: nothing is rolled back or advanced by itself".into());
        }
        remarks.extend(status.journal_trouble.iter().map(|trouble| format!("journal: {trouble}")));
        let remarks = remarks.iter().map(|text| cut(&format!("! {text}"), width));
        lines.extend(remarks.map(|text| Line::styled(text, palette.warn())));
    }
    lines
}

fn lost(since: std::time::Duration) -> String {
    format!("✗ nobody answers for {}; trying again", in_words(since))
}

/// A line a tier, with the weight of its canary.
fn tiers(scene: &Scene, status: &Status, palette: &Palette, width: usize) -> Vec<Line<'static>> {
    let all = status.tiers.len();
    let first = (scene.selected + 1).saturating_sub(TIERS_MAX).min(all.saturating_sub(TIERS_MAX));
    let names = status.tiers.iter().map(|tier| tier.name.as_str().len()).max().unwrap_or(0).min(20);
    let shown = status.tiers.iter().enumerate().skip(first).take(TIERS_MAX);
    let mut lines: Vec<Line<'static>> = shown
        .map(|(place, tier)| {
            let is_selected = place == scene.selected;
            let mark = if is_selected { "▸ " } else { "  " };
            let style = if is_selected { BOLD } else { Style::new() };
            let name = format!("{mark}{:<names$}  ", cut(tier.name.as_str(), names));
            let cells = (width / 4).clamp(10, 40);
            let (bar, paint) = match &tier.rollout {
                Some(_) => (bar(tier.weight.share(), cells), palette.canary()),
                None => (bar(0.0, cells), DIM),
            };
            let weight = format!("{:>6} ", tier.weight.to_string());
            let room = width.saturating_sub(name.chars().count() + weight.len() + cells + 2);
            let (says, said) = standing(tier, palette);
            Line::from(vec![
                Span::styled(name, style),
                Span::styled(weight, style),
                Span::styled(bar, paint),
                Span::styled(format!("  {}", cut(&says, room)), said),
            ])
        })
        .collect();
    if all > TIERS_MAX {
        lines.push(Line::styled(format!("  tier {} of {all}", scene.selected + 1), DIM));
    }
    lines
}

/// Where a tier stands, in a few words.
fn standing(tier: &TierStatus, palette: &Palette) -> (String, Style) {
    if let Some(closed) = &tier.closed {
        return (format!("closed: {}", closed.purpose.name()), palette.bad());
    }
    match &tier.rollout {
        None => (format!("everybody is on {}", tier.stable), Style::new()),
        Some(rollout) if rollout.paused => {
            (format!("to {}, paused", rollout.release), palette.warn())
        }
        Some(rollout) => {
            let stages = rollout.plan.stages().len();
            let text = format!("to {}, stage {} of {stages}", rollout.release, rollout.rung);
            (text, Style::new())
        }
    }
}

/// A rollout over tiers: what it waits for, and as much of its list as there is room for.
fn upgrade(
    upgrade: &UpgradeStatus,
    now: Timestamp,
    palette: &Palette,
    width: usize,
    spare: usize,
) -> Vec<Line<'static>> {
    let name = upgrade.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let (done, all) = (upgrade.done, upgrade.items.len());
    let part = if all == 0 { 0.0 } else { done as f64 / all as f64 };
    let way = if upgrade.goes_back { ", going back" } else { "" };
    let title = format!("rollout {}{name}{way}  ", upgrade.id);
    let mut lines = vec![Line::from(vec![
        Span::styled(cut(&title, width / 2), if upgrade.goes_back { palette.bad() } else { BOLD }),
        Span::styled(bar(part, 20), palette.good()),
        Span::raw(format!(" {done} of {all} done, for {}", in_words(now.since(upgrade.started)))),
    ])];
    let window = spare.min(ITEMS_MAX).min(all);
    let first = done.saturating_sub(window / 3).min(all - window);
    for (index, item) in upgrade.items.iter().enumerate().skip(first).take(window) {
        let (mark, style) = match index.cmp(&done) {
            std::cmp::Ordering::Less => ("✓", palette.good()),
            std::cmp::Ordering::Equal => ("▶", BOLD),
            std::cmp::Ordering::Greater => ("·", DIM),
        };
        lines.push(Line::styled(cut(&format!("  {mark} {}", item.text), width), style));
    }
    let waits = upgrade.waits_for.as_deref().unwrap_or("nothing: it goes on at once");
    let style = if upgrade.needs_person { palette.warn() } else { Style::new() };
    let mark = if upgrade.needs_person { "? " } else { "" };
    let mut line = format!("  waits for {mark}{waits}");
    if let (Some(at), Some(said)) = (upgrade.decide_by, &upgrade.decide_by_said) {
        let _ = match at.since(now) {
            std::time::Duration::ZERO => write!(line, "; to be decided by {said}: passed"),
            left => write!(line, "; to be decided by {said}, in {}", in_words(left)),
        };
    }
    let waits = wrapped(&line, width.saturating_sub(2));
    lines.extend(waits.iter().take(2).map(|line| Line::styled(format!("  {line}"), style)));
    let output = upgrade.output.iter().rev().take(spare.saturating_sub(window).min(3)).rev();
    lines.extend(output.map(|line| Line::styled(cut(&format!("  | {line}"), width), DIM)));
    lines
}

/// A heading with a line to the end of the screen.
fn rule(title: &str, width: usize) -> Line<'static> {
    let title = format!("── {title} ");
    let rest = "─".repeat(width.saturating_sub(title.chars().count()));
    Line::from(vec![Span::styled(cut(&title, width), BOLD), Span::styled(rest, DIM)])
}

/// The newest records, the last at the bottom.
fn journal(scene: &Scene, palette: &Palette, width: usize, room: usize) -> Vec<Line<'static>> {
    if room == 0 {
        return vec![];
    }
    let wall =
        |at| scene.status.as_ref().map_or_else(String::new, |status| Wall::of(status).clock(at));
    let mut newest: Vec<Line<'static>> = Vec::new();
    for shown in scene.journal.iter().rev() {
        let (at, by) = (wall(shown.record.event.at), shown.record.event.by.as_str());
        let is_named = by == "weir" || shown.sentence.contains(&format!("by {by}"));
        let by = if is_named { String::new() } else { format!("{by}: ") };
        let text = wrapped(&format!("{by}{}", shown.sentence), width.saturating_sub(10));
        if newest.len() + text.len() > room - 1 {
            if newest.is_empty() {
                // Even one has not enough room: its beginning.
                let kept = text.into_iter().take(room - 1);
                newest = entry(&at, kept.collect(), palette);
                newest.reverse();
            }
            break;
        }
        let mut lines = entry(&at, text, palette);
        lines.reverse();
        newest.extend(lines);
    }
    newest.push(rule("journal", width));
    newest.reverse();
    newest
}

fn entry(at: &str, text: Vec<String>, palette: &Palette) -> Vec<Line<'static>> {
    let style = match text.join(" ") {
        all if all.contains("rolled back") => palette.bad(),
        all if all.contains("promoted") => palette.good(),
        _ => Style::new(),
    };
    let line = |(place, line): (usize, String)| {
        let head = if place == 0 { format!("{at:<10}") } else { " ".repeat(10) };
        Line::from(vec![Span::styled(head, DIM), Span::styled(line, style)])
    };
    text.into_iter().enumerate().map(line).collect()
}

/// What was said or is asked, and the keys.
fn below(scene: &Scene, palette: &Palette, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(asked) = &scene.asked {
        let known = asked.known.iter().flat_map(|line| wrapped(line, width)).take(SAID_MAX);
        lines.extend(known.map(|line| Line::styled(line, palette.warn())));
        let style = palette.warn().add_modifier(Modifier::REVERSED | Modifier::BOLD);
        let question = wrapped(&format!("? {}", asked.question), width);
        lines.extend(question.into_iter().map(|line| Line::styled(line, style)));
        lines.push(keys(&[("y", "yes"), ("any other key", "no")], width));
        return lines;
    }
    if let Some((_, why)) = &scene.lost {
        let why = wrapped(&format!("✗ {why}"), width);
        lines.extend(why.into_iter().take(2).map(|line| Line::styled(line, palette.bad())));
    } else if let Some(said) = &scene.said {
        let (mark, style) = if said.is_trouble { ("✗", palette.bad()) } else { ("»", BOLD) };
        let text = wrapped(&format!("{mark} {}", said.text), width);
        lines.extend(text.into_iter().take(SAID_MAX).map(|line| Line::styled(line, style)));
    }
    lines.push(keys(&KEYS, width));
    lines
}

fn keys(keys: &[(&'static str, &'static str)], width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    let gap = if width < WIDE { 1 } else { 2 };
    for (key, does) in keys {
        let length = key.chars().count() + 1 + does.chars().count() + gap;
        if used + length > width + gap {
            continue;
        }
        used += length;
        spans.push(Span::styled(*key, BOLD));
        spans.push(Span::styled(format!(" {does}{}", " ".repeat(gap)), DIM));
    }
    Line::from(spans)
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let longest = HELP.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = u16::try_from(longest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(HELP.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    let place = Rect { x, y, width, height };
    let inside = usize::from(width.saturating_sub(4));
    let lines: Vec<Line<'_>> =
        HELP.iter().map(|line| Line::from(format!(" {}", cut(line, inside)))).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}

#[cfg(test)]
#[path = "picture/tests.rs"]
pub(super) mod tests;
