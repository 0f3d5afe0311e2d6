//! Commands: each in a process group of its own, within a time, its output by way of a file.
//!
//! A file and not a pipe: should Weir be killed, the command goes on writing, and is not ended by
//! the pipe that broke. What was read of the file is given back to the disk.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::checks::{Reported, reported};
use super::ledger::{Ledger, Line};
use super::reading::Reading;
use super::{Occasion, Settings, Try, told};
use crate::rollout::runbook::{Ending, Output, Run, Step};

/// How long a command has between SIGTERM and SIGKILL: a database closes in that time.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How often its output is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Bytes that are read at one look: a command that writes faster must not keep its end from being
/// seen.
const LOOK_BYTES_MAX: u64 = 4 << 20;

/// Bytes of one read.
const CHUNK_BYTES: usize = 64 << 10;

/// What systemd says to Weir alone.
const NOT_INHERITED: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A command, and for what.
pub(super) struct Order<'a> {
    pub(super) run: &'a Run,
    pub(super) step: &'a Step,
    pub(super) occasion: &'a Occasion,
}

/// A command that runs.
struct Begun {
    child: Child,
    line: Line,
    /// Its output, as it writes and as we read it.
    written: Arc<fs::File>,
    read: tokio::fs::File,
    /// Bytes that were read.
    at: u64,
    /// Bytes that were given back.
    freed: u64,
}

/// Why a command is being ended.
struct Ended {
    ending: Ending,
    why: String,
    kill_at: Instant,
}

/// Runs the command once.
pub(super) async fn run(
    order: Order<'_>,
    settings: &Settings,
    ledger: &Ledger,
    hear: &mpsc::Sender<String>,
    cancelled: &mut watch::Receiver<bool>,
) -> Try {
    let mut begun = match begin(&order, settings, ledger).await {
        Ok(begun) => begun,
        Err(why) => return Try::failed(why),
    };
    let mut reading = Reading::new(&settings.place.secrets);
    // Who reads too slowly misses lines; the journal has them.
    let tell = |line: String| drop(hear.try_send(line));
    let deadline = Instant::now() + order.step.timeout;
    let (mut status, mut ended) = (None, None);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while status.is_none() || (ended.is_some() && begun.group_lives()) {
        let kill_at = ended.as_ref().map_or(deadline, |ended: &Ended| ended.kill_at);
        tokio::select! {
            biased;
            () = told(cancelled), if ended.is_none() => {
                ended = Some(begun.end(Ending::Cancelled, "it was told to stop"));
            }
            () = sleep_until(kill_at) => match &mut ended {
                None => ended = Some(begun.end(Ending::TimedOut, "it took longer than its timeout")),
                Some(ended) => {
                    begun.signal(Signal::KILL);
                    ended.kill_at = Instant::now() + GRACE;
                    ended.why = format!("{}, did not within {} s and was killed", ended.why, GRACE.as_secs());
                }
            },
            waited = begun.child.wait(), if status.is_none() => status = Some(waited),
            _ = looks.tick() => begun.look(&mut reading, tell).await,
        }
    }
    begun.look(&mut reading, tell).await;
    let output = reading.finish(tell);
    let line = begun.line;
    let _ = spawn_blocking(move || line.end()).await;
    match (ended, status) {
        (Some(Ended { ending, why, .. }), _) => Try { ending, why, output },
        (None, Some(Ok(status))) => reporting(order.run, judged(status, output)),
        (None, Some(Err(error))) => {
            Try { output, ..Try::failed(format!("how it ended is not known: {error}")) }
        }
        (None, None) => Try { output, ..Try::failed("how it ended is not known") },
    }
}

fn judged(status: ExitStatus, output: Output) -> Try {
    let (ending, why) = match (status.code(), status.signal()) {
        (Some(0), _) => (Ending::Succeeded, String::new()),
        (Some(code), _) => (Ending::Failed, format!("exit code {code}")),
        (None, Some(signal)) => (Ending::Failed, format!("ended by signal {signal}")),
        (None, None) => (Ending::Failed, status.to_string()),
    };
    Try { ending, why, output }
}

