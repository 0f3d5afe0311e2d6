//! Requests of the text and the meta protocol on their way to the server.
//!
//! The server takes what follows a line that it refuses as further lines: a value whose length it
//! did not believe would be read as commands. So only lines go on of which it is sure how many
//! bytes of a value the server takes; the others Weir refuses itself, in the server's words.

use memchr::memchr;

use super::generation::Flush;
use super::key::{KEY_MAX, Key};
use super::lookups::Asked;
use super::orders::{self, Order, Refusal};
use super::talk::{Owner, Talk, Wish};
use crate::namespace::edits::Edits;

/// Longest line but that of a `get`, of which memcached has no end: as in memcached.
const LINE_MAX: usize = 2048;

/// A line of keys up to this length is seen whole before any of it goes on: so one with a key that
/// is too long is refused. A longer one closes the connection then.
const HELD_MAX: usize = 64 * 1024;

/// Words of a line that are looked at: memcached looks at as many.
const WORDS_MAX: usize = 24;

/// Words of a meta command: with more memcached does not take the value off the line.
const META_WORDS_MAX: usize = 18;

/// What the server refuses as a key, in its own words; on a line without a value only.
const TOO_LONG: [u8; KEY_MAX + 1] = [b'x'; KEY_MAX + 1];

/// The longest text of a number.
const NUMBER_MAX: usize = 20;

/// What the server answers in any case.
pub const BARRIER: &[u8] = b"version\r\n";

/// How far the requests have been read.
#[derive(Debug, Default)]
pub enum Requests {
    /// A line begins.
    #[default]
    Line,
    /// The words after `get` and its like.
    Keys(Keys),
    /// A value, with so many bytes to come.
    Value(usize),
    /// A value that goes nowhere.
    Nowhere(usize),
    /// Nothing is read any more: the server has been asked to close.
    Ended,
}

/// The words after `get` and its like, which may be endless.
#[derive(Debug, Default)]
pub struct Keys {
    next: Next,
    /// Whether what is touched is gone by it.
    deletes: bool,
    count: u64,
    /// The server refuses the whole line, for its time.
    refused: bool,
}

/// What the next word is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    Time,
    #[default]
    Key,
}

/// What stands next on a line of keys.
enum Found {
    Word,
    End,
    /// A key that the server would refuse: and forget all answers that it has not sent yet.
    Wrong,
}

impl Requests {
    /// Takes in what the client has sent; gives how much was taken. Stops where it wishes for
    /// something.
    pub fn feed(&mut self, input: &[u8], talk: &mut Talk, out: &mut Edits) -> usize {
        let mut at = 0;
        while talk.wish.is_none() && at < input.len() {
            match self.step(input, at, talk, out) {
                Some(taken) => at += taken,
                None => break,
            }
        }
        at
    }

    fn step(&mut self, input: &[u8], at: usize, talk: &mut Talk, out: &mut Edits) -> Option<usize> {
        let rest = &input[at..];
        match self {
            Self::Line => self.line(rest, talk, out),
            Self::Keys(keys) => {
                let (taken, found) = keys.word(rest, talk, out)?;
                match found {
                    Found::Word => {}
                    Found::End => *self = Self::Line,
                    Found::Wrong => {
                        out.make(b"\r\n");
                        self.end(out);
                    }
                }
                Some(taken)
            }
            Self::Value(left) | Self::Nowhere(left) if *left == 0 => {
                *self = Self::Line;
                Some(0)
            }
            Self::Value(left) => Some(out.keep_some(input, at, left)),
            Self::Nowhere(left) => {
                let size = (*left).min(rest.len());
                *left -= size;
                Some(size)
            }
            Self::Ended => Some(rest.len()),
        }
    }

