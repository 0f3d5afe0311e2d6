//! Control groups, as far as they bound memory: their limits, and what is in use by their count.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// So many other processes of the same group are looked at; among more it is not this one that the
/// group was made for, and its own memory is all that is known of it.
const OTHERS_MAX: usize = 16;

/// So many groups inside the one with the limit are looked at for processes; with more the same holds.
const INSIDE_MAX: usize = 64;

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
    /// What the kernel can have back of it, in `memory.stat`: files that are read or were, and what it
    /// knows of them.
    caches: [&'static str; 3],
}

/// Version 2 (cgroups(7)).
const UNIFIED: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    caches: ["inactive_file", "active_file", "slab_reclaimable"],
};

/// Version 1, which does not count the last apart.
const LEGACY: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    caches: ["total_inactive_file", "total_active_file", "total_slab_reclaimable"],
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
        self.bound().map(|(limit, _)| limit)
    }

    /// What is in use for `process` of its limit, in bytes, in the group that has it: all but what the
    /// kernel can have back before it ends anybody, and but what is of others. None where that cannot be
    /// told. `resident`: what is resident of another process; one that is not found has ended.
    pub fn used(&self, process: u32, resident: impl Fn(u32) -> io::Result<u64>) -> Option<u64> {
        // A group inside a container may see itself as the root.
        let counts = |folder: &&Path| folder.join(self.names.used).exists();
        let folder = self.bound().map(|(_, folder)| folder).filter(counts);
        let folder = folder.or_else(|| self.and_above().find(counts))?;
        let used = number(&folder.join(self.names.used))?;
        let stat = std::fs::read_to_string(folder.join("memory.stat")).ok()?;
        let mut others = processes(folder)?;
        let count = others.len();
        others.retain(|other| *other != process);
        if count == others.len() || others.len() > OTHERS_MAX {
            return None;
        }
        let caches: u64 = self.names.caches.iter().map(|name| field(&stat, name)).sum();
        let of_other = |other| match resident(other) {
            // It is none that can be named from here, in a container say.
            _ if other == 0 => None,
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(0),
            // It lives, and what it has would be taken for ours.
            Err(_) => None,
        };
        let of_others: u64 = others.into_iter().map(of_other).sum::<Option<u64>>()?;
        Some(used.saturating_sub(caches.saturating_add(of_others)))
    }

    /// The least limit, and the folder of the group that has it.
    fn bound(&self) -> Option<(u64, &Path)> {
        let limit = |folder| Some((number(&Path::join(folder, self.names.limit))?, folder));
        self.and_above().filter_map(limit).min_by_key(|(limit, _)| *limit)
    }

    fn and_above(&self) -> impl Iterator<Item = &Path> {
        self.own.ancestors().take_while(|folder| folder.starts_with(&self.mount))
    }
}

/// The processes of the group in `folder` and of all inside it; none where they cannot be told, or are
/// too many to matter.
fn processes(folder: &Path) -> Option<Vec<u32>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        let text = std::fs::read_to_string(folder.join("cgroup.procs")).ok()?;
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        let inside = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok);
        let inside = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(inside.map(|entry| entry.path()).take(INSIDE_MAX + 1));
        if found.len() > OTHERS_MAX + 1 || folders.len() > INSIDE_MAX {
            return None;
        }
    }
    Some(found)
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

    /// What process 7 has in use by `groups`, where 200 bytes are resident of 8, 9 has ended, and of 10
    /// nothing is told.
    fn used(groups: &str, root: &Path) -> Option<u64> {
        let groups = Group::all(groups, root);
        groups[0].used(7, |other| match other {
            8 => Ok(200),
            9 => Err(ErrorKind::NotFound.into()),
            _ => Err(ErrorKind::PermissionDenied.into()),
        })
    }

    #[test]
    fn what_a_group_has_in_use_is_without_caches_of_files_and_without_others() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let service = "0::/system.slice/weir.service\n";
        assert_eq!(used(service, root), None, "no file says it");
        write(root, "system.slice/weir.service/memory.current", "5000\n");
        write(
            root,
            "system.slice/weir.service/memory.stat",
            "anon 3000\ninactive_file_x 1\ninactive_file 1500\nactive_file 100\n",
        );
        let processes = |text: &str| write(root, "system.slice/weir.service/cgroup.procs", text);
        processes("7\n");
        assert_eq!(used(service, root), Some(3400));
        processes("7\n8\n9\n");
        assert_eq!(used(service, root), Some(3200), "9 has ended");
        processes("7\n8\n10\n");
        assert_eq!(used(service, root), None, "10 may have all of it");
        processes("7\n8\n0\n");
        assert_eq!(used(service, root), None, "one that has no number here, too");
        let many: Vec<String> = (7..100).map(|process| process.to_string()).collect();
        processes(&many.join("\n"));
        assert_eq!(used(service, root), None, "too many others");
        processes("8\n");
        assert_eq!(used(service, root), None, "it is not there");
        // Version 1, whose group is seen as the root from inside a container.
        write(root, "memory/memory.usage_in_bytes", "900\n");
        write(root, "memory/memory.stat", "inactive_file 5\ntotal_inactive_file 300\n");
        write(root, "memory/cgroup.procs", "7\n");
        assert_eq!(used("4:memory:/docker/abc\n", root), Some(600));
    }

    #[test]
    fn a_group_full_of_cache_is_not_short_of_memory() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "weir/memory.current", "1000000\n");
        write(
            root,
            "weir/memory.stat",
            "anon 40000\nfile 900000\nkernel 60000\nsock 5000\nshmem 0\ninactive_file 100000\n\
             active_file 800000\nslab_reclaimable 50000\nslab_unreclaimable 5000\nslab 55000\n",
        );
        write(root, "weir/cgroup.procs", "7\n");
        assert_eq!(used("0::/weir\n", root), Some(50_000));
        write(root, "weir/cgroup.procs", "7\n8\n");
        assert_eq!(used("0::/weir\n", root), Some(49_800), "beside others as well");
    }

    #[test]
    fn what_is_in_use_is_that_of_the_group_which_has_the_least_limit() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let group = |path: &str, limit: &str, used: &str, processes: &str| {
            write(root, &format!("{path}/memory.max"), limit);
            write(root, &format!("{path}/memory.current"), used);
            write(root, &format!("{path}/memory.stat"), "active_file 10\n");
            write(root, &format!("{path}/cgroup.procs"), processes);
        };
        group("pod", "4000", "3000", "");
        group("pod/weir", "max", "1000", "7\n");
        group("pod/other", "max", "1900", "8\n");
        let own = "0::/pod/weir\n";
        assert_eq!(used(own, root), Some(3000 - 10 - 200), "that of the pod, less the other's");
        write(root, "pod/weir/memory.max", "2000");
        assert_eq!(used(own, root), Some(990));
        write(root, "pod/weir/memory.max", "max");
        for inside in 0..=INSIDE_MAX {
            group(&format!("pod/{inside}"), "max", "0", "");
        }
        assert_eq!(used(own, root), None, "too many groups");
    }
}
