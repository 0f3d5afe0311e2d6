//! Answers of the text and the meta protocol on their way to the client. Each says by itself what
//! it is; keys lose their prefix, values stream.

use memchr::memchr;

use super::Violation;
use super::key::Told;
use super::lookups::Came;
use super::talk::{Owner, Talk};
use crate::namespace::edits::Edits;

/// Longest line of an answer: a statistic with a name of a file in it.
const LINE_MAX: usize = 16 * 1024;

/// What memcached says where it could not write the answer to a `get`.
const DROPPED: &[u8] = b"SERVER_ERROR out of memory writing get response";

/// How far the answers have been read.
#[derive(Debug, Default)]
pub enum Answers {
    /// A line begins.
    #[default]
    Line,
    /// A value, with so many bytes to come.
    Value(usize),
}

impl Answers {
    /// Takes in what the server has sent; gives how much was taken.
    pub fn feed(
        &mut self,
        input: &[u8],
        talk: &mut Talk,
        out: &mut Edits,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while at < input.len() {
            match self {
                Self::Value(left) => {
                    at += out.keep_some(input, at, left);
                    if *left == 0 {
                        *self = Self::Line;
                    }
                }
                Self::Line => {
                    let near = &input[at..input.len().min(at + LINE_MAX)];
                    let Some(end) = memchr(b'\n', near) else {
                        let endless = near.len() == LINE_MAX;
                        return if endless { Err(Violation::Line) } else { Ok(at) };
                    };
                    let size = line(&near[..=end], talk, out)?;
                    at += end + 1;
                    if let Some(size) = size {
                        *self = Self::Value(size);
                    }
                }
            }
        }
        Ok(at)
    }
}

/// A line with its end; gives how long the value is that follows, with its end.
fn line(line: &[u8], talk: &mut Talk, out: &mut Edits) -> Result<Option<usize>, Violation> {
    let (name, rest) = match line.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')) {
        Some(end) => line.split_at(end),
        None => (line, &line[line.len()..]),
    };
    let mut size = None;
    match name {
        b"VALUE" => {
            let (key, numbers) = word(rest);
            size = Some(length(word(word(numbers).1).0)?);
            came(Came::Value, talk);
            out.make(b"VALUE ");
            named(key, talk, out)?;
            out.make(numbers);
        }
        b"VA" => {
            let (number, flags) = word(rest);
            size = Some(length(number)?);
            came(Came::MetaValue, talk);
            out.make(b"VA ");
            out.make(number);
            flagged(flags, talk, out)?;
        }
        b"HD" | b"EN" | b"NF" | b"NS" | b"EX" => {
            came(if name == b"EN" { Came::MetaMiss } else { Came::MetaBare }, talk);
            out.make(name);
            flagged(rest, talk, out)?;
        }
        b"ME" => {
            let (key, rest) = word(rest);
            out.make(b"ME ");
            named(key, talk, out)?;
            out.make(rest);
        }
        b"VERSION" => {
            came(Came::Fence, talk);
            match talk.owners.pop_front() {
                Some(Owner::Client) | None => out.make(line),
                Some(Owner::Told(text)) => out.make(&text),
                Some(Owner::Sweep(come)) => talk.swept(come),
            }
        }
        b"END" => {
            came(Came::End, talk);
            out.make(line);
        }
        b"MN" => {
            came(Came::Fence, talk);
            out.make(line);
        }
        // With it go all answers before that were not sent yet, no matter whose.
        b"SERVER_ERROR" if line.starts_with(DROPPED) && !talk.owners.is_empty() => {
            return Err(Violation::Dropped);
        }
        b"CLIENT_ERROR" => {
            // Before it knows who asks, the server says so to everything.
            if line.starts_with(b"CLIENT_ERROR unauthenticated") {
                talk.owners.clear();
            }
            out.make(line);
        }
        _ => out.make(line),
    }
    Ok(size)
}

fn came(came: Came, talk: &mut Talk) {
    let found = talk.lookups.came(came);
    talk.counts.hits += found.hits;
    talk.counts.misses += found.misses;
}

/// A word and what stands behind it; a blank stands before.
fn word(rest: &[u8]) -> (&[u8], &[u8]) {
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    rest.split_at(end.unwrap_or(rest.len()))
}

/// The bytes of a value with the end of its line.
fn length(word: &[u8]) -> Result<usize, Violation> {
    let number = std::str::from_utf8(word).ok().and_then(|word| word.parse::<u32>().ok());
    number.map(|number| number as usize + 2).ok_or(Violation::Length)
}

/// The flags of a meta answer, of which one may be the key.
fn flagged(mut rest: &[u8], talk: &mut Talk, out: &mut Edits) -> Result<(), Violation> {
    while rest.first() == Some(&b' ') {
        let (flag, more) = word(rest);
        out.make(b" ");
        if let [b'k', key @ ..] = flag {
            out.make(b"k");
            named(key, talk, out)?;
        } else {
            out.make(flag);
        }
        rest = more;
    }
    out.make(rest);
    Ok(())
}

/// A key as the client has named it.
fn named(key: &[u8], talk: &mut Talk, out: &mut Edits) -> Result<(), Violation> {
    if let Told::Key(key) = talk.prefix.strip(key) {
        out.make(key);
    } else {
        out.make(&talk.told(key).ok_or(Violation::Key)?);
    }
    Ok(())
}
