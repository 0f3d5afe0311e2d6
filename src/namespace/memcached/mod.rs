//! The keys of memcached: put into a namespace on their way to the server, taken out on the way
//! back. Text, meta and binary protocol.
//!
//! A [`Session`] is one connection of a client. It is fed what either side sends, in whatever
//! parts, and says what the other side gets.
//!
//! ```
//! use weir::namespace::edits::Edits;
//! use weir::namespace::memcached::{Generation, Session};
//! use weir::namespace::reading::Purpose;
//!
//! let mut session = Session::new("1.0.0".parse().unwrap(), Purpose::Keep);
//! session.enter(Generation(36));
//! let (mut server, mut client) = (Edits::new(), Edits::new());
//! session.from_client(b"get page\r\n", &mut server);
//! assert_eq!(server.made(), b"get 1.0.0:00000000010:page\r\n");
//! let answer = b"VALUE 1.0.0:00000000010:page 0 2\r\nok\r\nEND\r\n";
//! session.from_server(answer, &mut client).unwrap();
//! assert_eq!(client.made(), b"VALUE page 0 2\r\nok\r\nEND\r\n");
//! ```

mod answers;
mod binary;
mod generation;
mod key;
mod lookups;
mod orders;
mod talk;
mod text;

pub use generation::{Flush, Generation, Record};
pub use key::{Key, Prefix};

use thiserror::Error;

use super::Namespace;
use super::edits::Edits;
use super::reading::{Counts, Purpose};
use talk::Talk;

/// Why nothing more can be understood of what the server sends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// A line has no end.
    #[error("a line of the server has no end")]
    Line,
    /// A length is none.
    #[error("the length of a value of the server is no length")]
    Length,
    /// It is no answer in binary.
    #[error("the server does not answer in binary")]
    Magic,
    /// Answers were forgotten.
    #[error("the server has no memory for answers, and has dropped some")]
    Dropped,
    /// Nobody has asked for a key.
    #[error("the server names a key that nobody has asked for")]
    Key,
}

/// One connection of a client, and the connection to the server that it has for itself.
#[derive(Debug)]
pub struct Session {
    speech: Speech,
    talk: Talk,
}

/// Which protocol is spoken: the first byte tells.
#[derive(Debug)]
enum Speech {
    Open,
    Text(text::Requests, answers::Answers),
    Binary(binary::Requests, binary::Answers),
}

impl Session {
    /// A new connection, read for `purpose`, whose keys are those of `namespace`.
    pub fn new(namespace: Namespace, purpose: Purpose) -> Self {
        Self { speech: Speech::Open, talk: Talk::new(namespace, purpose) }
    }

    /// What comes from now on belongs to this generation.
    pub fn enter(&mut self, generation: Generation) {
        if generation != self.talk.prefix.generation() {
            self.talk.prefix = Prefix::new(&self.talk.namespace, generation);
        }
    }

    /// Takes in what the client has sent. Gives how much of `input` was taken; the rest is to come
    /// again, with more behind it, or once [`wish`](Self::wish) is fulfilled.
    pub fn from_client(&mut self, input: &[u8], server: &mut Edits) -> usize {
        if let (Speech::Open, Some(first)) = (&self.speech, input.first()) {
            self.speech = if *first == binary::REQUEST {
                Speech::Binary(binary::Requests::default(), binary::Answers::default())
            } else {
                Speech::Text(text::Requests::default(), answers::Answers::default())
            };
        }
        match &mut self.speech {
            Speech::Open => 0,
            Speech::Text(requests, _) => requests.feed(input, &mut self.talk, server),
            Speech::Binary(requests, _) => requests.feed(input, &mut self.talk, server),
        }
    }

    /// Takes in what the server has sent, likewise.
    ///
    /// # Errors
    /// It is no answer. Nothing more can be understood.
    pub fn from_server(&mut self, input: &[u8], client: &mut Edits) -> Result<usize, Violation> {
        match &mut self.speech {
            // Nobody has asked; who watches has seen it.
            Speech::Open => {
                client.keep(input, 0..input.len());
                Ok(input.len())
            }
            Speech::Text(_, answers) => answers.feed(input, &mut self.talk, client),
            Speech::Binary(_, answers) => answers.feed(input, &mut self.talk, client),
        }
    }

    /// A flush that the client wishes for; requests wait until it is fulfilled.
    pub fn wish(&self) -> Option<Flush> {
        self.talk.wish.as_ref().map(|wish| wish.flush)
    }

    /// Takes in whether the wish was fulfilled.
    pub fn fulfilled(&mut self, done: bool, server: &mut Edits) {
        let Some(wish) = self.talk.wish.take() else { return };
        let Some(told) = (if done { wish.done } else { Some(wish.failed) }) else { return };
        match self.speech {
            Speech::Open => {}
            Speech::Text(..) => text::tell(told, &mut self.talk, server),
            Speech::Binary(..) => binary::tell(told, &mut self.talk, server),
        }
    }

    /// What was counted since it was asked last.
    pub fn counts(&mut self) -> Counts {
        std::mem::take(&mut self.talk.counts)
    }

    /// What the client has deleted since it was asked last.
    pub fn deleted(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.talk.deleted)
    }
}

#[cfg(test)]
mod tests;
