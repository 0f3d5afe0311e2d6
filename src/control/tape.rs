//! `weir run --record FILE`: the windows of the judge, as `weir replay` reads them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::analysis::{Counts, Heard, History, Line, Reader};
use crate::traffic::TierName;

/// Lines waiting for the disk; a disk that hangs longer costs lines, never time.
const LINES_WAITING_MAX: usize = 4_096;

/// Writes windows to a file from a thread of its own: one file a tier and rollout. `FILE` (or
/// `FILE.TIER` with several tiers) is for the first rollout, `FILE.2`, `FILE.3` for further ones.
pub(super) struct Tape {
    entries: SyncSender<(TierName, Entry)>,
    lost: u64,
}

/// What is told to that thread.
enum Entry {
    /// A rollout begins: a new file.
    Begin,
    /// A rollout goes on that was open when the program ended, with evidence up to this time.
    Resume(f64),
    /// A line.
    Line(String),
}

impl Tape {
    /// Records to `path`; with several tiers or rollouts each further file gets a suffix.
    pub(super) fn start(path: &Path, several: bool) -> io::Result<Self> {
        // Fail at once if it cannot be written, not at the first window.
        open(path)?;
        let (entries, waiting) = sync_channel::<(TierName, Entry)>(LINES_WAITING_MAX);
        let mut files = Files { path: path.into(), several, open: BTreeMap::new() };
        std::thread::Builder::new().name("record".into()).spawn(move || {
            while let Ok((tier, entry)) = waiting.recv() {
                if let Err(error) = files.take(&tier, entry) {
                    tracing::error!(%error, path = %files.path.display(), "recording stops");
                    return;
                }
            }
        })?;
        Ok(Self { entries, lost: 0 })
    }

    /// A rollout begins: the hour before it, stable only.
    pub(super) fn calibration(&mut self, tier: &TierName, history: &History) {
        self.send(tier, Entry::Begin);
        let minutes = history.minutes().len() as f64;
        for (index, minute) in history.minutes().enumerate() {
            let t = 60.0 * (index as f64 + 1.0 - minutes);
            let canary = Counts::default();
            let (stable, heard) = (minute.clone(), Heard::default());
            let line = Line { t, dur: 60.0, weight: 0.0, stable, canary, heard };
            self.window(tier, &line);
        }
    }

    /// A rollout goes on after a restart. What was recorded after the last evidence that the
    /// journal has, at `now`, is cut off: the judge does not know it either.
    pub(super) fn resume(&mut self, tier: &TierName, now: f64) {
        self.send(tier, Entry::Resume(now));
    }

    /// One window.
    pub(super) fn window(&mut self, tier: &TierName, line: &Line) {
        if let Some(line) = line.json() {
            self.send(tier, Entry::Line(line));
        }
    }

    fn send(&mut self, tier: &TierName, entry: Entry) {
        match self.entries.try_send((tier.clone(), entry)) {
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
    several: bool,
    /// The file of each tier, and which rollout of the tier it is of.
    open: BTreeMap<TierName, (u32, BufWriter<File>)>,
}

impl Files {
    fn take(&mut self, tier: &TierName, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Begin => {
                let rollout = self.free(tier);
                let file = open(&self.name(tier, rollout))?;
                self.open.insert(tier.clone(), (rollout, BufWriter::new(file)));
            }
            Entry::Resume(now) => {
                let rollout = self.newest(tier);
                let mut file = open(&self.name(tier, rollout))?;
                let length = length_until(&file, now)?;
                file.set_len(length)?;
                file.seek(SeekFrom::End(0))?;
                self.open.insert(tier.clone(), (rollout, BufWriter::new(file)));
            }
            Entry::Line(line) => {
                if let Some((_, file)) = self.open.get_mut(tier) {
                    writeln!(file, "{line}")?;
                    file.flush()?;
                }
            }
        }
        Ok(())
    }

    fn name(&self, tier: &TierName, rollout: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        if self.several {
            name.push(format!(".{tier}"));
        }
        if rollout > 1 {
            name.push(format!(".{rollout}"));
        }
        name.into()
    }

    /// The first number whose file is not written yet: a trace is evidence, never overwritten.
    fn free(&self, tier: &TierName) -> u32 {
        let is_written = |rollout: &u32| {
            fs::metadata(self.name(tier, *rollout)).is_ok_and(|file| file.len() > 0)
        };
        (1..u32::MAX).find(|rollout| !is_written(rollout)).unwrap_or(u32::MAX)
    }

    /// The rollout whose file was written last; older runs may have left files, too.
    fn newest(&self, tier: &TierName) -> u32 {
        let written = |rollout: &u32| fs::metadata(self.name(tier, *rollout))?.modified();
        let there = (1..).map_while(|rollout| Some((written(&rollout).ok()?, rollout)));
        there.max().map_or(1, |(_, rollout)| rollout)
    }
}

/// Bytes of the lines up to `now`; a line that was torn ends them.
fn length_until(file: &File, now: f64) -> io::Result<u64> {
    let (mut reader, mut length) = (Reader::default(), 0);
    let mut input = BufReader::new(file);
    let mut text = String::new();
    while input.read_line(&mut text)? > 0 {
        let known = reader.read(text.trim_end()).ok().flatten().is_some_and(|line| line.t <= now);
        if !known || !text.ends_with('\n') {
            break;
        }
        length += text.len() as u64;
        text.clear();
    }
    Ok(length)
}

/// What is in it stays until a rollout begins.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(t: f64) -> String {
        let counts = Counts { requests: 1, ..Counts::default() };
        let (stable, canary) = (counts.clone(), counts);
        let line = Line { t, dur: 1.0, weight: 0.1, stable, canary, heard: Heard::default() };
        line.json().unwrap()
    }

    fn files(path: &Path) -> Files {
        Files { path: path.into(), several: false, open: BTreeMap::new() }
    }

    #[test]
    fn a_recording_goes_on_where_the_evidence_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace");
        let tier: TierName = "web".parse().unwrap();
        let mut before = files(&path);
        before.take(&tier, Entry::Begin).unwrap();
        for t in [1.0, 2.0, 3.0] {
            before.take(&tier, Entry::Line(line(t))).unwrap();
        }
        drop(before);
        let torn = fs::read_to_string(&path).unwrap() + "{\"t\":4";
        fs::write(&path, torn).unwrap();
        let mut after = files(&path);
        after.take(&tier, Entry::Resume(2.0)).unwrap();
        after.take(&tier, Entry::Line(line(2.5))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let times = |text: &str| Reader::read_all(text).unwrap().iter().map(|l| l.t).collect();
        let found: Vec<f64> = times(&text);
        assert_eq!(found, [1.0, 2.0, 2.5]);
        after.take(&tier, Entry::Begin).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "the next rollout has its own file");
        after.take(&tier, Entry::Line(line(1.0))).unwrap();
        drop(after);
        let mut again = files(&path);
        assert_eq!(again.newest(&tier), 2);
        again.take(&tier, Entry::Begin).unwrap();
        again.take(&tier, Entry::Line(line(7.0))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "no trace is written over");
        let third: Vec<f64> = times(&fs::read_to_string(again.name(&tier, 3)).unwrap());
        assert_eq!(third, [7.0]);
    }
}
