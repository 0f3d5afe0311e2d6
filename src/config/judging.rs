//! Reads `[analysis]` and `[tier.analysis]`: what the judge tolerates, what is watched, what is
//! left out.

use std::path::Path;
use std::time::Duration;

use super::keys;
use super::program::BAKE_MAX;
use super::section::{At, PATTERNS_MAX, Section};
use super::signals::{SIGNALS_MAX, SignalDraft};
use super::values::{self, Mistake, quoted};
use crate::analysis::{MetricSettings, OnFail, Settings, WatchSettings, WhenUnproven};
use crate::traffic::matching::{Network, Pattern, StatusPattern};
use crate::traffic::{Ignore, Watch};

/// Watches beside errors and slow: each takes a part of the same bound on false roll backs.
const WATCHES_MAX: usize = 8;

/// Longest name of a watch: it becomes a label of metrics.
const WATCH_NAME_MAX: usize = 64;

/// Longest pattern of a path, a Location or a user agent, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// All that `[analysis]` says: for the judge, and for the proxy that counts for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Judging {
    pub(super) settings: Settings,
    pub(super) watches: Vec<Watch>,
    pub(super) ignore: Ignore,
}

impl Judging {
    /// What `section` says on top of `self`, key by key.
    pub(super) fn overridden(&self, mut section: Section<'_>) -> Self {
        let mut judging = self.clone();
        let settings = &mut judging.settings;
        section.share("false_rollback", 1e-6..=0.5, &mut settings.false_rollback);
        section.share("false_advance", 1e-6..=0.5, &mut settings.false_advance);
        section.points("margin", 1e-5..=0.5, &mut settings.errors.margin);
        section.duration("grace", Duration::ZERO..=Duration::from_hours(1), &mut settings.grace);
        section.points("grace_delta", 0.0..=1.0, &mut settings.grace_delta);
        section.duration(
            "warm_up",
            Duration::ZERO..=Duration::from_hours(1),
            &mut settings.warm_up,
        );
        let give_up =
            section.duration("give_up", Duration::from_secs(1)..=BAKE_MAX, &mut settings.give_up);
        let words = [("hold", WhenUnproven::Hold), ("advance", WhenUnproven::Advance)];
        section.word("when_unproven", &words, &mut settings.when_unproven);
        if let Some(span) = give_up.filter(|_| settings.give_up <= settings.grace) {
            section.remark(
                "give_up",
                span,
                Mistake::new(
                    format!(
                        "stages are given up after {}, within the grace of {}",
                        values::duration_text(settings.give_up),
                        values::duration_text(settings.grace)
                    ),
                    "nothing can be proven before; make give_up longer or grace shorter",
                ),
            );
        }
        let mut errors = section.table("errors", &keys::ERRORS);
        if let (Some(short), Some(long)) = (section.key_span("margin"), errors.key_span("margin")) {
            let mistake =
                Mistake::new("`margin` is said twice", "keep one of the two: they mean the same");
            errors.conflict("margin", long, mistake, vec![(short, "said here too".to_owned())]);
        }
        metric(&mut errors, &mut settings.errors);
        errors.finish();
        let mut slow = section.table("slow", &keys::SLOW);
        metric(&mut slow, &mut settings.slow);
        slow.finish();
        if section.key_span("watch").is_some() {
            let sections = section.tables("watch", WATCHES_MAX, &keys::WATCH);
            (judging.watches, settings.watches) = watches(sections).into_iter().unzip();
        }
        ignore(section.table("ignore", &keys::IGNORE), &mut judging.ignore);
        if let Err(error) = judging.settings.check() {
            // Each key was checked in the words of the file before; this is the last net.
            let mistake = Mistake::new(error.to_string(), "mend it");
            section.wrong("analysis", section.span.clone(), mistake);
            judging.settings = self.settings.clone();
        }
        section.finish();
        judging
    }
}

fn metric(section: &mut Section<'_>, settings: &mut MetricSettings) {
    tolerated(section, settings);
    section.points("margin", 1e-5..=0.5, &mut settings.margin);
    section.factor("margin_ratio", 1.0..=100.0, &mut settings.ratio_margin);
}

pub(super) fn tolerated(section: &mut Section<'_>, settings: &mut MetricSettings) {
    section.points("tolerated", 0.0..=1.0, &mut settings.delta0);
    section.factor("tolerated_ratio", 1.0..=100.0, &mut settings.ratio0);
}

