//! The addresses of the file: are they free, and if not, who has them.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Findings, Patient};
use crate::config::Config;
use crate::traffic::Listen;

/// Ports below are root's, or of who has `CAP_NET_BIND_SERVICE`.
const PRIVILEGED: u16 = 1024;

/// All addresses that Weir listens at, TCP and Unix.
pub(super) fn addresses(config: &Config) -> BTreeSet<Listen> {
    let mut all = BTreeSet::from([Listen::Socket(config.admin.listen)]);
    all.extend(config.tiers.iter().map(|tier| tier.tier.listener.listen.clone()));
    let ports = config.caches.iter().flat_map(|cache| &cache.ports);
    all.extend(ports.map(|port| Listen::Socket(port.listen)));
    all
}

pub(super) fn look(patient: &Patient, out: &mut Findings) {
    for listen in addresses(&patient.config) {
        match &listen {
            Listen::Socket(socket) => port(patient, *socket, out),
            Listen::Unix(path) => place(patient, path, out),
        }
    }
}

fn port(patient: &Patient, socket: SocketAddr, out: &mut Findings) {
    let holder = patient.listening.iter().find(|one| one.is_in_the_way_of(socket));
    match holder {
        Some(one) => {
            let process = one.holder.as_ref().map(|holder| holder.process);
            if !patient.runs {
                let todo = "end it, or write another port; a weir.socket of systemd may have it, \
                            which is well";
                let is_manager = process == Some(1);
                let what = format!("{socket} is taken by {}", one.who());
                if is_manager {
                    out.ok("ports", format!("{socket} is kept open by systemd for weir"));
                } else {
                    out.trouble("ports", what, todo);
                }
            } else if process.is_none() || process == patient.process || process == Some(1) {
                out.ok("ports", format!("{socket} is weir's"));
            } else {
                let what = format!("{socket} is taken by {}, and weir runs without it", one.who());
                out.trouble("ports", what, "end it, then restart weir");
            }
        }
        None if patient.runs => {
            let todo = "`weir reload` or a restart takes the file as it is now";
            out.remark("ports", format!("nobody listens at {socket}, and weir runs"), todo);
        }
        None => free(socket, out),
    }
}

fn free(socket: SocketAddr, out: &mut Findings) {
    // Port 0 takes nothing from anybody, and the address is tried all the same.
    if let Err(error) = TcpListener::bind((socket.ip(), 0)) {
        let what = format!("{socket} cannot be listened at: {error}");
        out.trouble("ports", what, "write an address of this machine");
    } else if socket.port() < PRIVILEGED && !rustix::process::geteuid().is_root() {
        let what = format!("{socket} is free; ports below {PRIVILEGED} need a right");
        let todo = "weir.socket of systemd, or AmbientCapabilities=CAP_NET_BIND_SERVICE";
        out.remark("ports", what, todo);
    } else {
        out.ok("ports", format!("{socket} is free"));
    }
}

fn place(patient: &Patient, path: &Path, out: &mut Findings) {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (shown, exists) = (path.display(), path.exists());
    if patient.runs && exists {
        out.ok("ports", format!("unix:{shown} is there"));
    } else if patient.runs {
        out.trouble("ports", format!("unix:{shown} is gone, and weir runs"), "restart weir");
    } else if !folder.is_dir() {
        let todo = "make it, or have systemd do it: RuntimeDirectory=weir";
        out.trouble("ports", format!("there is no folder for unix:{shown}"), todo);
    } else if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let what = format!("{} may not be written by this user", folder.display());
        out.remark("ports", what, "run `weir doctor` as weir's user");
    } else {
        out.ok("ports", format!("unix:{shown} can be made"));
    }
}
