//! What runs, on disk: a command goes on when Weir is killed, since half a migration is worse than
//! a whole one, and the next start must know of it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::masking::Secrets;
use super::occasion::Occasion;
use super::reading::Reading;
use crate::clock;
use crate::rollout::runbook::{Output, StepName};
use crate::time::Timestamp;

/// Bytes of what a lost command wrote that are looked at, from its end.
const LEFT_BYTES_MAX: u64 = 64 << 10;

/// The folder of what runs: a file says what, another takes the output.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
}

/// One command, written down before it begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    step: StepName,
    occasion: Occasion,
    at: Timestamp,
    /// The Weir that began it.
    weir: Process,
    /// The command itself; none: it was just beginning.
    #[serde(default)]
    process: Option<Process>,
}

/// A process, told from a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    id: u32,
    /// When it began, in the kernel's ticks since its boot.
    ticks: u64,
    /// Which boot.
    boot: String,
}

/// A command that was running when the program before ended.
#[derive(Clone, Debug)]
pub struct Interrupted {
    /// The step.
    pub step: StepName,
    /// For what.
    pub occasion: Occasion,
    /// When this try began.
    pub at: Timestamp,
    /// How it stands with it.
    pub standing: Standing,
    /// The end of what it wrote.
    pub output: Output,
    process: Option<Process>,
    stem: PathBuf,
}

impl Interrupted {
    /// Whether its process still runs, now.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    /// Sends `signal` to its process and to all that it started.
    pub(super) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().filter(|process| process.is_alive());
        let number = process.and_then(|process| i32::try_from(process.id).ok());
        if let Some(group) = number.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

/// How it stands with a command whose Weir is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has ended; nobody knows how.
    Ended,
    /// It goes on as this process.
    Running(u32),
    /// Weir ended while it began; nobody knows whether it did.
    Unknown,
}

/// A command that is being written down; taken out again when it has ended.
#[derive(Debug)]
pub(super) struct Line {
    entry: Entry,
    stem: PathBuf,
}

impl Ledger {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes down that `step` begins; gives the file for its output. Blocks.
    pub(super) fn begin(
        &self,
        step: &StepName,
        occasion: &Occasion,
    ) -> io::Result<(Line, fs::File)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (at, weir) = (clock::wall(), Process::of(std::process::id())?);
        let place = self.folder.join(format!("{step}-{}-{}", at.millis(), weir.id));
        let entry =
            Entry { step: step.clone(), occasion: occasion.clone(), at, weir, process: None };
        let line = Line { entry, stem: place };
        line.write()?;
        let file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(line.output())?;
        Ok((line, file))
    }

    /// The process of an earlier try of `step` that goes on, by whichever Weir. Blocks.
    pub(super) fn still_running(&self, step: &StepName) -> Option<u32> {
        let mut entries = self.entries().into_iter().filter(|(_, entry)| entry.step == *step);
        entries.find_map(|(_, entry)| entry.process.filter(Process::is_alive).map(|found| found.id))
    }

    pub(super) fn interrupted(&self, secrets: &Secrets) -> Vec<Interrupted> {
        // One that hands over to this one may still look after it: that is no difference.
        let own = Process::of(std::process::id()).ok();
        let lost = |(_, entry): &(PathBuf, Entry)| Some(&entry.weir) != own.as_ref();
        let told = |(place, entry): (PathBuf, Entry)| {
            let standing = match &entry.process {
                None => Standing::Unknown,
                Some(process) if process.is_alive() => Standing::Running(process.id),
                Some(_) => Standing::Ended,
            };
            let output = left(&place.with_extension("out"), secrets).unwrap_or_default();
            let Entry { step, occasion, at, process, .. } = entry;
            Interrupted { step, occasion, at, standing, output, process, stem: place }
        };
        self.entries().into_iter().filter(lost).map(told).collect()
    }

    #[allow(clippy::unused_self, reason = "it is this ledger's")]
    pub(super) fn forget(&self, interrupted: &Interrupted) {
        remove(&interrupted.stem);
    }

    /// What is written down, the oldest first.
    fn entries(&self) -> Vec<(PathBuf, Entry)> {
        let Ok(folder) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut entries: Vec<(PathBuf, Entry)> = folder
            .filter_map(|file| {
                let path = file.ok()?.path();
                let bytes = path
                    .extension()
                    .filter(|end| *end == "json")
                    .and_then(|_| fs::read(&path).ok())?;
                Some((path.with_extension(""), serde_json::from_slice(&bytes).ok()?))
            })
            .collect();
        entries.sort_by_key(|(_, entry)| entry.at);
        entries
    }
}

