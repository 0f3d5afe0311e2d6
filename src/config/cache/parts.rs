//! What of a server belongs to which version: keys that they share, databases of each.

use crate::cache::Mode;
use crate::config::reader::Reader;
use crate::config::section::{At, Section};
use crate::config::values::{Mistake, quoted};
use crate::namespace::redis::{Databases, DatabasesError};
use crate::namespace::sharing::Sharing;
use crate::traffic::{Version, Weight};

use super::{CacheDraft, Secrecy, by_version};

/// Patterns of keys of one cache: each key is held against all of them.
const PATTERNS_MAX: usize = 64;

/// Longest pattern: a namespace of the app and some more.
const PATTERN_BYTES_MAX: usize = 128;

/// Where jobs are fetched from if nothing is said: what Sidekiq and Celery call their queues.
const QUEUES: [&str; 2] = ["queue:*", "celery*"];

/// What belongs to whom.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) isolate: Vec<String>,
    pub(super) share: Vec<String>,
    pub(super) queues: Vec<String>,
    pub(super) jobs: Option<Weight>,
    databases: Vec<(At<Version>, At<Databases>)>,
}

impl Parts {
    pub(super) fn read(section: &mut Section<'_>, mode: Mode) -> Self {
        let mut patterns = |key| {
            let read = section.list(key, PATTERNS_MAX, "[\"queue:*\"]", pattern);
            read.unwrap_or_default().into_iter().map(|at| at.value).collect()
        };
        let (isolate, share) = (patterns("isolate"), patterns("share"));
        let mut queues: Vec<String> = patterns("queues");
        if section.key_span("queues").is_none() && mode == Mode::Observe {
            queues = QUEUES.map(str::to_owned).to_vec();
        }
        let jobs = section.text("jobs", "write a share: \"10%\"", |text| {
            text.parse::<Weight>().map_err(|_| {
                let message = format!("{} is no share", quoted(text));
                Mistake::new(message, "write a percentage from 0% to 100%: \"10%\"")
            })
        });
        if mode == Mode::Db {
            section.need("databases", "databases = { \"1.0.0\" = \"0-7\", \"1.1.0\" = \"8-15\" }");
        }
        let databases = by_version(section, "databases", Secrecy::Shown, |text| {
            text.parse().map_err(|error: DatabasesError| {
                let text = error.to_string();
                let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
                Mistake::new(message, help)
            })
        });
        let fits = [
            ("isolate", Mode::Prefix),
            ("share", Mode::Prefix),
            ("databases", Mode::Db),
            ("queues", Mode::Observe),
            ("jobs", Mode::Observe),
        ];
        for (key, only) in fits {
            if let Some(span) = section.key_span(key).filter(|_| mode != only) {
                let message = format!("`{key}` has no use with mode = \"{}\"", mode.name());
                let help = format!("it is for mode = \"{}\"", only.name());
                section.wrong(key, span, Mistake::new(message, help));
            }
        }
        Self { isolate, share, queues, jobs: jobs.map(|at| at.value), databases }
    }

    pub(super) fn sharing(&self) -> Sharing {
        Sharing::new(&self.isolate, &self.share)
    }

    /// The databases of `version`.
    pub(super) fn databases(&self, version: &Version) -> Option<Databases> {
        let own = self.databases.iter().find(|(at, _)| at.value == *version);
        own.map(|(_, databases)| databases.value)
    }
}

/// Each version with a port has databases, and none of them twice.
pub(super) fn check(reader: &Reader, cache: &CacheDraft) {
    if cache.mode != Mode::Db {
        return;
    }
    for (version, _) in &cache.ports {
        if cache.parts.databases(&version.value).is_none() {
            let message = format!("version {} has a port and no databases", version.value);
            let mistake = Mistake::new(message, "add it to `databases`");
            cache.note(reader, "ports", &version.span, mistake);
        }
    }
    for (place, (version, databases)) in cache.parts.databases.iter().enumerate() {
        let mut others = cache.parts.databases[..place].iter();
        if let Some((other, _)) = others.find(|(_, other)| other.value.overlaps(databases.value)) {
            let message = format!("versions {} and {} share databases", other.value, version.value);
            let mistake = Mistake::new(message, "give each its own: \"0-7\" and \"8-15\"");
            cache.note(reader, "databases", &databases.span, mistake);
        }
    }
}

fn pattern(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| !c.is_control() && !"?[]\\".contains(c);
    if (1..=PATTERN_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let help = format!(
        "write at most {PATTERN_BYTES_MAX} bytes, in which * stands for anything: \"queue:*\""
    );
    Err(Mistake::new(format!("{} is no pattern of keys", quoted(text)), help))
}
