//! The side that hands over.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::ending::Process;
use super::share::{Share, follow};
use super::wire::{FromHeir, Link, SOCKETS_MAX, ToHeir};
use super::{Bell, PROTOCOL, STEP_MAX};
use crate::control::{Handle, Heir, Lowered};
use crate::traffic::{Board, Generations};

/// How long the journal may take to be written and closed. A disk that hangs longer keeps the
/// journal here.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// How long an heir that was refused, or has gone, may take to let go of the journal.
const LET_GO_MAX: Duration = Duration::from_secs(10);

/// How long the workers may take to follow the heir's table; they look every 10 ms.
const ACKNOWLEDGE_MAX: Duration = Duration::from_millis(400);

/// Pause between two looks whether they have.
const ACKNOWLEDGE_POLL: Duration = Duration::from_micros(200);

/// What this process can hand over.
pub struct Estate {
    /// The way to the control wing, which has the journal.
    pub handle: Handle,
    /// Where the table is published.
    pub board: Arc<Board>,
    /// Copies of all listeners and locks.
    pub lend: Box<dyn Fn() -> io::Result<Vec<OwnedFd>> + Send + Sync>,
    /// Has authorities answered that ask for a proof, by token.
    pub answer: Box<dyn Fn(BTreeMap<String, String>) + Send + Sync>,
}

impl fmt::Debug for Estate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Estate(..)")
    }
}

/// Why nothing was handed over.
#[derive(Debug, Error)]
enum Failed {
    #[error("{0}")]
    Refused(String),
    #[error("it has ended")]
    Gone,
    #[error("it did not go on within {} s", STEP_MAX.as_secs())]
    Late,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("it said what it should not: {0:?}")]
    Confused(FromHeir),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&kind) {
            Self::Gone
        } else if kind == io::ErrorKind::TimedOut {
            Self::Late
        } else {
            Self::Broken(error)
        }
    }
}

