//! The side that takes over.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::share::shares;
use super::wire::{FromHeir, Link, ToHeir};
use super::{PROTOCOL, STEP_MAX, place};
use crate::control::Handle;
use crate::inherited::{Inherited, Unusable};
use crate::rollout::Event;
use crate::traffic::Board;

/// How long the process that drains may take to follow a table. It is answered before the control
/// wing loses its patience, which is a second.
const FOLLOW_MAX: Duration = Duration::from_millis(500);

/// How long a process that has let go of its journal may still have other files: it is about to end,
/// and the system closes one after the other.
const END_MAX: Duration = Duration::from_secs(1);

/// Why this process does not take over.
#[derive(Debug, Error)]
pub enum TakeError {
    /// The other refuses.
    #[error("the weir that runs does not hand over: {0}")]
    Refused(String),
    /// It cannot be asked, or the answer cannot be heard.
    #[error("cannot speak with the weir that runs: {0}")]
    Unheard(String),
    /// It belongs to somebody else.
    #[error("the socket beside the journal is of user {0}; run as that user, or remove it")]
    Stranger(u32),
    /// What it hands over is of no use.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// It says something else than it should.
    #[error("the weir that runs says what it should not: {0}; stop it and start this one")]
    Confused(&'static str),
}

impl From<io::Error> for TakeError {
    fn from(error: io::Error) -> Self {
        let late = error.kind() == ErrorKind::TimedOut;
        let silence = || format!("it says nothing for {} s", STEP_MAX.as_secs());
        Self::Unheard(if late { silence() } else { error.to_string() })
    }
}

/// What authorities are answered that ask for a proof, by token.
type Proofs = BTreeMap<String, String>;

/// What the process that drains has to answer authorities, and what it does.
#[derive(Debug)]
pub struct Answers {
    /// What this process answers.
    pub owed: watch::Receiver<Proofs>,
    /// What the other does, too; none once nobody can ask it any more.
    pub followed: watch::Sender<Option<Proofs>>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.followed.send_replace(None);
    }
}

/// The process that hands over.
#[derive(Debug)]
pub struct Predecessor {
    link: Link,
    process: u32,
}

/// What came of asking.
#[derive(Debug)]
pub enum Asked {
    /// Nobody is there.
    Nobody,
    /// Somebody was, and has gone before its listeners came.
    Gone(Gone),
    /// It hands over: its listeners.
    HandsOver(Predecessor, Inherited),
}

/// A process that has gone, or is just about to.
#[derive(Debug)]
pub struct Gone {
    process: Option<i32>,
}

impl Gone {
    /// Waits until the system has closed all that the process had, its listeners above all. To be
    /// called when its journal is free.
    pub async fn ends(&self) {
        let Some(process) = self.process.and_then(Pid::from_raw) else { return };
        // An error says that it has ended already, or that this system cannot tell.
        let Ok(file) = pidfd_open(process, PidfdFlags::NONBLOCK) else { return };
        let ends = move || {
            let most = Timespec::try_from(END_MAX).ok();
            poll(&mut [PollFd::new(&file, PollFlags::IN)], most.as_ref())
        };
        _ = tokio::task::spawn_blocking(ends).await;
    }
}

/// Asks the Weir that owns `journal` to hand over.
///
/// # Errors
/// It refuses, or cannot be asked.
pub async fn ask(journal: &Path) -> Result<Asked, TakeError> {
    let connected = place(journal).and_then(|path| Link::to(&path));
    let link = match connected {
        Err(error)
            if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) =>
        {
            return Ok(Asked::Nobody);
        }
        connected => connected?,
    };
    let (process, user) = link.peer()?;
    let gone = Gone { process };
    if user != geteuid().as_raw() && user != 0 {
        return Err(TakeError::Stranger(user));
    }
    let hello = FromHeir::Hello { protocol: PROTOCOL, weir: env!("CARGO_PKG_VERSION").into() };
    // It may have refused already, and gone.
    _ = link.send(&hello, &[]).await;
    let mut sockets = Vec::new();
    loop {
        let Some((message, handed)) = link.receive_within(STEP_MAX).await? else {
            // Its listeners went with it; what was handed over already is no use.
            return Ok(Asked::Gone(gone));
        };
        let ToHeir::Sockets { process, more } = message else {
            return Err(unexpected(message));
        };
        sockets.extend(handed);
        if !more {
            let named = |socket| (socket, format!("of process {process}"));
            let inherited = Inherited::new(sockets.into_iter().map(named))?;
            return Ok(Asked::HandsOver(Predecessor { link, process }, inherited));
        }
    }
}

fn unexpected(message: ToHeir) -> TakeError {
    TakeError::Confused(match message {
        ToHeir::Refused { because } => return TakeError::Refused(because),
        ToHeir::Draining { .. } => "draining",
        ToHeir::Drained { .. } => "drained",
        ToHeir::Followed { .. } => "followed",
        ToHeir::Go => "go",
        ToHeir::Lowered { .. } => "lowered",
        ToHeir::Released => "released",
        ToHeir::Sockets { .. } => "sockets",
    })
}