    fn line(&mut self, rest: &[u8], talk: &mut Talk, out: &mut Edits) -> Option<usize> {
        if let Some(owner) = talk.sweep() {
            talk.owners.push_back(owner);
            talk.lookups.ask(Asked::Fence, 1);
            out.make(BARRIER);
        }
        if let Some((order, taken)) = retrieval(rest) {
            let near = &rest[..rest.len().min(HELD_MAX)];
            let end = memchr(b'\n', near);
            if end.is_none() && near.len() < HELD_MAX {
                return None;
            }
            talk.counts.commands += 1;
            if let Some(end) = end.filter(|end| !talk.watches() && !is_sound(&rest[taken..*end])) {
                refused(&Refusal::FORMAT, false, talk, out);
                return Some(end + 1);
            }
            out.make(order);
            let next = if order.starts_with(b"gat") { Next::Time } else { Next::Key };
            *self = Self::Keys(Keys { next, ..Keys::default() });
            return Some(taken);
        }
        let end = memchr(b'\n', &rest[..rest.len().min(LINE_MAX)]);
        let Some(end) = end else {
            return (rest.len() >= LINE_MAX).then(|| self.end(out));
        };
        let line = &rest[..end];
        let line = if line.len() > 1 { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        talk.counts.commands += 1;
        *self = Words::of(line).see_to(talk, out);
        Some(end + 1)
    }

    /// Has the server close, once it has answered everything before.
    fn end(&mut self, out: &mut Edits) -> usize {
        out.make(b"quit\r\n");
        *self = Self::Ended;
        0
    }
}

/// The command of a line of keys, if it is one, and how far it reaches.
fn retrieval(rest: &[u8]) -> Option<(&'static [u8], usize)> {
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    if spaces > 100 {
        return None;
    }
    let orders: [&[u8]; 4] = [b"get", b"gets", b"gat", b"gats"];
    let order = orders.into_iter().find(|order| {
        let after = rest[spaces..].strip_prefix(*order);
        after.is_some_and(|after| after.first() == Some(&b' '))
    })?;
    Some((order, spaces + order.len()))
}

/// Whether all words can be keys.
fn is_sound(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    !line.contains(&0) && line.split(|byte| *byte == b' ').all(|word| word.len() <= KEY_MAX)
}

impl Keys {
    /// Takes in a word, or the end.
    fn word(&mut self, rest: &[u8], talk: &mut Talk, out: &mut Edits) -> Option<(usize, Found)> {
        let near = &rest[..rest.len().min(KEY_MAX + 2)];
        let stop = near.iter().position(|byte| matches!(byte, b' ' | b'\n'));
        let Some(stop) = stop else {
            return (near.len() == KEY_MAX + 2).then_some((0, Found::Wrong));
        };
        let ended = rest[stop] == b'\n';
        let word = &rest[..stop];
        let word = if ended { word.strip_suffix(b"\r").unwrap_or(word) } else { word };
        match self.next {
            Next::Time | Next::Key if word.is_empty() => {}
            Next::Time => self.time(word, out),
            Next::Key if word.contains(&0) || word.len() > KEY_MAX || talk.is_full() => {
                return Some((0, Found::Wrong));
            }
            Next::Key => self.key(word, talk, out),
        }
        if !ended {
            return Some((stop + 1, Found::Word));
        }
        out.make(b"\r\n");
        if self.count > 0 && !self.refused {
            talk.lookups.ask(Asked::Get, self.count);
        }
        Some((stop + 1, Found::End))
    }

    fn time(&mut self, word: &[u8], out: &mut Edits) {
        self.next = Next::Key;
        self.refused = !is_time(word);
        self.deletes = !self.refused && word.starts_with(b"-");
        out.make(b" ");
        // What is none the server refuses, whatever it is.
        out.make(if self.refused { b"x" } else { word });
    }

