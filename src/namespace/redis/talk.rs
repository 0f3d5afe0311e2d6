//! What requests and answers of one connection know of each other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::commands::{Feed, Rule};
use super::databases::Databases;
use super::errand::Errand;
use super::jobs::{Fetch, Fetched, Jobs, Work};
use crate::namespace::Namespace;
pub use crate::namespace::reading::{Counts, Purpose};
use crate::namespace::sharing::Sharing;

/// Bytes that a connection may take for answers that are waited for: a million of them. Who asks for
/// more before reading any has to wait.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// An answer that is waited for.
#[derive(Debug)]
pub struct Pending {
    /// Where it has keys.
    pub rule: Rule,
    /// Whether it may name a key if it is an error.
    pub names_keys: bool,
    /// What it changes.
    pub effect: Effect,
}

impl Pending {
    /// An answer with keys by `rule`.
    pub const fn new(rule: Rule) -> Self {
        Self { rule, names_keys: false, effect: Effect::None }
    }

    /// The bytes of keys that it holds.
    fn held(&self) -> usize {
        match &self.effect {
            Effect::Deleted(keys) => keys.iter().map(|key| key.len() + size_of::<Vec<u8>>()).sum(),
            Effect::Expired(Expired { key, .. }) => key.len(),
            Effect::Auth(_)
            | Effect::Discard
            | Effect::Errand
            | Effect::Exec
            | Effect::Hello(..)
            | Effect::Instead(_)
            | Effect::Multi
            | Effect::None
            | Effect::Refused(_)
            | Effect::Reset
            | Effect::Select(_)
            | Effect::Subscribe(..)
            | Effect::Track(_)
            | Effect::Unsubscribe(..)
            | Effect::Watch(_)
            | Effect::Work(_) => 0,
        }
    }

    /// Whether a text, a number or a word that answers it is passed on and nothing else done.
    pub const fn is_plain(&self) -> bool {
        matches!((&self.effect, self.rule), (Effect::None, Rule::Plain | Rule::Value))
    }

    /// An answer with an effect.
    pub const fn with(effect: Effect) -> Self {
        Self { rule: Rule::Plain, names_keys: false, effect }
    }
}

/// What an answer changes.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Commands are queued from now on.
    Multi,
    /// The queued ones are answered.
    Exec,
    /// The queued ones are forgotten.
    Discard,
    /// The connection is as new.
    Reset,
    /// Another database.
    Select(u32),
    /// Another version of the protocol, and who asks.
    Hello(Option<u8>, Option<Credentials>),
    /// Who asks.
    Auth(Credentials),
    /// So many confirmations come.
    Subscribe(Feed, usize),
    /// So many come; none: as many as there are subscriptions, and at least one.
    Unsubscribe(Feed, Option<usize>),
    /// The server tells what becomes of keys from now on, or no more.
    Track(bool),
    /// It watches keys until the transaction ends, or no more.
    Watch(bool),
    /// The client is told this instead.
    Refused(Box<str>),
    /// The client is told this instead, as it is.
    Instead(&'static [u8]),
    /// Weir reads it itself.
    Errand,
    /// It says something of jobs.
    Work(Work),
    /// These keys are gone, without the prefix.
    Deleted(Vec<Vec<u8>>),
    /// This one is gone at a time, if the answer says so.
    Expired(Expired),
}

/// A key whose time is over.
#[derive(Debug)]
pub struct Expired {
    /// The key, without the prefix.
    pub key: Vec<u8>,
    /// When, in milliseconds since 1970; none: at once.
    pub at: Option<i64>,
    /// There were conditions: only a 1 says that they hold.
    pub conditional: bool,
}

/// What `AUTH` was told: a password, or a user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(pub Vec<Vec<u8>>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("(hidden)")
    }
}

/// Keys that an app has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Their database.
    pub database: u32,
    /// The keys, without a prefix.
    pub keys: Vec<Vec<u8>>,
    /// By when they are gone, in milliseconds since 1970; none: they are.
    pub at: Option<i64>,
}

impl Deleted {
    /// Whether they are gone at the time `now`, in milliseconds since 1970.
    pub fn is_done(&self, now: u64) -> bool {
        self.at.is_none_or(|at| u64::try_from(at).unwrap_or(0) <= now)
    }
}

/// Whether the connection is in a database of its release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// It is, or the release has all.
    There,
    /// It has to be brought there first.
    Away,
    /// The server did not let it, and said why.
    Barred(Box<str>),
}

