//! The binary protocol, both ways. Each request and each answer says how long it is; what the
//! server would take otherwise than its length says never reaches it.

use super::Violation;
use super::generation::Flush;
use super::key::{KEY_MAX, Key, Told};
use super::lookups::{Asked, Came};
use super::orders::{Refusal, is_harmless};
use super::talk::{Owner, Talk, Wish};
use crate::namespace::edits::Edits;

/// The first byte of a request.
pub const REQUEST: u8 = 0x80;

/// The first byte of an answer.
const ANSWER: u8 = 0x81;

/// Bytes before what a request or an answer is about.
const HEAD: usize = 24;

/// Longest request: memcached allows a value of 1 GiB at most, and reads longer ones as negative.
const BODY_MAX: usize = 1 << 30;

const UNKNOWN_COMMAND: u16 = 0x81;
const NOT_SUPPORTED: u16 = 0x83;
const NOT_FOUND: u16 = 1;
/// As memcached says it.
const INTERNAL_ERROR: u16 = 0x84;

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// A key and a value, behind so many bytes of flags.
    Store(usize),
    /// A key, behind so many bytes of flags.
    Key {
        extras: usize,
        kind: Kind,
    },
    Flush {
        quiet: bool,
    },
    Noop,
    Version,
    Quit,
    Stat,
    Login,
    Unknown,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its value is asked for.
    Get,
    /// It is gone.
    Delete,
    /// Something else.
    Change,
}

impl Order {
    const fn of(code: u8) -> Self {
        match code {
            0x00 | 0x09 | 0x0c | 0x0d => Self::Key { extras: 0, kind: Kind::Get },
            0x1d | 0x1e | 0x23 | 0x24 => Self::Key { extras: 4, kind: Kind::Get },
            0x1c => Self::Key { extras: 4, kind: Kind::Change },
            0x05 | 0x06 | 0x15 | 0x16 => Self::Key { extras: 20, kind: Kind::Change },
            0x04 | 0x14 => Self::Key { extras: 0, kind: Kind::Delete },
            0x01..=0x03 | 0x11..=0x13 => Self::Store(8),
            0x0e | 0x0f | 0x19 | 0x1a => Self::Store(0),
            0x07 | 0x17 => Self::Quit,
            0x08 => Self::Flush { quiet: false },
            0x18 => Self::Flush { quiet: true },
            0x0a => Self::Noop,
            0x0b => Self::Version,
            0x10 => Self::Stat,
            0x20..=0x22 => Self::Login,
            _ => Self::Unknown,
        }
    }
}

/// Whether nothing is answered if all is well (or, if a value is asked for, if it is missing).
const fn is_quiet(code: u8) -> bool {
    matches!(code, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
}

/// Whether the answer names the key.
const fn names_key(code: u8) -> bool {
    matches!(code, 0x0c | 0x0d | 0x23 | 0x24)
}

/// The fixed part of a request or an answer.
struct Head<'a> {
    bytes: &'a [u8],
}

impl Head<'_> {
    const fn code(&self) -> u8 {
        self.bytes[1]
    }

    fn key(&self) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]]))
    }

    fn extras(&self) -> usize {
        usize::from(self.bytes[4])
    }

    fn body(&self) -> usize {
        let at = |at: usize| self.bytes[8 + at];
        u32::from_be_bytes([at(0), at(1), at(2), at(3)]) as usize
    }

    fn status(&self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }

    /// The same with another length of the key.
    fn resized(&self, key: usize) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head.copy_from_slice(self.bytes);
        let body = self.body() - self.key() + key;
        head[2..4].copy_from_slice(&u16::try_from(key).unwrap_or(u16::MAX).to_be_bytes());
        head[8..12].copy_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
        head
    }

    /// What Weir answers itself.
    fn answer(&self, status: u16, text: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; HEAD];
        (answer[0], answer[1]) = (ANSWER, self.code());
        answer[6..8].copy_from_slice(&status.to_be_bytes());
        let body = u32::try_from(text.len()).unwrap_or(u32::MAX);
        answer[8..12].copy_from_slice(&body.to_be_bytes());
        answer[12..16].copy_from_slice(&self.bytes[12..16]);
        answer.extend_from_slice(text);
        answer
    }
}

/// How far the requests have been read.
#[derive(Debug, Default)]
pub enum Requests {
    /// A request begins.
    #[default]
    Head,
    /// A value, with so many bytes to come.
    Value(usize),
    /// What goes nowhere.
    Nowhere(usize),
    /// Nothing is read any more: the server closes.
    Ended,
}

