//! What the kernel allows, and what it says of its clock. Reads only.

use std::fs;
use std::path::Path;

/// A clock that is kept by nobody says so (`STA_UNSYNC`).
const UNSYNCHRONISED: i32 = 0x40;

/// Longest queue of connections that wait to be accepted; what `listen` asks for is cut to it.
pub fn somaxconn() -> Option<u64> {
    number("/proc/sys/net/core/somaxconn")
}

/// How many ports there are for connections that this machine opens to one address.
pub fn ephemeral_ports() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

/// Connections that the firewall keeps in mind, and how many it can; none where it keeps none.
pub fn tracked_connections() -> Option<(u64, u64)> {
    let folder = "/proc/sys/net/netfilter/nf_conntrack";
    Some((number(format!("{folder}_count"))?, number(format!("{folder}_max"))?))
}

/// File descriptors that the process `id` may have open at most; none: it is gone, or another
/// user's.
pub fn descriptors_of(id: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// The program file of the process `id`, and whether another one has taken its place on the disk
/// since it was started.
pub fn program_of(id: u32) -> Option<(String, bool)> {
    let link = fs::read_link(format!("/proc/{id}/exe")).ok()?;
    let link = link.to_string_lossy();
    Some(match link.strip_suffix(" (deleted)") {
        Some(path) => (path.to_owned(), true),
        None => (link.into_owned(), false),
    })
}

/// Whether something keeps the clock right; none where the kernel does not say.
pub fn is_clock_kept() -> Option<bool> {
    // SAFETY: all fields may be zero, and `modes` of zero asks without changing anything.
    let mut about: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes no more than the struct that it is given.
    let state = unsafe { libc::adjtimex(&raw mut about) };
    (state >= 0).then_some(about.status & UNSYNCHRONISED == 0)
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_it_allows() {
        assert!(somaxconn().is_some_and(|most| most > 0));
        assert!(ephemeral_ports().is_some_and(|ports| ports > 1_000));
        assert!(is_clock_kept().is_some());
        let own = std::process::id();
        assert!(descriptors_of(own).is_some_and(|most| most > 100));
        let (path, is_replaced) = program_of(own).unwrap();
        assert!(Path::new(&path).is_file() && !is_replaced);
        assert_eq!(descriptors_of(0), None);
    }
}
