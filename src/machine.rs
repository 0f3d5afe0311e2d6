//! What this process may have of the machine: file descriptors, memory, ports.

mod group;
pub mod kernel;
pub mod ports;

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit, test_kill_process};

use group::Group;

/// File descriptors that this process may have open at most, if it asks for them.
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Asks for as many file descriptors as this process may have: the soft limit is kept low for
/// programs that use `select`, which none of ours does.
///
/// # Errors
/// The kernel refuses it.
pub fn raise_descriptors() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Memory that there is for this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What its control group may have.
    Group(u64),
    /// What the machine has, for this process and all others.
    Machine(u64),
}

impl Memory {
    /// What a proxy takes of it at most where nobody says more: in a group of its own 80 %, since
    /// the kernel's buffers of its sockets count there too; beside others on a machine half.
    pub const fn usual(self) -> u64 {
        match self {
            Self::Group(bytes) => bytes / 5 * 4,
            Self::Machine(bytes) => bytes / 2,
        }
    }
}

/// What there is for this process; none where the kernel does not say.
pub fn memory() -> Option<Memory> {
    let group = own_groups().iter().filter_map(Group::limit).min();
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kibibytes(&text, "MemTotal:"));
    match (group, machine) {
        (Some(group), Some(machine)) if group >= machine => Some(Memory::Machine(machine)),
        (Some(group), _) => Some(Memory::Group(group)),
        (None, machine) => machine.map(Memory::Machine),
    }
}

/// Memory that this process has in use, in bytes: what is resident of it, or, where its limit is that
/// of its group, what the group has in use for it if that is more. There the kernel counts the
/// buffers of its sockets as well, and ends it by that count.
pub fn used(of_group: bool) -> Option<u64> {
    let resident = resident("self").ok()?;
    let groups = if of_group { own_groups() } else { vec![] };
    let most = groups.iter().filter_map(|group| group.used(std::process::id(), resident_of)).max();
    Some(most.unwrap_or(0).max(resident))
}

/// The control groups that this process is in, of those that bound memory.
fn own_groups() -> Vec<Group> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Group::all(&groups, Path::new("/sys/fs/cgroup"))
}

fn resident_of(process: u32) -> io::Result<u64> {
    let told = resident(&process.to_string());
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    match told {
        // Hidden from others (proc(5), `hidepid`).
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM)) =>
        {
            Err(ErrorKind::PermissionDenied.into())
        }
        told => told,
    }
}

/// What is resident of a process, in bytes (proc(5), `VmRSS`); one that has ended is not found, also
/// where nobody has asked for its outcome yet.
fn resident(process: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"));
    let gone = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::SRCH) => ErrorKind::NotFound.into(),
        Some(_) | None => error,
    };
    kibibytes(&text.map_err(gone)?, "VmRSS:").ok_or(ErrorKind::NotFound.into())
}

/// The number behind `name` in a file of `/proc`, which counts in units of 1024 bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let Some(Memory::Group(most) | Memory::Machine(most)) = memory() else {
            panic!("the kernel says it");
        };
        for of_group in [false, true] {
            let used = used(of_group).unwrap();
            assert!(used > 1 << 20 && used < most, "{used} of {most}");
        }
        assert_eq!(resident_of(u32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(Memory::Group(1000).usual(), 800);
        assert_eq!(kibibytes("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(kibibytes("VmRSS: many kB\n", "VmRSS:"), None);
    }

    #[test]
    fn all_file_descriptors_there_may_be_can_be_had() {
        raise_descriptors().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert!(descriptors_max() > 100);
    }
}