/// Whether the output has the version that it must have.
fn reporting(run: &Run, tried: Try) -> Try {
    let Some(expected) = run.expect.as_deref().filter(|_| tried.ending == Ending::Succeeded) else {
        return tried;
    };
    let why = match reported(&tried.output.to_string(), "", expected) {
        Reported::Expected => return tried,
        Reported::Other(other) => format!("it reports {other} and not {expected}"),
        Reported::Nothing => format!("it reports no version; {expected} was expected"),
    };
    Try { ending: Ending::Failed, why, ..tried }
}

/// Writes the command down and begins it, on a thread that may wait for a disk.
async fn begin(order: &Order<'_>, settings: &Settings, ledger: &Ledger) -> Result<Begun, String> {
    let (step, occasion) = (order.step.name.clone(), order.occasion.clone());
    let (program, mut command) = command(order, settings);
    let ledger = ledger.clone();
    let write_and_spawn = move || {
        if let Some(id) = ledger.still_running(&step) {
            return Err(format!(
                "process {id} of an earlier try still runs; wait for it, or end it and all it \
                 started: kill -- -{id}"
            ));
        }
        let told = |error: io::Error| format!("cannot write down that it begins: {error}");
        let (mut line, written) = ledger.begin(&step, &occasion).map_err(told)?;
        let started = (|| {
            let read = fs::File::open(line.output())?;
            let child =
                command.stdout(written.try_clone()?).stderr(written.try_clone()?).spawn()?;
            Ok((read, child))
        })();
        let (read, child) = match started {
            Ok(started) => started,
            Err(error) => {
                let error: io::Error = error;
                line.end();
                return Err(format!("{program:?} cannot be started: {error}"));
            }
        };
        if let Some(id) = child.id()
            && let Err(error) = line.begun(id)
        {
            tracing::warn!(%error, process = id, "a step runs that the next start would not find");
        }
        let (written, read) = (Arc::new(written), tokio::fs::File::from_std(read));
        Ok(Begun { child, line, written, read, at: 0, freed: 0 })
    };
    let outcome = spawn_blocking(write_and_spawn).await;
    outcome.unwrap_or_else(|error| Err(format!("cannot begin: {error}")))
}

fn command(order: &Order<'_>, settings: &Settings) -> (String, Command) {
    let Run { command: words, shell, .. } = order.run;
    let mut command = if *shell {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").args(words);
        command
    } else {
        let mut command = Command::new(words.first().map_or("", String::as_str));
        command.args(words.iter().skip(1));
        command
    };
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let folder = &settings.place.folder;
    // A file that is named without its folder lies in this one.
    if !folder.as_os_str().is_empty() {
        command.current_dir(folder);
    }
    command.envs(order.occasion.variables(&order.step.name)).stdin(Stdio::null()).process_group(0);
    let program = if *shell { "/bin/sh" } else { words.first().map_or("", String::as_str) };
    (program.to_owned(), command)
}

impl Begun {
    /// Its process group has its number, also while it is a zombie.
    fn group(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.line.process()?).ok()?)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, signal);
        }
    }

    fn group_lives(&self) -> bool {
        self.group().is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    fn end(&self, ending: Ending, why: &str) -> Ended {
        self.signal(Signal::TERM);
        Ended { ending, why: why.to_owned(), kill_at: Instant::now() + GRACE }
    }

    /// Reads what was written since.
    async fn look(&mut self, reading: &mut Reading<'_>, tell: impl Fn(String) + Copy) {
        let begun = self.at;
        let mut bytes = vec![0; CHUNK_BYTES];
        while self.at - begun < LOOK_BYTES_MAX {
            let Ok(read @ 1..) = self.read.read(&mut bytes).await else { break };
            self.at += read as u64;
            reading.take(&bytes[..read], tell);
        }
        if self.at - self.freed >= LOOK_BYTES_MAX {
            let (written, from, length) =
                (Arc::clone(&self.written), self.freed, self.at - self.freed);
            self.freed = self.at;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where a file system cannot, the file is as long as what was written.
            let _ = spawn_blocking(move || fallocate(written.as_fd(), flags, from, length)).await;
        }
    }
}
