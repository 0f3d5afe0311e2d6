//! Reads `[statsd]` and `[[analysis.signal]]`: what is heard of a tier from outside.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::cache::{CacheDraft, not_observed};
use super::diagnostic::{Code, Level};
use super::judging::{tolerated, watch_name};
use super::keys;
use super::reader::Reader;
use super::section::{At, Section};
use super::tier::Draft;
use super::values::{self, Mistake, quoted};
use super::{SignalConfig, TierConfig};
use crate::analysis::{CheckSettings, Limit, MetricSettings, OnFail, SAMPLES_MAX, WatchSettings};
use crate::control::Feeds;
use crate::rollout::{JobsSource, Workers};
use crate::signals::{Endpoint, Figure, Pattern, Selector, Signal, Source, Token, VERSION};
use crate::traffic::TierName;

/// Signals of a file: each takes a part of the same bound on false roll backs, as watches do.
pub(super) const SIGNALS_MAX: usize = 32;

/// Signals that share the bound of one tier.
const COUNTED_MAX: usize = 8;

/// Longest question to a Prometheus, in bytes.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// Longest name of a label, a tag or a variable, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// How often a signal is asked for.
const EVERY: Duration = Duration::from_secs(5);

/// How long a signal may say nothing.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Samples beyond the limit that make a check fail, and among how many.
const SAMPLES: (usize, usize) = (3, 5);

/// Where statsd is listened for.
pub(super) fn statsd(root: &mut Section<'_>) -> Option<At<SocketAddr>> {
    let mut section = root.table("statsd", &keys::STATSD);
    if section.is_there() {
        section.need("listen", "listen = \"127.0.0.1:8125\"");
    }
    let listen = section.text("listen", "write text: \"127.0.0.1:8125\"", values::socket);
    section.finish();
    listen
}

/// A signal as far as it could be read.
pub(super) struct SignalDraft {
    path: String,
    tier: Option<At<TierName>>,
    name: Option<At<String>>,
    source: Option<Source>,
    kind: Kind,
    every: Duration,
    silent_after: Duration,
}

/// What becomes of it.
enum Kind {
    Check(CheckSettings),
    Counts(Feeds, WatchSettings),
    Unknown,
}

/// Which source was named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Jobs,
    Promql,
    Scrape,
    Statsd,
}