impl Line {
    /// Writes down that it has begun as process `id`. Blocks.
    pub(super) fn begun(&mut self, id: u32) -> io::Result<()> {
        // One that has ended at once cannot be looked at, and is known to be gone.
        self.entry.process = Process::of(id).ok().or_else(|| {
            let Process { boot, .. } = &self.entry.weir;
            Some(Process { id, ticks: 0, boot: boot.clone() })
        });
        self.write()
    }

    /// The file that takes its output.
    pub(super) fn output(&self) -> PathBuf {
        self.stem.with_extension("out")
    }

    /// Its process, once it has begun.
    pub(super) fn process(&self) -> Option<u32> {
        self.entry.process.as_ref().map(|process| process.id)
    }

    /// Takes it out. Blocks.
    pub(super) fn end(self) {
        remove(&self.stem);
    }

    fn write(&self) -> io::Result<()> {
        let path = self.stem.with_extension("json");
        let part = self.stem.with_extension("part");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        serde_json::to_writer(&mut file, &self.entry)?;
        fs::rename(part, path)
    }
}

fn remove(stem: &Path) {
    for ending in ["out", "json"] {
        let _ = fs::remove_file(stem.with_extension(ending));
    }
}

/// The end of what a lost command wrote.
fn left(path: &Path, secrets: &Secrets) -> io::Result<Output> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(LEFT_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or_default()];
    file.read_exact_at(&mut bytes, from)?;
    let mut reading = Reading::new(secrets);
    // What was read already was freed, and reads as zeros.
    let begun = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    reading.take(&bytes[begun..], |_| {});
    Ok(reading.finish(|_| {}))
}

impl Process {
    fn of(id: u32) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { id, ticks: ticks(id)?.0, boot })
    }

    fn is_alive(&self) -> bool {
        let now = Self::of(self.id);
        let zombie = ticks(self.id).is_ok_and(|(_, state)| matches!(state, 'Z' | 'X'));
        now.is_ok_and(|now| now == *self) && !zombie
    }
}

/// When a process began, and its state: fields 22 and 3 of its `stat` (proc(5)). Its name, in
/// brackets before them, may have anything in it.
fn ticks(id: u32) -> io::Result<(u64, char)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let state = fields.first().and_then(|state| state.chars().next());
    let begun = fields.get(19).and_then(|ticks| ticks.parse().ok());
    begun.zip(state).ok_or_else(|| io::Error::other("/proc does not say when a process began"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_weir_began_is_known_of_and_what_a_live_one_does_is_its_own() {
        let place = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(place.path().join("steps"));
        let step: StepName = "migrate".parse().unwrap();
        let (mut line, _file) = ledger.begin(&step, &Occasion::default()).unwrap();
        line.begun(std::process::id()).unwrap();
        assert!(ledger.interrupted(&Secrets::default()).is_empty(), "it is this Weir's");
        assert_eq!(ledger.still_running(&step), Some(std::process::id()));
        // As if another Weir, of an earlier boot, had written it.
        line.entry.weir = Process { id: 1, ticks: 1, boot: "gone".into() };
        line.write().unwrap();
        fs::write(line.stem.with_extension("out"), b"\0\0\0half way hunter2-hunter2").unwrap();
        let secrets = Secrets::new(["hunter2-hunter2".to_owned()], [], &[]);
        let [lost] = ledger.interrupted(&secrets).try_into().unwrap();
        assert_eq!(lost.standing, Standing::Running(std::process::id()));
        assert_eq!(lost.output.head, "half way ***\n");
        line.entry.process =
            Some(Process { id: std::process::id(), ticks: 1, boot: String::new() });
        line.write().unwrap();
        assert_eq!(ledger.interrupted(&secrets)[0].standing, Standing::Ended);
        assert_eq!(ledger.still_running(&step), None);
        ledger.forget(&lost);
        assert!(ledger.interrupted(&secrets).is_empty());
        assert_eq!(fs::read_dir(place.path().join("steps")).unwrap().count(), 0);
    }
}
