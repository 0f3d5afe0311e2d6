//! `weir run --record FILE`: the windows of the judge, as `weir replay` reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::analysis::{Counts, History, LINE_BYTES_MAX, Line};
use crate::rollout::RolloutId;
use crate::traffic::TierName;

/// Lines waiting for the disk; a disk that hangs longer costs lines, never time.
const LINES_WAITING_MAX: usize = 4_096;

/// Writes windows to files from a thread of its own, and never over an older trace. The first
/// rollout goes to the file that was named, if that is new or empty; everything else, also what
/// goes on after a restart, to `FILE.TIER.ROLLOUT`.
pub(super) struct Tape {
    lines: SyncSender<Taped>,
    lost: u64,
}

/// A line and the trace it belongs to.
struct Taped {
    tier: TierName,
    rollout: RolloutId,
    t: f64,
    line: String,
}

impl Tape {
    /// Records to `path`.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        // Fail at once if it cannot be written, not at the first window.
        let named = open(path)?;
        let named = if named.metadata()?.len() == 0 { Some(named) } else { None };
        let (lines, waiting) = sync_channel::<Taped>(LINES_WAITING_MAX);
        let mut files = Files { path: path.into(), named, open: Vec::new() };
        std::thread::Builder::new().name("record".into()).spawn(move || {
            if let Err(error) = files.write_all(&waiting) {
                tracing::error!(%error, path = %files.path.display(), "recording stops");
            }
        })?;
        Ok(Self { lines, lost: 0 })
    }

    /// A rollout begins: the hour before it, stable only.
    pub(super) fn calibration(&mut self, tier: &TierName, rollout: RolloutId, history: &History) {
        let minutes = history.minutes().len() as f64;
        for (index, minute) in history.minutes().enumerate() {
            let t = 60.0 * (index as f64 + 1.0 - minutes);
            let (stable, canary) = (minute.clone(), Counts::default());
            self.window(tier, rollout, &Line { t, dur: 60.0, weight: 0.0, stable, canary });
        }
    }

    /// One window.
    pub(super) fn window(&mut self, tier: &TierName, rollout: RolloutId, line: &Line) {
        let (t, Some(line)) = (line.t, line.json()) else { return };
        match self.lines.try_send(Taped { tier: tier.clone(), rollout, t, line }) {
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                if self.lost.is_power_of_two() {
                    tracing::warn!(lost = self.lost, "the disk is too slow for --record");
                }
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

struct Files {
    path: PathBuf,
    /// The file that was named, until a rollout takes it.
    named: Option<File>,
    open: Vec<Trace>,
}

/// An open file.
struct Trace {
    tier: TierName,
    rollout: RolloutId,
    /// The last time in it: after a kill the judge may go on a second earlier.
    last: f64,
    file: BufWriter<File>,
}

impl Files {
    fn write_all(&mut self, waiting: &Receiver<Taped>) -> io::Result<()> {
        while let Ok(taped) = waiting.recv() {
            let trace = self.trace(&taped.tier, taped.rollout)?;
            if taped.t >= trace.last {
                trace.last = taped.t;
                writeln!(trace.file, "{}", taped.line)?;
                trace.file.flush()?;
            }
        }
        Ok(())
    }

    fn trace(&mut self, tier: &TierName, rollout: RolloutId) -> io::Result<&mut Trace> {
        let same = |trace: &Trace| trace.tier == *tier && trace.rollout == rollout;
        if let Some(place) = self.open.iter().position(same) {
            return Ok(&mut self.open[place]);
        }
        let (file, last) = match self.named.take() {
            Some(file) => (file, f64::NEG_INFINITY),
            None => self.further(tier, rollout)?,
        };
        // The rollout before this one of the tier is over.
        self.open.retain(|trace| trace.tier != *tier);
        let file = BufWriter::new(file);
        Ok(self.open.push_mut(Trace { tier: tier.clone(), rollout, last, file }))
    }

    fn further(&self, tier: &TierName, rollout: RolloutId) -> io::Result<(File, f64)> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{tier}.{rollout}"));
        let path = PathBuf::from(name);
        let last = last_time(&path).unwrap_or(f64::NEG_INFINITY);
        Ok((open(&path)?, last))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// The time of the last whole line.
fn last_time(path: &Path) -> Option<f64> {
    let mut file = File::open(path).ok()?;
    let tail = file.metadata().ok()?.len().saturating_sub(LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(tail)).ok()?;
    let mut text = Vec::new();
    file.take(LINE_BYTES_MAX as u64).read_to_end(&mut text).ok()?;
    let lines = text.split(|byte| *byte == b'\n').rev();
    lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()).map(|line| line.t).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(t: f64) -> Line {
        let stable = Counts { requests: 9, ..Counts::default() };
        Line { t, dur: 1.0, weight: 0.01, stable, canary: Counts::default() }
    }

    fn record(path: &Path, rollout: RolloutId, times: &[f64]) {
        let mut tape = Tape::start(path).unwrap();
        times.iter().for_each(|t| tape.window(&"web".parse().unwrap(), rollout, &line(*t)));
        drop(tape);
    }

    fn times(path: &Path) -> Vec<f64> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().t).collect()
    }

    fn soon(path: &Path, wanted: &[f64]) {
        for _ in 0..500 {
            if times(path) == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(times(path), wanted, "{}", path.display());
    }

    #[test]
    fn a_trace_is_never_written_over_and_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let further = |suffix: &str| folder.path().join(format!("trace.web.{suffix}"));
        record(&path, 1, &[1.0, 2.0]);
        soon(&path, &[1.0, 2.0]);
        record(&path, 1, &[2.0, 3.0, 4.0]);
        soon(&further("1"), &[2.0, 3.0, 4.0]);
        record(&path, 1, &[3.5, 4.0, 5.0]);
        soon(&further("1"), &[2.0, 3.0, 4.0, 4.0, 5.0]);
        record(&path, 2, &[-60.0, 1.0]);
        soon(&further("2"), &[-60.0, 1.0]);
        assert_eq!(times(&path), [1.0, 2.0]);
    }
}
