//! The short way: a command that lies whole in what was read, and an answer without keys. Nearly all
//! are such. They come out as they would by the long way, which takes everything else.

use super::commands::{Command, Commands, Request, Rule};
use super::places::{Places, Spec};
use super::talk::{Effect, Pending, Talk};
use crate::namespace::edits::Edits;
use crate::namespace::resp::LINE_MAX;

/// Arguments of a command that goes the short way.
const ARGUMENTS_MAX: usize = 64;

/// Keys of one.
const KEYS_MAX: usize = 8;

/// Bytes of a name that goes the short way: it fits into one number.
pub const NAME_BYTES_MAX: usize = 16;

/// Places in the list of names: some eight times as many as there are names.
const SLOTS: usize = 1 << 11;

/// Names of letters, to be found without regard to case.
#[derive(Debug)]
pub struct Names {
    /// What is in each place: the name as a number, its length, and where its command stands.
    slots: Vec<Option<(u128, usize, usize)>>,
    commands: Vec<Command>,
}

impl Names {
    /// Those of `known` that can go the short way.
    pub fn new<'a>(known: impl Iterator<Item = (&'a [u8], &'a Command)>) -> Self {
        let mut names = Self { slots: vec![None; SLOTS], commands: Vec::new() };
        for (name, command) in known {
            let plain = name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_alphabetic);
            if !plain || !matches!(command.request, Request::Keys(_)) {
                continue;
            }
            let number = number_of(name);
            let mut at = slot(number);
            while names.slots[at].is_some() {
                at = (at + 1) % SLOTS;
            }
            names.slots[at] = Some((number, name.len(), names.commands.len()));
            names.commands.push(command.clone());
        }
        names
    }

    fn find(&self, name: &[u8]) -> Option<&Command> {
        let number = number_of(name);
        let mut at = slot(number);
        loop {
            let (found, length, command) = self.slots[at]?;
            if found == number && length == name.len() {
                return self.commands.get(command);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// The bytes of a name in lower case. What is no letter may come out as another that is none.
fn number_of(name: &[u8]) -> u128 {
    name.iter().fold(0, |number, byte| number << 8 | u128::from(byte | 0x20))
}

const fn slot(number: u128) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is folded in")]
    let folded = (number >> 64) as u64 ^ number as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as usize
}

/// Sends on the command that `input` begins with at `start`; gives where it ends. None: it is for the
/// long way.
#[inline]
pub fn request(
    input: &[u8],
    start: usize,
    talk: &mut Talk,
    commands: &Commands,
    out: &mut Edits,
) -> Option<usize> {
    let (count, mut at) = head(input, start, b'*')?;
    if count == 0 || count > ARGUMENTS_MAX {
        return None;
    }
    let (length, text) = head(input, at, b'$')?;
    if length > NAME_BYTES_MAX {
        return None;
    }
    at = end(input, text, length)?;
    let command = commands.quick().find(&input[text..text + length])?;
    let Request::Keys(specs) = &command.request else { return None };
    let one = **specs == [Spec::at(1)];
    let places = if one { Places::default() } else { Places::new(specs, count) };
    if places.is_counted() {
        return None;
    }
    let (mut keys, mut found) = ([(0, 0, 0); KEYS_MAX], 0);
    for argument in 1..count {
        let (length, text) = head(input, at, b'$')?;
        if if one { argument == 1 } else { places.has(argument) } {
            *keys.get_mut(found)? = (at, length, text);
            found += 1;
        }
        at = end(input, text, length)?;
    }
    let mut kept = start;
    for (head, length, text) in keys.into_iter().take(found) {
        let prefix = talk.namespace.before(&input[text..text + length]);
        out.keep(input, kept..head);
        out.make_head(length + prefix.len());
        out.make(prefix);
        kept = text;
    }
    out.keep(input, kept..at);
    let (rule, names_keys) = (command.rule, command.names_keys);
    talk.wait_for(Pending { rule, names_keys, effect: Effect::None });
    talk.counts.commands += 1;
    Some(at)
}

/// Where the answer ends that `input` begins with at `start`, if it goes to the client as it is and
/// nothing else is to be done. None: it is for the long way.
#[inline]
pub fn answer(input: &[u8], start: usize, talk: &mut Talk) -> Option<usize> {
    let pending = talk.pending.front()?;
    if !pending.is_plain() || talk.queued.is_some() {
        return None;
    }
    let end = match input.get(start)? {
        b'+' | b':' => {
            start + memchr::memchr(b'\n', &input[start..input.len().min(start + LINE_MAX)])? + 1
        }
        b'$' => {
            let (length, text) = head(input, start, b'$')?;
            let end = end(input, text, length)?;
            talk.counts.hits += u64::from(pending.rule == Rule::Value);
            end
        }
        _ => return None,
    };
    talk.pending.pop_front();
    Some(end)
}

/// The number in the line that begins with `kind` at `start`, and where the line ends.
#[inline]
fn head(input: &[u8], start: usize, kind: u8) -> Option<(usize, usize)> {
    let line = input.get(start..)?;
    let (mut number, mut at) = (0_usize, 1);
    if *line.first()? != kind {
        return None;
    }
    // Nine digits do not overflow; more, or zeros before others, are for the long way.
    while at < 10
        && let Some(digit @ b'0'..=b'9') = line.get(at)
    {
        number = number * 10 + usize::from(digit - b'0');
        at += 1;
    }
    let zeros = at == 1 || (line[1] == b'0' && at > 2);
    if zeros || line.get(at..at + 2)? != b"\r\n" {
        return None;
    }
    Some((number, start + at + 2))
}

/// Where a text of `length` ends that begins at `text`, with the end of its line.
#[inline]
fn end(input: &[u8], text: usize, length: usize) -> Option<usize> {
    let end = text + length + 2;
    (end <= input.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_no_others() {
        let commands = Commands::default();
        let found = |name: &str| commands.quick().find(name.as_bytes()).is_some();
        for name in ["get", "SET", "mGeT", "zrevrangebyscore", "hincrbyfloat"] {
            assert!(found(name), "{name}");
        }
        for name in ["", "ge", "gett", "g\u{5}t", "get ", "del", "bitfield_ro", "BITFIELD\u{7f}ro"]
        {
            assert!(!found(name), "{name}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_long_way() {
        assert_eq!(head(b"$12\r\nx", 0, b'$'), Some((12, 5)));
        assert_eq!(head(b"$0\r\n", 0, b'$'), Some((0, 4)));
        for line in [
            "$\r\n",
            "$01\r\n",
            "$-1\r\n",
            "$1\n",
            "$1\rx",
            "$1",
            "$",
            "",
            "*1\r\n",
            "$1234567890\r\n",
        ] {
            assert_eq!(head(line.as_bytes(), 0, b'$'), None, "{line}");
        }
    }
}
