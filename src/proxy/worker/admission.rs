//! Who may come in, and who makes way for it where there are as many as there may be.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Listed, Worker};
use crate::proxy::io::{Io, Socket};
use crate::proxy::line::Line;
use crate::proxy::listener::Entrance;
use crate::proxy::view::{ListenerView, View};
use crate::proxy::{opening, stack};
use crate::traffic::Listen;

/// How long a worker rests when it cannot accept, for example for want of file descriptors, and
/// until it looks again whether there is room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long newcomers wait where nobody can make room; then all are refused at once until there is
/// some, since it is long requests that there are too many of.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// Where memory is short, one in so many connections goes at each sweep, if it wastes its place.
const GIVEN_SHARE: usize = 16;

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// Where it came in.
    pub(super) listen: Listen,
    /// Its socket.
    pub(super) socket: Socket,
    /// The address that it comes from.
    pub(super) peer: IpAddr,
}

impl Worker {
    /// Lets in who comes to `entrance`.
    pub(super) async fn accept(self: &Rc<Self>, listen: &Listen, entrance: &Entrance) {
        loop {
            match entrance.accept().await {
                Ok((socket, peer)) => {
                    self.let_in(Newcomer { listen: listen.clone(), socket, peer }).await;
                }
                Err(error) => {
                    tracing::warn!(%listen, %error, "cannot accept a connection");
                    if let Some(listener) = self.view().listener(listen) {
                        // Most often it is file descriptors that are short.
                        self.displace(listener);
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Admits `newcomer` as soon as there is room, but has it wait only for a while; meanwhile the
    /// others wait in the kernel.
    async fn let_in(self: &Rc<Self>, newcomer: Newcomer) {
        let listen = newcomer.listen.clone();
        let mut next = self.admit(newcomer);
        let since = self.full_since.get().unwrap_or_else(Instant::now);
        while let Some(newcomer) = next {
            self.full_since.set(Some(since));
            if since.elapsed() > ROOM_WAIT {
                return self.refuse(&newcomer);
            }
            // There it is found by a drain, which ends this task.
            self.waiting.borrow_mut().push(newcomer);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            let mut waiting = self.waiting.borrow_mut();
            let place = waiting.iter().position(|one| one.listen == listen);
            let first = place.map(|place| waiting.swap_remove(place));
            drop(waiting);
            next = first.and_then(|newcomer| self.admit(newcomer));
        }
        self.full_since.set(None);
    }

    /// Admits `newcomer` now or never.
    pub(super) fn admit_now(self: &Rc<Self>, newcomer: Newcomer) {
        if let Some(newcomer) = self.admit(newcomer) {
            self.refuse(&newcomer);
        }
    }

    /// Serves `newcomer`; gives it back if there is no room for it.
    fn admit(self: &Rc<Self>, newcomer: Newcomer) -> Option<Newcomer> {
        let view = self.view();
        let listener = view.listener(&newcomer.listen)?;
        let tier = &listener.first;
        let limits = tier.table.tier.limits.clone();
        let cells = Arc::clone(&tier.cells);
        let others = cells.connections.fetch_add(1, Ordering::Relaxed);
        if others >= limits.connections && !self.makes_room(listener) {
            cells.connections.fetch_sub(1, Ordering::Relaxed);
            return Some(newcomer);
        }
        if self.register.memory().is_short() {
            // Whether or not anybody goes: it has to be told that it came in vain.
            self.displace(listener);
        }
        let Newcomer { listen, socket, peer } = newcomer;
        let io = Io::new(socket);
        let line = Rc::new(Line::new(listen, peer, Arc::clone(&io.pulse), cells));
        if self.draining.get() {
            line.leave();
        }
        let entry = Listed::new(self, &line);
        let worker = Rc::clone(self);
        // Boxed, since tokio moves a task three times until it runs, and once more when it ends.
        tokio::task::spawn_local(Box::pin(async move {
            if let Some(io) = opening::open(&worker, &line, io).await {
                stack::serve(&worker, &line, io, &limits).await;
            }
            drop(entry);
        }));
        None
    }

    /// Counts a newcomer that is closed at once.
    fn refuse(&self, newcomer: &Newcomer) {
        let (view, listen) = (self.view(), &newcomer.listen);
        let Some(listener) = view.listener(listen) else { return };
        let refused = listener.first.cells.refused_connections.fetch_add(1, Ordering::Relaxed) + 1;
        // At 1, 2, 4, 8 ..: seen at once, and never a flood.
        if refused.is_power_of_two() {
            tracing::warn!(%listen, refused, "too many connections; limits.connections");
        }
    }

    /// Whether one more may come in at `listener`, where there are as many as there may be: another
    /// goes for it, or this worker has less than its share. Those that have more give way soon.
    fn makes_room(&self, listener: &ListenerView) -> bool {
        self.displace(listener) || self.own(listener) < self.share(listener)
    }

    /// Connections of this worker at `listener`.
    fn own(&self, listener: &ListenerView) -> usize {
        let listen = &listener.listener.listen;
        self.lines.borrow().iter().filter(|line| line.listen == *listen).count()
    }

    /// Connections that a worker may have whatever the others have.
    fn share(&self, listener: &ListenerView) -> usize {
        let most = listener.first.table.tier.limits.connections;
        (most / self.board.workers().max(1)).max(1)
    }

    /// Closes the connection at `listener` that deserves its place least; says whether there is any.
    fn displace(&self, listener: &ListenerView) -> bool {
        let (listen, tier) = (&listener.listener.listen, &listener.first);
        let proxies = &tier.table.tier.trusted_proxies;
        let mut room = self.room.borrow_mut();
        let Some((line, was)) = room.next(&self.lines.borrow(), listen, proxies, Instant::now())
        else {
            return false;
        };
        let displaced = tier.cells.displace(was);
        // At 1, 2, 4, 8 ..: seen at once, and never a flood.
        if displaced.is_power_of_two() {
            let was = was.name();
            let why = "a connection made way; limits.connections or proxy.memory";
            tracing::warn!(%listen, displaced, was, why);
        }
        line.makes_way(was);
        true
    }

    /// Gives way to other workers that had less than their share, and to requests that there is no
    /// memory for.
    pub(super) fn give_way(&self, view: &View) {
        let is_short = self.register.memory().is_short();
        for listener in &view.listeners {
            if is_short {
                let share = self.own(listener).div_ceil(GIVEN_SHARE);
                _ = (0..share).take_while(|_| self.displace(listener)).count();
            }
            let open = listener.first.cells.connections.load(Ordering::Relaxed);
            let excess = open.saturating_sub(listener.first.table.tier.limits.connections);
            if excess > 0 {
                let surplus = self.own(listener).saturating_sub(self.share(listener));
                let given = (0..excess.min(surplus)).take_while(|_| self.displace(listener));
                _ = given.count();
            }
        }
    }
}
