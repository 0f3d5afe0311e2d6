//! RESP, the protocol of Redis, versions 2 and 3, as bytes: lines, lengths, and small values whole.

use thiserror::Error;

/// Longest line that is no value: an inline command, an error. Redis's own limit.
pub const LINE_MAX: usize = 64 * 1024;

/// Longest line that says a length: a sign, 19 digits, a mark and the end.
pub const HEAD_MAX: usize = 32;

/// Arguments of one command; Redis allows any number up to 2^31 and fails on the way.
pub const ARGUMENTS_MAX: usize = 1 << 20;

/// Longest argument: Redis's own limit where nobody raised it (`proto-max-bulk-len`).
pub const BULK_MAX: usize = 512 << 20;

/// Arrays within arrays of one answer that passes by: the stack of a script, which can make the
/// deepest, has 8000 places.
pub const DEPTH_MAX: usize = 8192;

/// The same of an answer that Weir reads itself: none of its questions has one deeper than six.
const READ_DEPTH_MAX: usize = 128;

/// What is sent does not keep to the protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// A line does not end.
    #[error("too big inline request")]
    Line,
    /// A number of arguments is none, or too high.
    #[error("invalid multibulk length")]
    Count,
    /// A length is none, or too high.
    #[error("invalid bulk length")]
    Length,
    /// An argument does not begin as one.
    #[error("expected '$'")]
    Bulk,
    /// Quotes that do not close.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The beginning of HTTP: a browser was lured into asking a cache.
    #[error("this is no web server")]
    Web,
    /// A command whose answers cannot be told from others.
    #[error("its answers cannot be told from others")]
    Endless,
    /// Something that no server sends.
    #[error("the server's answer is not RESP")]
    Answer,
    /// Arrays within arrays without end.
    #[error("the server's answer is nested too deeply")]
    Depth,
}

/// The line that `input` begins with, without its end, and how many bytes it takes with it.
/// None: there is more to come.
pub fn line(input: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, Violation> {
    match memchr::memchr(b'\n', &input[..input.len().min(max)]) {
        Some(end) => {
            let line = &input[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
        }
        None if input.len() >= max => Err(Violation::Line),
        None => Ok(None),
    }
}

/// A number as Redis reads it: no sign but `-`, no zeros before it, no spaces.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !plain || (digits[0] == b'0' && text.len() > 1) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A command as it is sent.
pub fn command<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bulk(argument.as_ref(), &mut out);
    }
    out
}

/// Appends a text with its length.
pub fn bulk(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// An answer, whole. For the few that Weir reads itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A line that says so: `OK`, a number, a truth.
    Line(u8, Vec<u8>),
    /// An error.
    Error(Vec<u8>),
    /// Text.
    Bulk(Vec<u8>),
    /// A list, a set, a push; of a map keys and values in turn.
    List(Vec<Value>),
    /// Nothing.
    Null,
}

impl Value {
    /// The answer that `input` begins with, and how many bytes it takes. None: there is more to
    /// come.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        // Lists that are open, with how many elements each still waits for.
        let mut open: Vec<(usize, Vec<Self>)> = Vec::new();
        let mut at = 0;
        loop {
            let Some((line, taken)) = line(&input[at..], LINE_MAX)? else { return Ok(None) };
            at += taken;
            let (kind, rest) = line.split_first().ok_or(Violation::Answer)?;
            let length = || integer(rest).ok_or(Violation::Answer);
            let mut value = match kind {
                b'-' => Self::Error(rest.to_vec()),
                b'$' | b'=' | b'!' => match usize::try_from(length()?) {
                    Err(_) => Self::Null,
                    Ok(length) if length > BULK_MAX => return Err(Violation::Length),
                    Ok(length) => {
                        let Some(text) = input.get(at..at + length + 2) else { return Ok(None) };
                        at += length + 2;
                        let text = text[..length].to_vec();
                        if *kind == b'!' { Self::Error(text) } else { Self::Bulk(text) }
                    }
                },
                b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(length()?) {
                    Err(_) => Self::Null,
                    Ok(count) => {
                        let pairs = matches!(kind, b'%' | b'|');
                        let count = if pairs { count.saturating_mul(2) } else { count };
                        if open.len() >= READ_DEPTH_MAX {
                            return Err(Violation::Depth);
                        }
                        open.push((count, Vec::new()));
                        Self::List(Vec::new())
                    }
                },
                b'_' => Self::Null,
                b'+' | b':' | b',' | b'#' | b'(' => Self::Line(*kind, rest.to_vec()),
                _ => return Err(Violation::Answer),
            };
            let opened = matches!(kind, b'*' | b'~' | b'>' | b'%' | b'|') && value != Self::Null;
            if opened && open.last().is_some_and(|(left, _)| *left > 0) {
                continue;
            }
            if opened {
                open.pop();
            }
            // The value closes every list of which it is the last element.
            loop {
                let Some((left, list)) = open.last_mut() else { return Ok(Some((value, at))) };
                list.push(value);
                *left -= 1;
                if *left > 0 {
                    break;
                }
                value = Self::List(open.pop().map(|(_, list)| list).unwrap_or_default());
            }
        }
    }

    /// The text of a line or a bulk.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Line(_, text) | Self::Bulk(text) => Some(text),
            Self::Error(_) | Self::List(_) | Self::Null => None,
        }
    }

    /// The number of a line or a bulk.
    pub fn integer(&self) -> Option<i64> {
        integer(self.text()?)
    }

    /// The elements of a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            Self::Line(..) | Self::Error(_) | Self::Bulk(_) | Self::Null => None,
        }
    }
}

