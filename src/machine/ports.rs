//! Which TCP ports of this machine are listened at, and by whom.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens, in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTENS: &str = "0A";

/// A TCP socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Who; none: the kernel does not tell this user.
    pub holder: Option<Holder>,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub command: String,
    /// The unit of systemd that it belongs to.
    pub unit: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, command, unit } = self;
        match unit {
            Some(unit) => write!(out, "{command}, process {process} of {unit}"),
            None => write!(out, "{command}, process {process}"),
        }
    }
}

impl Listening {
    /// Who, in words.
    pub fn who(&self) -> String {
        self.holder.as_ref().map_or_else(|| "another user's process".to_owned(), Holder::to_string)
    }

    /// Whether somebody who listens at `address` would be in its way.
    pub fn is_in_the_way_of(&self, address: SocketAddr) -> bool {
        let (own, other) = (self.address.ip(), address.ip());
        // Whoever listens at all addresses of IPv6 takes those of IPv4, unless told otherwise.
        let any = |ip: IpAddr| ip.is_unspecified();
        self.address.port() == address.port() && (own == other || any(own) || any(other))
    }
}

/// All TCP sockets that listen in this network, in the order of their ports. Empty where the
/// kernel does not say (no `/proc`).
pub fn listening() -> Vec<Listening> {
    let mut found = Vec::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        found.extend(parse(&fs::read_to_string(file).unwrap_or_default()));
    }
    let holders = if found.is_empty() { BTreeMap::new() } else { holders() };
    let mut sockets: Vec<Listening> = found
        .into_iter()
        .map(|(address, inode)| Listening { address, holder: holders.get(&inode).cloned() })
        .collect();
    sockets.sort_by_key(|socket| (socket.address.port(), socket.address.ip()));
    sockets.dedup_by_key(|socket| socket.address);
    sockets
}

/// The listening sockets of a table of the kernel, and their inodes.
fn parse(table: &str) -> Vec<(SocketAddr, u64)> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&LISTENS);
        listens.then(|| Some((address(fields.get(1)?)?, fields.get(9)?.parse().ok()?)))?
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// `0100007F:0BB8`: words of four bytes as the processor keeps them, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = (0..ip.len() / 8)
        .filter_map(|word| u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok())
        .collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip: IpAddr = if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        Ipv4Addr::from(bytes).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into()
    };
    Some(SocketAddr::new(ip, port))
}

/// The processes that hold sockets, as far as this user may see them, by the sockets' inodes.
fn holders() -> BTreeMap<u64, Holder> {
    let mut holders = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return holders };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let mut holder = None;
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|target| {
                target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            });
            let Some(inode) = inode else { continue };
            let holder = holder.get_or_insert_with(|| Holder {
                process,
                command: command(process),
                unit: unit(process),
            });
            // A socket that was passed on counts for who has it first: systemd, or a master.
            holders.entry(inode).or_insert_with(|| holder.clone());
        }
    }
    holders
}

fn command(process: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// The unit of systemd that a process belongs to, by its control group.
pub fn unit(process: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let parts = groups.lines().flat_map(|line| line.rsplit('/'));
    let mut units = parts.filter(|part| part.ends_with(".service"));
    units.next().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_table_of_the_kernel_is_read() {
        let own = u32::from_ne_bytes([127, 0, 0, 1]);
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
             timeout inode\n   0: {own:08X}:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 \
             00000000  1000        0 4242 1 0\n   1: {own:08X}:0BB9 00000000:0000 01 \
             00000000:00000000 00:00000000 00000000  1000        0 4243 1 0\nnonsense\n"
        );
        assert_eq!(parse(&table), vec![("127.0.0.1:3000".parse().unwrap(), 4242)]);
        let any = address("00000000000000000000000000000000:0050").unwrap();
        assert_eq!(any, "[::]:80".parse().unwrap());
        assert_eq!(address("0:1"), None);
    }

    #[test]
    fn this_process_is_found_as_the_holder_of_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let all = listening();
        let found = all.iter().find(|socket| socket.address == own).expect("it listens");
        assert_eq!(found.holder.as_ref().unwrap().process, std::process::id());
        assert!(found.who().contains(&std::process::id().to_string()));
        let other = |text: &str| format!("{text}:{}", own.port()).parse().unwrap();
        assert!(found.is_in_the_way_of(other("0.0.0.0")) && found.is_in_the_way_of(own));
        assert!(!found.is_in_the_way_of(other("127.0.0.2")));
    }
}
