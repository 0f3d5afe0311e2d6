//! `weir replay`: recorded traffic, judged again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::progress::Progress;
use super::{Unproven, print};
use crate::analysis::TraceError;
use crate::analysis::{LINE_BYTES_MAX, Ladder, Line, Outcome, Problem, Reader, Replay, Settings};
use crate::config;
use crate::rollout::{Plan, Stages};
use crate::traffic::TierName;

/// How traces are judged.
pub(super) struct Rules {
    settings: Settings,
    plan: Option<Plan>,
}

impl Rules {
    /// As `file` has them for `tier`; without a file the judge's defaults.
    pub(super) fn of(
        file: Option<&Path>,
        tier: Option<&TierName>,
        when_unproven: Option<Unproven>,
    ) -> anyhow::Result<Self> {
        let mut rules = match file {
            None => Self { settings: Settings::default(), plan: None },
            Some(path) => Self::in_file(path, tier)?,
        };
        if let Some(unproven) = when_unproven {
            rules.settings.when_unproven = unproven.into();
        }
        Ok(rules)
    }

    fn in_file(path: &Path, tier: Option<&TierName>) -> anyhow::Result<Self> {
        let config = config::load(path).map_err(|report| anyhow::anyhow!("{report}"))?;
        let names: Vec<&str> = config.tiers.iter().map(|tier| tier.tier.name.as_str()).collect();
        let tier = match (tier, config.tiers.as_slice()) {
            (None, [only]) => only,
            (None, _) => bail!("name the tier with --tier; there are: {}", names.join(", ")),
            (Some(wanted), tiers) => {
                let found = tiers.iter().find(|tier| tier.tier.name == *wanted);
                found.with_context(|| {
                    format!("there is no tier {wanted}; there are: {}", names.join(", "))
                })?
            }
        };
        let plan = match config.stages(tier) {
            Stages::Auto => None,
            Stages::Listed(plan) => Some(plan.clone()),
        };
        Ok(Self { settings: tier.analysis.clone(), plan })
    }
}

/// Judges each trace. A file that cannot be read does not keep the others from being judged.
pub(super) fn replay(
    traces: &[std::path::PathBuf],
    rules: &Rules,
    json: bool,
) -> anyhow::Result<()> {
    let mut unread = None;
    for trace in traces {
        let name = trace.display().to_string();
        let progress = Progress::of(&format!("judging {name}"));
        let judged = judge(trace, rules).with_context(|| name.clone());
        drop(progress);
        match judged {
            Ok(outcome) if json => print::line(&outcome.json(&name))?,
            Ok(outcome) => print::line(&format!("{name}: {}", outcome.sentence()))?,
            Err(error) => {
                if let Some(before) = unread.replace(error) {
                    print::note(&format!("error: {before:#}"));
                }
            }
        }
    }
    unread.map_or(Ok(()), Err)
}

/// Twice through the file: the margin of a stage depends on the next one.
fn judge(trace: &Path, rules: &Rules) -> anyhow::Result<Outcome> {
    let mut ladder = Ladder::default();
    let mut lines = 0_u64;
    each(trace, |line| {
        lines += 1;
        ladder.add(line);
    })?;
    if lines == 0 {
        return Err(TraceError { line: 1, problem: Problem::Empty }.into());
    }
    let stages: Vec<(f64, Duration)> = (rules.plan.iter())
        .flat_map(Plan::stages)
        .map(|stage| (stage.weight.share(), stage.bake))
        .collect();
    let mut replay = Replay::planned(ladder, &rules.settings, stages);
    each(trace, |line| replay.judge(line))?;
    Ok(replay.finish())
}

fn each(trace: &Path, mut take: impl FnMut(&Line)) -> anyhow::Result<()> {
    let mut input = BufReader::new(File::open(trace)?);
    let mut reader = Reader::default();
    let mut text = String::new();
    loop {
        text.clear();
        // A line that is too long is refused by the reader: no more than that is held.
        let bytes_max = LINE_BYTES_MAX as u64 + 2;
        if input.by_ref().take(bytes_max).read_line(&mut text)? == 0 {
            return Ok(());
        }
        if let Some(line) = reader.read(text.trim_end_matches(['\n', '\r']))? {
            take(&line);
        }
    }
}
