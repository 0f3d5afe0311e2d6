//! The keys of Redis: put into a namespace on their way to the server, taken out on the way back.
//!
//! A [`Session`] is one connection of a client. It is fed what either side sends, in whatever
//! parts, and says what the other side gets.
//!
//! ```
//! use weir::namespace::edits::Edits;
//! use weir::namespace::redis::{Commands, Purpose, Session};
//!
//! let namespace = "1.0.0".parse().unwrap();
//! let mut session = Session::new(namespace, Commands::default(), Purpose::Keep);
//! let (mut server, mut client) = (Edits::new(), Edits::new());
//! session.from_client(b"BRPOP queue 0\r\n", &mut server).unwrap();
//! assert_eq!(server.made(), b"*3\r\n$5\r\nBRPOP\r\n$11\r\n1.0.0:queue\r\n$1\r\n0\r\n");
//! server.clear();
//! let answer = b"*2\r\n$11\r\n1.0.0:queue\r\n$3\r\njob\r\n";
//! session.from_server(answer, &mut client, &mut server).unwrap();
//! assert_eq!(client.made(), b"*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n");
//! ```

mod answers;
mod commands;
mod databases;
mod errand;
mod jobs;
mod places;
mod quick;
mod requests;
mod special;
mod talk;

use std::sync::Arc;

pub use commands::{Command, Commands, Knowledge, Request};
pub use databases::{Databases, DatabasesError};
pub use jobs::{Fetch, Fetched, Jobs};
pub use talk::{Counts, Credentials, Deleted, Purpose};

use super::Namespace;
use super::edits::Edits;
use super::resp::{self, Violation};
use super::sharing::Sharing;
use answers::{Answers, Outs};
use requests::Requests;
use talk::{Effect, Home, Pending, Talk};

/// One connection of a client, and the connection to the server that it has for itself.
#[derive(Debug)]
pub struct Session {
    commands: Commands,
    requests: Requests,
    answers: Answers,
    talk: Talk,
}

impl Session {
    /// A new connection, read for `purpose`, whose keys are those of `namespace`.
    pub fn new(namespace: Namespace, commands: Commands, purpose: Purpose) -> Self {
        Self {
            commands,
            requests: Requests::default(),
            answers: Answers::default(),
            talk: Talk::new(namespace, purpose),
        }
    }

    /// The same, with no more than these `databases` of the server; none: all.
    #[must_use]
    pub fn within(mut self, databases: Option<Databases>) -> Self {
        self.talk.home = if databases.is_some() { Home::Away } else { Home::There };
        self.talk.databases = databases;
        self
    }

    /// The same, and what it says of jobs from `queues` is counted. Where fetches are `held`, each waits
    /// until it is [let through](Self::let_through) or [told nothing](Self::tell_nothing).
    #[must_use]
    pub fn with_jobs(mut self, queues: Arc<Sharing>, held: bool) -> Self {
        self.talk.queues = Some(queues);
        self.talk.holds_fetches = held;
        self
    }

    /// The fetch that waits; requests behind it wait as well.
    pub const fn fetch(&self) -> Option<&Fetch> {
        self.talk.fetch.as_ref()
    }

    /// The fetch that waits goes on.
    pub fn let_through(&mut self, server: &mut Edits) {
        if let Some(Fetch { words, work, .. }) = self.talk.fetch.take() {
            self.talk.wait_for(Pending::with(Effect::Work(work)));
            server.make(&resp::command(&words));
        }
    }

    /// The fetch that waits goes nowhere, and its client is told that there was no job.
    pub fn tell_nothing(&mut self, server: &mut Edits) {
        if let Some(fetch) = self.talk.fetch.take() {
            let nothing = fetch.nothing(self.talk.protocol);
            self.talk.wait_for(Pending::with(Effect::Instead(nothing)));
            server.make(requests::REFUSED);
        }
    }

    /// What was done of jobs since it was asked last, and what was fetched.
    pub fn jobs(&mut self) -> (Jobs, Fetched) {
        (std::mem::take(&mut self.talk.jobs), std::mem::take(&mut self.talk.fetched))
    }

    /// Takes in what the client has sent. Gives how much of `input` was taken; the rest is to come
    /// again, with more behind it, or once [`is_busy`](Self::is_busy) no more.
    ///
    /// # Errors
    /// It is not RESP. Nothing more can be understood.
    pub fn from_client(&mut self, input: &[u8], server: &mut Edits) -> Result<usize, Violation> {
        self.requests.feed(input, &mut self.talk, &self.commands, server)
    }

    /// Takes in what the server has sent, likewise. Weir may have something to ask the `server`.
    ///
    /// # Errors
    /// It is not RESP, or nobody asked for it.
    pub fn from_server(
        &mut self,
        input: &[u8],
        client: &mut Edits,
        server: &mut Edits,
    ) -> Result<usize, Violation> {
        self.answers.feed(input, &mut self.talk, &self.commands, Outs { client, server })
    }

    /// Whether requests wait until Weir has done something itself.
    pub const fn is_busy(&self) -> bool {
        self.talk.errand.is_some()
    }

    /// Whether so many answers are waited for that requests have to wait.
    pub fn is_full(&self) -> bool {
        self.talk.is_full()
    }

    /// Whether every request that was sent on has been answered.
    pub fn is_idle(&self) -> bool {
        self.talk.pending.is_empty() && self.answers.is_between()
    }

    /// Puts keys into `namespace` from now on. Gives false where that cannot be done now: something
    /// is on its way, or the server holds something for this connection under the old name.
    pub fn turn(&mut self, namespace: &Namespace) -> bool {
        let Talk { errand, pending, asked_multi, subscriptions, eye, .. } = &self.talk;
        let holds = *asked_multi
            || eye.tracked
            || eye.watched
            || subscriptions.iter().any(|count| *count > 0);
        let still = errand.is_none() && pending.is_empty();
        if self.talk.namespace == *namespace {
            return true;
        }
        if holds || !still || !self.requests.is_between() || !self.answers.is_between() {
            return false;
        }
        self.talk.namespace = namespace.clone();
        true
    }

    /// What was counted since it was asked last.
    pub const fn counts(&mut self) -> Counts {
        std::mem::replace(
            &mut self.talk.counts,
            Counts { commands: 0, hits: 0, misses: 0, refused: 0, keyless_scripts: 0 },
        )
    }

    /// What the client has deleted since it was asked last.
    pub fn deleted(&mut self) -> Vec<Deleted> {
        std::mem::take(&mut self.talk.deleted)
    }

    /// What the server has let the client in with since it was asked last.
    pub const fn let_in(&mut self) -> Option<Credentials> {
        self.talk.credentials.take()
    }
}

#[cfg(test)]
mod tests;
