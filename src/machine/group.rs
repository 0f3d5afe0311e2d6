//! Control groups, as far as they bound memory: their limits, and what is in use by their count.

use std::path::{Path, PathBuf};

/// So many other processes of the same group are looked at; among more it is not this one that the
/// group was made for, and its own memory is all that is known of it.
const OTHERS_MAX: usize = 16;

/// The control group of a process in one hierarchy.
#[derive(Debug)]
pub struct Group {
    mount: PathBuf,
    own: PathBuf,
    names: &'static Names,
}

/// What the files of a hierarchy are called.
#[derive(Debug)]
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Caches of files in `memory.stat`: what was not read lately, and what was.
    inactive: &'static str,
    active: &'static str,
}

/// Version 2 (cgroups(7)).
const UNIFIED: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    inactive: "inactive_file",
    active: "active_file",
};

/// Version 1.
const LEGACY: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
    active: "total_active_file",
};

impl Group {
    /// The groups of a process, by `/proc/self/cgroup`, below `root`.
    pub fn all(groups: &str, root: &Path) -> Vec<Self> {
        let group = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (mount, names) = match controllers {
                "" => (root.to_owned(), &UNIFIED),
                some if some.split(',').any(|one| one == "memory") => {
                    (root.join("memory"), &LEGACY)
                }
                _ => return None,
            };
            let own = mount.join(path.trim_start_matches('/'));
            Some(Self { mount, own, names })
        };
        groups.lines().filter_map(group).collect()
    }

    /// The least of its limit and those of the groups around it, in bytes.
    pub fn limit(&self) -> Option<u64> {
        self.and_above().filter_map(|folder| number(&folder.join(self.names.limit))).min()
    }

    /// What it has in use for `process`, in bytes: all but the caches of files that can be had back at
    /// once, as the kernel's own working set is reckoned, and but what is of others. None where that
    /// cannot be told. `resident`: what is resident of another process.
    pub fn used(&self, process: u32, resident: impl Fn(u32) -> Option<u64>) -> Option<u64> {
        // A group inside a container may see itself as the root.
        let folder = self.and_above().find(|folder| folder.join(self.names.used).exists())?;
        let used = number(&folder.join(self.names.used))?;
        let stat = std::fs::read_to_string(folder.join("memory.stat")).ok()?;
        let processes = std::fs::read_to_string(folder.join("cgroup.procs")).ok()?;
        let processes: Vec<u32> = processes.lines().filter_map(|line| line.parse().ok()).collect();
        let others = || processes.iter().filter(|other| **other != process);
        let count = others().count();
        if count == processes.len() || count > OTHERS_MAX {
            return None;
        }
        let of_others: u64 = others().filter_map(|other| resident(*other)).sum();
        // Beside others nobody knows whose files those are.
        let active = if count == 0 { 0 } else { field(&stat, self.names.active) };
        let caches = field(&stat, self.names.inactive) + active;
        Some(used.saturating_sub(caches.saturating_add(of_others)))
    }

    fn and_above(&self) -> impl Iterator<Item = &Path> {
        self.own.ancestors().take_while(|folder| folder.starts_with(&self.mount))
    }
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind `name` in `memory.stat`; 0 where it is not there.
fn field(stat: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    stat.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_a_control_group_and_those_around_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "system.slice/memory.max", "4000\n");
        write(root, "system.slice/weir.service/memory.max", "max\n");
        write(root, "memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        let limit = |groups: &str| Group::all(groups, root).iter().filter_map(Group::limit).min();
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
    fn what_a_group_has_in_use_is_without_caches_of_files_and_without_others() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let used = |groups: &str| {
            let groups = Group::all(groups, root);
            groups[0].used(7, |other| (other == 8).then_some(200))
        };
        let service = "0::/system.slice/weir.service\n";
        assert_eq!(used(service), None, "no file says it");
        write(root, "system.slice/weir.service/memory.current", "5000\n");
        write(
            root,
            "system.slice/weir.service/memory.stat",
            "anon 3000\ninactive_file_x 1\ninactive_file 1500\nactive_file 100\n",
        );
        write(root, "system.slice/weir.service/cgroup.procs", "7\n");
        assert_eq!(used(service), Some(3500));
        write(root, "system.slice/weir.service/cgroup.procs", "7\n8\n9\n");
        assert_eq!(used(service), Some(3200), "9 has ended");
        let many: Vec<String> = (7..100).map(|process| process.to_string()).collect();
        write(root, "system.slice/weir.service/cgroup.procs", &many.join("\n"));
        assert_eq!(used(service), None, "too many others");
        write(root, "system.slice/weir.service/cgroup.procs", "8\n");
        assert_eq!(used(service), None, "it is not there");
        // Version 1, whose group is seen as the root from inside a container.
        write(root, "memory/memory.usage_in_bytes", "900\n");
        write(root, "memory/memory.stat", "inactive_file 5\ntotal_inactive_file 300\n");
        write(root, "memory/cgroup.procs", "7\n");
        assert_eq!(used("4:memory:/docker/abc\n"), Some(600));
    }
}
