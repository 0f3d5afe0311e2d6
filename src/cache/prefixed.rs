//! One connection of a client whose keys are put into its namespace, or whose fetches of jobs may have
//! to wait.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::allotment::Role;
use super::link::Link;
use super::session::Session;
use super::{Dialect, Invalidate, Mode, Place};
use crate::namespace::edits::Edits;
use crate::namespace::reading::Purpose;
use crate::namespace::resp::Violation;
use crate::traffic::Weight;

/// Bytes that a read is given room for at least.
const ROOM: usize = 16 * 1024;

/// Bytes of an answer that are read and not yet understood: a line of the longest kind and more.
const WAITING_MAX: usize = 128 * 1024;

/// How long a connection may go on in a part that has begun anew: any answer is there by then, but
/// for those that wait for others.
const TURN_MAX: Duration = Duration::from_secs(2);

/// Pause between two looks whether it can follow.
const TURN_POLL: Duration = Duration::from_millis(20);

/// How long a client that has asked for more than is remembered may read no answer.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// Why it is let go then.
const UNREAD: &str = "a client asks and asks, and reads none of the answers";

/// How long the server may take to take in what a client has sent before it left.
const LINGER: Duration = Duration::from_secs(10);

/// What both directions of one connection share.
struct Between<'a> {
    session: RefCell<Session>,
    /// What Weir asks the server itself.
    questions: RefCell<Vec<u8>>,
    /// There are questions, or no more.
    asked: Notify,
    /// Nothing more is asked.
    ends: Cell<bool>,
    place: &'a Place,
    /// The publication whose namespace the session has.
    epoch: Cell<u64>,
    /// Fetches that were paid for and are not answered.
    paid: Cell<u64>,
}

/// Pause between two looks whether the version still is the canary, while a fetch waits.
const ROLE_POLL: Duration = Duration::from_millis(250);

/// Why a client's requests have ended.
enum Last {
    Left,
    Violation(Violation),
}