impl Requests {
    /// Takes in what the client has sent; gives how much was taken. Stops where it wishes for
    /// something.
    pub fn feed(&mut self, input: &[u8], talk: &mut Talk, out: &mut Edits) -> usize {
        let mut at = 0;
        while talk.wish.is_none() && at < input.len() {
            let rest = &input[at..];
            match self {
                Self::Head => {
                    let Some(taken) = self.begin(rest, talk, out) else { break };
                    at += taken;
                }
                Self::Value(left) | Self::Nowhere(left) if *left == 0 => *self = Self::Head,
                Self::Value(left) => at += out.keep_some(input, at, left),
                Self::Nowhere(left) => {
                    let size = (*left).min(rest.len());
                    *left -= size;
                    at += size;
                }
                Self::Ended => at = input.len(),
            }
        }
        at
    }

    fn begin(&mut self, rest: &[u8], talk: &mut Talk, out: &mut Edits) -> Option<usize> {
        if rest[0] != REQUEST {
            // As memcached does it: closed without a word.
            out.make(&plain(0x17));
            *self = Self::Ended;
            return Some(0);
        }
        if let Some(owner) = talk.sweep() {
            talk.owners.push_back(owner);
            talk.lookups.ask(Asked::Fence, 1);
            out.make(&barrier());
        }
        let head = Head { bytes: rest.get(..HEAD)? };
        let (order, key) = (Order::of(head.code()), head.key());
        let fits = head.extras() + key <= head.body();
        let sound = fits && key <= KEY_MAX && head.body() < BODY_MAX && order.takes(&head);
        if !sound {
            talk.counts.commands += 1;
            *self = Self::Ended;
            refused_by_server(&head, fits, out);
            return Some(HEAD);
        }
        let whole = HEAD + head.extras() + key;
        let (extras, name) = rest.get(HEAD..whole)?.split_at(head.extras());
        talk.counts.commands += 1;
        *self = order.see_to(&head, extras, name, talk, out);
        Some(whole)
    }
}

impl Order {
    /// Whether the server takes exactly what the head says.
    fn takes(self, head: &Head<'_>) -> bool {
        let (extras, key, body) = (head.extras(), head.key(), head.body());
        match self {
            Self::Store(flags) => extras == flags && key > 0,
            Self::Key { extras: flags, .. } => extras == flags && key > 0 && body == key + flags,
            Self::Flush { .. } => key == 0 && (extras == 0 || extras == 4) && body == extras,
            Self::Noop | Self::Version | Self::Quit => body == 0,
            Self::Stat => extras == 0 && body == key,
            Self::Login if head.code() == 0x20 => body == 0,
            Self::Login => extras == 0 && key > 0,
            Self::Unknown => true,
        }
    }

    fn see_to(
        self,
        head: &Head<'_>,
        extras: &[u8],
        name: &[u8],
        talk: &mut Talk,
        out: &mut Edits,
    ) -> Requests {
        let left = head.body() - extras.len() - name.len();
        match self {
            Self::Store(_) | Self::Key { .. } => {
                if let Self::Key { kind: Kind::Delete, .. } = self {
                    talk.delete(Key::Plain(name.to_vec()));
                }
                let gets = matches!(self, Self::Key { kind: Kind::Get, .. });
                match (is_quiet(head.code()), gets) {
                    (true, true) => talk.lookups.ask(Asked::QuietValue, 1),
                    (true, false) => {}
                    (false, _) => talk.lookups.ask(Asked::Fence, 1),
                }
                let mut key = Edits::copying();
                talk.put(name, names_key(head.code()), &mut key);
                out.make(&head.resized(key.len()));
                out.make(extras);
                out.make(key.made());
                Requests::Value(left)
            }
            Self::Flush { quiet } if !talk.watches() => {
                let seconds = extras.try_into().map_or(0, u32::from_be_bytes);
                let failed = head.answer(INTERNAL_ERROR, Refusal::UNKEPT.text().as_bytes());
                talk.wish = Some(Wish {
                    flush: Flush::after(seconds.into()),
                    done: (!quiet).then(|| head.answer(0, b"").into()),
                    failed: failed.into(),
                });
                Requests::Head
            }
            Self::Stat if !is_harmless(name) && !talk.watches() => {
                let text = Refusal::of_server("stat");
                let answer = head.answer(NOT_SUPPORTED, text.text().as_bytes());
                talk.counts.refused += 1;
                tell(answer.into(), talk, out);
                Requests::Head
            }
            Self::Unknown if !talk.watches() => {
                talk.counts.refused += 1;
                tell(head.answer(UNKNOWN_COMMAND, b"Unknown command").into(), talk, out);
                Requests::Nowhere(left)
            }
            Self::Noop => {
                talk.owners.push_back(Owner::Client);
                pass(head, extras, name, talk, out);
                Requests::Head
            }
            Self::Quit => {
                pass(head, extras, name, talk, out);
                Requests::Ended
            }
            Self::Flush { .. } | Self::Stat | Self::Version | Self::Login | Self::Unknown => {
                pass(head, extras, name, talk, out);
                Requests::Value(left)
            }
        }
    }
}