    fn key(&mut self, word: &[u8], talk: &mut Talk, out: &mut Edits) {
        out.make(b" ");
        talk.put(word, true, out);
        self.count += 1;
        if self.deletes {
            talk.delete(Key::Plain(word.to_vec()));
        }
    }
}

/// A line in words.
struct Words<'a> {
    line: &'a [u8],
    each: [&'a [u8]; WORDS_MAX],
    count: usize,
    /// Where the second word ends.
    after_key: usize,
}

impl<'a> Words<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut found = Self { line, each: [b""; WORDS_MAX], count: 0, after_key: line.len() };
        let mut at = 0;
        for word in line.split(|byte| *byte == b' ') {
            let end = at + word.len();
            if !word.is_empty() {
                if found.count < WORDS_MAX {
                    found.each[found.count] = word;
                }
                found.count += 1;
                if found.count == 2 {
                    found.after_key = end;
                }
            }
            at = end + 1;
        }
        found
    }

    fn words(&self) -> &[&'a [u8]] {
        &self.each[..self.count.min(WORDS_MAX)]
    }

    /// What stands behind the key.
    fn rest(&self) -> &'a [u8] {
        &self.line[self.after_key..]
    }

    fn is_quiet(&self) -> bool {
        self.count > 1 && self.words().last() == Some(&&b"noreply"[..])
    }

    /// What becomes of the line; gives what is to be read next.
    fn see_to(&self, talk: &mut Talk, out: &mut Edits) -> Requests {
        if self.count == 0 || self.each[0].len() < 2 {
            return refused(&Refusal::UNKNOWN, false, talk, out);
        }
        if self.line.contains(&0) {
            return refused(&Refusal::FORMAT, self.is_quiet(), talk, out);
        }
        match Order::of(self.each[0]) {
            Order::Store { words } => self.store(words, talk, out),
            Order::Key { words, ends } => self.key(words, ends, talk, out),
            Order::MetaStore => self.meta_store(talk, out),
            Order::Meta => self.meta(talk, out),
            Order::MetaNoop => {
                talk.lookups.ask(Asked::Fence, 1);
                self.pass(out)
            }
            Order::Version => {
                talk.lookups.ask(Asked::Fence, 1);
                talk.owners.push_back(Owner::Client);
                self.pass(out)
            }
            Order::Stats if orders::tells_no_more(self.words()) || talk.watches() => {
                talk.lookups.ask(Asked::Stats, 1);
                self.pass(out)
            }
            Order::Flush => self.flush(talk, out),
            Order::Verbosity if !talk.watches() => {
                let fits = matches!(self.count, 2 | 3);
                let told = if fits { &Refusal::OK } else { &Refusal::UNKNOWN };
                refused(told, self.is_quiet(), talk, out)
            }
            Order::Quit => {
                out.make(b"quit\r\n");
                Requests::Ended
            }
            Order::Stats | Order::Verbosity | Order::Server | Order::Unknown if talk.watches() => {
                self.pass(out)
            }
            Order::Stats | Order::Server | Order::Verbosity => {
                talk.counts.refused += 1;
                let name = String::from_utf8_lossy(self.each[0]).into_owned();
                refused(&Refusal::of_server(&name), self.is_quiet(), talk, out)
            }
            // As in memcached: somebody takes it for a web server.
            Order::Unknown
                if self.words().last().is_some_and(|word| word.starts_with(b"HTTP/")) =>
            {
                out.make(b"quit\r\n");
                Requests::Ended
            }
            Order::Unknown => {
                talk.counts.refused += 1;
                refused(&Refusal::UNKNOWN, false, talk, out)
            }
        }
    }

    fn pass(&self, out: &mut Edits) -> Requests {
        out.make(self.line);
        out.make(b"\r\n");
        Requests::Line
    }

    /// The command and its key.
    fn head(&self, base64: bool, named: bool, talk: &mut Talk, out: &mut Edits) {
        out.make(self.each[0]);
        out.make(b" ");
        let key = self.each[1];
        if base64 {
            talk.put_base64(key, named, out);
        } else {
            talk.put(key, named, out);
        }
        out.make(self.rest());
        out.make(b"\r\n");
    }

    /// A value in the classic way: key, flags, time, length, and for `cas` a number.
    fn store(&self, words: usize, talk: &mut Talk, out: &mut Edits) -> Requests {
        if self.count != words && self.count != words + 1 {
            return refused(&Refusal::UNKNOWN, false, talk, out);
        }
        let numbers = &self.each[2..words];
        let size = number(numbers[2]).filter(|size| *size <= orders::VALUE_MAX);
        let sound = is_number(numbers[0], u64::from(u32::MAX))
            && is_time(numbers[1])
            && numbers.get(3).is_none_or(|cas| is_number(cas, u64::MAX));
        let (Some(size), true) = (size, sound) else {
            return refused(&Refusal::FORMAT, self.is_quiet(), talk, out);
        };
        // With the end of its line.
        let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2);
        if self.each[1].len() > KEY_MAX && !talk.watches() {
            refused(&Refusal::FORMAT, self.is_quiet(), talk, out);
            return Requests::Nowhere(size);
        }
        self.head(false, false, talk, out);
        if self.each[1].len() > KEY_MAX { Requests::Line } else { Requests::Value(size) }
    }

    /// A line with one key in the classic way, of so many words.
    fn key(
        &self,
        [least, most]: [usize; 2],
        ends: orders::Ends,
        talk: &mut Talk,
        out: &mut Edits,
    ) -> Requests {
        if self.count < least || self.count > most {
            return refused(&Refusal::UNKNOWN, false, talk, out);
        }
        if self.each[1].len() > KEY_MAX {
            return self.too_long(out);
        }
        let gone = match ends {
            orders::Ends::Always => {
                let more = &self.each[2..self.count];
                more.iter().all(|word| matches!(*word, b"0" | b"noreply"))
            }
            orders::Ends::ByTime => self.each[2].starts_with(b"-"),
            orders::Ends::Never => false,
        };
        if gone {
            talk.delete(Key::Plain(self.each[1].to_vec()));
        }
        self.head(false, false, talk, out);
        Requests::Line
    }

    /// The server refuses it, in its own words.
    fn too_long(&self, out: &mut Edits) -> Requests {
        out.make(self.each[0]);
        out.make(b" ");
        out.make(&TOO_LONG);
        out.make(self.rest());
        out.make(b"\r\n");
        Requests::Line
    }

    /// Flags of a meta command, behind so many words.
    fn flags(&self, words: usize) -> impl Iterator<Item = &'a [u8]> {
        self.each.into_iter().take(self.count.min(WORDS_MAX)).skip(words)
    }

    fn has(&self, words: usize, flag: u8) -> bool {
        self.flags(words).any(|word| word[0] == flag)
    }

    fn meta_store(&self, talk: &mut Talk, out: &mut Edits) -> Requests {
        let size = (self.count > 2).then(|| number(self.each[2])).flatten();
        let Some(size) = size.filter(|size| *size <= orders::VALUE_MAX) else {
            let told = if self.count < 2 { &Refusal::UNKNOWN } else { &Refusal::FORMAT };
            return refused(told, false, talk, out);
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2);
        if self.count > META_WORDS_MAX {
            refused(&Refusal::FLAGS, false, talk, out);
            return Requests::Nowhere(size);
        }
        if self.each[1].len() > KEY_MAX && !talk.watches() {
            refused(&Refusal::FORMAT, false, talk, out);
            return Requests::Nowhere(size);
        }
        self.head(self.has(3, b'b'), self.has(3, b'k'), talk, out);
        if self.each[1].len() > KEY_MAX { Requests::Line } else { Requests::Value(size) }
    }

    /// `mg`, `md`, `ma` and `me`.
    fn meta(&self, talk: &mut Talk, out: &mut Edits) -> Requests {
        if self.count < 2 {
            let told = if self.each[0] == b"me" { &Refusal::FORMAT } else { &Refusal::UNKNOWN };
            return refused(told, false, talk, out);
        }
        if self.each[1].len() > KEY_MAX {
            return self.too_long(out);
        }
        let gets = self.each[0] == b"mg";
        let is_base64 = self.has(2, b'b');
        if gets {
            talk.lookups.ask(
                match (self.has(2, b'v'), self.has(2, b'q')) {
                    (true, true) => Asked::QuietValue,
                    (true, false) => Asked::Value,
                    (false, _) => Asked::Bare,
                },
                1,
            );
        }
        let ends =
            self.each[0] == b"md" || gets && self.flags(2).any(|flag| flag.starts_with(b"T-"));
        if ends {
            let key = self.each[1].to_vec();
            talk.delete(if is_base64 { Key::Base64(key) } else { Key::Plain(key) });
        }
        let named = self.each[0] == b"me" || self.has(2, b'k');
        self.head(is_base64, named, talk, out);
        Requests::Line
    }

    fn flush(&self, talk: &mut Talk, out: &mut Edits) -> Requests {
        if talk.watches() {
            return self.pass(out);
        }
        if self.count > 3 {
            return refused(&Refusal::UNKNOWN, false, talk, out);
        }
        let quiet = self.is_quiet();
        let flush = match self.each[1..self.count - usize::from(quiet)] {
            [] => Flush::Now,
            [time, ..] if is_time(time) => Flush::after(seconds(time)),
            [..] => return refused(&Refusal::TIME, quiet, talk, out),
        };
        talk.wish = Some(Wish {
            flush,
            done: (!quiet).then(|| b"OK\r\n".to_vec().into()),
            failed: Refusal::UNKEPT.line(),
        });
        Requests::Line
    }
}

