//! `weir run --record FILE`: the windows of the judge, as `weir replay` reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::analysis::{Counts, History, Line};
use crate::traffic::TierName;

/// Lines waiting for the disk; a disk that hangs longer costs lines, never time.
const LINES_WAITING_MAX: usize = 4_096;

/// Writes windows to a file from a thread of its own: one file a tier and rollout.
pub(super) struct Tape {
    lines: SyncSender<(TierName, Option<String>)>,
    lost: u64,
}

impl Tape {
    /// Records to `path`; with several tiers or rollouts each further file gets a suffix.
    pub(super) fn start(path: &Path, several: bool) -> io::Result<Self> {
        // Fail at once if it cannot be written, not at the first window.
        open(path)?;
        let (lines, waiting) = sync_channel::<(TierName, Option<String>)>(LINES_WAITING_MAX);
        let mut files = Files { path: path.into(), several, open: Vec::new(), rollouts: 0 };
        std::thread::Builder::new().name("record".into()).spawn(move || {
            while let Ok((tier, line)) = waiting.recv() {
                if let Err(error) = files.write(&tier, line.as_deref()) {
                    tracing::error!(%error, path = %files.path.display(), "recording stops");
                    return;
                }
            }
        })?;
        Ok(Self { lines, lost: 0 })
    }

    /// A rollout begins: the hour before it, stable only.
    pub(super) fn calibration(&mut self, tier: &TierName, history: &History) {
        self.send(tier, None);
        let minutes = history.minutes().len() as f64;
        for (index, minute) in history.minutes().enumerate() {
            let t = 60.0 * (index as f64 + 1.0 - minutes);
            let canary = Counts::default();
            let line = Line { t, dur: 60.0, weight: 0.0, stable: minute.clone(), canary };
            self.window(tier, &line);
        }
    }

    /// One window.
    pub(super) fn window(&mut self, tier: &TierName, line: &Line) {
        if let Some(line) = line.json() {
            self.send(tier, Some(line));
        }
    }

    fn send(&mut self, tier: &TierName, line: Option<String>) {
        match self.lines.try_send((tier.clone(), line)) {
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
    open: Vec<(TierName, BufWriter<File>)>,
    rollouts: u32,
}

impl Files {
    /// A line for `tier`; none begins a new file.
    fn write(&mut self, tier: &TierName, line: Option<&str>) -> io::Result<()> {
        let Some(line) = line else {
            self.open.retain(|(name, _)| name != tier);
            self.rollouts += 1;
            let mut name = self.path.as_os_str().to_owned();
            if self.several {
                name.push(format!(".{tier}"));
            }
            if self.rollouts > 1 {
                name.push(format!(".{}", self.rollouts));
            }
            self.open.push((tier.clone(), BufWriter::new(open(Path::new(&name))?)));
            return Ok(());
        };
        if let Some((_, file)) = self.open.iter_mut().find(|(name, _)| name == tier) {
            writeln!(file, "{line}")?;
            file.flush()?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(path)
}