fn watches(sections: Vec<Section<'_>>) -> Vec<(Watch, WatchSettings)> {
    let mut named: Vec<At<String>> = Vec::new();
    let mut watches = Vec::new();
    for mut section in sections {
        section.need("name", "name = \"thrown out\"");
        section.need("status", "status = [\"302\", \"401\"]");
        let name = section.text("name", "write text: \"thrown out\"", watch_name);
        if let Some(at) = &name {
            section.rename(format!("analysis.watch.{}", at.value));
            if let Some(before) = named.iter().find(|before| before.value == at.value) {
                let mistake = Mistake::new(
                    format!("two watches are called {}", quoted(&at.value)),
                    "give each a name of its own",
                );
                let others = vec![(before.span.clone(), "the first".to_owned())];
                section.conflict("name", at.span.clone(), mistake, others);
            }
            named.push(at.clone());
        }
        let status = section.list("status", PATTERNS_MAX, "[\"302\", \"4xx\"]", |text| {
            text.parse::<StatusPattern>().map_err(|_| {
                Mistake::new(
                    format!("{} is no status", quoted(text)),
                    "write \"302\" or a class, \"4xx\"",
                )
            })
        });
        if status.as_ref().is_some_and(Vec::is_empty)
            && let Some(span) = section.key_span("status")
        {
            let mistake = Mistake::new(
                "`status` is empty",
                "list the statuses that count: [\"302\", \"401\"]",
            );
            section.wrong("status", span, mistake);
        }
        let location = section.text("location", "write a pattern: \"/login*\"", pattern);
        let mut settings = WatchSettings::default();
        let words = [("rollback", OnFail::Rollback), ("hold", OnFail::Hold)];
        section.word("on_fail", &words, &mut settings.on_fail);
        tolerated(&mut section, &mut settings.metric);
        section.finish();
        if let (Some(name), Some(status)) = (name, status) {
            settings.name.clone_from(&name.value);
            let status = status.into_iter().map(|at| at.value).collect();
            let location = location.map(|at| at.value);
            // A doubled name was noted; the judge is not to see it.
            if named.iter().filter(|other| other.value == name.value).count() == 1 {
                watches.push((Watch { name: name.value, status, location }, settings));
            }
        }
    }
    watches
}

pub(super) fn watch_name(text: &str) -> Result<String, Mistake> {
    if ["errors", "slow"].contains(&text) {
        return Err(Mistake::new(
            format!("{} is judged anyway", quoted(text)),
            "choose another name",
        ));
    }
    let visible = !text.chars().any(char::is_control) && text.trim() == text;
    if text.is_empty() || text.chars().count() > WATCH_NAME_MAX || !visible {
        let help = format!("write 1 to {WATCH_NAME_MAX} characters, such as \"thrown out\"");
        return Err(Mistake::new(format!("{} is no name", quoted(text)), help));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<Pattern, Mistake> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
        let help = format!("write 1 to {PATTERN_BYTES_MAX} bytes of text; `*` is any text");
        return Err(Mistake::new(format!("{} is no pattern", quoted(text)), help));
    }
    Ok(Pattern::new(text))
}

/// A list of paths at `key`, with an `example`.
pub(super) fn paths(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
) -> Option<Vec<Pattern>> {
    let paths = section.list(key, PATTERNS_MAX, example, |text| {
        let pattern = pattern(text)?;
        if !text.starts_with(['/', '*']) || text.contains('?') {
            let help = "a path starts with / or *, and has no query";
            return Err(Mistake::new(format!("{} is no path", quoted(text)), help));
        }
        Ok(pattern)
    });
    Some(paths?.into_iter().map(|at| at.value).collect())
}

fn ignore(mut section: Section<'_>, ignore: &mut Ignore) {
    let values = |list: Vec<At<Pattern>>| list.into_iter().map(|at| at.value).collect();
    if let Some(paths) = paths(&mut section, "paths", "[\"/ping\"]") {
        ignore.paths = paths;
    }
    if let Some(networks) = networks(&mut section, "addresses") {
        ignore.addresses = networks;
    }
    if let Some(agents) = section.list("agents", PATTERNS_MAX, "[\"*pingdom*\"]", pattern) {
        ignore.agents = values(agents);
    }
    section.finish();
}

/// Reads a list of networks.
pub(super) fn networks(section: &mut Section<'_>, key: &'static str) -> Option<Vec<Network>> {
    let list = section.list(key, PATTERNS_MAX, "[\"10.0.0.0/8\"]", |text| {
        text.parse::<Network>().map_err(|_| {
            let help = "write \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"";
            Mistake::new(format!("{} is no address or network", quoted(text)), help)
        })
    })?;
    Some(list.into_iter().map(|at| at.value).collect())
}

/// How long a canary counts as cold, since what it has in its caches is not known.
pub(super) const WARM_UP: Duration = Duration::from_mins(2);

/// Reads `[analysis]` of the file, with the signals of all tiers.
pub(super) fn global(
    root: &mut Section<'_>,
    bake: Duration,
    folder: &Path,
) -> (Judging, Vec<SignalDraft>) {
    let mut section = root.table("analysis", &keys::ANALYSIS);
    let signals = section.tables("signal", SIGNALS_MAX, &keys::SIGNAL).into_iter();
    let signals = signals.map(|signal| SignalDraft::read(signal, folder)).collect();
    let settings = Settings { bake, warm_up: WARM_UP, ..Settings::default() };
    (Judging { settings, ..Judging::default() }.overridden(section), signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_watches_become_labels() {
        assert_eq!(watch_name("thrown out"), Ok("thrown out".to_owned()));
        for wrong in ["", "errors", "slow", " x", "a\nb", &"x".repeat(65)] {
            assert!(watch_name(wrong).is_err(), "{wrong}");
        }
    }
}