/// Tells the client so, in its turn.
fn refused(refusal: &Refusal, quiet: bool, talk: &mut Talk, out: &mut Edits) -> Requests {
    if !quiet && !talk.watches() {
        tell(refusal.line(), talk, out);
    }
    Requests::Line
}

/// Has the client told `text` once what it has asked for before is answered.
pub fn tell(text: Box<[u8]>, talk: &mut Talk, out: &mut Edits) {
    talk.owners.push_back(Owner::Told(text));
    talk.lookups.ask(Asked::Fence, 1);
    out.make(BARRIER);
}

fn number(word: &[u8]) -> Option<u64> {
    let sound = (1..=NUMBER_MAX).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    sound.then(|| std::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

fn is_number(word: &[u8], most: u64) -> bool {
    number(word).is_some_and(|number| number <= most)
}

/// A time may be negative.
fn is_time(word: &[u8]) -> bool {
    is_number(word.strip_prefix(b"-").unwrap_or(word), i32::MAX.unsigned_abs().into())
}

fn seconds(word: &[u8]) -> i64 {
    let size = number(word.strip_prefix(b"-").unwrap_or(word));
    let size = size.and_then(|size| i64::try_from(size).ok()).unwrap_or(0);
    if word.starts_with(b"-") { -size } else { size }
}