/// What the server keeps an eye on for the connection, by the names that keys had when it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eye {
    /// Whether it tells what becomes of keys.
    pub tracked: bool,
    /// Whether it watches keys for a transaction.
    pub watched: bool,
}

/// What requests and answers of one connection know of each other.
#[derive(Debug)]
pub struct Talk {
    /// Whose keys.
    pub namespace: Namespace,
    /// What for.
    pub purpose: Purpose,
    /// Answers that are waited for, in their order.
    pub pending: VecDeque<Pending>,
    /// Bytes of keys that they hold, and those of a transaction.
    held: usize,
    /// Whether the last request stands inside a transaction, as far as it has been asked for.
    pub asked_multi: bool,
    /// What Weir does itself; requests wait meanwhile.
    pub errand: Option<Errand>,
    /// The server would not say what it knows of the command at hand.
    pub cannot_learn: bool,
    /// The databases of the release, if it does not have all.
    pub databases: Option<Databases>,
    /// Whether the connection is in one of them.
    pub home: Home,
    /// The database, as the client counts.
    pub database: u32,
    /// The version of the protocol.
    pub protocol: u8,
    /// What was queued, inside a transaction.
    pub queued: Option<VecDeque<Pending>>,
    /// The same while it is answered.
    pub executing: VecDeque<Pending>,
    /// Subscriptions to channels, patterns and channels of a shard.
    pub subscriptions: [u64; 3],
    /// What the server keeps an eye on.
    pub eye: Eye,
    /// Deletions that were not taken yet.
    pub deleted: Vec<Deleted>,
    /// The last that the server took.
    pub credentials: Option<Credentials>,
    /// What has been counted.
    pub counts: Counts,
    /// The queues that jobs are fetched from, if that is looked at.
    pub queues: Option<Arc<Sharing>>,
    /// Whether fetches wait until they are let through.
    pub holds_fetches: bool,
    /// The one that waits.
    pub fetch: Option<Fetch>,
    /// What was done of jobs.
    pub jobs: Jobs,
    /// What was fetched.
    pub fetched: Fetched,
}

impl Talk {
    /// The talk of a new connection.
    pub fn new(namespace: Namespace, purpose: Purpose) -> Self {
        Self {
            namespace,
            purpose,
            pending: VecDeque::new(),
            held: 0,
            asked_multi: false,
            errand: None,
            cannot_learn: false,
            databases: None,
            home: Home::There,
            database: 0,
            protocol: 2,
            queued: None,
            executing: VecDeque::new(),
            subscriptions: [0; 3],
            eye: Eye::default(),
            deleted: Vec::new(),
            credentials: None,
            counts: Counts::default(),
            queues: None,
            holds_fetches: false,
            fetch: None,
            jobs: Jobs::default(),
            fetched: Fetched::default(),
        }
    }

    /// Takes in that a command was sent on.
    pub fn wait_for(&mut self, pending: Pending) {
        self.held += pending.held();
        self.pending.push_back(pending);
    }

    /// Whether no more may be asked for before something is answered.
    pub fn is_full(&self) -> bool {
        let queued = self.queued.as_ref().map_or(0, VecDeque::len);
        let answers = self.pending.len() + queued + self.executing.len();
        answers * size_of::<Pending>() + self.held > PENDING_BYTES_MAX
    }

    fn forget_queued(&mut self) {
        let queued = self.queued.take().unwrap_or_default();
        let held = queued.iter().map(Pending::held).sum();
        self.held = self.held.saturating_sub(held);
    }

    /// Whether the client listens to channels and can do nothing else, as it is in RESP2.
    pub const fn only_listens(&self) -> bool {
        let [channels, patterns, shards] = self.subscriptions;
        self.protocol == 2 && channels + patterns + shards > 0
    }

    /// Whether the next list may be a message, or the confirmation of a subscription.
    pub fn may_hear(&self) -> bool {
        let asked = self.pending.front().map(|pending| &pending.effect);
        self.only_listens()
            || matches!(asked, Some(Effect::Subscribe(..) | Effect::Unsubscribe(..)))
    }

    /// Takes in that a subscription was confirmed.
    pub fn confirmed(&mut self, feed: Feed, added: bool) {
        let there = self.subscriptions[place(feed)];
        let there = usize::try_from(there).unwrap_or(usize::MAX).max(1);
        let left = match self.pending.front_mut().map(|pending| &mut pending.effect) {
            Some(Effect::Subscribe(asked, left)) if added && *asked == feed => left,
            Some(Effect::Unsubscribe(asked, left)) if !added && *asked == feed => {
                left.get_or_insert(there)
            }
            // The server itself has ended it.
            Some(_) | None => return,
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.pending.pop_front();
        }
    }

