//! What this process may have of the machine: file descriptors, memory, ports.

pub mod kernel;
pub mod ports;

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(&groups, Path::new("/sys/fs/cgroup"));
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kibibytes(&text, "MemTotal:"));
    match (group, machine) {
        (Some(group), Some(machine)) if group >= machine => Some(Memory::Machine(machine)),
        (Some(group), _) => Some(Memory::Group(group)),
        (None, machine) => machine.map(Memory::Machine),
    }
}

/// Memory that this process has in use, in bytes (proc(5), `VmRSS`).
pub fn resident() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The number behind `name` in a file of `/proc`, which counts in units of 1024 bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least of the limits of the control groups that this process is in, by `/proc/self/cgroup`:
/// version 2 (cgroups(7), `memory.max`), or version 1's `memory.limit_in_bytes`.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (mount, file) = match controllers {
                "" => (root.to_owned(), "memory.max"),
                some if some.split(',').any(|one| one == "memory") => {
                    (root.join("memory"), "memory.limit_in_bytes")
                }
                _ => return None,
            };
            let own = mount.join(path.trim_start_matches('/'));
            let above = own.ancestors().take_while(|folder| folder.starts_with(&mount));
            // A group inside a container may see itself as the root.
            let files: Vec<PathBuf> = above.map(|folder| folder.join(file)).collect();
            let limits = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
            limits.filter_map(|text| text.trim().parse::<u64>().ok()).min()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_control_group_and_those_around_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "4000\n");
        write("system.slice/weir.service/memory.max", "max\n");
        write("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        let limit = |groups: &str| group_limit(groups, root.path());
        assert_eq!(limit("0::/system.slice/weir.service\n"), Some(4000));
        assert_eq!(limit("0::/user.slice\n"), None);
        assert_eq!(limit("0::/../outside\n"), None);
        assert_eq!(
            limit("4:cpu,memory:/docker/abc\n1:name=systemd:/x\n"),
            Some(u64::MAX / 2 / 4096 * 4096)
        );
        assert_eq!(limit("no such line"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let Some(Memory::Group(most) | Memory::Machine(most)) = memory() else {
            panic!("the kernel says it");
        };
        let used = resident().unwrap();
        assert!(used > 1 << 20 && used < most, "{used} of {most}");
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
