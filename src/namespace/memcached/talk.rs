//! What requests and answers of one connection know of each other.
//!
//! Not every request is answered: quiet ones are only where something is amiss, and then by a
//! line that does not say which it was. So answers are not counted. What an answer needs it has in
//! itself, but for two things: the answer to `version` (in binary to a no-op), which is asked for
//! by clients and by Weir and always comes; and the full name of a key that was sent as a hash.

use std::collections::VecDeque;

use super::generation::{Flush, Generation};
use super::key::{Fit, Key, Prefix, Told, decoded, hash};
use super::lookups::Lookups;
use crate::namespace::Namespace;
use crate::namespace::edits::Edits;
use crate::namespace::reading::{Counts, Purpose};

/// Full names that are held before those are dropped whose answers did not come: 300 KiB.
const LONG_MAX: u64 = 1024;

/// Full names that are held at all, since one line may ask for any number: 20 MiB.
const LONG_HELD_MAX: usize = 65_536;

/// Who gets the answer to `version`, or to a no-op.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner {
    /// The client, as it is.
    Client,
    /// The client, but it is told this: it has asked for something that Weir sees to.
    Told(Box<[u8]>),
    /// Nobody: all keys up to this one have been answered, or never will be.
    Sweep(u64),
}

/// What a client has asked for and Weir does; requests wait meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// When.
    pub flush: Flush,
    /// What the client is told when it is done; none: nothing.
    pub done: Option<Box<[u8]>>,
    /// What it is told if it cannot be done.
    pub failed: Box<[u8]>,
}

/// What both directions know.
#[derive(Debug)]
pub struct Talk {
    /// Whose keys.
    pub namespace: Namespace,
    /// What for.
    pub purpose: Purpose,
    /// What stands before keys now.
    pub prefix: Prefix,
    /// Whose are the answers to `version` or to no-ops that are waited for.
    pub owners: VecDeque<Owner>,
    /// Values that are asked for.
    pub lookups: Lookups,
    /// What the client has asked for.
    pub wish: Option<Wish>,
    /// Deletions that were not taken yet.
    pub deleted: Vec<Key>,
    /// What has been counted.
    pub counts: Counts,
    long: Long,
}

/// Full names of keys that were sent as hashes, in the order in which they may be answered.
#[derive(Debug, Default)]
struct Long {
    keys: VecDeque<([u8; 32], Vec<u8>)>,
    /// How many have come, and how many of them have gone again.
    come: u64,
    gone: u64,
    /// How many had come when it was last seen to that old ones go.
    swept: u64,
}

impl Talk {
    /// The talk of a new connection.
    pub fn new(namespace: Namespace, purpose: Purpose) -> Self {
        Self {
            prefix: Prefix::new(&namespace, Generation::default()),
            namespace,
            purpose,
            owners: VecDeque::new(),
            lookups: Lookups::default(),
            wish: None,
            deleted: Vec::new(),
            counts: Counts::default(),
            long: Long::default(),
        }
    }

    /// Whether it is only counted.
    pub fn watches(&self) -> bool {
        self.purpose.watches()
    }

    /// Writes `key` as the server has it. It is remembered if an answer may name it.
    pub fn put(&mut self, key: &[u8], named: bool, out: &mut Edits) {
        let fit = out.make_by(|made| self.prefix.put(key, made));
        self.remember(key, named, fit);
    }

    /// The same with a key in base64.
    pub fn put_base64(&mut self, key: &[u8], named: bool, out: &mut Edits) {
        let fit = out.make_by(|made| self.prefix.put_base64(key, made));
        self.remember(key, named, fit);
    }

    fn remember(&mut self, key: &[u8], named: bool, fit: Fit) {
        if named && fit == Fit::Hashed {
            self.long.keys.push_back((hash(key), key.to_vec()));
            self.long.come += 1;
        }
    }

    /// Whether no more keys may be asked for on this line.
    pub fn is_full(&self) -> bool {
        self.long.keys.len() >= LONG_HELD_MAX
    }

    /// The full name of the key with this hash, in an answer. Those before it have been answered.
    fn full(&mut self, hash: &[u8]) -> Option<Vec<u8>> {
        let at = self.long.keys.iter().position(|(known, _)| known == hash)?;
        self.long.gone += at as u64 + 1;
        self.long.keys.drain(..=at).next_back().map(|(_, key)| key)
    }

    /// Whether it is time to see that names go which nobody will ask for. Whoever is told so asks
    /// for `version`, whose owner this is.
    pub fn sweep(&mut self) -> Option<Owner> {
        if self.long.come - self.long.swept < LONG_MAX {
            return None;
        }
        self.long.swept = self.long.come;
        Some(Owner::Sweep(self.long.come))
    }

    /// A key of an answer as the client has named it; none if nobody has asked for it.
    pub fn told(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.prefix.strip(key) {
            Told::Key(key) => Some(key.to_vec()),
            Told::Hash(hash) => {
                let hash = hash.to_vec();
                self.full(&hash)
            }
            Told::Either(hash, key) => {
                let key = key.to_vec();
                Some(self.full(&hash).map_or(key, |full| decoded(&full)))
            }
        }
    }

    /// How many full names are held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.long.keys.len()
    }

    /// All names that had come by then go.
    pub fn swept(&mut self, come: u64) {
        while self.long.gone < come && self.long.keys.pop_front().is_some() {
            self.long.gone += 1;
        }
    }

    /// Takes in that `key` is deleted.
    pub fn delete(&mut self, key: Key) {
        if self.purpose.tells() {
            self.deleted.push(key);
        }
    }
}
