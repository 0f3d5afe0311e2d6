//! What the process and the kernel allow, and the clock.

use super::{Findings, Patient};
use crate::machine::{self, kernel};

/// What Weir asks for; the kernel cuts it to `somaxconn`.
const BACKLOG: u64 = 4096;

/// Share of the firewall's table, in percent, above which it may soon be full.
const TRACKED_PERCENT_MAX: u64 = 80;

pub(super) fn look(patient: &Patient, out: &mut Findings) {
    let running = patient.process.filter(|_| patient.runs).and_then(kernel::descriptors_of);
    let (have, whose) = match running {
        Some(have) => (have, "the running weir"),
        None => (machine::descriptors_max(), "a process started from here"),
    };
    match patient.config.short_of_descriptors(have) {
        None => out.ok("limits", format!("{whose} may have {have} file descriptors")),
        Some(short) => {
            let what = format!("{whose}: {short}");
            out.remark("limits", what, "LimitNOFILE=1048576 in the unit, or lower limits");
        }
    }
    kernel(out, Some(patient));
}

/// What needs no file.
pub(super) fn kernel(out: &mut Findings, patient: Option<&Patient>) {
    match kernel::somaxconn() {
        Some(most) if most < BACKLOG => {
            let what = format!("net.core.somaxconn is {most}: a burst of clients is refused");
            out.remark("limits", what, "sysctl -w net.core.somaxconn=4096");
        }
        Some(most) => out.ok("limits", format!("net.core.somaxconn is {most}")),
        None => {}
    }
    if let Some(ports) = kernel::ephemeral_ports() {
        let most = patient.map_or(0, |patient| {
            let tiers = patient.config.tiers.iter();
            tiers.map(|tier| tier.tier.limits.connections as u64).max().unwrap_or(0)
        });
        let what = format!("{ports} ports for connections to one upstream");
        if ports < most {
            let todo = "sysctl -w net.ipv4.ip_local_port_range='10240 65535', more upstreams, a \
                        Unix socket, or a lower limits.connections";
            out.remark("limits", format!("{what}, for up to {most} clients"), todo);
        } else {
            out.ok("limits", what);
        }
    }
    match kernel::tracked_connections() {
        None => out.ok("limits", "the firewall tracks no connections here"),
        Some((now, most)) => {
            let what = format!("the firewall tracks {now} of {most} connections");
            let todo = "sysctl -w net.netfilter.nf_conntrack_max=262144, or leave weir's ports \
                        untracked";
            if most > 0 && now.saturating_mul(100) / most >= TRACKED_PERCENT_MAX {
                out.trouble("limits", format!("{what}: beyond, packets are dropped"), todo);
            } else {
                out.ok("limits", what);
            }
        }
    }
    match kernel::is_clock_kept() {
        Some(true) => out.ok("clock", "the kernel says that the clock is synchronised"),
        Some(false) => {
            let todo = "run chrony or systemd-timesyncd; stages and the hours of the plan go by it";
            out.remark("clock", "the kernel says that nobody keeps the clock right", todo);
        }
        None => out.remark("clock", "the kernel does not tell", "look at `timedatectl`"),
    }
}
