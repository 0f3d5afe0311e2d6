//! Where the requests of a connection end, followed beside hyper, which keeps to itself what of it
//! was in doubt: it drops a length beside chunks, and takes a bare line feed for the end of a line.
//!
//! What may be read in two ways is spoiled on its way in, so that hyper refuses it as it refuses
//! what is no HTTP. Bodies are counted, not looked at; a head costs a search for its line ends.

use memchr::memchr;

/// What the end of a line is made of that is to be refused: it may stand nowhere in a head.
const SPOILED: u8 = 0;

/// The request that comes in on a connection of HTTP/1.1.
#[derive(Debug, Default)]
pub struct Framing {
    stage: Stage,
    /// The beginning of a line whose end has not come in yet. hyper's limits bound it.
    part: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The first line of a head; empty ones may stand before it.
    #[default]
    Start,
    /// A field, or the end of the head.
    Field,
    /// So many bytes of a body.
    Body(u64),
    /// The size of a chunk.
    Size,
    /// So many bytes of a chunk, its line end included.
    Chunk(u64),
    /// A field behind the last chunk, or the end of the body.
    Trailer,
    /// Nothing that would be believed.
    Refused,
}

/// A line that has two meanings, or none.
#[derive(Debug)]
struct Doubtful;

impl Framing {
    /// Follows what came in, and spoils it from where it is in doubt. Returns whether it is not.
    pub fn follow(&mut self, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let passed = match &mut self.stage {
                Stage::Start | Stage::Field | Stage::Size | Stage::Trailer => {
                    match self.pass_line(bytes) {
                        Ok(length) => length,
                        Err(end) => {
                            bytes[end] = SPOILED;
                            self.stage = Stage::Refused;
                            end + 1
                        }
                    }
                }
                Stage::Body(left) | Stage::Chunk(left) => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= part as u64;
                    part
                }
                // Line feeds end the head, so that hyper looks at it and answers.
                Stage::Refused => {
                    bytes.fill(b'\n');
                    return false;
                }
            };
            match self.stage {
                Stage::Body(0) => self.stage = Stage::Start,
                Stage::Chunk(0) => self.stage = Stage::Size,
                Stage::Start
                | Stage::Field
                | Stage::Body(_)
                | Stage::Size
                | Stage::Chunk(_)
                | Stage::Trailer
                | Stage::Refused => {}
            }
            bytes = &mut bytes[passed..];
        }
        self.stage != Stage::Refused
    }

    /// Passes one line or a part of it: how many bytes, or where a line ends that is in doubt.
    fn pass_line(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.part.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let known = if self.part.is_empty() {
            self.line(&bytes[..end])
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(&bytes[..end]);
            self.line(&part)
        };
        known.map(|()| end + 1).map_err(|Doubtful| end)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Doubtful> {
        let Some((b'\r', line)) = line.split_last() else {
            return Err(Doubtful);
        };
        self.stage = match (self.stage, line) {
            (Stage::Start | Stage::Trailer, []) => Stage::Start,
            (Stage::Start, _) => {
                (self.length, self.chunked) = (None, false);
                Stage::Field
            }
            (Stage::Field, []) => match self.length {
                _ if self.chunked => Stage::Size,
                Some(length) => Stage::Body(length),
                None => Stage::Start,
            },
            (Stage::Field, field) => {
                self.field(field)?;
                Stage::Field
            }
            (Stage::Size, line) => match size(line)? {
                0 => Stage::Trailer,
                size => Stage::Chunk(size.checked_add(2).ok_or(Doubtful)?),
            },
            (Stage::Trailer, _) => Stage::Trailer,
            (stage @ (Stage::Body(_) | Stage::Chunk(_) | Stage::Refused), _) => stage,
        };
        Ok(())
    }

    /// A field of the head: there is one Content-Length or one Transfer-Encoding, and never both.
    fn field(&mut self, field: &[u8]) -> Result<(), Doubtful> {
        let is_framed = self.chunked || self.length.is_some();
        match field[0] | 0x20 {
            b'c' => {
                if let Some(value) = value(field, b"content-length") {
                    self.length = Some(number(value).filter(|_| !is_framed).ok_or(Doubtful)?);
                }
            }
            b't' => {
                if let Some(value) = value(field, b"transfer-encoding") {
                    self.chunked = !is_framed && value.eq_ignore_ascii_case(b"chunked");
                    return if self.chunked { Ok(()) } else { Err(Doubtful) };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The value of `field` if `name` is its name.
fn value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = field.split_at_checked(name.len())?;
    let (b':', value) = rest.split_first()? else {
        return None;
    };
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// The number that `text` is: digits and nothing else (RFC 9110, section 8.6).
pub fn number(text: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    text.iter().try_fold(0, digit).filter(|_| !text.is_empty())
}

/// The size of a chunk; extensions may follow.
fn size(line: &[u8]) -> Result<u64, Doubtful> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest.first(), None | Some(b';' | b' ' | b'\t')) || rest.contains(&b'\r') {
        return Err(Doubtful);
    }
    let size = std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or(Doubtful)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `text` that comes in pieces of `step` bytes; whether it was in doubt.
    fn followed(text: &str, step: usize) -> (String, bool) {
        let mut framing = Framing::default();
        let mut bytes = text.as_bytes().to_vec();
        let mut doubtful = false;
        for piece in bytes.chunks_mut(step) {
            doubtful |= !framing.follow(piece);
        }
        (String::from_utf8(bytes).unwrap(), doubtful)
    }

    const STEPS: [usize; 5] = [1, 2, 3, 7, 10_000];

    #[test]
    fn what_is_clear_passes_unchanged() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encodings: x\r\n\r\n";
        let sized = "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 4 \r\nhost: a\r\n\r\na\nb\n";
        let chunks = "POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\n\r\n\
                      3;a=b\r\n\n\n\n\r\nA \t\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        let empty = "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        let all = [get, sized, chunks, empty, chunks, get, sized, get].concat();
        for step in STEPS {
            assert_eq!(followed(&all, step), (all.clone(), false), "{step}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_spoiled_wherever_it_stands() {
        let before = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        for head in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "transfer-encoding: chunked\r\nx: y\r\ncontent-length: 5\r\n\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n\r\n",
            "content-length: 5, 5\r\n\r\n",
            "content-length: +5\r\n\r\n",
            "content-length:\r\n\r\n",
            "content-length: 18446744073709551616\r\n\r\n",
            "transfer-encoding: identity\r\n\r\n",
            "x: y\ncontent-length: 5\r\n\r\n",
            "x: y\r\n\n",
        ] {
            let text = format!("{before}POST / HTTP/1.1\r\n{head}hello");
            for step in STEPS {
                let (spoiled, doubtful) = followed(&text, step);
                assert!(doubtful, "{head:?} {step}");
                let (kept, rest) = spoiled.split_once('\0').unwrap();
                assert!(text.starts_with(kept), "{head:?}");
                assert!(rest.len() >= 5 && rest.bytes().all(|byte| byte == b'\n'), "{head:?}");
            }
        }
    }

    #[test]
    fn a_chunk_in_doubt_ends_it() {
        let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        for chunk in ["1\n", "g\r\n", "\r\n", "0x1\r\n", "11111111111111111\r\n", "1;\r \r\n"] {
            assert!(followed(&format!("{head}{chunk}abc"), 1).1, "{chunk:?}");
        }
    }
}
