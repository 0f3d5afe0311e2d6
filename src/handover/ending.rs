//! Ends an heir that would serve beside this process, or keeps the journal.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use thiserror::Error;

/// The process of an heir, known from when its connection was made: the number may be another's later.
#[derive(Debug)]
pub struct Process {
    number: u32,
    pid: Option<Pid>,
    file: Result<OwnedFd, Errno>,
}

/// Why a process was not ended.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NotEnded {
    /// There is none any more.
    #[error(
        "has ended already; if the journal is not free soon, its disk hangs: look at the disk, and \
         at who has the journal open (`fuser` tells)"
    )]
    Gone,
    /// The system does not allow it.
    #[error("cannot be ended: {0}; end it")]
    Refused(Errno),
    /// Its number may be another's.
    #[error("cannot be ended: there is no pidfd of it ({0}), and its connection is closed; end it")]
    Unknown(Errno),
}

impl Process {
    /// The process that has this `number`, which is at the other end of a connection just now.
    pub fn of(number: u32) -> Self {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let file = pid.ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        Self { number, pid, file }
    }

    /// Its number.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Ends it. `is_linked`: its connection is open, so that its number is still its own.
    pub fn end(&self, is_linked: bool) -> Result<(), NotEnded> {
        let ended = match (&self.file, self.pid) {
            (Ok(file), _) => pidfd_send_signal(file, Signal::KILL),
            (Err(_), Some(pid)) if is_linked => kill_process(pid, Signal::KILL),
            (Err(why), _) => return Err(NotEnded::Unknown(*why)),
        };
        ended.map_err(|why| match why {
            Errno::SRCH => NotEnded::Gone,
            why => NotEnded::Refused(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn child() -> (Child, Process) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id());
        (child, process)
    }

    #[test]
    fn a_process_is_ended_once_and_has_gone_then() {
        let (mut child, process) = child();
        assert_eq!(process.end(false), Ok(()));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(process.end(true), Err(NotEnded::Gone));
        assert!(NotEnded::Gone.to_string().contains("disk"));
    }

    #[test]
    fn without_a_pidfd_it_is_ended_by_its_number_while_that_is_its_own() {
        let (mut child, mut process) = child();
        process.file = Err(Errno::NOSYS);
        let unknown = process.end(false).unwrap_err();
        assert_eq!(unknown, NotEnded::Unknown(Errno::NOSYS));
        assert!(unknown.to_string().contains("not implemented"), "{unknown}");
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        assert_eq!(process.end(true), Ok(()));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
