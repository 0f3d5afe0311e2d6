//! The document afterwards: of the running program, or of the journal of one that is stopped.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::progress::Progress;
use super::verbs::{Place, ReportFormat};
use super::{client, find, print, words};
use crate::clock;
use crate::journal::Journal;
use crate::report::{self, Format, Report};
use crate::time::Zone;

impl ReportFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Json => "json",
            Self::Md => "md",
        }
    }
}

pub(super) async fn report(
    rollout: Option<u64>,
    format: ReportFormat,
    journal: Option<&Path>,
    place: &Place,
) -> anyhow::Result<()> {
    if let Some(journal) = journal {
        return print::text(
            &stopped(rollout, format, journal, &find::zone(place.config.as_deref())).await?,
        );
    }
    let which = rollout.map_or(String::new(), |id| format!("&rollout={id}"));
    let path = format!("/api/v1/report?format={}{which}", format.name());
    print::text(&words::plain(&client(place)?.get_text(&path).await?))
}

/// From the journal of a program that does not run.
async fn stopped(
    rollout: Option<u64>,
    format: ReportFormat,
    path: &Path,
    zone: &Zone,
) -> anyhow::Result<String> {
    if !path.exists() {
        bail!("there is no journal {}", path.display());
    }
    let _progress = Progress::of("reading the journal");
    let (journal, kept) = Journal::open(path).with_context(|| {
        format!("{} (of a running weir: `weir report` without --journal)", path.display())
    })?;
    let rollout = rollout.map_or_else(|| report::latest(&kept.records), Ok)?;
    let samples = journal.shelf().samples(rollout).await?;
    let report = Report::of(rollout, &kept.records, &samples, (clock::wall(), zone))?;
    journal.close();
    Ok(report.text(match format {
        ReportFormat::Html => Format::Html,
        ReportFormat::Json => Format::Json,
        ReportFormat::Md => Format::Markdown,
    }))
}
