//! Reads a check: `{ file = ... }`, `{ free = ... }` and their like, one a table.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::runbook::{place, url};
use super::section::{At, Section};
use super::values::{self, Mistake, quoted};
use crate::rollout::runbook::{Check, Reach};
use crate::traffic::TierName;

/// How far clocks may be apart: `Date` knows whole seconds.
pub(super) const CLOCKS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);

/// A backup older than a year is no backup.
const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(365 * 24);

/// How old a file may be where nothing is said.
const MAX_AGE: Duration = Duration::from_hours(24);

/// The key that says what is checked.
const KINDS: [&str; 11] = [
    "file",
    "free",
    "tcp",
    "http",
    "version_at",
    "traffic_below",
    "clock",
    "healthy",
    "exact",
    "hours",
    "caches",
];

/// Reads a check; none where there is none, or a wrong one.
pub(super) fn check(mut section: Section<'_>, base: &Path) -> Option<Check> {
    if !section.is_there() {
        return None;
    }
    let kinds: Vec<&str> =
        KINDS.into_iter().filter(|kind| section.key_span(kind).is_some()).collect();
    let tier = tier(&mut section);
    let found = [
        file(&mut section, base),
        disk(&mut section, base),
        reach(&mut section),
        version(&mut section, tier.clone()),
        traffic(&mut section, tier),
        clock(&mut section),
        flags(&mut section),
    ];
    let help = || format!("write one of {}", KINDS.join(", "));
    let mistake = match kinds.as_slice() {
        [_] => None,
        [] => Some(Mistake::new("the check looks at nothing", help())),
        [first, second, ..] => {
            let message = format!("`{first}` and `{second}` are two checks");
            Some(Mistake::new(message, "make each a step of its own"))
        }
    };
    let is_one = mistake.is_none();
    if let Some(mistake) = mistake {
        section.wrong("", section.span.clone(), mistake);
    }
    section.finish();
    found.into_iter().flatten().next().filter(|_| is_one)
}

fn tier(section: &mut Section<'_>) -> Option<TierName> {
    let help = "write the name of a tier, as it stands in [[tier]]";
    let read = section.text("tier", help, |text| {
        text.parse::<TierName>()
            .map_err(|_| Mistake::new(format!("{} is no tier name", quoted(text)), help))
    });
    read.map(|at| at.value)
}

fn file(section: &mut Section<'_>, base: &Path) -> Option<Check> {
    let path = section.text("file", "write a path", |text| {
        let (folder, _) = text.rsplit_once('/').unwrap_or(("", text));
        if folder.contains('*') {
            let help = "let * stand in the name of the file only: \"/backup/dump_*.sql\"";
            return Err(Mistake::new("`*` stands in a folder", help));
        }
        place(text, base)
    });
    let (mut max_age, mut min_size) = (MAX_AGE, 1);
    section.duration("max_age", AGES, &mut max_age);
    section.size("min_size", 1..=1 << 50, &mut min_size);
    path.map(|At { value: path, .. }| Check::File { path, max_age, min_size })
}

fn disk(section: &mut Section<'_>, base: &Path) -> Option<Check> {
    let mut free = 0;
    section.size("free", 1..=1 << 60, &mut free);
    if free > 0 {
        section.need("on", "on = \"/var/lib/postgresql\"");
    }
    let path = section.text("on", "write a path", |text| place(text, base))?.value;
    (free > 0).then_some(Check::Disk { path, free })
}

fn reach(section: &mut Section<'_>) -> Option<Check> {
    let tcp = section.text("tcp", "write an address", values::upstream);
    let http = section.text("http", "write a URL", url);
    let reach = tcp.map(|at| Reach::Tcp(at.value)).or(http.map(|at| Reach::Http(at.value)));
    reach.map(Check::Reachable)
}

fn version(section: &mut Section<'_>, tier: Option<TierName>) -> Option<Check> {
    let path = section.text("version_at", "write a path: \"/version\"", |text| {
        let fits = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
        let help = "write the path of a URL: \"/version\"";
        fits.then(|| text.to_owned())
            .ok_or_else(|| Mistake::new(format!("{} is no path", quoted(text)), help))
    });
    let pattern = section.text("pattern", "write text with {version} in it", |text| {
        let help = "put {version} where the version stands: '\"version\":\"{version}\"'";
        (text.matches("{version}").count() == 1)
            .then(|| text.to_owned())
            .ok_or_else(|| Mistake::new("`{version}` must stand in it once", help))
    });
    let pattern = pattern.map_or_else(|| "{version}".to_owned(), |at| at.value);
    path.map(|At { value: path, .. }| Check::Version { tier, path, pattern })
}

fn traffic(section: &mut Section<'_>, tier: Option<TierName>) -> Option<Check> {
    let mut below = 0;
    section.integer("traffic_below", 1..=1_000_000, &mut below);
    (below > 0).then_some(Check::Traffic { tier, below })
}

fn clock(section: &mut Section<'_>) -> Option<Check> {
    let mut within = Duration::ZERO;
    section.duration("clock", CLOCKS, &mut within);
    (!within.is_zero()).then_some(Check::Clock { within })
}

fn flags(section: &mut Section<'_>) -> Option<Check> {
    let mut found = None;
    for (key, check) in [
        ("healthy", Check::Healthy),
        ("exact", Check::Exact),
        ("hours", Check::Hours),
        ("caches", Check::Caches),
    ] {
        let Some(span) = section.key_span(key) else { continue };
        let mut wanted = true;
        section.flag(key, &mut wanted);
        if wanted {
            found = Some(check);
        } else {
            section.wrong(key, span, Mistake::new("a check that is not made", "leave it out"));
        }
    }
    found
}
