//! The commands of the text and the meta protocol, and what is said to those that Weir refuses.

use std::borrow::Cow;

/// Longest value: memcached takes it for nonsense beyond, and does not take it off the line.
pub const VALUE_MAX: u64 = i32::MAX.unsigned_abs() as u64 - 2;

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A value follows; so many words, and one more if it is quiet.
    Store {
        /// Words.
        words: usize,
    },
    /// A line with a key.
    Key {
        /// Words at least and at most.
        words: [usize; 2],
        /// Whether the key is gone after it.
        ends: Ends,
    },
    /// `ms`.
    MetaStore,
    /// `mg`, `md`, `ma`, `me`.
    Meta,
    /// `mn`.
    MetaNoop,
    /// `version`.
    Version,
    /// `stats`.
    Stats,
    /// `flush_all`.
    Flush,
    /// `verbosity`.
    Verbosity,
    /// `quit`.
    Quit,
    /// What concerns the whole server.
    Server,
    /// Anything else.
    Unknown,
}

/// Whether a command deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It does.
    Always,
    /// With a time that is over.
    ByTime,
    /// It does not.
    Never,
}

impl Order {
    /// The command of this name.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"set" | b"add" | b"replace" | b"append" | b"prepend" => Self::Store { words: 5 },
            b"cas" => Self::Store { words: 6 },
            b"delete" => Self::Key { words: [2, 4], ends: Ends::Always },
            b"touch" => Self::Key { words: [3, 4], ends: Ends::ByTime },
            b"incr" | b"decr" => Self::Key { words: [3, 4], ends: Ends::Never },
            b"ms" => Self::MetaStore,
            b"mg" | b"md" | b"ma" | b"me" => Self::Meta,
            b"mn" => Self::MetaNoop,
            b"version" => Self::Version,
            b"stats" => Self::Stats,
            b"flush_all" => Self::Flush,
            b"verbosity" => Self::Verbosity,
            b"quit" => Self::Quit,
            b"cache_memlimit" | b"extstore" | b"lru" | b"lru_crawler" | b"refresh_certs"
            | b"shutdown" | b"slabs" | b"watch" => Self::Server,
            _ => Self::Unknown,
        }
    }
}

/// Whether `stats` shows no keys and changes nothing.
pub fn tells_no_more(words: &[&[u8]]) -> bool {
    match words {
        [_] => true,
        [_, what, ..] => is_harmless(what),
        [] => false,
    }
}

/// Whether these statistics show no keys and change nothing.
pub fn is_harmless(statistics: &[u8]) -> bool {
    matches!(
        statistics,
        b"" | b"settings" | b"items" | b"slabs" | b"sizes" | b"conns" | b"extstore"
    )
}

/// What Weir says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Cow<'static, str>);

impl Refusal {
    /// Nothing was wrong.
    pub const OK: Self = Self(Cow::Borrowed("OK"));
    /// In the words of memcached: there is no such command.
    pub const UNKNOWN: Self = Self(Cow::Borrowed("ERROR"));
    /// In the words of memcached: it is wrong.
    pub const FORMAT: Self = Self(Cow::Borrowed("CLIENT_ERROR bad command line format"));
    /// In the words of memcached: it is no time.
    pub const TIME: Self = Self(Cow::Borrowed("CLIENT_ERROR invalid exptime argument"));
    /// In the words of memcached: there are too many words.
    pub const FLAGS: Self = Self(Cow::Borrowed("CLIENT_ERROR options flags too long"));

    /// The namespace cannot go over to another generation.
    pub const UNKEPT: Self = Self(Cow::Borrowed(
        "SERVER_ERROR Weir could not begin a new generation of keys; its log says why",
    ));

    /// It concerns everybody's keys.
    pub fn of_server(name: &str) -> Self {
        let text = format!(
            "CLIENT_ERROR Weir refuses {name}: it concerns more than the keys of this version; \
             send it to the server itself"
        );
        Self(text.into())
    }

    /// With the end of the line.
    pub fn line(&self) -> Box<[u8]> {
        format!("{}\r\n", self.0).into_bytes().into()
    }

    /// Without it.
    pub fn text(&self) -> &str {
        &self.0
    }
}
