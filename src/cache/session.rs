//! One connection of a client, in the protocol of its cache.

use std::io;
use std::sync::Arc;

use super::allotment::Role;
use super::generations::Living;
use super::repeat::Deletion;
use super::{Dialect, Mode, Place, Shared};
use crate::clock;
use crate::namespace::Namespace;
use crate::namespace::edits::Edits;
use crate::namespace::memcached::{self, Flush, Generation};
use crate::namespace::reading::{Counts, Purpose};
use crate::namespace::redis::{self, Credentials};
use crate::namespace::resp::Violation;

/// What is understood of a connection.
pub enum Session {
    Redis(Box<redis::Session>),
    Memcached(Box<Memcached>),
}

pub struct Memcached {
    session: memcached::Session,
    /// As it is after the last flush.
    living: Living,
    /// As it is after the part of the release began anew.
    at_least: Generation,
}

impl Session {
    /// Keys are put into the namespace of `place`.
    ///
    /// # Errors
    /// The server does not say which is the living generation.
    pub async fn keeping(place: &Place, purpose: Purpose) -> io::Result<Self> {
        let Place { shared, port, .. } = place;
        Ok(match &shared.dialect {
            Dialect::Redis(commands) => {
                let namespace = shared.namespace(port);
                let session = redis::Session::new(namespace, commands.clone(), purpose);
                Self::Redis(session.within(port.databases).into())
            }
            Dialect::Memcached(keeper) => Self::Memcached(Box::new(Memcached {
                session: memcached::Session::new(port.namespace.clone(), purpose),
                living: keeper.living(&port.namespace, &port.server).await?,
                at_least: shared.at_least(port),
            })),
        })
    }

    /// Only what is done is counted; and told is what is deleted, where each version has a server.
    pub fn watching(place: &Place) -> Self {
        let namespace = Namespace::nothing();
        let purpose =
            if place.repeats_what_it_watches() { Purpose::WatchAndTell } else { Purpose::Watch };
        match &place.shared.dialect {
            Dialect::Redis(commands) => {
                let session = redis::Session::new(namespace, commands.clone(), purpose);
                let Shared { mode, queues, .. } = &*place.shared;
                Self::Redis(Box::new(if *mode == Mode::Observe {
                    session.with_jobs(Arc::clone(queues), place.holds_fetches())
                } else {
                    session
                }))
            }
            Dialect::Memcached(_) => Self::Memcached(Box::new(Memcached {
                session: memcached::Session::new(namespace, purpose),
                living: Living::default(),
                at_least: Generation::default(),
            })),
        }
    }

    /// Takes in what the client has sent: see the sessions of both protocols.
    pub fn asked(&mut self, input: &[u8], server: &mut Edits) -> Result<usize, Violation> {
        match self {
            Self::Redis(session) => session.from_client(input, server),
            Self::Memcached(own) => {
                own.session.enter(own.living.now().max(own.at_least));
                Ok(own.session.from_client(input, server))
            }
        }
    }

    /// Takes in what the server has sent.
    pub fn answered(
        &mut self,
        input: &[u8],
        client: &mut Edits,
        server: &mut Edits,
    ) -> io::Result<usize> {
        match self {
            Self::Redis(session) => {
                session.from_server(input, client, server).map_err(io::Error::other)
            }
            Self::Memcached(own) => {
                own.session.from_server(input, client).map_err(io::Error::other)
            }
        }
    }

    /// The part of the release may have begun anew. Gives false where keys cannot follow yet.
    pub fn turn(&mut self, place: &Place) -> bool {
        match self {
            Self::Redis(session) => session.turn(&place.shared.namespace(&place.port)),
            Self::Memcached(session) => {
                session.at_least = place.shared.at_least(&place.port);
                true
            }
        }
    }

    /// Whether requests wait until Weir has asked the server something.
    pub const fn is_busy(&self) -> bool {
        match self {
            Self::Redis(session) => session.is_busy(),
            Self::Memcached(_) => false,
        }
    }

    /// Whether so many answers are waited for that requests have to wait.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Redis(session) => session.is_full(),
            // What it remembers of requests is bounded in itself.
            Self::Memcached(_) => false,
        }
    }

    /// The fetch of a job that waits, with what it says of time. Requests behind it wait as well.
    pub const fn fetch(&self) -> Option<&redis::Fetch> {
        match self {
            Self::Redis(session) => session.fetch(),
            Self::Memcached(_) => None,
        }
    }

    /// The fetch that waits goes on, or is told that there is no job.
    pub fn decide_fetch(&mut self, goes_on: bool, server: &mut Edits) {
        match self {
            Self::Redis(session) if goes_on => session.let_through(server),
            Self::Redis(session) => session.tell_nothing(server),
            Self::Memcached(_) => {}
        }
    }

    /// Fetches that were answered since it was asked last, and the jobs that they brought. What was
    /// done of jobs is counted.
    fn fetched(&mut self, place: &Place) -> (u64, u64) {
        let Self::Redis(session) = self else { return (0, 0) };
        let (jobs, fetched) = session.jobs();
        place.counts.jobs.add(jobs, &fetched);
        (fetched.answers, fetched.total())
    }

    /// Whether every request has been answered, where that is known.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Redis(session) => session.is_idle(),
            Self::Memcached(_) => false,
        }
    }

    /// A flush that the client wishes for, and the generation it is in. Requests wait meanwhile.
    pub fn wish(&self) -> Option<(Flush, Generation)> {
        match self {
            Self::Redis(_) => None,
            Self::Memcached(own) => own.session.wish().map(|flush| (flush, own.at_least)),
        }
    }

    /// Takes in whether the wish was fulfilled.
    pub fn fulfilled(&mut self, done: bool, server: &mut Edits) {
        match self {
            Self::Redis(_) => {}
            Self::Memcached(own) => own.session.fulfilled(done, server),
        }
    }

    /// Takes over at `place` what was counted, who was let in, and what was deleted, to have it
    /// repeated. Not every deletion is answered. Gives how many fetches were answered.
    pub fn settle(&mut self, place: &Place) -> u64 {
        let (answers, jobs) = self.fetched(place);
        if jobs > 0 {
            match place.role() {
                Role::Stable => place.shared.allotment.earn(jobs),
                Role::Canary | Role::Other => place.shared.allotment.owe(jobs),
            }
        }
        place.counts.add(self.counts());
        let Place { shared, port, .. } = place;
        if let Some(credentials) = self.let_in() {
            shared.repeats.lets_in(&port.server, credentials);
        }
        let mut deleted = self.deleted();
        if !deleted.is_empty() {
            let now = clock::wall().millis();
            deleted.retain(|deleted| deleted.is_done(now));
            shared.repeats.push(place, deleted);
        }
        answers
    }

    /// What was counted since it was asked last.
    pub fn counts(&mut self) -> Counts {
        match self {
            Self::Redis(session) => session.counts(),
            Self::Memcached(own) => own.session.counts(),
        }
    }

    /// What was deleted since it was asked last.
    fn deleted(&mut self) -> Vec<Deletion> {
        match self {
            Self::Redis(session) => session.deleted().into_iter().map(Deletion::Redis).collect(),
            Self::Memcached(own) => {
                own.session.deleted().into_iter().map(Deletion::Memcached).collect()
            }
        }
    }

    /// What the server has let the client in with since it was asked last.
    const fn let_in(&mut self) -> Option<Credentials> {
        match self {
            Self::Redis(session) => session.let_in(),
            Self::Memcached(_) => None,
        }
    }
}
