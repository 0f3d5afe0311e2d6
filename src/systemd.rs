//! The service manager: the sockets it hands over, and what it is told. Without one all of it is
//! silent.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;

use crate::inherited::{Inherited, Unusable};

/// What the service manager hands over cannot be used.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// It contradicts itself.
    #[error("cannot take over the sockets of the service manager: {0}; look at LISTEN_FDS")]
    Wrong(#[from] std::io::Error),
    /// One is of a wrong kind.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// The sockets that the service manager has opened for this process (`sd_listen_fds`(3)); none
/// without one. Its word is taken back from the environment, so that no other process takes it for
/// its own. Call it once, before there is a second thread.
///
/// # Errors
/// They cannot be used.
pub fn sockets() -> Result<Inherited, SocketsError> {
    // SAFETY: the environment may be changed while no other thread reads it; the program calls
    // this before it starts one.
    let handed = unsafe { sd_notify::listen_fds_with_names_and_unset_env() }?;
    let named = handed.map(|(socket, name)| {
        // SAFETY: these descriptors are open, or setting their flags had failed, and were opened
        // for this process alone; it asks for them once.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        (socket, name)
    });
    Ok(Inherited::new(named)?)
}

/// How often the service manager wants to hear that the program lives, if it does: half of what it
/// waits.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|span| span / 2)
}

/// It lives.
pub fn lives() {
    tell(&[NotifyState::Watchdog]);
}

/// It serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its file again; [`ready`] says that it has.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// It stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("requests finish")]);
}

/// How things stand, in one line.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Another process is the service from now on; this one finishes.
pub fn replaced(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