/// Waits to be asked, and hands over; ends once another process serves.
///
/// # Errors
/// The socket cannot be used.
pub async fn keep(mut bell: Bell, estate: Arc<Estate>) -> io::Result<Succession> {
    let listener = UnixListener::from_std(bell.listener.try_clone()?)?;
    bell.own = true;
    // The one that is being handed over to.
    let mut heir: Option<(u32, Giving)> = None;
    loop {
        let given = async {
            match &mut heir {
                Some((_, giving)) => giving.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            given = given => match given {
                Some(succession) => {
                    bell.own = false;
                    return Ok(succession);
                }
                None => heir = None,
            },
            accepted = listener.accept() => {
                let link = Link::new(accepted?.0);
                match admitted(&link, heir.as_ref().map(|(process, _)| *process)) {
                    Ok(process) => {
                        let bell = bell.listener.try_clone()?.into();
                        let giving = Box::pin(give(link, process, Arc::clone(&estate), bell));
                        heir = Some((process, giving));
                    }
                    Err(because) => {
                        tracing::warn!("a hand-over was refused: {because}");
                        _ = link.send(&ToHeir::Refused { because }, &[]).await;
                    }
                }
            }
        }
    }
}

type Giving = std::pin::Pin<Box<dyn Future<Output = Option<Succession>> + Send>>;

/// The process at the other end, if it may take over.
fn admitted(link: &Link, other: Option<u32>) -> Result<u32, String> {
    let (process, user) = link.peer().map_err(|error| format!("who asks is unknown: {error}"))?;
    if user != geteuid().as_raw() && user != 0 {
        return Err(format!("user {user} may not; run as the same user, or as root"));
    }
    let process = process.and_then(|process| u32::try_from(process).ok()).unwrap_or(0);
    match other {
        Some(other) => Err(format!("process {other} takes over already; wait for it")),
        None => Ok(process),
    }
}

/// Hands over, or goes on as before and says why.
async fn give(link: Link, process: u32, estate: Arc<Estate>, bell: OwnedFd) -> Option<Succession> {
    tracing::info!("process {process} asks to take over");
    let (told, lowered) = mpsc::unbounded_channel();
    let heir = Process::of(process);
    let mut giver = Giver { link, estate, lowered: Told::new(lowered), may_serve: false };
    let outcome = match giver.introduce(bell).await {
        Ok(()) => {
            let outcome = giver.hand_over(Heir { process, told }).await;
            if let Err(error) = &outcome {
                giver.refuse(error).await;
                giver.goes_on(error, &heir).await;
            }
            outcome
        }
        Err(error) => {
            giver.refuse(&error).await;
            Err(error)
        }
    };
    match outcome {
        Ok(()) => {
            tracing::info!("process {process} serves; this one drains");
            let Giver { link, estate, lowered, .. } = giver;
            Some(Succession { process, link, estate, lowered })
        }
        Err(error) => {
            tracing::error!("process {process} has not taken over: {error}");
            None
        }
    }
}

struct Giver {
    link: Link,
    estate: Arc<Estate>,
    lowered: Told,
    /// Whether the heir was told `Go`: it may serve, and listens to no refusal.
    may_serve: bool,
}

impl Giver {
    /// Until here nothing changes for anybody.
    async fn introduce(&self, bell: OwnedFd) -> Result<(), Failed> {
        let hello = self.hear().await?;
        let FromHeir::Hello { protocol, weir } = &hello else {
            return Err(Failed::Confused(hello));
        };
        if *protocol != PROTOCOL {
            return Err(Failed::Refused(format!(
                "weir {weir} hands over by protocol {protocol} and this one, {}, by {PROTOCOL}; \
                 stop this one and start that",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let mut sockets = (self.estate.lend)()?;
        sockets.push(bell);
        let mut batches = sockets.chunks(SOCKETS_MAX).peekable();
        while let Some(batch) = batches.next() {
            let (process, more) = (std::process::id(), batches.peek().is_some());
            self.link.send(&ToHeir::Sockets { process, more }, batch).await?;
        }
        is(&FromHeir::Prepared, self.hear().await?)
    }

    /// The journal goes first; then all that lowers is told, before the heir may serve and after.
    async fn hand_over(&mut self, heir: Heir) -> Result<(), Failed> {
        let closed = self.estate.handle.give_journal(heir).await;
        let closed = closed.map_err(|why| Failed::Refused(why.to_owned()))?;
        if !matches!(timeout(RELEASE_MAX, closed).await, Ok(Ok(()))) {
            let because = format!(
                "its journal cannot be written and closed within {} s; `weir status` tells why",
                RELEASE_MAX.as_secs()
            );
            return Err(Failed::Refused(because));
        }
        self.say(&ToHeir::Released).await?;
        is(&FromHeir::Opened, self.hear_and_tell(false).await?)?;
        self.lowered.tell_all(&self.link).await?;
        self.may_serve = true;
        self.say(&ToHeir::Go).await?;
        loop {
            let message = self.hear_and_tell(true).await?;
            let FromHeir::Taken { number } = message else {
                break is(&FromHeir::Serving, message)?;
            };
            self.lowered.taken(number);
        }
        self.estate.handle.retire().await;
        Ok(())
    }

    /// Takes everything back. An heir that is only slow is ended, since it would wake up to a journal
    /// that has another owner; so is one that may serve, and one that keeps the journal.
    async fn goes_on(&self, error: &Failed, heir: &Process) {
        let ended =
            matches!(error, Failed::Late) || (self.may_serve && !matches!(error, Failed::Gone));
        if ended {
            self.end(heir, error);
        }
        let mut back = pin!(self.estate.handle.take_journal_back());
        if timeout(LET_GO_MAX, &mut back).await.is_err() {
            if !ended {
                self.end(heir, error);
            }
            // Who has the journal decides, and nobody else.
            back.await;
        }
        tracing::info!("the journal is back; this process decides");
    }

    fn end(&self, heir: &Process, because: &Failed) {
        let process = heir.number();
        match heir.end(self.link.is_open()) {
            Ok(()) => tracing::error!("process {process} was ended: {because}"),
            Err(why) => tracing::error!("process {process} {why} ({because})"),
        }
    }

    async fn refuse(&self, error: &Failed) {
        // It may have gone.
        _ = self.say(&ToHeir::Refused { because: error.to_string() }).await;
    }

    async fn hear(&self) -> Result<FromHeir, Failed> {
        heard(self.link.receive_within(STEP_MAX).await)
    }

    /// The next message of the heir; meanwhile it is told what lowers. Before it may serve nobody
    /// has to wait until it has taken that over.
    async fn hear_and_tell(&mut self, answered: bool) -> Result<FromHeir, Failed> {
        let until = Instant::now() + STEP_MAX;
        loop {
            tokio::select! {
                biased;
                lowered = self.lowered.next() => {
                    self.lowered.tell(lowered, &self.link, answered).await?;
                }
                message = self.link.receive() => return heard(message),
                () = tokio::time::sleep_until(until) => return Err(Failed::Late),
            }
        }
    }

    async fn say(&self, message: &ToHeir) -> io::Result<()> {
        self.link.send(message, &[]).await
    }
}

/// Whether the heir says what it should.
fn is(wanted: &FromHeir, message: FromHeir) -> Result<(), Failed> {
    if message == *wanted { Ok(()) } else { Err(Failed::Confused(message)) }
}

fn heard(message: io::Result<Option<(FromHeir, Vec<OwnedFd>)>>) -> Result<FromHeir, Failed> {
    match message {
        Ok(Some((message, _))) => Ok(message),
        Ok(None) => Err(Failed::Gone),
        Err(error) => Err(error.into()),
    }
}

/// What lowers here and must be known there.
struct Told {
    lowered: mpsc::UnboundedReceiver<Lowered>,
    /// Whoever waits for an answer, by the number of the message.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    number: u64,
}

impl Told {
    fn new(lowered: mpsc::UnboundedReceiver<Lowered>) -> Self {
        Self { lowered, waiting: BTreeMap::new(), number: 0 }
    }

    async fn next(&mut self) -> Lowered {
        match self.lowered.recv().await {
            Some(lowered) => lowered,
            // The control wing has ended.
            None => std::future::pending().await,
        }
    }

    async fn tell(&mut self, lowered: Lowered, link: &Link, answered: bool) -> io::Result<()> {
        let Lowered { events, taken } = lowered;
        self.number += 1;
        let number = self.number;
        link.send(&ToHeir::Lowered { number, events }, &[]).await?;
        if answered {
            self.waiting.insert(number, taken);
        } else {
            _ = taken.send(());
        }
        Ok(())
    }

    async fn tell_all(&mut self, link: &Link) -> io::Result<()> {
        while let Ok(lowered) = self.lowered.try_recv() {
            self.tell(lowered, link, false).await?;
        }
        Ok(())
    }

    fn taken(&mut self, number: u64) {
        if let Some(taken) = self.waiting.remove(&number) {
            _ = taken.send(());
        }
    }
}

/// Another process serves. This one has connections left, on which it does as that one says.
pub struct Succession {
    process: u32,
    link: Link,
    estate: Arc<Estate>,
    lowered: Told,
}

impl fmt::Debug for Succession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Succession").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Succession {
    /// The process that serves.
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// Follows the tables of the other process for up to `limit`; ends once `drained` tells how
    /// many connections were cut.
    pub async fn drains(mut self, limit: Duration, mut drained: oneshot::Receiver<usize>) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (requests, upgraded) = self.open();
        let draining = ToHeir::Draining { requests, upgraded, limit };
        let mut follows = self.link.send(&draining, &[]).await.is_ok();
        while follows {
            tokio::select! {
                cut = &mut drained => {
                    let cut = cut.unwrap_or(0) as u64;
                    _ = self.link.send(&ToHeir::Drained { cut }, &[]).await;
                    return;
                }
                lowered = self.lowered.next() => {
                    follows = self.lowered.tell(lowered, &self.link, true).await.is_ok();
                }
                message = self.link.receive() => follows = match message {
                    Ok(Some((FromHeir::Follow { epoch, tiers, generations, proofs }, _))) => {
                        (self.estate.answer)(proofs);
                        self.follow(&tiers, generations).await;
                        self.link.send(&ToHeir::Followed { epoch }, &[]).await.is_ok()
                    }
                    Ok(Some((FromHeir::Taken { number }, _))) => {
                        self.lowered.taken(number);
                        true
                    }
                    Ok(Some((other, _))) => {
                        tracing::warn!("process {} said what it should not: {other:?}", self.process);
                        false
                    }
                    Ok(None) => false,
                    Err(error) => {
                        tracing::warn!("process {} is not understood: {error}", self.process);
                        false
                    }
                },
            }
        }
        // Whatever was decided since, stable alone is not too much.
        tracing::warn!("process {} is lost; what is left here goes to stable", self.process);
        self.follow(&[], Generations::default()).await;
        _ = drained.await;
    }

    /// Requests and upgraded connections that are open here.
    fn open(&self) -> (u64, u64) {
        let view = self.estate.handle.view();
        let releases = view.tiers.iter().flat_map(|tier| &tier.releases);
        releases.fold((0, 0), |(requests, upgraded), release| {
            (requests + release.in_flight, upgraded + release.upgraded_open)
        })
    }

    /// Publishes what `shares` say, and waits until every worker follows.
    async fn follow(&self, shares: &[Share], generations: Generations) {
        let board = &self.estate.board;
        let (_, current) = board.current();
        // One that never speaks of them is older than they are.
        let generations =
            if generations.is_empty() { current.generations.clone() } else { generations };
        let table = follow(&current, shares, generations);
        let epoch = board.publish(table);
        let until = Instant::now() + ACKNOWLEDGE_MAX;
        while !board.acknowledged(epoch) {
            if Instant::now() > until {
                tracing::error!(epoch, "a worker has not taken over the table of the heir");
                return;
            }
            tokio::time::sleep(ACKNOWLEDGE_POLL).await;
        }
    }
}