/// Serves a client until either side leaves.
pub async fn talk(mut client: TcpStream, server: Link, place: &Place) -> io::Result<()> {
    let shared = &place.shared;
    let purpose = match shared.invalidate {
        Invalidate::All => Purpose::KeepAndTell,
        Invalidate::Own => Purpose::Keep,
    };
    // Before the table is read: what is published in between is seen to again.
    let epoch = Cell::new(shared.board.epoch());
    let turned = shared.turned.subscribe();
    let session = match shared.mode {
        Mode::Prefix | Mode::Db => Session::keeping(place, purpose).await?,
        Mode::Instance | Mode::Observe => Session::watching(place),
    };
    let between = Between {
        session: RefCell::new(session),
        questions: RefCell::default(),
        asked: Notify::new(),
        ends: Cell::new(false),
        place,
        epoch,
        paid: Cell::new(0),
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let last = {
        let mut down = std::pin::pin!(between.down(&mut from_server, &mut to_client));
        let up = between.up(&mut from_client, &mut to_server);
        let last = tokio::select! {
            biased;
            last = up => last?,
            // The server has left; so does Weir, and the client sees as much of the answer as it
            // would without.
            left = &mut down => return left,
            // As if it had left, so that nothing is lost that it waited for.
            () = between.outlived(turned) => Last::Left,
        };
        if let Last::Violation(violation) = &last
            && *violation != Violation::Web
        {
            between.ends.set(true);
            if !between.session.borrow().is_idle() {
                down.await?;
            }
        }
        last
    };
    match last {
        Last::Violation(Violation::Web) => {
            tracing::warn!(cache = %shared.name, "a web request came to a cache; closed");
        }
        Last::Violation(violation) => {
            to_client.write_all(format!("-ERR Protocol error: {violation}\r\n").as_bytes()).await?;
        }
        // At once, so that a server that was to hand out an element keeps it; and in order, so
        // that it takes in what was sent before.
        Last::Left => {
            to_server.shutdown().await?;
            let mut rest = BytesMut::with_capacity(ROOM);
            let drained = async {
                while from_server.read_buf(&mut rest).await? > 0 {
                    rest.clear();
                }
                io::Result::Ok(())
            };
            _ = timeout(LINGER, drained).await;
        }
    }
    Ok(())
}

impl Between<'_> {
    /// Requests, until there are no more.
    async fn up(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Last> {
        let (mut waiting, mut edits) = (BytesMut::with_capacity(ROOM), Edits::new());
        loop {
            let questions = self.questions.take();
            if !questions.is_empty() {
                to.write_all(&questions).await?;
                to.flush().await?;
            }
            self.turn();
            let fed = self.session.borrow_mut().asked(&waiting, &mut edits);
            send(to, &edits, &waiting).await?;
            edits.clear();
            self.settle();
            match fed {
                Ok(taken) => waiting.advance(taken),
                Err(violation) => return Ok(Last::Violation(violation)),
            }
            if let Some(goes_on) = self.hold(from, &mut waiting).await? {
                self.session.borrow_mut().decide_fetch(goes_on, &mut edits);
                send(to, &edits, &[]).await?;
                edits.clear();
                continue;
            } else if self.session.borrow().fetch().is_some() {
                return Ok(Last::Left);
            }
            if self.fulfil(&mut edits).await {
                send(to, &edits, &[]).await?;
                edits.clear();
                continue;
            }
            if self.session.borrow().is_busy() {
                self.asked.notified().await;
                continue;
            }
            if self.session.borrow().is_full() {
                let late = |_| io::Error::new(io::ErrorKind::TimedOut, UNREAD);
                timeout(UNREAD_MAX, self.asked.notified()).await.map_err(late)?;
                continue;
            }
            waiting.reserve(ROOM);
            if from.read_buf(&mut waiting).await? == 0 {
                return Ok(Last::Left);
            }
        }
    }

    /// Answers, until the server leaves or all is answered that was asked.
    async fn down(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut waiting = BytesMut::with_capacity(ROOM);
        let (mut edits, mut questions) = (Edits::new(), Edits::copying());
        loop {
            if self.ends.get() && self.session.borrow().is_idle() {
                return Ok(());
            }
            waiting.reserve(ROOM);
            let read = from.read_buf(&mut waiting).await?;
            let was_busy = self.session.borrow().is_busy();
            let was_full = self.session.borrow().is_full();
            let fed = self.session.borrow_mut().answered(&waiting, &mut edits, &mut questions);
            self.settle();
            let is_busy = self.session.borrow().is_busy();
            send(to, &edits, &waiting).await?;
            edits.clear();
            if was_busy {
                self.questions.borrow_mut().extend_from_slice(questions.made());
                questions.clear();
            }
            let has_room = was_full && !self.session.borrow().is_full();
            if has_room || was_busy && (!is_busy || !self.questions.borrow().is_empty()) {
                self.asked.notify_one();
            }
            match fed {
                _ if read == 0 => return Ok(()),
                Ok(taken) => waiting.advance(taken),
                Err(violation) => return Err(violation),
            }
            if waiting.len() > WAITING_MAX {
                return Err(io::Error::other(Violation::Answer));
            }
        }
    }

    /// Takes over what the session has counted. What fetches were paid for comes back with their
    /// answers, whose jobs are owed.
    fn settle(&self) {
        let answers = self.session.borrow_mut().settle(self.place).min(self.paid.get());
        self.paid.set(self.paid.get() - answers);
        self.place.shared.allotment.give_back(answers);
    }

    /// Waits until the fetch of a job that the session holds may go on, or its time is over: gives which.
    /// None: there is no fetch, or the client has left; then nothing was fetched for it.
    async fn hold(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        waiting: &mut BytesMut,
    ) -> io::Result<Option<bool>> {
        let waits = match self.session.borrow().fetch() {
            None => return Ok(None),
            Some(fetch) => fetch.waits,
        };
        let (began, allotment) = (Instant::now(), &self.place.shared.allotment);
        loop {
            let mut earned = std::pin::pin!(allotment.earned());
            earned.as_mut().enable();
            let role = self.place.role();
            if allotment.admits(role) {
                if role == Role::Canary && allotment.share() != Some(Weight::ALL) {
                    self.paid.set(self.paid.get() + 1);
                }
                return Ok(Some(true));
            }
            let left = waits.map(|waits| waits.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Some(false));
            }
            let has_room = waiting.len() < WAITING_MAX;
            if has_room {
                waiting.reserve(ROOM);
            }
            tokio::select! {
                () = earned => {}
                () = sleep(left.unwrap_or(ROLE_POLL).min(ROLE_POLL)) => {}
                read = from.read_buf(waiting), if has_room => if read? == 0 { return Ok(None) },
            }
        }
    }

    /// Does what the client has wished for, if it has.
    async fn fulfil(&self, edits: &mut Edits) -> bool {
        let Place { shared, port, .. } = self.place;
        let wish = self.session.borrow().wish();
        let (Some((flush, at_least)), Dialect::Memcached(keeper)) = (wish, &shared.dialect) else {
            return false;
        };
        let flushed = keeper.flush((&port.namespace, &port.server), flush, at_least).await;
        self.session.borrow_mut().fulfilled(flushed.is_ok(), edits);
        true
    }

    /// Puts keys where the part of the release begins now, should it have begun anew; false where
    /// that cannot be done yet.
    fn turn(&self) -> bool {
        let shared = &self.place.shared;
        let epoch = shared.board.epoch();
        let turned = epoch == self.epoch.get() || self.session.borrow_mut().turn(self.place);
        if turned {
            self.epoch.set(epoch);
        }
        turned
    }

    /// Ends when the part of the release has begun anew and this connection cannot follow: it waits
    /// for an element, or listens, under the old name.
    async fn outlived(&self, mut turned: watch::Receiver<()>) {
        while turned.changed().await.is_ok() {
            let until = Instant::now() + TURN_MAX;
            while !self.turn() {
                if Instant::now() > until {
                    return;
                }
                sleep(TURN_POLL).await;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Between<'_> {
    fn drop(&mut self) {
        self.settle();
        // Their answers never come.
        self.place.shared.allotment.give_back(self.paid.get());
    }
}

/// Writes what became of `input`.
async fn send(to: &mut (impl AsyncWrite + Unpin), edits: &Edits, input: &[u8]) -> io::Result<()> {
    if let Some(one) = edits.one(input) {
        to.write_all(one).await?;
        return to.flush().await;
    }
    let mut slices = edits.slices(input);
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = match &*left {
            [one] => to.write(one).await?,
            more => to.write_vectored(more).await?,
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        io::IoSlice::advance_slices(&mut left, written);
    }
    to.flush().await
}