    /// Takes in how many subscriptions there are: Redis counts channels and patterns together.
    pub fn subscribed(&mut self, feed: Feed, total: u64) {
        let [channels, patterns, shards] = &mut self.subscriptions;
        match feed {
            Feed::Channel => *channels = total.saturating_sub(*patterns),
            Feed::Pattern => *patterns = total.saturating_sub(*channels),
            Feed::Shard => *shards = total,
        }
    }

    /// Takes in that the server has begun to answer a command; gives where this answer has keys.
    pub fn arrived(&mut self, pending: Pending, kind: u8, line: &[u8]) -> Rule {
        let failed = matches!(kind, b'-' | b'!');
        if line == b"+QUEUED"
            && let Some(queued) = &mut self.queued
        {
            queued.push_back(pending);
            return Rule::Plain;
        }
        self.held = self.held.saturating_sub(pending.held());
        match pending.effect {
            // Refused or not, it ends the transaction.
            Effect::Exec => {
                // One without a transaction ends no watch.
                self.eye.watched &= self.queued.is_none();
                if kind == b'*' && line != b"*-1" {
                    self.executing = self.queued.take().unwrap_or_default();
                } else {
                    self.forget_queued();
                }
            }
            Effect::Discard if !failed => {
                self.eye.watched &= self.queued.is_none();
                self.forget_queued();
            }
            // One that may not be discarded stays.
            Effect::Discard => self.asked_multi = self.asks_multi(self.queued.is_some()),
            Effect::Multi if !failed => self.queued = Some(VecDeque::new()),
            // The transaction that was asked for does not come, unless there is one already.
            Effect::Multi if self.queued.is_none() => self.asked_multi = self.asks_multi(false),
            Effect::Reset if !failed => {
                self.forget_queued();
                (self.database, self.protocol) = (0, 2);
                self.subscriptions = [0; 3];
                self.eye = Eye::default();
            }
            Effect::Track(on) if !failed => self.eye.tracked = on,
            Effect::Watch(on) if !failed => self.eye.watched = on,
            Effect::Select(database) if !failed => self.database = database,
            Effect::Hello(version, credentials) if !failed => {
                self.protocol = version.unwrap_or(self.protocol);
                self.credentials = credentials.or(self.credentials.take());
            }
            Effect::Auth(credentials) if !failed => self.credentials = Some(credentials),
            Effect::Deleted(keys) if !failed && !keys.is_empty() => {
                self.deleted.push(Deleted { database: self.database, keys, at: None });
            }
            Effect::Expired(Expired { key, at, conditional })
                if !failed && (!conditional || line == b":1") =>
            {
                self.deleted.push(Deleted { database: self.database, keys: vec![key], at });
            }
            Effect::Work(Work::Done(jobs)) if !failed => self.jobs.add(jobs),
            Effect::Work(Work::Fetch { queue, listed }) if !failed => {
                self.fetched.arrived(queue, listed, line);
            }
            // What the server refuses was a fetch all the same.
            Effect::Work(Work::Fetch { .. }) => self.fetched.answers += 1,
            Effect::Work(Work::Done(_))
            | Effect::Instead(_)
            | Effect::Multi
            | Effect::Reset
            | Effect::Select(_)
            | Effect::Hello(..)
            | Effect::Auth(_)
            | Effect::Deleted(_)
            | Effect::Expired(_)
            | Effect::None
            | Effect::Subscribe(..)
            | Effect::Unsubscribe(..)
            | Effect::Track(_)
            | Effect::Watch(_)
            | Effect::Refused(_)
            | Effect::Errand => {}
        }
        pending.rule
    }

    /// Whether the last of the requests that wait for answers stands inside a transaction; the first
    /// does if there `is` one.
    fn asks_multi(&self, is: bool) -> bool {
        let effects = self.pending.iter().rev().map(|pending| &pending.effect);
        let mut ends = effects.skip_while(|effect| {
            !matches!(effect, Effect::Multi | Effect::Exec | Effect::Discard | Effect::Reset)
        });
        ends.next().map_or(is, |effect| matches!(effect, Effect::Multi))
    }
}

const fn place(feed: Feed) -> usize {
    match feed {
        Feed::Channel => 0,
        Feed::Pattern => 1,
        Feed::Shard => 2,
    }
}