fn pass(head: &Head<'_>, extras: &[u8], name: &[u8], talk: &mut Talk, out: &mut Edits) {
    if !is_quiet(head.code()) {
        talk.lookups.ask(Asked::Fence, 1);
    }
    out.make(head.bytes);
    out.make(extras);
    out.make(name);
}

/// The server says what is wrong, in its turn, and closes: as it would have.
fn refused_by_server(head: &Head<'_>, fits: bool, out: &mut Edits) {
    if !fits {
        return out.make(head.bytes);
    }
    let mut wrong = [0; HEAD];
    wrong.copy_from_slice(head.bytes);
    wrong[4] = 0;
    let length = KEY_MAX + 1;
    wrong[2..4].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    wrong[8..12].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.make(&wrong);
    out.make(&[b'x'; KEY_MAX + 1]);
}

/// A request of nothing but its command.
fn plain(code: u8) -> [u8; HEAD] {
    let mut request = [0; HEAD];
    (request[0], request[1]) = (REQUEST, code);
    request
}

/// What the server answers in any case.
pub fn barrier() -> [u8; HEAD] {
    plain(0x0a)
}

/// Has the client told `answer` once what it has asked for before is answered.
pub fn tell(answer: Box<[u8]>, talk: &mut Talk, out: &mut Edits) {
    talk.owners.push_back(Owner::Told(answer));
    talk.lookups.ask(Asked::Fence, 1);
    out.make(&barrier());
}

/// How far the answers have been read.
#[derive(Debug, Default)]
pub enum Answers {
    /// An answer begins.
    #[default]
    Head,
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
            if let Self::Value(left) = self {
                at += out.keep_some(input, at, left);
                if *left == 0 {
                    *self = Self::Head;
                }
                continue;
            }
            let Some((taken, left)) = answer(&input[at..], talk, out)? else { break };
            at += taken;
            if left > 0 {
                *self = Self::Value(left);
            }
        }
        Ok(at)
    }
}

/// An answer up to its key; gives how far that is, and how much is to come.
fn answer(
    input: &[u8],
    talk: &mut Talk,
    out: &mut Edits,
) -> Result<Option<(usize, usize)>, Violation> {
    if input[0] != ANSWER {
        return Err(Violation::Magic);
    }
    let Some(bytes) = input.get(..HEAD) else { return Ok(None) };
    let head = Head { bytes };
    let front = HEAD + head.extras() + head.key();
    if front - HEAD > head.body() {
        return Err(Violation::Length);
    }
    let Some(whole) = input.get(..front) else { return Ok(None) };
    let (extras, key) = whole[HEAD..].split_at(head.extras());
    let left = head.body() - extras.len() - key.len();
    count(&head, talk);
    if head.code() == 0x0a {
        match talk.owners.pop_front() {
            Some(Owner::Client) | None => {}
            Some(Owner::Told(text)) => {
                out.make(&text);
                return Ok(Some((front, 0)));
            }
            Some(Owner::Sweep(come)) => {
                talk.swept(come);
                return Ok(Some((front, 0)));
            }
        }
    }
    if names_key(head.code()) && !key.is_empty() {
        let full;
        let key = if let Told::Key(key) = talk.prefix.strip(key) {
            key
        } else {
            full = talk.told(key).ok_or(Violation::Key)?;
            &full
        };
        out.make(&head.resized(key.len()));
        out.make(extras);
        out.make(key);
    } else {
        out.make(whole);
    }
    Ok(Some((front, left)))
}

fn count(head: &Head<'_>, talk: &mut Talk) {
    let code = head.code();
    let gets = matches!(Order::of(code), Order::Key { kind: Kind::Get, .. });
    if is_quiet(code) {
        if gets && head.status() == 0 {
            talk.counts.hits += talk.lookups.came(Came::MetaValue).hits;
        }
        return;
    }
    // Statistics are many answers, of which the last has no name.
    if code == 0x10 && head.key() > 0 {
        return;
    }
    let before = talk.lookups.came(Came::Fence);
    talk.counts.misses += before.misses;
    if gets {
        talk.counts.hits += u64::from(head.status() == 0);
        talk.counts.misses += u64::from(head.status() == NOT_FOUND);
    }
}