/// The arguments of an inline command, as Redis splits them: quotes, escapes.
pub fn inline(line: &[u8]) -> Result<Vec<Vec<u8>>, Violation> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut argument = Vec::new();
        loop {
            match rest {
                [] => break,
                [b'"', after @ ..] => rest = double_quoted(after, &mut argument)?,
                [b'\'', after @ ..] => rest = single_quoted(after, &mut argument)?,
                [space, ..] if is_space(*space) || *space == 0 => break,
                [byte, after @ ..] => {
                    argument.push(*byte);
                    rest = after;
                    continue;
                }
            }
            // A closing quote ends the argument.
            if rest.first().is_some_and(|byte| !is_space(*byte)) {
                return Err(Violation::Quotes);
            }
            break;
        }
        arguments.push(argument);
        while let [space, after @ ..] = rest
            && (is_space(*space) || *space == 0)
        {
            rest = after;
        }
    }
    Ok(arguments)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn double_quoted<'a>(mut rest: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
    loop {
        match rest {
            [] => return Err(Violation::Quotes),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0);
                into.push(u8::try_from(digit(*high) * 16 + digit(*low)).unwrap_or(0));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                into.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                into.push(*byte);
                rest = after;
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
    loop {
        match rest {
            [] => return Err(Violation::Quotes),
            [b'\\', b'\'', after @ ..] => {
                into.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return Ok(after),
            [byte, after @ ..] => {
                into.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Value {
        let (value, taken) = Value::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(taken, text.len(), "{text:?}");
        for cut in 0..text.len() {
            assert_eq!(Value::parse(&text.as_bytes()[..cut]), Ok(None), "{cut} of {text:?}");
        }
        value
    }

    #[test]
    fn answers_are_read_whole() {
        let text = |text: &str| Value::Bulk(text.into());
        assert_eq!(parsed("$3\r\nabc\r\n"), text("abc"));
        assert_eq!(parsed("$-1\r\n"), Value::Null);
        assert_eq!(parsed(":42\r\n").integer(), Some(42));
        assert_eq!(parsed("-ERR no\r\n"), Value::Error(b"ERR no".to_vec()));
        let nested = parsed("*3\r\n*0\r\n*2\r\n$1\r\na\r\n*0\r\n%1\r\n+k\r\n_\r\n");
        let list = |list: &[Value]| Value::List(list.to_vec());
        let map = list(&[Value::Line(b'+', b"k".to_vec()), Value::Null]);
        assert_eq!(nested, list(&[list(&[]), list(&[text("a"), list(&[])]), map]));
        assert_eq!(Value::parse(b"?\r\n"), Err(Violation::Answer));
        let deep = "*1\r\n".repeat(READ_DEPTH_MAX + 1);
        assert_eq!(Value::parse(deep.as_bytes()), Err(Violation::Depth));
    }

    #[test]
    fn numbers_are_read_as_redis_reads_them() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-12"), Some(-12));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        for wrong in ["", "-", "-0", "01", "+1", " 1", "1 ", "9223372036854775808", "1e3"] {
            assert_eq!(integer(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn inline_commands_are_split_as_redis_splits_them() {
        let split = |line: &str| {
            inline(line.as_bytes()).map(|args| {
                args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>()
            })
        };
        assert_eq!(split("  SET foo  bar ").unwrap(), ["SET", "foo", "bar"]);
        assert_eq!(split(r#"a "b c" 'd e' """#).unwrap(), ["a", "b c", "d e", ""]);
        assert_eq!(split(r#""\x41\n\"\q" '\'\n'"#).unwrap(), ["A\n\"q", "'\\n"]);
        assert_eq!(split("").unwrap(), Vec::<String>::new());
        for wrong in [r#""a"#, "'a", r#""a"b"#, "'a'b"] {
            assert_eq!(split(wrong), Err(Violation::Quotes), "{wrong}");
        }
    }

    #[test]
    fn a_line_has_an_end() {
        assert_eq!(line(b"abc\r\nd", 10), Ok(Some((&b"abc"[..], 5))));
        assert_eq!(line(b"abc\nd", 10), Ok(Some((&b"abc"[..], 4))));
        assert_eq!(line(b"abc", 10), Ok(None));
        assert_eq!(line(b"abcdefghij", 10), Err(Violation::Line));
    }
}