impl SignalDraft {
    /// Reads one `[[analysis.signal]]`.
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        section.need("name", "name = \"jobs\"");
        section.need("tier", "tier = \"web\"");
        section.need("source", "source = \"statsd\"");
        let name = section.text("name", "write text: \"jobs\"", watch_name);
        if let Some(at) = &name {
            section.rename(format!("analysis.signal.{}", at.value));
        }
        let tier = section.text("tier", "write text: \"web\"", |text| {
            text.parse::<TierName>()
                .map_err(|_| Mistake::new(format!("{} is no tier", quoted(text)), "name a tier"))
        });
        let mut named = None;
        let words = [
            ("jobs", Some(Named::Jobs)),
            ("promql", Some(Named::Promql)),
            ("scrape", Some(Named::Scrape)),
            ("statsd", Some(Named::Statsd)),
        ];
        section.word("source", &words, &mut named);
        let (mut every, mut silent_after) = (EVERY, SILENT_AFTER);
        let minute = Duration::from_mins(1);
        section.duration("every", Duration::from_secs(1)..=10 * minute, &mut every);
        let hour = 60 * minute;
        section.duration("silent_after", Duration::from_secs(2)..=hour, &mut silent_after);
        // Jobs are counted, and nothing has to say how.
        let shape = match named {
            Some(Named::Jobs) => Some(Shape::Counts),
            Some(Named::Promql | Named::Scrape | Named::Statsd) | None => Shape::read(&section),
        };
        let source = named.and_then(|named| source(&mut section, named, shape, base));
        let kind = kind(&mut section, name.as_ref(), shape);
        for (key, span) in section.unread() {
            // Without a shape something else was meant; that was said.
            if shape.is_some() && named.is_some() {
                let help = "it belongs to another source or kind of figure; leave it out";
                section.wrong(key, span, Mistake::new(format!("`{key}` has no place here"), help));
            }
        }
        let path = section.path_of("").trim_end_matches('.').to_owned();
        section.finish();
        Self { path, tier, name, source, kind, every, silent_after }
    }

    /// After how long without a word it is blind, if it is the signal `name` of `tier`.
    pub(super) fn silent_after(&self, tier: &TierName, name: &str) -> Option<Duration> {
        let is_of = self.tier.as_ref().is_some_and(|at| at.value == *tier);
        let is_called = self.name.as_ref().is_some_and(|at| at.value == name);
        (is_of && is_called).then_some(self.silent_after)
    }

    /// Why it cannot count the jobs of `workers`, whose judge knows successes and failures alone: the
    /// key that is wrong, and what to do.
    fn unfit_for(&self, workers: &Workers) -> Option<(&'static str, Mistake)> {
        let (name, at) = (workers.name(), self.name.as_ref()?);
        let of_workers = format!("{name} is a tier of workers, whose jobs are judged by `jobs`");
        let is_named = workers.jobs.as_ref().is_some_and(|jobs| match &jobs.source {
            JobsSource::Signal { name, .. } => *name == at.value,
            JobsSource::Cache(_) => false,
        });
        let of_cache = "write jobs = \"NAME\", the name of the cache, into the [[worker]]";
        let alone = "its [[worker]] says on_failure, and the errors of the tier that it follows what is \
                     tolerated; leave it out here";
        Some(match (&self.source, &self.kind) {
            (Some(Source::Jobs { .. }), _) => ("source", Mistake::new(of_workers, of_cache)),
            (_, Kind::Check(_)) => {
                let help = "write total and bad, so that both versions can be compared";
                ("value", Mistake::new(of_workers, help))
            }
            (_, Kind::Counts(Feeds::Errors | Feeds::Slow | Feeds::Check, _)) => {
                ("counts_as", Mistake::new(of_workers, "leave counts_as out"))
            }
            (_, Kind::Counts(Feeds::Own, judged)) if judged.on_fail != OnFail::default() => {
                ("on_fail", Mistake::new(of_workers, alone))
            }
            (_, Kind::Counts(Feeds::Own, judged)) if judged.metric != MetricSettings::default() => {
                ("tolerated", Mistake::new(of_workers, alone))
            }
            (_, Kind::Counts(Feeds::Own, _)) if !is_named => {
                let help = format!("write jobs = {} into the [[worker]] {name}", quoted(&at.value));
                ("name", Mistake::new("nobody judges this signal", help))
            }
            (_, Kind::Counts(Feeds::Own, _) | Kind::Unknown) => return None,
        })
    }

    /// The signal, if everything it needs was there.
    fn finish(self) -> Option<(SignalConfig, Kind)> {
        let (tier, name) = (self.tier?.value, self.name?.value);
        let feeds = match &self.kind {
            Kind::Check(_) => Feeds::Check,
            Kind::Counts(feeds, _) => *feeds,
            Kind::Unknown => return None,
        };
        let signal = Signal { tier, name, every: self.every, source: self.source? };
        Some((SignalConfig { signal, feeds, silent_after: self.silent_after }, self.kind))
    }
}

/// Which keys say what is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counts,
    Number,
    /// Timings of statsd that are slow or not.
    Timings,
}

impl Shape {
    fn read(section: &Section<'_>) -> Option<Self> {
        let has = |key| section.key_span(key).is_some();
        match (has("total"), has("bad"), has("value"), has("slower_than")) {
            (true, true, false, false) => Some(Self::Counts),
            (false, false, true, false) => Some(Self::Number),
            (false, false, true, true) => Some(Self::Timings),
            _ => None,
        }
    }
}

fn source(
    section: &mut Section<'_>,
    named: Named,
    shape: Option<Shape>,
    base: &Path,
) -> Option<Source> {
    if shape.is_none() {
        let help = "write total and bad (events and the bad ones), or value (a number with above \
                    or below), or of statsd value and slower_than (timings)";
        let mistake = Mistake::new("it does not say what is counted", help);
        section.wrong("total", section.span.clone(), mistake);
    }
    match named {
        Named::Jobs => jobs(section),
        Named::Promql => promql(section, shape, base),
        Named::Scrape => scrape(section, shape),
        Named::Statsd => statsd_source(section, shape),
    }
}