impl Predecessor {
    /// Its number.
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// Says that all but the journal is there, and waits until that is free. A predecessor that
    /// dies has freed it.
    ///
    /// # Errors
    /// It does not hand over after all.
    pub async fn releases(&self) -> Result<(), TakeError> {
        // One that has gone may have said why before.
        _ = self.say(&FromHeir::Prepared).await;
        match self.link.receive_within(STEP_MAX).await? {
            None | Some((ToHeir::Released, _)) => Ok(()),
            Some((other, _)) => Err(unexpected(other)),
        }
    }

    /// Says that the journal is open, and waits for the word to serve. Gives what was lowered
    /// meanwhile.
    ///
    /// # Errors
    /// It does not hand over after all.
    pub async fn lets_go(&self) -> Result<Vec<Event>, TakeError> {
        let mut lowered = Vec::new();
        _ = self.say(&FromHeir::Opened).await;
        loop {
            match self.link.receive_within(STEP_MAX).await? {
                None | Some((ToHeir::Go, _)) => return Ok(lowered),
                Some((ToHeir::Lowered { events, .. }, _)) => lowered.extend(events),
                Some((other, _)) => return Err(unexpected(other)),
            }
        }
    }

    /// Says that this process serves, and has the other follow the tables on `board`, as one more
    /// worker at `seat`, and give `answers` to authorities, until it ends.
    pub async fn is_followed(
        self,
        handle: Handle,
        board: Arc<Board>,
        seat: usize,
        answers: Answers,
    ) {
        let seat = Seat { board, seat };
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        seat.board.set_waker(seat.seat, Box::new(move || waker.notify_one()));
        changed.notify_one();
        if self.say(&FromHeir::Serving).await.is_ok() {
            self.lead(&handle, &seat, &changed, answers).await;
        }
    }

    async fn lead(self, handle: &Handle, seat: &Seat, changed: &Notify, mut answers: Answers) {
        let (link, process) = (Arc::new(self.link), self.process);
        let mut told = Proofs::new();
        let mut asked: Option<Instant> = None;
        loop {
            let late = async {
                match asked {
                    Some(at) => tokio::time::sleep_until(at + FOLLOW_MAX).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An authority may ask on a connection that the other still has.
                Ok(()) = answers.owed.changed() => changed.notify_one(),
                () = changed.notified(), if asked.is_none() => {
                    let proofs = answers.owed.borrow_and_update().clone();
                    told.clone_from(&proofs);
                    let (epoch, table) = seat.board.current();
                    let (tiers, generations) = (shares(&table), table.generations.clone());
                    let follow = FromHeir::Follow { epoch, tiers, generations, proofs };
                    if link.send(&follow, &[]).await.is_err() {
                        return;
                    }
                    asked = Some(Instant::now());
                }
                message = link.receive() => match message {
                    Ok(Some((message, _))) => {
                        if let ToHeir::Followed { epoch } = message {
                            asked = None;
                            answers.followed.send_replace(Some(std::mem::take(&mut told)));
                            seat.board.acknowledge(seat.seat, epoch);
                        } else {
                            hear(message, process, handle, &link);
                        }
                    }
                    Ok(None) => return tracing::info!(process, "the weir before has ended"),
                    Err(error) => return tracing::warn!(process, %error, "the weir before is lost"),
                },
                // Without the link it serves stable alone.
                () = late => return tracing::error!(process, "the weir before does not follow"),
            }
        }
    }

    async fn say(&self, message: &FromHeir) -> io::Result<()> {
        self.link.send(message, &[]).await
    }
}

fn hear(message: ToHeir, process: u32, handle: &Handle, link: &Arc<Link>) {
    match message {
        ToHeir::Lowered { number, events } => {
            let (handle, link) = (handle.clone(), Arc::clone(link));
            tokio::spawn(async move {
                handle.lowered(events).await;
                _ = link.send(&FromHeir::Taken { number }, &[]).await;
            });
        }
        ToHeir::Draining { requests, upgraded, limit } => {
            let seconds = Duration::from_millis(limit).as_secs_f64();
            tracing::info!(
                "process {process} drains: {requests} requests and {upgraded} upgraded \
                 connections, for at most {seconds} s"
            );
        }
        ToHeir::Drained { cut } => tracing::info!(process, cut, "the weir before has drained"),
        // Not before Go.
        ToHeir::Go
        | ToHeir::Followed { .. }
        | ToHeir::Refused { .. }
        | ToHeir::Released
        | ToHeir::Sockets { .. } => tracing::debug!(?message, "too late"),
    }
}

/// The place of the other process at the board. When it is gone, nobody waits for it.
struct Seat {
    board: Arc<Board>,
    seat: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.acknowledge(self.seat, u64::MAX);
    }
}
