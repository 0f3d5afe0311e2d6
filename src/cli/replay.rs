//! `weir replay`: recorded traffic, judged again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;

use super::print;
use crate::analysis::{LINE_BYTES_MAX, Ladder, Line, Outcome, Problem, Reader, Replay, Settings};
use crate::analysis::{TraceError, WhenUnproven};

/// Judges each trace. A file that cannot be read does not keep the others from being judged.
pub(super) fn replay(
    traces: &[std::path::PathBuf],
    when_unproven: WhenUnproven,
    json: bool,
) -> anyhow::Result<()> {
    let settings = Settings { when_unproven, ..Settings::default() };
    let mut unread = None;
    for trace in traces {
        let name = trace.display().to_string();
        match judge(trace, &settings).with_context(|| name.clone()) {
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
fn judge(trace: &Path, settings: &Settings) -> anyhow::Result<Outcome> {
    let mut ladder = Ladder::default();
    let mut lines = 0_u64;
    each(trace, |line| {
        lines += 1;
        ladder.add(line);
    })?;
    if lines == 0 {
        return Err(TraceError { line: 1, problem: Problem::Empty }.into());
    }
    let mut replay = Replay::new(ladder, settings);
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