/// Reads what is wanted, each with `parse`.
fn figure<T: Clone>(
    section: &mut Section<'_>,
    shape: Option<Shape>,
    help: &str,
    parse: impl Fn(&str) -> Result<T, Mistake>,
) -> Option<Figure<T>> {
    match shape? {
        Shape::Number => Some(Figure::Number(section.text("value", help, parse)?.value)),
        Shape::Timings => {
            let timing = section.text("value", help, parse)?.value;
            Some(Figure::Counts { total: timing.clone(), bad: timing })
        }
        Shape::Counts => {
            let total = section.text("total", help, &parse);
            let bad = section.text("bad", help, &parse);
            Some(Figure::Counts { total: total?.value, bad: bad?.value })
        }
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, Mistake> {
    let wrong =
        |error: T::Err| Mistake::new(format!("{} is none", quoted(text)), error.to_string());
    text.parse().map_err(wrong)
}

/// Counts of all versions together say nothing of one.
fn without_version(section: &Section<'_>, key: &'static str, help: &str) {
    let span = section.key_span(key).unwrap_or(section.span.clone());
    let mistake = Mistake::new("nothing tells which version is counted", help.to_owned());
    section.wrong(key, span, mistake);
}

/// What belongs to timings belongs to statsd.
fn no_timings(section: &Section<'_>) {
    if let Some(span) = section.key_span("slower_than") {
        let help = "of other sources count the slow ones there, and write total and bad";
        let mistake = Mistake::new("only statsd tells single timings", help);
        section.wrong("slower_than", span, mistake);
    }
}

fn endpoint(section: &mut Section<'_>, example: &'static str) -> Option<At<String>> {
    section.need("url", example);
    section.text("url", "write text: \"http://127.0.0.1:9090\"", |text| {
        let sample = ["{address}", "{host}", VERSION]
            .iter()
            .fold(text.to_owned(), |text, place| text.replace(place, "a"));
        let wrong = |error: crate::signals::EndpointError| {
            Mistake::new(
                format!("{} cannot be asked: {error}", quoted(text)),
                "write http://host:port/path",
            )
        };
        sample.parse::<Endpoint>().map_err(wrong)?;
        Ok(text.to_owned())
    })
}

fn promql(section: &mut Section<'_>, shape: Option<Shape>, base: &Path) -> Option<Source> {
    no_timings(section);
    let url = endpoint(section, "url = \"http://127.0.0.1:9090\"");
    let file = section.text("token_file", "write text: \"prometheus.token\"", |text| {
        if text.is_empty() {
            return Err(Mistake::new("there is no name", "name a file"));
        }
        Ok(Token::File(base.join(text)))
    });
    let variable = section.text("token_env", "write text: \"PROMETHEUS_TOKEN\"", |text| {
        name(text).map(Token::Environment)
    });
    if let (Some(file), Some(variable)) = (&file, &variable) {
        let mistake = Mistake::new("there are two tokens", "keep one of the two");
        let others = vec![(file.span.clone(), "the other".to_owned())];
        section.conflict("token_env", variable.span.clone(), mistake, others);
    }
    let figure = figure(section, shape, "write a query: \"sum(jobs_total)\"", |text| {
        if text.trim().is_empty() || text.len() > QUERY_BYTES_MAX {
            let help = format!("write 1 to {QUERY_BYTES_MAX} bytes of PromQL that give one number");
            return Err(Mistake::new("this is no query", help));
        }
        Ok(text.to_owned())
    })?;
    if let Figure::Counts { total, bad } = &figure {
        for (key, query) in [("total", total), ("bad", bad)] {
            if !query.contains(VERSION) {
                let help = "write {version} into the query: jobs_total{version=\"{version}\"}";
                without_version(section, key, help);
            }
        }
    }
    let endpoint = url?.value.parse().ok()?;
    Some(Source::Promql { endpoint, token: file.or(variable).map(|at| at.value), figure })
}

fn jobs(section: &mut Section<'_>) -> Option<Source> {
    section.need("cache", "cache = \"jobs\"");
    let cache = section.text("cache", "write text: \"jobs\"", name);
    Some(Source::Jobs { cache: cache?.value })
}

fn scrape(section: &mut Section<'_>, shape: Option<Shape>) -> Option<Source> {
    no_timings(section);
    let url = endpoint(section, "url = \"http://{host}:9394/metrics\"");
    let label = section.text("version_label", "write text: \"version\"", name);
    let figure = figure(section, shape, "write a name: \"jobs_total\"", parsed::<Selector>)?;
    let url = url?.value;
    let places = ["{address}", "{host}", VERSION];
    let is_told = label.is_some() || places.iter().any(|place| url.contains(place));
    if !is_told && matches!(figure, Figure::Counts { .. }) {
        let help = "write {address} or {host} into the url to read each upstream's page, or name \
                    the version_label of a page that tells of all";
        without_version(section, "url", help);
    }
    Some(Source::Scrape { url, version_label: label.map(|at| at.value), figure })
}

fn statsd_source(section: &mut Section<'_>, shape: Option<Shape>) -> Option<Source> {
    let tag = section.text("version_tag", "write text: \"version\"", name);
    let mut slower_than = Duration::ZERO;
    let hour = Duration::from_hours(1);
    section.duration("slower_than", Duration::from_millis(1)..=hour, &mut slower_than);
    let figure = figure(section, shape, "write a name: \"app.{version}.jobs\"", parsed::<Pattern>)?;
    if let (Figure::Counts { total, bad }, None) = (&figure, &tag) {
        let keys = if shape == Some(Shape::Timings) { ["value"; 2] } else { ["total", "bad"] };
        for (key, pattern) in
            keys.into_iter().zip([total, bad]).take(if total == bad { 1 } else { 2 })
        {
            if !pattern.has_version() {
                let help = "write {version} into the name, or name the version_tag";
                without_version(section, key, help);
            }
        }
    }
    let slower_than = (shape == Some(Shape::Timings)).then_some(slower_than);
    Some(Source::Statsd { version_tag: tag.map(|at| at.value), figure, slower_than })
}

fn name(text: &str) -> Result<String, Mistake> {
    let part = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(part) {
        let help = format!("write 1 to {NAME_BYTES_MAX} letters, digits and `._-`");
        return Err(Mistake::new(format!("{} is no name", quoted(text)), help));
    }
    Ok(text.to_owned())
}

fn kind(section: &mut Section<'_>, name: Option<&At<String>>, shape: Option<Shape>) -> Kind {
    let mut on_fail = OnFail::default();
    let words = [("rollback", OnFail::Rollback), ("hold", OnFail::Hold)];
    section.word("on_fail", &words, &mut on_fail);
    let name = name.map(|at| at.value.clone()).unwrap_or_default();
    match shape {
        None => Kind::Unknown,
        Some(Shape::Number) => {
            let ((beyond, samples), limit) = (samples(section), limit(section));
            limit.map_or(Kind::Unknown, |limit| {
                Kind::Check(CheckSettings { name, on_fail, limit, beyond, samples })
            })
        }
        Some(Shape::Counts | Shape::Timings) => {
            let mut metric = MetricSettings::default();
            tolerated(section, &mut metric);
            Kind::Counts(feeds(section), WatchSettings { name, on_fail, metric })
        }
    }
}

fn feeds(section: &mut Section<'_>) -> Feeds {
    let mut feeds = Feeds::Own;
    let words = [("itself", Feeds::Own), ("errors", Feeds::Errors), ("slow", Feeds::Slow)];
    section.word("counts_as", &words, &mut feeds);
    feeds
}

fn samples(section: &mut Section<'_>) -> (usize, usize) {
    let (mut beyond, mut samples) = SAMPLES;
    section.integer("samples", 1..=SAMPLES_MAX as u64, &mut samples);
    beyond = beyond.min(samples);
    section.integer("beyond", 1..=SAMPLES_MAX as u64, &mut beyond);
    if beyond > samples {
        let span = section.key_span("beyond").unwrap_or(section.span.clone());
        let message = format!("{beyond} of {samples} samples is more than all");
        section.wrong(
            "beyond",
            span,
            Mistake::new(message, "make samples larger, or beyond smaller"),
        );
        beyond = samples;
    }
    (beyond, samples)
}

fn limit(section: &mut Section<'_>) -> Option<Limit> {
    let mut read = |key| section.number(key);
    match (read("above"), read("below")) {
        (Some(above), None) => Some(Limit::Above(above.value)),
        (None, Some(below)) => Some(Limit::Below(below.value)),
        (Some(above), Some(below)) => {
            let mistake = Mistake::new("there are two limits", "write two signals");
            let others = vec![(above.span, "the other".to_owned())];
            section.conflict("below", below.span, mistake, others);
            None
        }
        (None, None) => {
            if section.key_span("above").or(section.key_span("below")).is_none() {
                let help = "add above = 30.0 or below = 5.0; counts are total and bad";
                let mistake = Mistake::new("the number has no limit", help);
                section.wrong("above", section.span.clone(), mistake);
            }
            None
        }
    }
}

/// Checks the signals against the tiers and each other.
pub(super) fn check(
    reader: &Reader,
    signals: &[SignalDraft],
    (tiers, workers): (&[Draft], &[Workers]),
    statsd: Option<&At<SocketAddr>>,
    caches: &[CacheDraft],
) {
    let conflict =
        |draft: &SignalDraft, key: &str, span: &std::ops::Range<usize>, mistake, other| {
            let place = (format!("{}.{key}", draft.path), span.clone());
            let others = Option::into_iter(other).collect();
            reader.note((Level::Error, Code::Conflict), place, mistake, others);
        };
    let are_whole = tiers.iter().all(|tier| tier.name.is_some());
    for (index, draft) in signals.iter().enumerate() {
        let (Some(tier), Some(name)) = (&draft.tier, &draft.name) else { continue };
        let known = tiers.iter().find(|t| t.name.as_ref().is_some_and(|n| n.value == tier.value));
        let crew = workers.iter().find(|workers| *workers.name() == tier.value);
        if let Some((key, mistake)) = crew.and_then(|crew| draft.unfit_for(crew)) {
            conflict(draft, key, &name.span, mistake, None);
        }
        if known.is_none() && crew.is_none() && are_whole {
            let message = format!("there is no tier {}", quoted(tier.value.as_str()));
            let mistake = Mistake::new(message, "name a [[tier]] or a [[worker]] of this file");
            conflict(draft, "tier", &tier.span, mistake, None);
        }
        let before = &signals[..index];
        let same_tier = |other: &&SignalDraft| {
            other.tier.as_ref().is_some_and(|other| other.value == tier.value)
        };
        let twin = before.iter().filter(same_tier).filter_map(|other| other.name.as_ref());
        if let Some(first) = twin.into_iter().find(|other| other.value == name.value) {
            let message =
                format!("two signals of {} are called {}", tier.value, quoted(&name.value));
            let mistake = Mistake::new(message, "give each a name of its own");
            conflict(
                draft,
                "name",
                &name.span,
                mistake,
                Some((first.span.clone(), "the first".to_owned())),
            );
        } else if known.is_some_and(|tier| tier.watches(&name.value)) {
            let message =
                format!("a watch of {} is called {}, too", tier.value, quoted(&name.value));
            conflict(
                draft,
                "name",
                &name.span,
                Mistake::new(message, "give it another name"),
                None,
            );
        }
        if before.iter().filter(same_tier).count() == COUNTED_MAX {
            let message = format!("{} has more than {COUNTED_MAX} signals", tier.value);
            let help =
                "each takes a part of one bound on false roll backs, and a ninth would be dust";
            conflict(draft, "tier", &tier.span, Mistake::new(message, help), None);
        }
        if let (Kind::Counts(Feeds::Errors | Feeds::Slow, _), Some(_)) = (&draft.kind, known) {
            let message = format!("the requests of {} are counted already", tier.value);
            let help = "leave counts_as out: the signal is judged beside them";
            conflict(draft, "counts_as", &name.span, Mistake::new(message, help), None);
        }
        if let Some(Source::Jobs { cache }) = &draft.source
            && let Some(mistake) = not_observed(cache, caches)
        {
            conflict(draft, "cache", &name.span, mistake, None);
        }
        if matches!(draft.source, Some(Source::Statsd { .. })) && statsd.is_none() {
            let mistake = Mistake::new(
                "statsd is not listened for",
                "add [statsd] with listen = \"127.0.0.1:8125\"",
            );
            conflict(draft, "source", &name.span, mistake, None);
        }
    }
}

/// Gives each tier what is judged of its signals, in the order of the file. All of them, also those of
/// workers.
pub(super) fn attach(
    signals: Vec<SignalDraft>,
    tiers: &mut [TierConfig],
    workers: &[Workers],
) -> Vec<SignalConfig> {
    let mut attached = Vec::new();
    for (config, kind) in signals.into_iter().filter_map(SignalDraft::finish) {
        let tier = tiers.iter_mut().find(|tier| tier.tier.name == config.signal.tier);
        let Some(tier) = tier else {
            // Their judge takes it as their jobs.
            attached
                .extend(workers.iter().any(|w| *w.name() == config.signal.tier).then_some(config));
            continue;
        };
        match kind {
            Kind::Check(check) => tier.analysis.checks.push(check),
            Kind::Counts(Feeds::Own, counted) => tier.analysis.signals.push(counted),
            Kind::Counts(Feeds::Check | Feeds::Errors | Feeds::Slow, _) | Kind::Unknown => {}
        }
        attached.push(config);
    }
    attached
}
